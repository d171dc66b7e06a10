"""Runs that are cut and go on, and runs of several ranks: the result is that of one undisturbed process."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.making import CPU, check_same_weights, losses, make_trial, run_here, start_ranks, weights_of
from tests.worlds import write_small_tree
from vprdist.data.graph import city_graph
from vprdist.data.layouts.msls import read_city
from vprdist.data.tasks import build_tasks
from vprdist.distributed.ranks import Ranks, join
from vprdist.distributed.world import World
from vprdist.errors import Stopped, TrainingError, WeightsError
from vprdist.evaluation.evaluate import evaluate
from vprdist.network.inputs import PlaceReader
from vprdist.network.model import build_network
from vprdist.spec.augment import AugmentSpec
from vprdist.spec.result import ResultRow
from vprdist.spec.trial import RunSpec, TrialSpec
from vprdist.training.checkpoint import load_checkpoint, save_checkpoint
from vprdist.training.loop import Trainer


@pytest.mark.parametrize(
    "recipe", [{"batch_norm": "frozen"}, {"batch_norm": "reference", "micro_pairs": 2, "optimizer": "adamw"}]
)
def test_a_resumed_run_equals_an_uninterrupted_one(small_tree, tmp_path, recipe):
    trial = make_trial(small_tree, chunk_queries=10, **recipe)
    whole = run_here(trial, tmp_path / "whole")

    def trainer(folder, stop_at):
        cities = [read_city(small_tree, "ada")]
        network = build_network(trial, None)
        reader = PlaceReader(trial, trial.train.image_size)
        steps = []
        graphs = [city_graph(city, trial.data) for city in cities]
        made = Trainer(trial, network, cities, graphs, reader, CPU, folder, steps.append, lambda: len(steps) >= stop_at)
        return made

    for stop_at in (2, 3):  # interrupted twice, at steps 2 and 5
        with pytest.raises(Stopped):
            trainer(tmp_path / "cut", stop_at).run()
    resumed = run_here(trial, tmp_path / "cut")
    assert resumed.metrics == whole.metrics
    assert resumed.final_loss == whole.final_loss
    check_same_weights(tmp_path / "whole", tmp_path / "cut", trial)


def test_an_evaluation_that_was_cut_by_a_stop_is_made_when_the_run_goes_on(small_tree, tmp_path):
    trial = make_trial(small_tree, steps=5)
    trial = trial.model_copy(update={"run": RunSpec(log_steps=1, evaluate_steps=2)})
    city = read_city(small_tree, "ada")
    reader = PlaceReader(trial, trial.train.image_size)
    evaluated, cut = [], [2]  # the first evaluation, of step 2, is left in its midst

    def evaluate_or_stop(step):
        if cut and cut.pop() == step:
            raise Stopped
        evaluated.append(step)

    def trainer():
        return Trainer(
            trial, build_network(trial, None), [city], [city_graph(city, trial.data)], reader, CPU, tmp_path,
            lambda row: steps.append(row.get("step")), lambda: steps[-1] == 4 and evaluated == [2], evaluate_or_stop,
        )  # fmt: skip

    steps = []
    for known in ([], [2]):  # stopped during the evaluation of step 2; then at step 4, before its evaluation
        with pytest.raises(Stopped):
            trainer().run()
        assert evaluated == known
    trainer().run()
    assert evaluated == [2, 4], "each once: none is missing from the curve, or to a scheduler"


STEPS_TO_DIE_IN = 24
RECIPES = {
    "frozen": {"micro_pairs": 1},
    # Statistics of a few images magnify rounding: a low rate keeps it small.
    "sync": {"micro_pairs": 2, "batch_norm": "sync", "lr": 1e-3},
    "all": {"pairs": "all"},
    "augmented": {"pairs": "all", "augment": AugmentSpec(), "backbone_lr_factor": 0.3, "schedule": "linear"},
    "reference": {"micro_pairs": 2, "batch_norm": "reference", "chunked": True, "chunk_queries": 7, "lr": 1e-4},
    "moving statistics": {"micro_pairs": 2, "batch_norm": "reference"},
}


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_result(small_tree, tmp_path):
    trial = make_trial(small_tree, steps=20)
    often = trial.model_copy(update={"run": RunSpec(checkpoint_s=0.001, log_steps=1)})
    whole = run_here(trial, tmp_path / "whole")
    folder = tmp_path / "killed"
    (process,) = start_ranks(1, (often, folder))
    while len(losses(folder)) < 5:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder / "result.json").exists()
    resumed = run_here(trial, folder)
    assert resumed.metrics == whole.metrics
    assert resumed.final_loss == whole.final_loss
    assert resumed.untrained == whole.untrained


def test_a_checkpoint_of_another_trial_is_refused(small_tree, tmp_path):
    run_here(make_trial(small_tree, steps=1), tmp_path / "t")
    (tmp_path / "t" / "result.json").unlink()
    with pytest.raises(WeightsError, match="of this trial and version"):
        run_here(make_trial(small_tree, steps=2), tmp_path / "t")


def test_a_full_disk_is_said_as_it_is_and_the_last_checkpoint_stays(tmp_path):
    save_checkpoint(tmp_path, {"trial_id": "t", "step": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for numbers in (25_000, 10**6):  # it becomes full at the end, or in the midst
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        try:
            with pytest.raises(OSError, match=r"File too large: '.*last\.pt'"):
                save_checkpoint(tmp_path, {"trial_id": "t", "step": 2, "weights": torch.zeros(numbers)})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]
    assert load_checkpoint(tmp_path, "t") == {"version": 1, "trial_id": "t", "step": 1}


@pytest.fixture(scope="module")
def on_two_ranks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, TrialSpec]]:
    """Every recipe on two gloo ranks, one after the other: two processes load torch once for all of them."""
    folder = tmp_path_factory.mktemp("ranks")
    write_small_tree(folder / "tree")
    trials = {name: make_trial(folder / "tree", **recipe) for name, recipe in RECIPES.items()}
    ranks = start_ranks(2, *((trial, folder / name) for name, trial in trials.items()))
    assert [rank.wait(timeout=240) for rank in ranks] == [0, 0]
    return folder, trials


@pytest.mark.slow
@pytest.mark.parametrize("name", ["frozen", "sync", "all", "augmented", "reference"])
def test_two_gloo_ranks_equal_one(on_two_ranks, tmp_path, name):
    (folder, trials), recipe = on_two_ranks, RECIPES[name]
    trial, here = trials[name], folder / name
    one = run_here(trial, tmp_path / "one")
    two = ResultRow.model_validate_json((here / "result.json").read_text())
    assert two.num_ranks == 2
    found, expected = losses(here), losses(tmp_path / "one")
    assert np.allclose([found[s] for s in expected], list(expected.values()), rtol=1e-4)
    mine, theirs = weights_of(tmp_path / "one", trial), weights_of(here, trial)
    # Under the reference each rank's statistics see its own images; they shape no gradient.
    own = ("running", "num_batches") if recipe.get("batch_norm") == "reference" else ()
    compared = [name for name in mine if not any(word in name for word in own)]
    still = build_network(trial, None).state_dict()
    for name in compared:  # how far each moved, beside where it came from: absolute distances would hide small ones
        one_way, other_way = ((after[name] - still[name]).float() for after in (mine, theirs))
        assert torch.allclose(one_way, other_way, atol=0.2 * float(one_way.abs().max()) + 1e-6), name
    moved = any("running_mean" in name and not torch.equal(mine[name], still[name]) for name in mine)
    assert moved == (recipe.get("batch_norm") in ("sync", "reference"))
    assert two.metrics["recall@5"] == pytest.approx(one.metrics["recall@5"], abs=0.26), "rounding may swap near ties"


@pytest.mark.slow
def test_ranks_with_moving_statistics_evaluate_one_network(on_two_ranks, tmp_path):
    folder, trials = on_two_ranks
    trial, here = trials["moving statistics"], folder / "moving statistics"
    recorded = ResultRow.model_validate_json((here / "result.json").read_text())
    network = build_network(trial, None)
    network.load_state_dict(weights_of(here, trial))
    tasks = build_tasks([read_city(folder / "tree", "bob")], trial)
    alone = evaluate(network, trial, tasks, CPU)
    alone.write(tmp_path / "alone")
    assert (here / "predictions" / "bob.txt").read_text() == (tmp_path / "alone" / "bob.txt").read_text()
    assert recorded.metrics == pytest.approx(alone.metrics)


@pytest.mark.slow
def test_a_rank_that_dies_ends_the_others_within_seconds_and_the_run_goes_on_from_its_checkpoint(small_tree, tmp_path):
    trial = make_trial(small_tree, steps=STEPS_TO_DIE_IN)
    often = trial.model_copy(update={"run": RunSpec(checkpoint_s=0.1, log_steps=1)})
    folder = tmp_path / "t"
    first, second = start_ranks(2, (often, folder), stderr=subprocess.PIPE)
    try:
        while not (folder / "checkpoint" / "last.pt").exists():
            assert first.poll() is None and second.poll() is None
            time.sleep(0.02)
        second.send_signal(signal.SIGKILL)
        _, said = first.communicate(timeout=30)
    finally:
        first.kill()
        second.wait()
    assert first.returncode == 1
    lines = [line for line in said.decode().splitlines() if line.strip()]
    assert "rank 0: another rank of this job died" in lines[-1]
    assert not (folder / "result.json").exists()
    state = load_checkpoint(folder / "checkpoint", trial.trial_id)
    assert state is not None and 0 < state["progress"]["step"] < STEPS_TO_DIE_IN
    short = [rank.wait(timeout=240) for rank in start_ranks(2, (trial, folder))]
    assert short == [0, 0]
    assert sorted(losses(folder)) == list(range(1, STEPS_TO_DIE_IN + 1)), "it went on where the checkpoint was"


@pytest.mark.slow
def test_ranks_leave_together_when_one_is_asked_during_an_evaluation(small_tree, tmp_path):
    trial = make_trial(small_tree, steps=4)
    folder = tmp_path / "t"
    ranks = start_ranks(2, (trial, folder), env={**os.environ, "ASK_RANK_TO_STOP": "1"})
    assert [rank.wait(timeout=120) for rank in ranks] == [75, 75]
    assert not (folder / "result.json").exists()
    assert [rank.wait(timeout=240) for rank in start_ranks(2, (trial, folder))] == [0, 0]


def test_a_rank_that_never_comes_is_not_waited_for_as_in_a_collective(tmp_path, monkeypatch):
    monkeypatch.setattr("vprdist.distributed.meeting.MEETING_S", 1)
    begin = time.monotonic()
    said = "1 of 3 ranks came within 1 s, without rank 1, 2"
    with pytest.raises(TimeoutError, match=said), join(World(rank=0, world_size=3), tmp_path / "rendezvous"):
        pass
    assert time.monotonic() - begin < 20


def test_ranks_must_divide_the_batch(small_tree, tmp_path):
    trial = make_trial(small_tree, batch_pairs=4)
    with pytest.raises(TrainingError, match="the 3 ranks must divide the pairs of a step"):
        Trainer(
            trial, build_network(trial, None), [read_city(small_tree, "ada")], [], PlaceReader(trial, (32, 40)),
            Ranks(0, 3, torch.device("cpu")), tmp_path, print,
        )  # fmt: skip

"""Whole trials on small trees: exact resume, ranks, BatchNorm, what is reported, what is refused."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from vprdist.data.digest import dataset_digest
from vprdist.data.msls import read_city
from vprdist.data.tasks import build_tasks
from vprdist.errors import DataError, TrainingError, UserError, WeightsError
from vprdist.evaluation.evaluate import evaluate
from vprdist.network.inputs import PlaceReader
from vprdist.network.model import build_network
from vprdist.ranks import Ranks
from vprdist.spec.result import ResultRow
from vprdist.spec.trial import DataSpec, Digests, InputSpec, NetworkSpec, RunSpec, TrainSpec, TrialSpec
from vprdist.training.checkpoint import load_checkpoint
from vprdist.training.loop import Stopped, Trainer, learning_rate
from vprdist.training.run import run_trial

REPO = Path(__file__).resolve().parents[2]
CPU = Ranks(0, 1, torch.device("cpu"))


def make_trial(root: Path, cache: Path | None = None, mode: str = "rgb", **train: object) -> TrialSpec:
    recipe = {
        "image_size": (32, 40),
        "steps": 6,
        "batch_pairs": 4,
        "micro_pairs": 4,
        "lr": 0.05,
        "batch_norm": "frozen",
    }
    trial = TrialSpec(
        data=DataSpec(root=str(root), train=("ada",), validate_cities=("bob",)),
        input=InputSpec(mode=mode, cache=str(cache) if cache else None),
        network=NetworkSpec(backbone="resnet18", weights="none", unfreeze="2-2"),
        train=TrainSpec(**{**recipe, **train}),
        run=RunSpec(log_steps=1),
    )
    return trial.resolved(
        Digests(dataset=dataset_digest(root, ("ada", "bob")), cache="c" if cache else None, weights="none")
    )


def run_here(trial: TrialSpec, folder: Path) -> ResultRow:
    run_trial(trial, folder, num_threads=1)
    return ResultRow.model_validate_json((folder / "result.json").read_text())


def losses(folder: Path) -> dict[int, float]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {row["step"]: row["loss"] for row in rows if row["kind"] == "train"}


def start_ranks(trial: TrialSpec, folder: Path, world: int) -> list[subprocess.Popen[bytes]]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "trial.json").write_text(json.dumps(trial.to_json()))
    command = [sys.executable, "-m", "tests.training.ranks", str(folder / "trial.json"), str(folder)]
    return [subprocess.Popen([*command, str(rank), str(world)], cwd=REPO) for rank in range(world)]


def weights_of(folder: Path, trial: TrialSpec) -> dict[str, torch.Tensor]:
    state = load_checkpoint(folder / "checkpoint", trial.trial_id)
    assert state is not None
    return state["network"]


def test_a_trial_leaves_its_result_last(small_tree, tmp_path):
    trial = make_trial(small_tree)
    row = run_here(trial, tmp_path / "t")
    assert row.trial_id == trial.trial_id
    assert row.steps == 6
    assert set(row.metrics) == {f"{m}@{k}" for m in ("recall", "map") for k in (1, 5, 10, 20)}
    assert set(row.untrained) == set(row.metrics)
    assert row.metrics["recall@1"] == row.metrics["map@1"]
    assert row.final_loss == losses(tmp_path / "t")[6]
    assert "no GPU: ran on the CPU" in row.fallbacks or torch.cuda.is_available()
    assert row.num_ranks == 1
    assert row.protocol.num_queries == 8
    assert sorted(losses(tmp_path / "t")) == [1, 2, 3, 4, 5, 6]


def test_the_same_seed_gives_the_same_result(small_tree, tmp_path):
    trial = make_trial(small_tree)
    one, two = run_here(trial, tmp_path / "one"), run_here(trial, tmp_path / "two")
    assert one.metrics == two.metrics
    assert losses(tmp_path / "one") == losses(tmp_path / "two")
    other = run_here(trial.model_copy(update={"seed": 1}), tmp_path / "other")
    assert losses(tmp_path / "other") != losses(tmp_path / "one")
    assert other.trial_id != one.trial_id


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
        made = Trainer(trial, network, cities, reader, CPU, folder, steps.append, lambda: len(steps) >= stop_at)
        return made

    for stop_at in (2, 3):  # interrupted twice, at steps 2 and 5
        with pytest.raises(Stopped):
            trainer(tmp_path / "cut", stop_at).run()
    resumed = run_here(trial, tmp_path / "cut")
    assert resumed.metrics == whole.metrics
    assert resumed.final_loss == whole.final_loss
    for name, value in weights_of(tmp_path / "whole", trial).items():
        assert torch.equal(value, weights_of(tmp_path / "cut", trial)[name]), name


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_result(small_tree, tmp_path):
    trial = make_trial(small_tree, steps=30)
    often = trial.model_copy(update={"run": RunSpec(checkpoint_s=0.001, log_steps=1)})
    whole = run_here(often, tmp_path / "whole")
    folder = tmp_path / "killed"
    (process,) = start_ranks(often, folder, 1)
    while len(losses(folder) if (folder / "metrics.jsonl").exists() else {}) < 5:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder / "result.json").exists()
    resumed = run_here(often, folder)
    assert resumed.metrics == whole.metrics
    assert resumed.final_loss == whole.final_loss
    assert resumed.untrained == whole.untrained


@pytest.mark.slow
@pytest.mark.parametrize("micro", [1, 2])
def test_two_gloo_ranks_equal_one(small_tree, tmp_path, micro):
    trial = make_trial(small_tree, micro_pairs=micro)
    one = run_here(trial, tmp_path / "one")
    ranks = start_ranks(trial, tmp_path / "two", 2)
    assert [rank.wait(timeout=240) for rank in ranks] == [0, 0]
    two = ResultRow.model_validate_json((tmp_path / "two" / "result.json").read_text())
    assert two.num_ranks == 2
    found, expected = losses(tmp_path / "two"), losses(tmp_path / "one")
    assert np.allclose([found[s] for s in expected], list(expected.values()), rtol=1e-4)
    mine, theirs = weights_of(tmp_path / "one", trial), weights_of(tmp_path / "two", trial)
    assert all(torch.allclose(mine[name].float(), theirs[name].float(), atol=1e-4) for name in mine)
    assert two.metrics["recall@5"] == pytest.approx(one.metrics["recall@5"], abs=0.26), "rounding may swap near ties"


@pytest.mark.slow
def test_ranks_with_moving_statistics_evaluate_one_network(small_tree, tmp_path):
    trial = make_trial(small_tree, batch_norm="reference", micro_pairs=2)
    ranks = start_ranks(trial, tmp_path / "two", 2)
    assert [rank.wait(timeout=240) for rank in ranks] == [0, 0]
    recorded = ResultRow.model_validate_json((tmp_path / "two" / "result.json").read_text())
    network = build_network(trial, None)
    network.load_state_dict(weights_of(tmp_path / "two", trial))
    tasks = build_tasks([read_city(small_tree, "bob")], trial)
    alone = evaluate(network, trial, tasks, CPU)
    alone.write_predictions(tmp_path / "alone")
    assert (tmp_path / "two" / "predictions" / "bob.txt").read_text() == (tmp_path / "alone" / "bob.txt").read_text()
    assert recorded.metrics == pytest.approx(alone.metrics)


def test_frozen_batch_norm_keeps_statistics_and_reference_moves_even_frozen_units(small_tree, tmp_path):
    start = build_network(make_trial(small_tree), None).state_dict()
    moved = {}
    for mode in ("frozen", "reference"):
        trial = make_trial(small_tree, batch_norm=mode, steps=2)
        run_here(trial, tmp_path / mode)
        after = weights_of(tmp_path / mode, trial)
        moved[mode] = {name for name in after if "running_mean" in name and not torch.equal(after[name], start[name])}
    assert moved["frozen"] == set()
    assert any(name.startswith("units.layer1") for name in moved["reference"]), "layer1 is not trained under 2-2"


def test_only_trained_units_change(small_tree, tmp_path):
    trial = make_trial(small_tree)
    start = build_network(trial, None).state_dict()
    run_here(trial, tmp_path / "t")
    after = weights_of(tmp_path / "t", trial)
    changed = {
        name.split(".")[1] for name in after if name.startswith("units") and not torch.equal(after[name], start[name])
    }
    assert changed == {"conv1", "bn1", "layer3", "layer4"}


def test_micro_batches_change_nothing_but_rounding(small_tree, tmp_path):
    whole, parts = make_trial(small_tree), make_trial(small_tree, micro_pairs=1)
    run_here(whole, tmp_path / "whole")
    run_here(parts, tmp_path / "parts")
    one, two = losses(tmp_path / "whole"), losses(tmp_path / "parts")
    assert np.allclose(list(one.values()), list(two.values()), rtol=1e-4)


def test_the_rate_drops_by_pairs():
    spec = TrainSpec(lr=0.1, batch_pairs=32, micro_pairs=2, lr_drop_pairs=250_000)
    assert learning_rate(spec, 0) == 0.1
    assert learning_rate(spec, 7812) == 0.1, "249,984 pairs were seen"
    assert learning_rate(spec, 7813) == pytest.approx(0.01)
    assert learning_rate(spec, 15_625) == pytest.approx(0.001)
    assert learning_rate(TrainSpec(lr_drop_pairs=None), 10**6) == 0.1


def test_no_steps_is_the_untrained_network(small_tree, tmp_path):
    row = run_here(make_trial(small_tree, steps=0), tmp_path / "t")
    assert row.untrained == row.metrics
    assert row.final_loss is None


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(small_tree, tmp_path):
    trial = make_trial(small_tree, lr=1e30, steps=50)
    with pytest.raises(UserError, match="must be finite"):
        run_here(trial, tmp_path / "t")
    assert not (tmp_path / "t" / "result.json").exists()


def test_a_missing_picture_is_named(small_tree, tmp_path):
    trial = make_trial(small_tree)
    (small_tree / "train_val/bob/query/images/bob_q000.jpg").unlink()
    with pytest.raises(DataError, match=r"bob_q000\.jpg: the picture must exist"):
        run_here(trial, tmp_path / "t")


def test_a_cut_picture_is_named(small_tree, tmp_path):
    trial = make_trial(small_tree)
    picture = small_tree / "train_val/bob/query/images/bob_q000.jpg"
    picture.write_bytes(picture.read_bytes()[:200])
    with pytest.raises(DataError, match=r"bob_q000\.jpg: the picture must be readable"):
        run_here(trial, tmp_path / "t")


def test_a_checkpoint_of_another_trial_is_refused(small_tree, tmp_path):
    run_here(make_trial(small_tree, steps=1), tmp_path / "t")
    (tmp_path / "t" / "result.json").unlink()
    with pytest.raises(WeightsError, match="of this trial and version"):
        run_here(make_trial(small_tree, steps=2), tmp_path / "t")


def test_ranks_must_divide_the_batch(small_tree, tmp_path):
    trial = make_trial(small_tree, batch_pairs=4)
    with pytest.raises(TrainingError, match="the number of ranks must divide it"):
        Trainer(
            trial, build_network(trial, None), [read_city(small_tree, "ada")], PlaceReader(trial, (32, 40)),
            Ranks(0, 3, torch.device("cpu")), tmp_path, print,
        )  # fmt: skip


@pytest.mark.parametrize("mode", ["masked", "rgb+mask", "rgb+semantics"])
def test_every_mode_trains_on_a_cache(small_tree, tmp_path, mode):
    from vprdist.semantics.importing import import_cache

    rng = np.random.default_rng(0)
    (tmp_path / "npz").mkdir()
    for name in ("ada", "bob"):
        for side in read_city(small_tree, name).sides:
            values = rng.integers(0, 14, (len(side), 19, 16, 20), np.uint8)
            np.savez(tmp_path / "npz" / f"{name}_{side.side}.npz", keys=side.keys, activations=values)
    import_cache(tmp_path / "npz", small_tree, tmp_path / "cache")
    trial = make_trial(small_tree, tmp_path / "cache", mode, steps=2)
    row = run_here(trial, tmp_path / "t")
    assert row.trial.input.mode == mode
    assert 0 <= row.metrics["recall@1"] <= 1
    side = read_city(small_tree, "bob").query
    image, extra = PlaceReader(trial, (32, 40)).read(side, 3)
    stored = np.load(tmp_path / "npz" / "bob_query.npz")["activations"][3].astype(float)
    expected = stored / 255 if mode == "rgb+semantics" else stored[:10].sum(0, keepdims=True) / 2550
    assert image.shape == (3, 32, 40)
    assert np.allclose(extra.numpy(), expected, atol=1e-6)

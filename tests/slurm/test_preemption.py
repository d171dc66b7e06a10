"""Real training on a real SLURM: whatever interrupts it, the result is that of an undisturbed run, bit for bit."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.slurm.conftest import DevCluster
from tests.training.making import losses, make_trial, run_here
from tests.waiting import until
from tests.worlds import write_city
from vprdist.launch.dispatcher import Dispatcher
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.result import ResultRow
from vprdist.spec.trial import RunSpec, TrialSpec
from vprdist.store.trial_folder import TrialFolder
from vprdist.training.checkpoint import load_checkpoint

STEPS = 40


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world") / "tree"
    write_city(root, "ada", num_query=24, num_database=40, seed=1)
    write_city(root, "bob", num_query=8, num_database=16, seed=2)
    return root


def trial_of(world: Path, checkpoint_s: float = 3600.0, **train: object) -> TrialSpec:
    """Big enough that there is time to interrupt it."""
    recipe = {"image_size": (64, 80), "steps": STEPS, "chunk_queries": 20, "optimizer": "adamw", "lr": 0.001}
    trial = make_trial(world, **{**recipe, **train})
    return trial.model_copy(update={"run": RunSpec(log_steps=1, checkpoint_s=checkpoint_s)})


@pytest.fixture(scope="module")
def undisturbed(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[TrialSpec], TrialFolder]:
    """The same trial, run once in one go, in this process."""
    runs = tmp_path_factory.mktemp("undisturbed")

    def run(trial: TrialSpec) -> TrialFolder:
        folder = TrialFolder.of(runs, trial.trial_id)
        if not folder.is_over:
            run_here(trial.model_copy(update={"run": RunSpec(log_steps=1)}), folder.path)
        return folder

    return run


def drive(trial: TrialSpec, folder: TrialFolder, profile: ClusterProfile, disturb: Callable[[], None]) -> ResultRow:
    with Dispatcher(profile, folder.path.parents[1]) as dispatcher:
        dispatcher.want(trial)
        deadline = time.monotonic() + 200
        while not folder.is_over:
            dispatcher.check()
            assert time.monotonic() < deadline, dispatcher.phases()
            disturb()
            time.sleep(0.05)
    failure = folder.failure()
    assert failure is None, failure
    return folder.result()


def step_now(folder: TrialFolder) -> int:
    steps = [row["step"] for row in folder.rows()[0] if row["kind"] == "train"]
    return max(steps, default=0)


def same(one: TrialFolder, other: TrialFolder) -> None:
    a, b = one.result(), other.result()
    assert a.metrics == b.metrics
    assert a.untrained == b.untrained
    assert a.final_loss == b.final_loss
    assert losses(one.path) == losses(other.path)
    first, second = (load_checkpoint(f.path / "checkpoint", f.trial_id) for f in (one, other))
    assert first is not None
    assert second is not None
    assert first["network"].keys() == second["network"].keys()
    assert all(torch.equal(first["network"][name], second["network"][name]) for name in first["network"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "how", ["preempted", "node failure", pytest.param("requeued by hand", marks=pytest.mark.drill)]
)
def test_an_interrupted_run_equals_an_undisturbed_one(
    slurm_cluster: DevCluster, world: Path, undisturbed: Callable[[TrialSpec], TrialFolder], tmp_path: Path, how: str
) -> None:
    # A preempted job has its signal; the others have only periodic checkpoints.
    recipe = {"batch_norm": "reference", "micro_pairs": 2} if how == "requeued by hand" else {"batch_norm": "frozen"}
    trial = trial_of(world, checkpoint_s=3600.0 if how == "preempted" else 1.5, **recipe)
    folder = TrialFolder.of(tmp_path, trial.trial_id)
    done: list[int] = []

    def disturb() -> None:
        if done or step_now(folder) < 8:
            return
        done.append(step_now(folder))
        record, host = folder.job(), folder.starts()[-1]["host"]
        assert record is not None
        if how == "preempted":
            slurm_cluster.occupy(host, 1)
        elif how == "requeued by hand":
            slurm_cluster.run("scontrol", "requeue", str(record.job_id))
        else:
            slurm_cluster.fail(host)

    profile = slurm_cluster.profile(memory_gb=3, cpus_per_task=1, max_attempts=1)
    result = drive(trial, folder, profile, disturb)
    assert done and done[0] < STEPS - 5, "it was interrupted in the middle"
    assert result.starts == 2
    same(folder, undisturbed(trial))
    if how == "preempted":
        trained = [row["step"] for row in folder.rows()[0] if row["kind"] == "train"]
        assert trained == list(range(1, STEPS + 1)), "it went on from the very step at which the signal came"


@pytest.mark.drill
def test_a_run_longer_than_its_time_limit_equals_an_undisturbed_one(
    slurm_cluster: DevCluster, world: Path, undisturbed: Callable[[TrialSpec], TrialFolder], tmp_path: Path
) -> None:
    """Two minutes and more: SLURM counts limits in whole minutes."""
    trial = trial_of(world, steps=700, batch_norm="frozen")
    folder = TrialFolder.of(tmp_path, trial.trial_id)
    profile = slurm_cluster.profile(memory_gb=3, time_limit_min=1, signal_lead_s=30, max_attempts=1)
    result = drive(trial, folder, profile, lambda: None)
    assert result.starts >= 2
    trained = [row["step"] for row in folder.rows()[0] if row["kind"] == "train"]
    assert trained == list(range(1, 701))
    same(folder, undisturbed(trial))


def test_two_nodes_by_two_tasks_train_as_one_process(
    slurm_cluster: DevCluster, world: Path, undisturbed: Callable[[TrialSpec], TrialFolder], tmp_path: Path
) -> None:
    """The same global batch, BatchNorm frozen, gloo; two such jobs at once share both nodes and their ports."""
    trials = [
        trial_of(world, steps=6, batch_norm="frozen", batch_pairs=8, micro_pairs=2, optimizer="sgd", lr=rate)
        for rate in (0.05, 0.02)
    ]
    folders = [TrialFolder.of(tmp_path, trial.trial_id) for trial in trials]
    profile = slurm_cluster.profile(nodes=2, ranks=2, memory_gb=6, ports=(41000, 41003))
    with Dispatcher(profile, tmp_path) as dispatcher:
        for trial in trials:
            dispatcher.want(trial)
        until(lambda: dispatcher.check() or all(folder.is_over for folder in folders), 300)
    for trial, folder in zip(trials, folders, strict=True):
        assert folder.failure() is None
        result = folder.result()
        assert result.num_ranks == 4
        assert result.trial_id == trial.trial_id == undisturbed(trial).trial_id
        alone, together = losses(undisturbed(trial).path), losses(folder.path)
        assert together.keys() == alone.keys()
        for step, loss in alone.items():
            assert together[step] == pytest.approx(loss, rel=2e-5)  # float32 sums in another order
        assert result.metrics == undisturbed(trial).result().metrics
        # Rank 0 was met at one of the profile's ports.
        (meeting,) = folder.log.glob("rendezvous-*")
        assert 41000 <= json.loads(meeting.read_text())["port"] <= 41003

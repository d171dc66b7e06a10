"""A stranger's program on a real SLURM: whatever interrupts it, its result is that of an undisturbed run to the bit."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.program.programs import losses, program_trial
from tests.slurm.conftest import DevCluster
from tests.waiting import until
from vprdist.launch.dispatcher import Dispatcher
from vprdist.machine import pid_start
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.trial import TrialSpec
from vprdist.store.trial_folder import TrialFolder

STEPS, PAUSE = 9, 4


def drive(trial: TrialSpec, runs: Path, profile: ClusterProfile, act: Callable[[TrialFolder], object]) -> TrialFolder:
    """Want the trial until it has a result; once its program waits at `PAUSE`, act, and let it go on."""
    place, acted = TrialFolder.of(runs, trial.trial_id), False
    with Dispatcher(profile, runs) as dispatcher:
        dispatcher.want(trial)

        def is_over() -> bool:
            nonlocal acted
            dispatcher.check()
            if not acted and place.job() is not None and saved(place) == PAUSE:
                acted = True
                act(place)
                (place.path / "go").touch()
            return place.is_over

        until(is_over)
    assert acted and place.failure() is None, place.failure()
    return place


def saved(place: TrialFolder, rank: int = 0) -> int:
    """The step of its checkpoint."""
    state = place.checkpoint / f"state-{rank}.json"
    return int(json.loads(state.read_text())["step"]) if state.exists() else 0


def pid_of(place: TrialFolder, rank: int = 0) -> int:
    """The process of its program."""
    return int((place.path / f"pid-{rank}").read_text())


def job_of(place: TrialFolder) -> str:
    record = place.job()
    assert record is not None and record.job_id is not None
    return record.job_id


def check(place: TrialFolder, starts: int, attempts: int = 1) -> None:
    """Everything is as in an undisturbed run, but for how often it was started."""
    row, record = place.result(), place.job()
    assert row.metrics == {"loss": losses(STEPS)[-1], "starts": starts} and row.starts == starts
    assert [(r["step"], r["loss"]) for r in place.rows()[0]] == list(enumerate(losses(STEPS), 1))
    assert record is not None and record.attempt == attempts


def act_not(place: TrialFolder) -> None:
    """Nothing happens to it."""


def test_undisturbed(slurm_cluster: DevCluster, tmp_path: Path) -> None:
    trial = program_trial(tmp_path / "its folder", steps=STEPS, pause_at=PAUSE)
    check(drive(trial, tmp_path, slurm_cluster.profile(), act_not), starts=1)


def test_killed_it_is_started_again_from_its_checkpoint(slurm_cluster: DevCluster, tmp_path: Path) -> None:
    trial = program_trial(tmp_path, steps=STEPS, pause_at=PAUSE)
    place = drive(trial, tmp_path, slurm_cluster.profile(), lambda place: os.kill(pid_of(place), signal.SIGKILL))
    check(place, starts=2, attempts=2)


@pytest.mark.parametrize("how", ["USR2", "preempted", "requeued", "node failure", "TERM and requeued"])
def test_interrupted_it_goes_on_and_no_attempt_is_counted(slurm_cluster: DevCluster, tmp_path: Path, how: str) -> None:
    trial = program_trial(tmp_path, steps=STEPS, pause_at=PAUSE)

    def act(place: TrialFolder) -> None:
        job, host, pid = job_of(place), str(place.starts()[-1]["host"]), pid_of(place)
        if how == "USR2":
            slurm_cluster.run("scancel", "--signal=USR2", job)
        elif how == "preempted":
            slurm_cluster.occupy(host, 1)
        elif how == "node failure":
            slurm_cluster.fail(host)
        elif how == "requeued":
            slurm_cluster.run("scontrol", "requeue", job)
        else:  # a preemption without preempt_send_user_signal: SIGTERM, and after the grace time the end
            slurm_cluster.run("scancel", "--signal=TERM", job)
            until(lambda: pid_start(pid) is None)
            assert place.is_running, "the job waits for what the cluster does"
            slurm_cluster.run("scontrol", "requeue", job)
        until(lambda: pid_start(pid) is None)

    profile = slurm_cluster.profile(cpus_per_task=16, max_attempts=1)
    check(drive(trial, tmp_path, profile, act), starts=2)


def test_two_ranks_on_two_nodes_are_two_programs(slurm_cluster: DevCluster, tmp_path: Path) -> None:
    trial = program_trial(tmp_path, steps=STEPS, pause_at=PAUSE)

    def act(place: TrialFolder) -> None:
        until(lambda: saved(place, rank=1) == PAUSE)
        slurm_cluster.run("scancel", "--signal=USR2", job_of(place))

    place = drive(trial, tmp_path, slurm_cluster.profile(nodes=2, ranks=1, max_attempts=1), act)
    check(place, starts=2)
    assert place.result().num_ranks == 2
    until(lambda: saved(place, rank=1) == STEPS)  # nothing of it waits for the other, whose end is the result
    assert len({pid_of(place, 0), pid_of(place, 1)}) == 2


def test_a_wrapper_in_shell_and_what_it_starts_are_gone_with_the_job(slurm_cluster: DevCluster, tmp_path: Path) -> None:
    (tmp_path / "run.sh").write_text("python train.py\nexit $?\n")
    job = {"command": ["bash", "run.sh"], "files": ["train.py"], "folder": "."}
    trial = program_trial(tmp_path, job=job, steps=STEPS, pause_at=PAUSE)
    pids = []

    def act(place: TrialFolder) -> None:
        pids.append(pid_of(place))
        slurm_cluster.run("scontrol", "requeue", job_of(place))

    check(drive(trial, tmp_path, slurm_cluster.profile(max_attempts=1), act), starts=2)
    assert pid_start(pids[0]) is None


def test_another_driver_comes_back_to_it(slurm_cluster: DevCluster, tmp_path: Path) -> None:
    trial, profile = program_trial(tmp_path, steps=STEPS, pause_at=PAUSE), slurm_cluster.profile(max_attempts=1)
    place = TrialFolder.of(tmp_path, trial.trial_id)
    with Dispatcher(profile, tmp_path) as first:
        first.want(trial)
        until(lambda: place.job() is not None and saved(place) == PAUSE)
    job, pid = job_of(place), pid_of(place)
    check(drive(trial, tmp_path, profile, act_not), starts=1)
    assert (job_of(place), pid_of(place)) == (job, pid), "the job of the first driver is the one that came to the end"


def test_cancelled_nothing_of_it_is_left_and_it_can_be_had_again(slurm_cluster: DevCluster, tmp_path: Path) -> None:
    trial, profile = program_trial(tmp_path, steps=STEPS, pause_at=PAUSE), slurm_cluster.profile()
    place = TrialFolder.of(tmp_path, trial.trial_id)
    with Dispatcher(profile, tmp_path) as dispatcher:
        dispatcher.want(trial)
        until(lambda: place.job() is not None and saved(place) == PAUSE)
        pid = pid_of(place)
        dispatcher.cancel(trial.trial_id)
        until(lambda: pid_start(pid) is None and not place.is_running)
    record = place.job()
    assert record is not None and record.state == "cancelled" and not place.has_result
    check(drive(trial, tmp_path, profile, act_not), starts=2)

"""Real processes, real submitit: one result a trial, whatever happens to drivers and jobs."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from toy import JOB, PROFILE, behave, toy_result, toy_trials
from toy_driver import has_begun, start, wait_until_done

from tests.waiting import until
from vprdist.errors import LaunchError
from vprdist.files import locked, write_json, write_text
from vprdist.launch import cluster
from vprdist.launch.cluster import Sight
from vprdist.launch.dispatcher import Dispatcher
from vprdist.launch.driver_job import asked_at
from vprdist.launch.local import LocalCluster
from vprdist.launch.node import find_function
from vprdist.launch.refusals import LATE
from vprdist.launch.trial_watch import Watch
from vprdist.machine import machine_name, process_alive
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.trial import TrialSpec
from vprdist.store.driving import DriverRecord, write_driver
from vprdist.store.journal import Failure, JobRecord, job_name
from vprdist.store.trial_folder import TrialFolder


def folders(runs: Path, count: int) -> list[TrialFolder]:
    return [TrialFolder.of(runs, trial.trial_id) for trial in toy_trials(count)]


def run_all(runs: Path, count: int) -> None:
    trials = toy_trials(count)
    with Dispatcher(PROFILE, runs, JOB) as dispatcher:
        dispatcher.retire_failures(trial.trial_id for trial in trials)
        for trial in trials:
            dispatcher.want(trial)
        wait_until_done(dispatcher, runs, count)


def test_every_trial_gets_one_result_and_starts_once(tmp_path: Path) -> None:
    behave(tmp_path, steps=3, dt=0.01)
    run_all(tmp_path, 3)
    for folder in folders(tmp_path, 3):
        assert folder.result().starts == 1
        assert len(folder.starts()) == 1
        record = folder.job()
        assert record is not None
        assert record.state == "submitted"
        assert folder.result().environment["num_threads"] == record.num_threads


def test_a_job_that_dies_resumes_and_one_that_keeps_dying_is_reported_while_others_finish(tmp_path: Path) -> None:
    behave(tmp_path, steps=3, dt=0.01, die={"0": 1, "1": 99})
    run_all(tmp_path, 3)
    died_once, died_always, healthy = folders(tmp_path, 3)
    assert died_once.result().starts == 2
    assert [row["step"] for row in died_once.rows()[0] if row["kind"] == "train"] == [1, 2, 3]
    failure = died_always.failure()
    assert failure is not None
    assert failure.attempts == 2
    assert "toy 1 dies on start 2" in failure.log_lines[-1]
    assert healthy.has_result


def test_a_failed_trial_is_tried_anew_when_the_same_command_is_started_again(tmp_path: Path) -> None:
    behave(tmp_path, steps=3, dt=0.01, die={"0": 2})
    run_all(tmp_path, 1)
    (folder,) = folders(tmp_path, 1)
    assert folder.failure() is not None
    run_all(tmp_path, 1)
    assert folder.failure() is None
    assert folder.result().starts == 2, "the days before it was tried anew are no part of its wall time"
    assert len((folder.log / "starts-1.jsonl").read_text().splitlines()) == 2, "and nothing is forgotten"


def test_a_mistake_of_the_user_is_final(tmp_path: Path) -> None:
    behave(tmp_path, user_error=[0])
    run_all(tmp_path, 1)
    (folder,) = folders(tmp_path, 1)
    failure = folder.failure()
    assert failure is not None
    assert failure.kind == "mistake"
    assert failure.reason == "toy.csv: a place has no position. Mend the toy."
    assert len(folder.starts()) == 1


def test_kill_9_of_the_driver_leaves_jobs_that_the_next_driver_adopts(tmp_path: Path) -> None:
    behave(tmp_path, steps=3, dt=0.01, hold=True)
    driver = start("dispatch", tmp_path, 3)
    running = folders(tmp_path, 3)[:2]
    until(lambda: all(map(has_begun, running)))
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    records = [folder.job() for folder in running]
    assert all(record and process_alive(record.pid, record.pid_start) for record in records)
    (tmp_path / "go").touch()
    run_all(tmp_path, 3)
    assert [len(folder.starts()) for folder in folders(tmp_path, 3)] == [1, 1, 1]
    assert [folder.job() for folder in running] == records


@pytest.mark.parametrize("delay_s", [0.05, 0.25, 0.4, 0.6, 0.9])
def test_kill_9_around_the_submission_never_submits_twice(tmp_path: Path, delay_s: float) -> None:
    behave(tmp_path, steps=5, dt=0.1, hold=True)  # so that the driver is there, however quick the machine
    driver = start("dispatch", tmp_path, 1)
    (folder,) = folders(tmp_path, 1)
    until(lambda: folder.job_file.exists())
    time.sleep(delay_s)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    (tmp_path / "go").touch()
    run_all(tmp_path, 1)
    assert folder.has_result
    assert len(folder.starts()) == 1
    # One job, whether it waited or ran. (A driver that dies before its helper runs leaves an empty folder.)
    assert len(list(folder.log.glob("attempt-*/*_log.out"))) == 1


def test_an_intent_that_was_never_submitted_is_submitted_as_the_same_attempt(tmp_path: Path) -> None:
    behave(tmp_path, steps=1, dt=0.01)
    (trial,) = toy_trials(1)
    folder = TrialFolder.of(tmp_path, trial.trial_id)
    folder.write_job(intent(trial))
    run_all(tmp_path, 1)
    record = folder.job()
    assert record is not None
    assert record.attempt == 1
    assert record.token != "lost"


def intent(trial: TrialSpec) -> JobRecord:
    return JobRecord(
        state="intent", cluster="local", name=job_name(trial.trial_id), token="lost", attempt=1, job=JOB,
        parameters={}, machine=machine_name(),
    )  # fmt: skip


def test_a_controller_that_was_killed_is_not_dead_while_its_rank_lives(tmp_path: Path) -> None:
    behave(tmp_path, steps=20, dt=0.1)
    (trial,) = toy_trials(1)
    folder = TrialFolder.of(tmp_path, trial.trial_id)
    with Dispatcher(PROFILE, tmp_path, JOB) as dispatcher:
        dispatcher.want(trial)
        until(lambda: has_begun(folder))
        record = folder.job()
        assert record is not None
        assert record.pid is not None
        os.kill(record.pid, signal.SIGKILL)
        wait_until_done(dispatcher, tmp_path, 1)
    assert len(folder.starts()) == 1


def test_cancel_ends_the_job_and_it_can_be_wanted_again(tmp_path: Path) -> None:
    behave(tmp_path, steps=30, dt=0.1)
    (trial,) = toy_trials(1)
    folder = TrialFolder.of(tmp_path, trial.trial_id)
    with Dispatcher(PROFILE, tmp_path, JOB) as dispatcher:
        dispatcher.want(trial)
        until(lambda: folder.rows()[0])
        pid = folder.starts()[0]
        dispatcher.cancel(trial.trial_id)
        until(lambda: dispatcher.phases()[trial.trial_id] == "done")
        until(lambda: not process_alive(pid["pid"], pid["pid_start"]))
        behave(tmp_path, steps=3, dt=0.01)
        dispatcher.want(trial)
        wait_until_done(dispatcher, tmp_path, 1)
    assert folder.result().starts == 2


def test_a_cancel_that_comes_while_the_thread_is_busy_is_carried_out_though_the_driver_leaves(tmp_path: Path) -> None:
    behave(tmp_path, steps=1, hold=True)
    (trial,), (folder,) = toy_trials(1), folders(tmp_path, 1)
    busy, go_on = threading.Event(), threading.Event()
    with Dispatcher(PROFILE, tmp_path, JOB) as dispatcher:
        dispatcher.want(trial)
        until(folder.starts)
        dispatcher.cluster.refresh = lambda records, now: busy.set() or go_on.wait(10)  # type: ignore[method-assign]
        busy.wait(10)
        dispatcher.cancel(trial.trial_id)  # as a scheduler stops the last trial of a search
        dispatcher._stop.set()
        go_on.set()
    record, start = folder.job(), folder.starts()[0]
    assert record is not None
    assert record.state == "cancelled"
    assert not process_alive(start["pid"], start["pid_start"])


def test_the_second_driver_waits_for_the_first_ones_result(tmp_path: Path) -> None:
    behave(tmp_path, steps=5, dt=0.1)
    drivers = [start("dispatch", tmp_path, 2) for _ in range(2)]
    outputs = [driver.communicate(timeout=180)[0] for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0], outputs
    assert [len(folder.starts()) for folder in folders(tmp_path, 2)] == [1, 1]


def test_a_trial_whose_submit_lock_somebody_had_at_its_turn_has_another_turn(tmp_path: Path) -> None:
    behave(tmp_path, steps=1)
    (trial,), (folder,) = toy_trials(1), folders(tmp_path, 1)
    with Dispatcher(PROFILE.model_copy(update={"max_concurrent": 1}), tmp_path, JOB) as dispatcher:
        folder.path.mkdir(parents=True)
        with locked(folder.submit_lock):  # as `prune` has it for a moment
            dispatcher.want(trial)
            until(lambda: dispatcher.phases() == {folder.trial_id: "running"})
        until(lambda: dispatcher.check() or folder.has_result)


def test_a_trial_of_a_batch_is_let_go_as_soon_as_it_is_submitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second sbatch hangs: the first trial may be cancelled all the same."""
    hang = f"echo >> asked; if [ $(wc -l < asked) = 2 ]; then until [ -e {tmp_path}/go ]; do sleep 0.05; done; fi"
    sbatch = f"cd {tmp_path}; {hang}; echo Submitted batch job 7"
    for name, script in (("srun", "exit 0"), ("squeue", "exit 1"), ("sbatch", sbatch)):
        write_text(tmp_path / "bin" / name, f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    first, second = folders(tmp_path, 2)
    dispatcher = Dispatcher(ClusterProfile(kind="slurm", poll_s=0.1, check=False), tmp_path, JOB)
    for trial in toy_trials(2):
        dispatcher.want(trial)
    with dispatcher:
        try:
            until(lambda: (record := first.job()) is not None and record.state == "submitted")
            until(lambda: not first.is_submitting, 5)
            assert second.is_submitting
        finally:
            (tmp_path / "go").touch()
        until(lambda: (record := second.job()) is not None and record.state == "submitted")


def test_a_duplicate_job_leaves_at_once(tmp_path: Path) -> None:
    """A submission that the journal does not name: what an orphan finds."""
    behave(tmp_path, steps=1, dt=0.01)
    run_all(tmp_path, 1)
    (folder,) = folders(tmp_path, 1)
    record = folder.job()
    assert record is not None
    folder.result_file.unlink()
    folder.write_job(record.updated(token="another", state="intent"))
    import submitit

    from vprdist.launch.node import DEFAULT_JOB, NodeJob

    executor = submitit.LocalExecutor(tmp_path / "orphan")
    job = executor.submit(NodeJob(DEFAULT_JOB), str(folder.path), record.token)
    job.result()
    assert "not wanted any more" in job.stdout()
    assert len(folder.starts()) == 1


def test_what_ends_the_thread_is_raised_in_the_main_thread(tmp_path: Path) -> None:
    (trial,) = toy_trials(1)
    (tmp_path / "trials").write_text("a file in the place of all trials' folder")
    with Dispatcher(PROFILE, tmp_path, JOB) as dispatcher:
        dispatcher.want(trial)
        with pytest.raises(OSError, match="trials"):
            until(lambda: dispatcher.check())


def test_a_trial_with_a_result_starts_no_job(tmp_path: Path) -> None:
    (trial,) = toy_trials(1)
    folder = TrialFolder.of(tmp_path, trial.trial_id)
    write_json(folder.result_file, toy_result(trial).model_dump(mode="json", by_alias=True))
    with Dispatcher(PROFILE, tmp_path, JOB) as dispatcher:
        dispatcher.want(trial)
        until(lambda: dispatcher.phases().get(trial.trial_id) == "done")
    assert not folder.job_file.exists()


def test_only_a_driver_with_the_lock_retires_a_failure(tmp_path: Path) -> None:
    (trial,) = toy_trials(1)
    folder = TrialFolder.of(tmp_path, trial.trial_id)
    folder.write_failure(Failure(reason="old", attempts=2))
    dispatcher = Dispatcher(PROFILE, tmp_path, JOB)
    with locked(folder.driver_lock):
        dispatcher.retire_failures([trial.trial_id])
        assert folder.failure() is not None
    dispatcher.retire_failures([trial.trial_id])
    assert folder.failure() is None
    assert (folder.log / "failure-1.json").exists()


def test_a_detached_driver_that_slurm_starts_again_tries_nothing_anew_that_ended_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, (old, cancelled) = tmp_path / "sweeps" / "s", folders(tmp_path, 2)
    old.write_failure(Failure(reason="died last week", attempts=2, at=100.0))
    cancelled.write_failure(Failure(reason="cancelled by me", attempts=1, kind="cancelled", at=300.0))
    record = DriverRecord(job_id="7", name="vprdist-driver-s", log="", submitted_at=200.0)
    write_driver(sweep, record)
    assert asked_at(sweep) == math.inf, "a person asks"
    monkeypatch.setenv("SLURM_JOB_NAME", "vprdist-driver-s")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    Dispatcher(PROFILE, tmp_path, JOB).retire_failures([old.trial_id, cancelled.trial_id], before=asked_at(sweep))
    assert (old.failure(), cancelled.failure() is None) == (None, False)
    monkeypatch.setenv("SLURM_JOB_ID", "8")  # a driver that was submitted later: its record comes in a moment
    assert asked_at(sweep) == math.inf


class Forgetful(LocalCluster):
    """A cluster that knows none of its jobs."""

    confirm_s = 0.0

    def look(self, folder: TrialFolder, record: JobRecord, now: float) -> Sight:
        return Sight("gone", reason="SLURM says FAILED on gpu07")


def test_a_death_is_noted_once_however_long_there_is_no_room_for_another_attempt(tmp_path: Path) -> None:
    (trial,), (folder,) = toy_trials(1), folders(tmp_path, 1)
    folder.write_job(intent(trial).updated(state="submitted", cluster="slurm"))
    dispatcher = Dispatcher(ClusterProfile(kind="slurm", max_concurrent=1), tmp_path, JOB)
    watch = Watch(trial, folder, dispatcher.profile)
    for now in (1.0, 2.0, 3.0):
        assert watch.tick(Forgetful(), now) == "submit again"
        dispatcher._remember(watch, now)
    watch.finish()
    assert len(dispatcher.news()) == 1


def test_a_full_quota_is_said_once_and_what_it_refused_leaves_no_files(tmp_path: Path) -> None:
    (trial,), (folder,) = toy_trials(1), folders(tmp_path, 1)
    dispatcher = Dispatcher(ClusterProfile(kind="slurm"), tmp_path, JOB)
    watch = Watch(trial, folder, dispatcher.profile)
    for token in ("first", "second"):
        record = intent(trial).updated(token=token)
        folder.attempt_log(record).mkdir(parents=True)
        (folder.attempt_log(record) / "submission.log").touch()
        words = "sbatch: error: QOSMaxSubmitJobPerUserLimit"
        dispatcher.submitter.refused(watch, record, LaunchError("job", "the cluster refuses the job", None, words), 1.0)
    assert len(dispatcher.news()) == 1
    assert list(folder.log.iterdir()) == []


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["sbatch: error: A", "sbatch: error:  B", "FailedJobError: sbatch: error: A sbatch: error: B"],
         "sbatch: error: A | sbatch: error:  B"),
        (["a banner", "FailedJobError: sbatch: error: B"], "a banner | FailedJobError: sbatch: error: B"),
        (["TimeoutError: late"], "TimeoutError: late"),
    ],
)  # fmt: skip
def test_what_sbatch_said_is_shown_once(tmp_path: Path, lines: list[str], said: str) -> None:
    (trial,), (folder,) = toy_trials(1), folders(tmp_path, 1)
    folder.write_job(record := intent(trial))
    folder.attempt_log(record).mkdir(parents=True)
    (folder.attempt_log(record) / "submission.log").write_text("\n".join(lines) + "\n")
    refusal = cluster._refusal(cluster.Submission(folder, record))
    assert refusal is not None and refusal.remedy == said


@pytest.mark.parametrize(
    "words",
    [
        "FailedJobError: sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
        "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
        f"TimeoutError: {LATE} within 120 s",
    ],
)
def test_a_controller_that_is_busy_for_long_costs_no_trial(tmp_path: Path, words: str) -> None:
    (trial,), (folder,) = toy_trials(1), folders(tmp_path, 1)
    dispatcher = Dispatcher(ClusterProfile(kind="slurm", max_attempts=2), tmp_path, JOB)
    watch = Watch(trial, folder, dispatcher.profile)
    record = intent(trial)
    (folder.attempt_log(record) / "1_submitted.pkl").mkdir(parents=True)
    for now in range(5):
        dispatcher.submitter.refused(watch, record, LaunchError("job", "the cluster refuses the job", None, words), now)
    assert folder.failure() is None
    assert len(dispatcher.news()) == 1
    assert folder.attempt_log(record).exists(), "the job may have been made all the same"


def test_a_job_name_that_means_nothing_is_refused() -> None:
    with pytest.raises(LaunchError, match="module:function"):
        find_function("nowhere:nothing")

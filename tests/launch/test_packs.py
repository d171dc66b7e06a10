"""Several trials in one job on this machine: real processes, real forks, one result a trial whatever happens."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from toy import JOB, PROFILE, behave, toy_trials
from toy_driver import start, wait_until_done

from tests.status.toys import list_sweep
from tests.waiting import until
from vprdist.cli import main
from vprdist.launch.dispatcher import Dispatcher
from vprdist.launch.trial_watch import Watch
from vprdist.machine import process_alive
from vprdist.spec.profile import ClusterProfile
from vprdist.store.batch_folder import batches, read_end
from vprdist.store.journal import JobRecord
from vprdist.store.trial_folder import TrialFolder

PACK = PROFILE.model_copy(update={"trials_per_job": 4, "max_concurrent": 1})
BESIDE = PACK.model_copy(update={"side_by_side": 2})


def folders(runs: Path, count: int) -> list[TrialFolder]:
    return [TrialFolder.of(runs, trial.trial_id) for trial in toy_trials(count)]


def drive(runs: Path, count: int, profile: ClusterProfile) -> list[str]:
    """Want every trial until all are over; what there was to tell."""
    with Dispatcher(profile, runs, JOB) as dispatcher:
        for trial in toy_trials(count):
            dispatcher.want(trial)
        wait_until_done(dispatcher, runs, count)
        return dispatcher.news()


def records(some: list[TrialFolder]) -> list[JobRecord]:
    found = [folder.job() for folder in some]
    assert all(found)
    return [record for record in found if record is not None]


def steps(folder: TrialFolder) -> list[int]:
    return [row["step"] for row in folder.rows()[0] if row["kind"] == "train"]


def pack_process(folder: TrialFolder) -> psutil.Process:
    """The process that a trial's own one was forked from."""
    parent = psutil.Process(int(folder.starts()[-1]["pid"])).parent()
    assert parent is not None
    return parent


def begun(some: list[TrialFolder]) -> bool:
    """All have started, in jobs that their journals know."""
    journals = [folder.job() for folder in some]
    return all(record is not None and record.state == "submitted" for record in journals) and all(
        folder.path.joinpath("ranks.jsonl").exists() and folder.is_running for folder in some
    )


def test_trials_of_one_job_run_one_after_another_each_with_its_own_log(tmp_path: Path) -> None:
    behave(tmp_path, steps=2, dt=0.05)
    drive(tmp_path, 6, PACK)
    wanted = folders(tmp_path, 6)
    jobs = [record.job_id for record in records(wanted)]
    assert [jobs.count(job) for job in dict.fromkeys(jobs)] == [4, 2]
    for trial, folder, record in zip(toy_trials(6), wanted, records(wanted), strict=True):
        assert folder.result().starts == 1
        assert folder.result().environment["num_threads"] == record.num_threads
        assert [line for line in folder.last_lines(record) if "begins" in line] == [f"toy {trial.seed} begins"]
    pids = {folder.starts()[0]["pid"] for folder in wanted}
    assert len(pids) == 6, "each in a process of its own"
    for before, after in itertools.pairwise(wanted[:4]):
        assert after.starts()[0]["time"] >= before.result_file.stat().st_mtime - 0.05


def test_trials_side_by_side_share_one_job(tmp_path: Path) -> None:
    behave(tmp_path, steps=1, hold=True)
    wanted = folders(tmp_path, 4)
    with Dispatcher(BESIDE, tmp_path, JOB) as dispatcher:
        for trial in toy_trials(4):
            dispatcher.want(trial)
        until(lambda: begun(wanted[:2]))
        assert not any(folder.starts() for folder in wanted[2:])
        (tmp_path / "go").touch()
        wait_until_done(dispatcher, tmp_path, 4)
    assert len({record.job_id for record in records(wanted)}) == 1
    shares = {(folder.path / "ranks.jsonl").read_text().split('"gpu_share": ')[1] for folder in wanted}
    assert shares == {'"0.5"}\n'}


def test_a_crash_ends_one_trial_and_a_mistake_is_told_while_the_job_goes_on(tmp_path: Path) -> None:
    behave(tmp_path, steps=4, dt=0.1, kill={"0": 1}, die={"1": 1}, user_error=[2])
    drive(tmp_path, 4, BESIDE)
    killed, died, wrong, healthy = wanted = folders(tmp_path, 4)
    assert [folder.has_result for folder in wanted] == [True, True, False, True]
    failure = wrong.failure()
    assert failure is not None and failure.kind == "mistake" and "a place has no position" in failure.reason
    first_job = records([healthy])[0]
    assert (first_job.attempt, healthy.result().starts) == (1, 1)
    for folder in (killed, died):
        (record,) = records([folder])
        assert (record.attempt, folder.result().starts) == (2, 2)
        assert steps(folder) == [1, 2, 3, 4], "it went on from its checkpoint"
        assert record.job_id != first_job.job_id and not record.members, "a job of its own"
    ends = [read_end(next(folder.log.glob("attempt-1-*"))) for folder in (killed, died)]
    assert [end and end.exit_code for end in ends] == [-signal.SIGKILL, 9]
    assert ends[0] is not None
    assert "SIGKILL, as the kernel does where memory is short, while 1 other(s) ran beside it" in ends[0].words


@pytest.mark.parametrize("profile", [PACK, BESIDE], ids=["one after another", "side by side"])
def test_a_job_that_is_asked_to_leave_resumes_each_of_its_trials(tmp_path: Path, profile: ClusterProfile) -> None:
    behave(tmp_path, steps=6, dt=0.15)
    wanted = folders(tmp_path, 4)
    with Dispatcher(profile, tmp_path, JOB) as dispatcher:
        for trial in toy_trials(4):
            dispatcher.want(trial)
        middle = wanted[1]
        until(lambda: middle.starts() and 1 <= len(steps(middle)) < 5)
        pack_process(middle).send_signal(signal.SIGUSR2)
        wait_until_done(dispatcher, tmp_path, 4)
    assert len({record.token for record in records(wanted)}) == 1, "it went back by itself"
    assert middle.result().starts == 2
    assert all(steps(folder) == [1, 2, 3, 4, 5, 6] for folder in wanted), "no step was lost or repeated"
    assert wanted[3].result().starts == 1


def test_one_trial_is_cancelled_and_the_others_of_its_job_go_on(tmp_path: Path) -> None:
    behave(tmp_path, steps=1, hold=True)
    wanted = folders(tmp_path, 4)
    first, second, third, fourth = wanted
    with Dispatcher(BESIDE, tmp_path, JOB) as dispatcher:
        for trial in toy_trials(4):
            dispatcher.want(trial)
        until(lambda: begun([first, second]))
        starts = [folder.starts()[-1] for folder in (first, second)]
        dispatcher.cancel(first.trial_id)
        dispatcher.cancel(fourth.trial_id)  # it waits its turn
        until(lambda: begun([third]))
        assert not process_alive(starts[0]["pid"], starts[0]["pid_start"])
        assert process_alive(starts[1]["pid"], starts[1]["pid_start"])
        (tmp_path / "go").touch()
        until(lambda: dispatcher.check() or (second.has_result and third.has_result))
        until(lambda: set(dispatcher.phases().values()) == {"done"})
    assert not first.is_over and not fourth.starts()
    assert read_end(first.attempt_log(records([first])[0])) is None, "it did not end by itself"
    (tmp_path / "go").unlink()

    with Dispatcher(BESIDE, tmp_path, JOB) as dispatcher:  # wanted again, and all are cancelled
        for trial in toy_trials(4):
            dispatcher.want(trial)
        until(lambda: begun([first, fourth]))
        job = pack_process(first)
        for folder in wanted:
            dispatcher.cancel(folder.trial_id)
        until(lambda: not job.is_running() or job.status() == psutil.STATUS_ZOMBIE)
        until(lambda: not (first.is_running or fourth.is_running))


def test_vprdist_steers_trials_of_one_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    list_sweep(tmp_path, "s", range(4))
    behave(tmp_path, steps=1, hold=True)
    wanted = folders(tmp_path, 4)
    first, second, _, fourth = wanted
    driver = start("dispatch", tmp_path, 4, BESIDE)
    until(lambda: begun([first, second]))
    assert main(["status", "s", "--runs", str(tmp_path)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "2 running" in text and "2 queued" in text
    assert main(["cancel", "s", first.trial_id, fourth.trial_id, "--yes", "--runs", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count(": cancelled") == 2
    assert not first.is_running and second.is_running
    assert main(["logs", second.trial_id, "--runs", str(tmp_path)]) == 0
    assert "toy 1 begins" in capsys.readouterr().out
    (tmp_path / "go").touch()
    driver.communicate(timeout=180)
    assert [folder.has_result for folder in wanted] == [False, True, True, False]
    assert main(["prune", "--yes", "--runs", str(tmp_path)]) == 0
    assert len(list(batches(tmp_path))) == 1, "trials that have no result need it still"
    for folder in (first, fourth):
        folder.retire_failure()
    capsys.readouterr()
    assert main(["prune", "--yes", "--runs", str(tmp_path)]) == 0
    assert "submission of several trials" in capsys.readouterr().out
    assert list(batches(tmp_path)) == []


def test_kill_9_of_the_driver_leaves_a_job_of_several_trials_that_the_next_driver_adopts(tmp_path: Path) -> None:
    behave(tmp_path, steps=2, hold=True)
    driver = start("dispatch", tmp_path, 4, BESIDE)
    wanted = folders(tmp_path, 4)
    until(lambda: begun(wanted[:2]))
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    before = records(wanted)
    (tmp_path / "go").touch()
    drive(tmp_path, 4, BESIDE)
    assert [len(folder.starts()) for folder in wanted] == [1, 1, 1, 1]
    assert records(wanted) == before


@pytest.mark.parametrize("delay_s", [0.05, 0.4, 0.9])
def test_kill_9_around_the_submission_of_several_trials_runs_none_twice(tmp_path: Path, delay_s: float) -> None:
    behave(tmp_path, steps=2, dt=0.1, hold=True)  # so that the driver is there, however quick the machine
    driver = start("dispatch", tmp_path, 4, PACK)
    wanted = folders(tmp_path, 4)
    until(lambda: any(folder.job_file.exists() for folder in wanted))
    time.sleep(delay_s)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    (tmp_path / "go").touch()
    drive(tmp_path, 4, PACK)
    assert [len(folder.starts()) for folder in wanted] == [1, 1, 1, 1]
    assert [folder.result().starts for folder in wanted] == [1, 1, 1, 1]


def test_a_job_that_is_killed_costs_an_attempt_only_those_that_ran(tmp_path: Path) -> None:
    behave(tmp_path, steps=3, dt=0.02, hold=True)
    wanted = folders(tmp_path, 4)
    with Dispatcher(BESIDE, tmp_path, JOB) as dispatcher:
        for trial in toy_trials(4):
            dispatcher.want(trial)
        until(lambda: begun(wanted[:2]))
        job, children = pack_process(wanted[0]), [folder.starts()[0] for folder in wanted[:2]]
        job.kill()
        until(lambda: not any(process_alive(each["pid"], each["pid_start"]) for each in children))
        (tmp_path / "go").touch()
        wait_until_done(dispatcher, tmp_path, 4)
    assert [folder.result().starts for folder in wanted] == [2, 2, 1, 1]
    assert [(record.attempt, record.lost) for record in records(wanted)] == [(2, 0), (2, 0), (1, 1), (1, 1)]


def test_a_trial_whose_end_the_job_told_is_looked_at_once_and_others_not_at_all(tmp_path: Path) -> None:
    behave(tmp_path, steps=3, dt=0.02, die={"0": 99}, hold=True)
    wanted = folders(tmp_path, 2)
    with Dispatcher(BESIDE.model_copy(update={"max_attempts": 1}), tmp_path, JOB) as dispatcher:
        for trial in toy_trials(2):
            dispatcher.want(trial)
        until(lambda: dispatcher.check() or wanted[0].failure() is not None)
        assert wanted[1].is_running, "its job goes on"
        (tmp_path / "go").touch()
        wait_until_done(dispatcher, tmp_path, 2)
    failure = wanted[0].failure()
    assert failure is not None and "exit code 9" in failure.reason
    assert "toy 0 dies on start 1" in failure.log_lines[-1]


def test_a_queued_journal_of_the_version_before_is_a_trial_of_its_own(tmp_path: Path) -> None:
    (trial,), (folder,) = toy_trials(1), folders(tmp_path, 1)
    told = {"state": "submitted", "cluster": "slurm", "name": "vprdist-x", "token": "t", "attempt": 1, "job": JOB}
    record = JobRecord(**told, parameters={}, machine="m")
    written = record.model_dump(mode="json", exclude={"members", "task", "share"})
    read = JobRecord.model_validate_json(json.dumps(written))
    assert (read.members, read.task, read.share) == ((), None, 1)
    assert folder.batch(read) is None
    watch = Watch(trial, folder, PACK)
    assert not watch._was_never_begun(read)


@pytest.mark.parametrize("job", ["vprdist.training.run:run_trial", JOB])
def test_nothing_that_a_fork_would_lose_is_there_before_it(job: str) -> None:
    """No CUDA, and no thread but those of libraries that see to a fork themselves: OpenBLAS, which has none where it is
    told one, and jemalloc."""
    text = (
        "import os, sys\n"
        "from vprdist.launch.pack import _warm_up\n"
        "from vprdist.launch.permit import Permit, carry\n"
        "from vprdist.private import OURSELVES\n"
        "from vprdist.store.journal import JobRecord\n"
        f"carry(Permit.calling({job!r}, OURSELVES))\n"
        "_warm_up(JobRecord(state='submitted', cluster='local', name='n', token='t', attempt=1, machine='m',\n"
        f"    job={job!r}, parameters={{}}, num_threads=1))\n"
        f"assert {job.partition(':')[0]!r} in sys.modules\n"
        "torch = sys.modules.get('torch')\n"
        "names = [open(f'/proc/self/task/{each}/comm').read().strip() for each in os.listdir('/proc/self/task')]\n"
        "print(len(names) - names.count('jemalloc_bg_thd'), torch is not None and torch.cuda.is_initialized())\n"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "False"]

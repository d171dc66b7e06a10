"""Several trials in one job of a real SLURM: one result a trial, whatever becomes of the job, of a trial, or a node."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from toy import JOB, behave, toy_trials
from toy_driver import start

from tests.slurm.conftest import DevCluster
from tests.slurm.test_jobs import drive, folders, steps
from tests.status.toys import list_sweep
from tests.waiting import until
from vprdist.cli import main
from vprdist.errors import LaunchError
from vprdist.launch.dispatcher import Dispatcher
from vprdist.spec.profile import ClusterProfile
from vprdist.store.journal import JobRecord
from vprdist.store.trial_folder import TrialFolder


def packs(cluster: DevCluster, **changes: object) -> ClusterProfile:
    """Two trials at once of a job's four; the same profile otherwise."""
    return cluster.profile(**{"trials_per_job": 4, "side_by_side": 2, "cpus_per_task": 2, **changes})


def records(some: list[TrialFolder]) -> list[JobRecord]:
    found = [folder.job() for folder in some]
    assert all(found)
    return [record for record in found if record is not None]


def submitted(cluster: DevCluster, runs: Path) -> list[str]:
    """Every job, and task of an array, that was ever submitted from a run folder."""
    tokens = {path.name for path in (runs / "batches").glob("*")}
    rows = cluster.run("squeue", "--noheader", "--array", "--states=all", "--format=%i %k").split("\n")
    return sorted(row.split()[0] for row in rows if row and row.split()[-1] in tokens)


@pytest.mark.parametrize("how", ["preempted", "asked", "requeued by hand", "node failure"])
def test_a_job_of_several_trials_that_is_interrupted_resumes_each(
    slurm_cluster: DevCluster, tmp_path: Path, how: str
) -> None:
    behave(tmp_path, steps=16, dt=0.4)
    wanted = folders(tmp_path, 4)
    done: list[str] = []

    def disturb() -> None:
        if done or not wanted[1].starts() or not 3 <= len(steps(wanted[1])) < 12:
            return
        (record,), host = records([wanted[1]]), wanted[1].starts()[-1]["host"]
        done.append(how)
        if how == "preempted":
            slurm_cluster.occupy(host, 1)
        elif how == "asked":
            slurm_cluster.run("scancel", "--signal=USR2", "--full", str(record.job_id))
        elif how == "requeued by hand":
            slurm_cluster.run("scontrol", "requeue", str(record.job_id))
        else:
            slurm_cluster.fail(host)

    drive(tmp_path, 4, packs(slurm_cluster, max_attempts=1), disturb)
    assert done
    assert [folder.result().starts for folder in wanted] == [2, 2, 1, 1]
    assert {(record.attempt, record.lost) for record in records(wanted)} == {(1, 0)}, "SLURM itself put it back"
    assert len(submitted(slurm_cluster, tmp_path)) == 1
    if how in ("preempted", "asked"):
        assert all(steps(folder) == list(range(1, 17)) for folder in wanted), "no step was lost or repeated"


def test_a_job_that_is_not_requeued_leaves_its_trials_to_the_driver(slurm_cluster: DevCluster, tmp_path: Path) -> None:
    behave(tmp_path, steps=16, dt=0.4)
    wanted = folders(tmp_path, 4)
    done: list[str] = []

    def ask() -> None:
        if not done and wanted[1].starts() and 3 <= len(steps(wanted[1])) < 12:
            (record,) = records([wanted[1]])
            done.append(slurm_cluster.run("scancel", "--signal=USR2", "--full", str(record.job_id)))

    drive(tmp_path, 4, packs(slurm_cluster, max_attempts=1, requeue=False), ask)
    assert [folder.result().starts for folder in wanted] == [2, 2, 1, 1]
    assert {(record.attempt, record.lost) for record in records(wanted)} == {(1, 1)}
    assert all(steps(folder) == list(range(1, 17)) for folder in wanted)


def test_one_crash_ends_one_trial_and_a_person_is_told(slurm_cluster: DevCluster, tmp_path: Path) -> None:
    behave(tmp_path, steps=8, dt=0.4, kill={"0": 1}, user_error=[2])
    told = drive(tmp_path, 4, packs(slurm_cluster, max_attempts=2))
    crashed, second, wrong, last = wanted = folders(tmp_path, 4)
    assert [folder.has_result for folder in wanted] == [True, True, False, True]
    assert [crashed.result().starts, second.result().starts, last.result().starts] == [2, 1, 1]
    failure = wrong.failure()
    assert failure is not None and failure.kind == "mistake", "as its second attempt found too"
    assert any(crashed.trial_id in line and "goes on" in line and "SIGKILL" in line for line in told)
    assert crashed.starts()[0]["host"] != crashed.starts()[1]["host"], "the second attempt is made elsewhere"


def test_a_person_ends_one_trial_of_a_job_and_then_the_job(
    slurm_cluster: DevCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    list_sweep(tmp_path, "s", range(4))
    behave(tmp_path, steps=1, hold=True)
    driver = start("dispatch", tmp_path, 4, packs(slurm_cluster))
    first, second, third, fourth = wanted = folders(tmp_path, 4)
    until(lambda: first.is_running and second.is_running and all(r.state == "submitted" for r in records(wanted)))
    assert main(["status", "s", "--json", "--runs", str(tmp_path)]) == 0
    seen = json.loads(capsys.readouterr().out)["trials"]
    assert sorted(each["state"] for each in seen) == ["queued", "queued", "running", "running"]
    assert main(["cancel", "s", first.trial_id, fourth.trial_id, "--yes", "--runs", str(tmp_path)]) == 0
    until(lambda: third.is_running)
    assert second.is_running and not first.is_running
    assert len(submitted(slurm_cluster, tmp_path)) == 1
    capsys.readouterr()
    assert main(["cancel", "s", "--yes", "--runs", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count(": cancelled") == 2
    assert not slurm_cluster.run("squeue", "--noheader", "--states=PD,R").strip()
    driver.communicate(timeout=60)
    assert not fourth.starts()


def test_scancel_of_the_job_is_a_persons_word_on_all_its_trials(slurm_cluster: DevCluster, tmp_path: Path) -> None:
    behave(tmp_path, steps=1, hold=True)
    wanted = folders(tmp_path, 4)
    done: list[str] = []

    def end() -> None:
        if not done and wanted[0].is_running and wanted[1].is_running and records(wanted)[0].job_id:
            done.append(slurm_cluster.run("scancel", str(records(wanted)[0].job_id)))

    told = drive(tmp_path, 4, packs(slurm_cluster), end)
    failures = [folder.failure() for folder in wanted]
    assert [failure and failure.kind for failure in failures] == ["cancelled"] * 4
    assert len([line for line in told if "was cancelled, but not by vprdist" in line]) == 1, "once for all"


def test_killed_drivers_lose_no_job_of_several_trials(slurm_cluster: DevCluster, tmp_path: Path) -> None:
    behave(tmp_path, steps=8, dt=0.4)
    profile, wanted = packs(slurm_cluster, max_concurrent=2), folders(tmp_path, 8)
    for delay_s in (0.1, 0.3, 0.6, 1.1, 2.0):
        driver = start("dispatch", tmp_path, 8, profile)
        time.sleep(delay_s)
        driver.kill()
        driver.wait()
    drive(tmp_path, 8, profile)
    assert [folder.result().starts for folder in wanted] == [1] * 8
    assert all(steps(folder) == list(range(1, 9)) for folder in wanted)
    began = {record.job_id for record in records(wanted)}
    # Mostly two. When a driver is killed, or gets no processor for long, some trials may be left to a job of their own.
    assert submitted(slurm_cluster, tmp_path) == sorted(map(str, began)), "each job was found again"


def test_a_job_that_never_starts_is_counted_once(slurm_cluster: DevCluster, tmp_path: Path) -> None:
    """The brake: not the trials of one job, but three jobs say that none can start."""
    behave(tmp_path, steps=1)
    profile = packs(slurm_cluster, setup=("exit 7",), side_by_side=1)
    with Dispatcher(profile, tmp_path, JOB) as dispatcher:
        for trial in toy_trials(8):
            dispatcher.want(trial)
        with pytest.raises(LaunchError, match="died before vprdist started in them") as caught:
            until(lambda: dispatcher.check())
    assert "the first 3 jobs" in str(caught.value) or "the first 2 jobs" in str(caught.value)
    assert not any(folder.is_over for folder in folders(tmp_path, 8)), "no trial counts it"

"""Toy jobs on a real SLURM: one result a trial, whatever happens to drivers, jobs, nodes and the queue."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from toy import JOB, behave, toy_trials
from toy_driver import start

from tests.slurm.conftest import DevCluster
from tests.waiting import until
from vprdist.files import read_json_lines
from vprdist.launch.dispatcher import Dispatcher
from vprdist.launch.first_job import FirstJob
from vprdist.launch.permit import Permit
from vprdist.launch.slurm import submit_to_slurm
from vprdist.private import OURSELVES
from vprdist.spec.profile import ClusterProfile
from vprdist.store.trial_folder import TrialFolder


def folders(runs: Path, count: int) -> list[TrialFolder]:
    return [TrialFolder.of(runs, trial.trial_id) for trial in toy_trials(count)]


def drive(
    runs: Path, count: int, profile: ClusterProfile, act: Callable[[], object] = lambda: None, timeout_s: float = 180
) -> list[str]:
    """Want every trial until all are over; what the dispatcher had to tell."""
    told: list[str] = []
    wanted = folders(runs, count)
    deadline = time.monotonic() + timeout_s
    with Dispatcher(profile, runs, JOB) as dispatcher:
        for trial in toy_trials(count):
            dispatcher.want(trial)
        while not all(folder.is_over for folder in wanted):
            dispatcher.check()
            assert time.monotonic() < deadline, (dispatcher.phases(), told)
            act()
            told += dispatcher.news()
            time.sleep(0.05)
        until(lambda: set(dispatcher.phases().values()) == {"done"})
        return told + dispatcher.news()


def jobs_of(cluster: DevCluster, folder: TrialFolder) -> list[str]:
    """Ids of all jobs that were ever submitted for this folder; the same toy trials run in other tests' folders."""
    asked = ("squeue", "--noheader", "--states=all", f"--name=vprdist-{folder.trial_id}", "--format=%i %k")
    mine = {path.name.split("-")[-1] for path in folder.log.glob("attempt-*")}
    rows = [line.split() for line in cluster.run(*asked).splitlines()]
    return [job for job, token in rows if token[:8] in mine]


def steps(folder: TrialFolder) -> list[int]:
    return [row["step"] for row in folder.rows()[0] if row["kind"] == "train"]


def test_a_run_folder_of_any_name_has_its_own_logs(slurm_cluster: DevCluster, tmp_path: Path) -> None:
    runs = tmp_path / 'it\'s "a" $HOME; `run` #1 *'
    behave(runs, steps=1, dt=0.0)
    drive(runs, 1, slurm_cluster.profile())
    (folder,) = folders(runs, 1)
    record = folder.job()
    assert folder.has_result and record is not None
    assert (folder.attempt_log(record) / f"{record.job_id}_0_log.out").exists()


def test_killed_drivers_lose_nothing_and_submit_nothing_twice(slurm_cluster: DevCluster, tmp_path: Path) -> None:
    behave(tmp_path, steps=12, dt=0.5)
    rng, kills = random.Random(1), 0
    while not all(folder.is_over for folder in folders(tmp_path, 6)) and kills < 12:
        driver = start("dispatch", tmp_path, 6, slurm_cluster.profile(max_concurrent=3))
        time.sleep(rng.uniform(0.05, 1.6))
        driver.kill()
        driver.wait()
        kills += 1
    drive(tmp_path, 6, slurm_cluster.profile(max_concurrent=3))
    assert kills >= 5
    for folder in folders(tmp_path, 6):
        assert folder.result().starts == 1
        assert len(jobs_of(slurm_cluster, folder)) == 1
        assert steps(folder) == list(range(1, 13))


def test_an_orphan_of_a_killed_helper_is_adopted(slurm_cluster: DevCluster, tmp_path: Path) -> None:
    """sbatch was called, and the journal does not know it yet."""
    behave(tmp_path, steps=2, dt=0.1, hold=True)
    (folder,) = folders(tmp_path, 1)
    slurm_cluster.run("scontrol", "update", "partitionname=low", "state=down")
    try:
        with Dispatcher(slurm_cluster.profile(), tmp_path, JOB) as dispatcher:
            dispatcher.want(toy_trials(1)[0])
            until(lambda: (record := folder.job()) is not None and record.state == "submitted")
        record = folder.job()
        assert record is not None
        folder.write_job(record.updated(state="intent", job_id=None, submitted_at=None))
    finally:
        slurm_cluster.run("scontrol", "update", "partitionname=low", "state=up")

    def let_go() -> None:
        if (now := folder.job()) is not None and now.state == "submitted":
            (tmp_path / "go").touch()  # not before: a trial that has its result needs no job

    drive(tmp_path, 1, slurm_cluster.profile(), let_go)
    adopted = folder.job()
    assert adopted is not None
    assert (adopted.token, adopted.job_id) == (record.token, record.job_id)
    assert jobs_of(slurm_cluster, folder) == [record.job_id]


def test_a_doomed_orphan_is_cancelled_and_submitted_anew(slurm_cluster: DevCluster, tmp_path: Path) -> None:
    """The helper died between sbatch and the moment that the job's pickle gets its name: the job would wait in vain."""
    behave(tmp_path, steps=2, dt=0.1)
    (trial,), (folder,) = toy_trials(1), folders(tmp_path, 1)
    with Dispatcher(slurm_cluster.profile(), tmp_path, JOB) as dispatcher:
        from vprdist.launch.trial_watch import Watch

        folder.write_trial(trial)
        lost = dispatcher.submitter.next_record(Watch(trial, folder, dispatcher.profile), "submit", set(), time.time())
    folder.write_job(lost)
    slurm_cluster.run("scontrol", "update", "partitionname=low", "state=down")
    try:
        sent = submit_to_slurm(folder, lost, folder.attempt_log(lost), Permit.calling(JOB, OURSELVES))
        (folder.attempt_log(lost) / f"{sent.job_id}_submitted.pkl").unlink()
    finally:
        slurm_cluster.run("scontrol", "update", "partitionname=low", "state=up")
    drive(tmp_path, 1, slurm_cluster.profile())
    record = folder.job()
    assert record is not None
    assert record.token != lost.token
    assert record.attempt == 1
    assert folder.result().starts == 1


def test_preempted_and_failed_nodes_cost_no_attempt(slurm_cluster: DevCluster, tmp_path: Path) -> None:
    behave(tmp_path, steps=24, dt=0.5, hold=True)
    preempted, broken, quiet = folders(tmp_path, 3)
    done: set[str] = set()

    def disturb() -> None:
        if "preempt" not in done and preempted.starts() and len(steps(preempted)) > 3:
            slurm_cluster.occupy(preempted.starts()[0]["host"], 1)
            done.add("preempt")
        if "fail" not in done and broken.starts() and len(preempted.starts()) == 2:
            slurm_cluster.fail(broken.starts()[-1]["host"])
            done.add("fail")
            (tmp_path / "go").touch()  # not before: it would be over, had the other one come back late

    # One job a node, so that each misfortune meets one of them.
    profile = slurm_cluster.profile(cpus_per_task=16, max_attempts=1)
    drive(tmp_path, 3, profile, disturb)
    assert [folder.result().starts for folder in (preempted, broken, quiet)] == [2, 2, 1]
    for folder in (preempted, broken, quiet):
        record = folder.job()
        assert record is not None
        assert (record.attempt, record.lost) == (1, 0)  # SLURM itself put them back
        assert set(steps(folder)) == set(range(1, 25))
    # At preemption the signal came first: the job saved itself at the step where it was, and repeated none.
    assert steps(preempted) == list(range(1, 25))
    assert any(row["kind"] == "checkpoint" for row in preempted.rows()[0])


def test_a_job_that_is_preempted_while_python_starts_costs_no_attempt(
    slurm_cluster: DevCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python has no handler for USR2 before submitit sets one: on slow storage that takes many seconds."""
    slow = tmp_path / "slow"
    slow.mkdir()
    mark = tmp_path / "begun"
    (slow / "sitecustomize.py").write_text(
        f"import os, pathlib, time\nif 'SLURM_STEP_ID' in os.environ and not pathlib.Path({str(mark)!r}).exists():\n"
        f"    pathlib.Path({str(mark)!r}).touch()\n    time.sleep(20)\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(slow), os.environ["PYTHONPATH"]]))
    behave(tmp_path, steps=2, dt=0.1)
    done: list[str] = []

    def preempt() -> None:
        if mark.exists() and not done:
            done.append(slurm_cluster.run("squeue", "--noheader", "--states=R", "--format=%N").strip())
            slurm_cluster.occupy(done[0], 1)

    told = drive(tmp_path, 1, slurm_cluster.profile(max_attempts=1), preempt)
    (folder,) = folders(tmp_path, 1)
    record = folder.job()
    assert record is not None
    assert folder.has_result, (folder.failure(), told)
    assert (record.attempt, folder.result().starts) == (1, 1)


def test_a_bad_node_is_avoided_and_a_bad_trial_is_not_blamed_on_nodes(
    slurm_cluster: DevCluster, tmp_path: Path
) -> None:
    behave(tmp_path, steps=4, dt=0.1, die_on=["gpu01"])
    told = drive(tmp_path, 8, slurm_cluster.profile(max_concurrent=4))
    assert any("node gpu01 is avoided from now on" in line for line in told)
    assert all(folder.has_result for folder in folders(tmp_path, 8))
    hosts = [folder.starts()[-1]["host"] for folder in folders(tmp_path, 8)]
    assert "gpu01" not in hosts

    behave(tmp_path / "sick", steps=2, dt=0.1, die={"0": 99, "1": 99})
    told = drive(tmp_path / "sick", 3, slurm_cluster.profile(max_attempts=2))
    sick, also, healthy = folders(tmp_path / "sick", 3)
    for folder in (sick, also):
        failure = folder.failure()
        assert failure is not None
        assert failure.kind == "died"
        assert "toy" in failure.log_lines[-1] or "srun" in failure.log_lines[-1]
        assert len({row["host"] for row in folder.starts()}) == 2, "the second attempt is made elsewhere"
    assert healthy.has_result
    assert Dispatcher(slurm_cluster.profile(), tmp_path / "sick", JOB).nodes.avoided(time.time()) == {}


def test_a_refusal_that_cannot_change_is_final_and_leaves_no_job(slurm_cluster: DevCluster, tmp_path: Path) -> None:
    behave(tmp_path, steps=1, dt=0.1)
    drive(tmp_path, 2, slurm_cluster.profile(partition="nowhere"))
    for folder in folders(tmp_path, 2):
        failure = folder.failure()
        assert failure is not None
        assert failure.kind == "refused"
        assert "invalid partition" in failure.reason.lower()
        assert len(list(folder.log.glob("attempt-*"))) == 1
        assert jobs_of(slurm_cluster, folder) == []


def test_a_full_quota_of_jobs_is_waited_for(slurm_accounting: DevCluster, tmp_path: Path) -> None:
    behave(tmp_path, steps=2, dt=0.2, hold=True)
    go, wanted = tmp_path / "go", folders(tmp_path, 4)

    def let_go() -> None:
        two_run = sum(len(folder.starts()) for folder in wanted) == 2
        if two_run and not go.exists() and not any(folder.is_submitting for folder in wanted):
            go.touch()  # not before: the first may be over when the helper comes to the third

    limit = ("sacctmgr", "-i", "modify", "user", "root", "where", "account=vpr", "set")
    slurm_accounting.run(*limit, "MaxSubmitJobs=2")
    try:
        profile = slurm_accounting.profile(account="vpr", max_concurrent=4)
        FirstJob(profile, tmp_path, print).place.write_passed([])  # all four are submitted at once
        told = drive(tmp_path, 4, profile, let_go)
    finally:
        slurm_accounting.run(*limit, "MaxSubmitJobs=-1")
    assert any("takes no more jobs of yours for now" in line for line in told)
    assert [folder.result().starts for folder in folders(tmp_path, 4)] == [1, 1, 1, 1]


def test_with_accounting_a_dead_job_that_squeue_forgot_is_tried_again_and_a_cancelled_one_is_not(
    slurm_accounting: DevCluster, tmp_path: Path
) -> None:
    behave(tmp_path, steps=4, dt=0.1, hold=True, die={"0": 1})
    (folder,) = folders(tmp_path, 1)
    done: list[str] = []

    def cancel() -> None:
        record = folder.job()
        if not done and len(folder.starts()) == 2 and record is not None and record.job_id is not None:
            done.append(record.job_id)
            slurm_accounting.run("scancel", record.job_id)

    told = drive(tmp_path, 1, slurm_accounting.profile(account="vpr", poll_s=4.0), cancel)
    record, failure = folder.job(), folder.failure()
    assert any("SLURM says FAILED" in line for line in told), told
    assert record is not None and record.attempt == 2
    assert failure is not None and failure.kind == "cancelled"
    assert "SLURM says CANCELLED by root" in failure.reason, "accounting knows who"


def test_jobs_that_share_a_node_see_different_gpus(slurm_cluster: DevCluster, tmp_path: Path) -> None:
    """The devcluster has no cgroups: only CUDA_VISIBLE_DEVICES keeps the jobs of one node apart."""
    behave(tmp_path / "apart", steps=1, hold=True)
    on_one_node = slurm_cluster.profile(gpus_per_node=1, exclude=("gpu02", "gpu03"))

    def let_go() -> None:
        if all(folder.starts() for folder in folders(tmp_path / "apart", 4)):
            (tmp_path / "apart" / "go").touch()  # not before all four run side by side

    drive(tmp_path / "apart", 4, on_one_node, let_go)
    rows = [read_json_lines(folder.path / "ranks.jsonl")[0] for folder in folders(tmp_path / "apart", 4)]
    assert sorted(row["gpus"] for (row,) in rows) == ["0", "1", "2", "3"]

    behave(tmp_path / "both", steps=1, hold=True)
    (folder,) = folders(tmp_path / "both", 1)

    def end() -> None:
        if len(read_json_lines(folder.path / "ranks.jsonl")[0]) == 4:
            (tmp_path / "both" / "go").touch()  # not before: the first waits for nobody

    drive(tmp_path / "both", 1, slurm_cluster.profile(nodes=2, ranks=2, gpus_per_node=2, memory_gb=1), end)
    ranks = sorted(read_json_lines(folder.path / "ranks.jsonl")[0], key=lambda row: row["rank"])
    assert [(row["rank"], row["local"], len(row["gpus"].split(","))) for row in ranks] == [
        (0, 0, 2), (1, 1, 2), (2, 0, 2), (3, 1, 2),
    ]  # fmt: skip


def test_results_free_their_places_long_before_the_queue_is_asked_again(
    slurm_cluster: DevCluster, tmp_path: Path
) -> None:
    behave(tmp_path, steps=1, dt=0.1)
    drive(tmp_path, 6, slurm_cluster.profile(max_concurrent=2, poll_s=600), timeout_s=300)
    assert [folder.result().starts for folder in folders(tmp_path, 6)] == [1] * 6


def test_one_squeue_an_interval_and_silence_is_not_death(
    slurm_cluster: DevCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.drills.counting import calls, counting_path

    monkeypatch.setenv("PATH", counting_path(tmp_path / "shims"))
    behave(tmp_path, steps=20, dt=0.4)
    squeue, broken = tmp_path / "shims" / "squeue", tmp_path / "shims" / "hidden"
    begin = time.monotonic()

    def silence() -> None:
        """squeue fails for some seconds in the middle."""
        passed = time.monotonic() - begin
        if 3 < passed < 8 and not broken.exists():
            squeue.rename(broken)
            squeue.write_text(f"#!/bin/sh\necho squeue >> {tmp_path}/shims/calls\nexit 1\n")
            squeue.chmod(0o755)
        elif passed >= 8 and broken.exists():
            broken.rename(squeue)

    drive(tmp_path, 5, slurm_cluster.profile(poll_s=2.0), silence)
    seconds = time.monotonic() - begin
    asked = calls(tmp_path / "shims")
    assert asked["squeue"] <= seconds / 2 + 2
    assert asked["sacct"] <= 1
    assert [folder.result().starts for folder in folders(tmp_path, 5)] == [1] * 5
    assert json.loads((tmp_path / "toy.json").read_text())["steps"] == 20

"""A plain grid as job arrays on a real SLURM: each task is one trial, or one pack, and is steered by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from toy import JOB, behave, toy_trials
from toy_driver import start, wait_until_done

from tests.slurm.conftest import DevCluster
from tests.slurm.test_jobs import folders, steps
from tests.slurm.test_packs import records, submitted
from tests.status.toys import list_sweep
from tests.waiting import until
from vprdist.cli import main
from vprdist.launch import slurm
from vprdist.launch.dispatcher import Dispatcher
from vprdist.launch.first_job import FirstJob
from vprdist.spec.profile import ClusterProfile
from vprdist.store.batch_folder import batches


def grid(cluster: DevCluster, **changes: object) -> ClusterProfile:
    """Arrays of at most 64 tasks at once."""
    return cluster.profile(**{"arrays": True, "max_concurrent": None, "array_limit": 64, "memory_gb": 0.3, **changes})


def drive(
    runs: Path, count: int, profile: ClusterProfile, act: Callable[[], object] = lambda: None, timeout_s: float = 180
) -> list[str]:
    """As a plain grid is driven: everything is wanted at once."""
    told: list[str] = []
    wanted = folders(runs, count)
    FirstJob(profile, runs, print).place.write_passed([])
    deadline = time.monotonic() + timeout_s
    with Dispatcher(profile, runs, JOB, all_at_once=True) as dispatcher:
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


def arrays_of(jobs: list[str]) -> list[str]:
    return list(dict.fromkeys(job.split("_")[0] for job in jobs))


@pytest.mark.parametrize("size", [1, 3])
def test_a_grid_is_one_array_of_trials_or_of_packs(slurm_cluster: DevCluster, tmp_path: Path, size: int) -> None:
    behave(tmp_path, steps=2, dt=0.05)
    drive(tmp_path, 7, grid(slurm_cluster, trials_per_job=size))
    wanted = folders(tmp_path, 7)
    jobs = submitted(slurm_cluster, tmp_path)
    assert len(arrays_of(jobs)) == 1 and len(jobs) == -(-7 // size)
    assert sorted({record.job_id for record in records(wanted)}) == jobs
    for trial, folder, record in zip(toy_trials(7), wanted, records(wanted), strict=True):
        assert folder.result().starts == 1
        assert f"toy {trial.seed} begins" in folder.last_lines(record)
        assert not [line for line in folder.last_lines(record) if "begins" in line and f"toy {trial.seed} " not in line]


def test_arrays_stay_within_the_sites_largest(slurm_cluster: DevCluster, tmp_path: Path) -> None:
    """SLURM's own refusal of a larger one, `Invalid job array specification`, never comes."""
    conf = slurm_cluster.folder / "etc" / "slurm.conf"
    before = conf.read_text()
    behave(tmp_path, steps=1, dt=0.01)
    try:
        conf.write_text(before + "MaxArraySize=4\n")
        slurm_cluster.run("scontrol", "reconfigure")
        until(lambda: slurm.max_array_size() == 4)
        drive(tmp_path, 10, grid(slurm_cluster))
    finally:
        conf.write_text(before)
        slurm_cluster.run("scontrol", "reconfigure")
    jobs = submitted(slurm_cluster, tmp_path)
    tasks = [len([job for job in jobs if job.startswith(f"{array}_")]) for array in arrays_of(jobs)]
    assert sorted(tasks) in ([4, 4], [2, 4, 4])  # two more as a job array, or as a job each
    assert [folder.result().starts for folder in folders(tmp_path, 10)] == [1] * 10


def test_a_limit_of_submitted_jobs_makes_arrays_smaller_and_drops_nothing(
    slurm_accounting: DevCluster, tmp_path: Path
) -> None:
    behave(tmp_path, steps=2, dt=0.3)
    limit = ("sacctmgr", "-i", "modify", "user", "root", "where", "account=vpr", "set")
    slurm_accounting.run(*limit, "MaxSubmitJobs=5")
    try:
        profile = grid(slurm_accounting, account="vpr", cpus_per_task=4)
        told = drive(tmp_path, 14, profile, timeout_s=400)
    finally:
        slurm_accounting.run(*limit, "MaxSubmitJobs=-1")
    wanted = folders(tmp_path, 14)
    assert [folder.result().starts for folder in wanted] == [1] * 14
    assert all((record.attempt, record.lost) == (1, 0) for record in records(wanted))
    assert len([line for line in told if "takes no array of that size" in line]) == 1
    assert all(len(list(folder.log.glob("attempt-*"))) == 1 for folder in wanted), "refusals leave no files"


def test_a_task_that_dies_is_tried_again_and_a_cancelled_one_is_not(slurm_cluster: DevCluster, tmp_path: Path) -> None:
    behave(tmp_path, steps=3, dt=0.1, hold=True, die={"0": 1})
    died, ended, third, fourth = wanted = folders(tmp_path, 4)
    done: list[str] = []

    def end() -> None:
        if not done and all(folder.starts() for folder in wanted) and died.starts()[-1:] != died.starts()[:1]:
            (record,) = records([ended])
            done.append(slurm_cluster.run("scancel", str(record.job_id)))
        if done and ended.is_over:
            (tmp_path / "go").touch()

    drive(tmp_path, 4, grid(slurm_cluster, max_attempts=2), end)
    assert (died.result().starts, third.result().starts, fourth.result().starts) == (2, 1, 1)
    failure = ended.failure()
    assert failure is not None and failure.kind == "cancelled" and "not by vprdist" in failure.reason
    assert records([died])[0].attempt == 2
    jobs = {record.job_id for record in records([ended, third, fourth])}
    assert len(arrays_of(sorted(map(str, jobs)))) == 1


def test_preempted_tasks_resume_and_a_requeued_one_too(slurm_cluster: DevCluster, tmp_path: Path) -> None:
    behave(tmp_path, steps=16, dt=0.4)
    first, second, _ = wanted = folders(tmp_path, 3)
    done: list[str] = []

    def disturb() -> None:
        if done or not all(folder.starts() and 2 <= len(steps(folder)) < 12 for folder in wanted):
            return
        done.append("preempt")
        slurm_cluster.occupy(first.starts()[0]["host"], 1)
        slurm_cluster.run("scontrol", "requeue", str(records([second])[0].job_id))

    drive(tmp_path, 3, grid(slurm_cluster, cpus_per_task=16, max_attempts=1), disturb)
    assert [folder.result().starts for folder in wanted] == [2, 2, 1]
    assert {(record.attempt, record.lost) for record in records(wanted)} == {(1, 0)}
    assert steps(first) == list(range(1, 17))
    assert len(arrays_of(submitted(slurm_cluster, tmp_path))) == 1


@pytest.mark.parametrize("size", [1, 2])
def test_killed_drivers_find_every_task_again(slurm_cluster: DevCluster, tmp_path: Path, size: int) -> None:
    behave(tmp_path, steps=6, dt=0.4)
    profile, wanted = grid(slurm_cluster, trials_per_job=size), folders(tmp_path, 6)
    FirstJob(profile, tmp_path, print).place.write_passed([])
    for delay_s in (0.1, 0.4, 0.8, 1.5, 2.5):
        driver = start("grid", tmp_path, 6, profile)
        time.sleep(delay_s)
        driver.kill()
        driver.wait()
    drive(tmp_path, 6, profile)
    assert [folder.result().starts for folder in wanted] == [1] * 6
    assert len(arrays_of(submitted(slurm_cluster, tmp_path))) == 1


def test_tasks_of_a_killed_helper_are_adopted_by_name_token_and_number(
    slurm_cluster: DevCluster, tmp_path: Path
) -> None:
    """sbatch was called, and the journals do not know it yet; one task's call was not moved to its place."""
    behave(tmp_path, steps=2, dt=0.1)
    wanted, profile = folders(tmp_path, 5), grid(slurm_cluster)
    FirstJob(profile, tmp_path, print).place.write_passed([])
    slurm_cluster.run("scontrol", "update", "partitionname=low", "state=down")
    try:
        with Dispatcher(profile, tmp_path, JOB, all_at_once=True) as dispatcher:
            for trial in toy_trials(5):
                dispatcher.want(trial)
            until(lambda: all((r := folder.job()) is not None and r.state == "submitted" for folder in wanted))
        before = records(wanted)
        for folder, record in zip(wanted, before, strict=True):
            folder.write_job(record.updated(state="intent", job_id=None, submitted_at=None))
        (batch,) = batches(tmp_path)
        (batch.path / f"{before[2].job_id}_submitted.pkl").unlink()
    finally:
        slurm_cluster.run("scontrol", "update", "partitionname=low", "state=up")
    drive(tmp_path, 5, profile)
    after = records(wanted)
    assert [folder.result().starts for folder in wanted] == [1] * 5
    kept = [number for number in range(5) if after[number].token == before[number].token]
    assert set(kept) == {0, 1, 3, 4}
    assert all(after[number].job_id in (before[number].job_id, None) for number in kept)
    assert after[2].attempt == 1


def test_vprdist_cancels_and_retries_single_tasks(
    slurm_cluster: DevCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    list_sweep(tmp_path, "s", range(5))
    behave(tmp_path, steps=1, hold=True)
    profile = grid(slurm_cluster, array_limit=3)
    FirstJob(profile, tmp_path, print).place.write_passed([])
    driver = start("grid", tmp_path, 5, profile)
    wanted = folders(tmp_path, 5)
    until(lambda: sum(folder.is_running for folder in wanted) == 3)
    until(lambda: all(record.state == "submitted" for record in records(wanted)))
    assert main(["status", "s", "--runs", str(tmp_path)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "3 running" in text and "2 queued" in text
    words = ["cancel", "s", wanted[0].trial_id, wanted[4].trial_id, "--yes", "--runs", str(tmp_path)]
    assert main(words) == 0
    assert capsys.readouterr().out.count(": cancelled") == 2
    until(lambda: wanted[3].is_running)
    assert wanted[1].is_running and wanted[2].is_running
    (tmp_path / "go").touch()
    driver.communicate(timeout=180)
    assert [folder.has_result for folder in wanted] == [False, True, True, True, False]
    with Dispatcher(profile, tmp_path, JOB, all_at_once=True) as dispatcher:  # what retry does with those
        dispatcher.retire_failures([wanted[0].trial_id, wanted[4].trial_id])
        for number in (0, 4):
            dispatcher.want(toy_trials(5)[number])
        wait_until_done(dispatcher, tmp_path, 5)
    assert all(folder.has_result for folder in wanted)
    (tmp_path / "go").unlink()


def test_vprdist_cancels_a_whole_array(
    slurm_cluster: DevCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    list_sweep(tmp_path, "s", range(6))
    behave(tmp_path, steps=1, hold=True)
    profile = grid(slurm_cluster, array_limit=2, trials_per_job=2)
    FirstJob(profile, tmp_path, print).place.write_passed([])
    driver = start("grid", tmp_path, 6, profile)
    wanted = folders(tmp_path, 6)
    until(lambda: sum(folder.is_running for folder in wanted) == 2)
    assert main(["cancel", "s", "--yes", "--runs", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count(": cancelled") == 6
    assert not slurm_cluster.run("squeue", "--noheader", "--states=PD,R").strip()
    driver.communicate(timeout=60)
    assert not any(folder.is_running or folder.has_result for folder in wanted)


def test_arrays_forgotten_by_squeue_are_found_in_accounting(slurm_accounting: DevCluster, tmp_path: Path) -> None:
    behave(tmp_path, steps=3, dt=0.1, die={"0": 1, "1": 1}, hold=True)
    wanted = folders(tmp_path, 5)
    done: list[str] = []

    def cancel_waiting() -> None:
        """Two tasks that wait are cancelled by a person; accounting shows them in one row, or in two."""
        if not done and sum(folder.is_running for folder in wanted) >= 1 and records(wanted)[4].job_id:
            if wanted[3].starts() or wanted[4].starts():
                return
            done.append(slurm_accounting.run("scancel", *(str(r.job_id) for r in records(wanted[3:]))))
            time.sleep(4)  # squeue forgets it
            (tmp_path / "go").touch()

    profile = grid(slurm_accounting, account="vpr", array_limit=1, max_attempts=2, exclude_after=0)
    drive(tmp_path, 5, profile, cancel_waiting, timeout_s=300)
    assert done
    assert [folder.has_result for folder in wanted] == [True, True, True, False, False]
    assert [(failure := folder.failure()) and failure.kind for folder in wanted[3:]] == ["cancelled"] * 2


def test_tasks_of_several_ranks_print_each_into_their_trials_log(slurm_cluster: DevCluster, tmp_path: Path) -> None:
    behave(tmp_path, steps=2, dt=0.05, hold=True)
    seen = [folder.path / "ranks.jsonl" for folder in folders(tmp_path, 3)]

    def let_go() -> None:
        if all(path.exists() and len(path.read_text().splitlines()) == 4 for path in seen):
            (tmp_path / "go").touch()  # ranks of a toy do not meet: a late one would find the trial over

    drive(tmp_path, 3, grid(slurm_cluster, nodes=2, ranks=2), let_go)
    for folder in folders(tmp_path, 3):
        (record,) = records([folder])
        assert folder.result().num_ranks == 4
        logs = sorted(path.name for path in folder.attempt_log(record).glob("*_log.out"))
        assert logs == [f"{record.job_id}_{rank}_log.out" for rank in range(4)]

"""Jobs that die before they start, on a real SLURM: few of them, their last words, and trials that are not spent."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from toy import JOB, behave, toy_trials

from tests.slurm.devclusters import DevCluster
from tests.slurm.test_array import run as run_toy_array
from tests.slurm.test_jobs import drive, folders
from tests.waiting import until
from vprdist.errors import LaunchError
from vprdist.files import write_json
from vprdist.launch.dispatcher import Dispatcher
from vprdist.launch.first_job import FirstJob, profile_digest
from vprdist.launch.slurm import SlurmCluster
from vprdist.spec.profile import ClusterProfile
from vprdist.store.journal import NAME_PREFIX

COUNT = 20
WITH_CHECK = pytest.param(True, marks=pytest.mark.drill)
NODES = ("gpu01", "gpu02", "gpu03")


@pytest.fixture(autouse=True)
def _looked_at_twice_within_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    init = SlurmCluster.__init__

    def quick(self: SlurmCluster, profile: ClusterProfile) -> None:
        init(self, profile)
        self.confirm_s = 1.0

    monkeypatch.setattr(SlurmCluster, "__init__", quick)


@contextmanager
def hidden(cluster: DevCluster, path: Path) -> Iterator[None]:
    """Nodes see an empty folder there: each has mounts of its own."""
    pids = [(cluster.folder / "run" / f"{node}.pid").read_text().strip() for node in NODES]
    enter = [["nsenter", f"--target={pid}", "--mount"] for pid in pids]
    for words in enter:
        subprocess.run([*words, "mount", "-t", "tmpfs", "none", str(path)], check=True)
    try:
        yield
    finally:
        for words in enter:
            subprocess.run([*words, "umount", "--lazy", str(path)], check=True)


def jobs(cluster: DevCluster, since: int) -> list[tuple[int, str]]:
    """Ids and names of jobs of vprdist that were submitted after that one."""
    rows = [line.split() for line in cluster.run("squeue", "--noheader", "--states=all", "--format=%i %j").splitlines()]
    found = [(int(job.split("_")[0]), name) for job, name in rows]  # `12_3` is a task of array 12
    return [(job, name) for job, name in found if name.startswith(NAME_PREFIX) and job > since]


def last_job(cluster: DevCluster) -> int:
    submitted = cluster.run("sbatch", "--parsable", "--mem=10", "--output=/dev/null", "--wrap=true")
    return int(submitted)


def driven_into_a_wall(runs: Path, profile: ClusterProfile) -> str:
    """The error that ends the driver."""
    behave(runs, steps=1, dt=0.0)
    with Dispatcher(profile, runs, JOB) as dispatcher:
        for trial in toy_trials(COUNT):
            dispatcher.want(trial)
        with pytest.raises(LaunchError) as caught:
            until(dispatcher.check, 120)
    return str(caught.value)


def untouched(runs: Path) -> bool:
    """No trial has failed, and each begins with its first attempt."""
    records = [folder.job() for folder in folders(runs, COUNT)]
    over = any(folder.is_over for folder in folders(runs, COUNT))
    return not over and all(record is None or record.state == "cancelled" for record in records)


def test_a_set_up_line_that_fails_costs_two_small_jobs_and_mended_it_goes_on(
    slurm_cluster: DevCluster, tmp_path: Path
) -> None:
    since = last_job(slurm_cluster)
    profile = slurm_cluster.profile(check=True, setup=("echo no such module: cuda", "exit 1"))
    error = driven_into_a_wall(tmp_path, profile)
    names = [name for _, name in jobs(slurm_cluster, since)]
    assert len(names) == 2 and all("-check-" in name for name in names), "one, and one on another node"
    assert "    no such module: cuda\n" in error, "its last words"
    assert "Likely causes:\n  - a line of `setup` fails (profile: setup): echo no such module: cuda ; exit 1" in error
    assert untouched(tmp_path)
    told = drive(tmp_path, 2, slurm_cluster.profile(check=True))
    assert any("first job passed on gpu" in line for line in told)
    assert [folder.result().starts for folder in folders(tmp_path, 2)] == [1, 1]


def test_what_set_up_says_and_gpus_that_torch_cannot_use_are_told_before_trials(
    slurm_cluster: DevCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`module load` of what is not there ends no script, and a driver that is too old no training on the CPU."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # a real GPU of this machine is no fake one
    told = list[str]()
    profile = slurm_cluster.profile(check=True, setup=("no_such_command load cuda/12.4",), gpus_per_node=1, memory_gb=1)
    first = FirstJob(profile, tmp_path, told.append)
    until(lambda: first.passed(time.time()), 120)
    assert re.fullmatch(r"`setup` said on gpu0\d: .*: no_such_command: command not found", told[-3]), told
    assert re.fullmatch(r"node gpu0\d has GPUs that torch cannot use \(.+\): trials would run on the CPU", told[-2]), (
        told
    )
    assert "first job passed on gpu0" in told[-1]


def test_a_python_by_another_name_needs_no_first_job_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m vprdist.sweep` runs `bin/python`, the script `vprdist` `bin/python3.11`."""
    profile = ClusterProfile(kind="slurm")
    digest = profile_digest(profile)
    monkeypatch.setattr(sys, "executable", f"{sys.executable}3")
    assert profile_digest(profile) == digest
    monkeypatch.setattr(sys, "prefix", f"{sys.prefix}3")
    assert profile_digest(profile) != digest, "another environment has other packages"


@pytest.mark.parametrize("check", [WITH_CHECK, False])
def test_a_run_folder_that_nodes_do_not_see_is_said(slurm_cluster: DevCluster, tmp_path: Path, check: bool) -> None:
    since = last_job(slurm_cluster)
    with hidden(slurm_cluster, tmp_path):
        error = driven_into_a_wall(tmp_path, slurm_cluster.profile(check=check))
    assert len(jobs(slurm_cluster, since)) <= (2 if check else 3)
    assert "There is no log of it" in error
    assert f"Likely causes:\n  - nodes do not see {tmp_path}" in error
    assert untouched(tmp_path)
    assert not (tmp_path / "nodes.jsonl").exists(), "no node is blamed"
    drive(tmp_path, 1, slurm_cluster.profile(check=check))
    (folder,) = folders(tmp_path, 1)
    record = folder.job()
    assert record is not None
    assert (record.attempt, folder.result().starts) == (1, 1)


@pytest.mark.drill
def test_a_python_that_nodes_do_not_have_is_said(slurm_cluster: DevCluster, tmp_path: Path) -> None:
    since = last_job(slurm_cluster)
    with hidden(slurm_cluster, Path(sys.executable).parent):
        error = driven_into_a_wall(tmp_path, slurm_cluster.profile(check=True))
    assert len(jobs(slurm_cluster, since)) == 2
    assert f"{sys.executable}: No such file or directory" in error
    assert f"Likely causes:\n  - nodes do not have this Python, {sys.executable}" in error


@pytest.mark.drill
@pytest.mark.parametrize("check", [True, False])
def test_one_bad_node_stops_no_sweep(slurm_cluster: DevCluster, tmp_path: Path, check: bool) -> None:
    """It takes every job at once, since all that it gets end in a moment."""
    behave(tmp_path, steps=1, dt=0.0)
    told = drive(tmp_path, 6, slurm_cluster.profile(check=check, setup=("[ $SLURMD_NODENAME != gpu01 ] || exit 1",)))
    assert all(folder.has_result for folder in folders(tmp_path, 6)), told
    assert {folder.starts()[-1]["host"] for folder in folders(tmp_path, 6)} <= {"gpu02", "gpu03"}
    assert any("first job died on node gpu01" in line for line in told) == check


def test_a_first_job_that_waits_is_said_found_again_and_ended_with_its_driver(
    slurm_cluster: DevCluster, tmp_path: Path
) -> None:
    since, told = last_job(slurm_cluster), list[str]()
    profile = slurm_cluster.profile(check=True, nodes=2, ranks=2, gpus_per_node=2, memory_gb=1)
    slurm_cluster.run("scontrol", "update", "partitionname=low", "state=down")
    try:
        detached, other = (FirstJob(profile, tmp_path, told.append) for _ in range(2))
        until(lambda: detached.passed(time.time()) or "waits in the queue (PartitionDown" in "".join(told))
        assert not other.passed(time.time()) and "another driver's first job" in told[-1]
        detached.close(comes_back=True)  # as a driver's job does, when it goes back into the queue
        assert not other.passed(time.time())
        assert len(jobs(slurm_cluster, since)) == 1, "the one that waits is found again"
        other.close()
        until(lambda: not slurm_cluster.run("squeue", "--noheader", "--states=PD,R,CG").strip())
        third = FirstJob(profile, tmp_path, told.append)
        assert not third.passed(time.time())
    finally:
        slurm_cluster.run("scontrol", "update", "partitionname=low", "state=up")
    until(lambda: third.passed(time.time()))
    assert "4 rank(s), 2 GPU(s) each" in told[-1]
    assert len(jobs(slurm_cluster, since)) == 2


@pytest.mark.parametrize("check", [WITH_CHECK, False])
def test_an_array_whose_tasks_never_start_is_submitted_once_at_most(
    slurm_cluster: DevCluster, tmp_path: Path, check: bool
) -> None:
    since = last_job(slurm_cluster)
    write_json(tmp_path / "behaviour.json", {"pieces": 4})
    profile = slurm_cluster.profile(check=check, setup=("exit 1",))
    with pytest.raises(LaunchError, match="first job died" if check else "no task of the array has come to its start"):
        run_toy_array(tmp_path, profile, 4, 4)
    arrays = {name for _, name in jobs(slurm_cluster, since) if "toy-array" in name}
    assert (len(arrays), len(jobs(slurm_cluster, since))) == ((0, 2) if check else (1, 4))

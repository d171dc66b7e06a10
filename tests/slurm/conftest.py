"""A real SLURM for the tests: slurm/devcluster, one without and one with accounting, each started when it is needed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import until
from vprdist.spec.profile import ClusterProfile

REPO = Path(__file__).resolve().parents[2]
LAUNCH = REPO / "tests" / "launch"
DEVCLUSTER = REPO / "slurm" / "devcluster"
sys.path.insert(0, str(LAUNCH))


@dataclass(frozen=True)
class DevCluster:
    """A running devcluster in a folder of its own."""

    folder: Path
    options: tuple[str, ...]

    def control(self, *words: str) -> str:
        """slurm/devcluster on this cluster's folder; what it prints."""
        done = subprocess.run([DEVCLUSTER, *words, str(self.folder)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def up(self) -> None:
        self.control("up", *self.options)

    def fail(self, node: str) -> None:
        self.control("fail", "--at-once", node)

    @property
    def environment(self) -> dict[str, str]:
        return {"SLURM_CONF": str(self.folder / "etc" / "slurm.conf")}

    def run(self, *command: str) -> str:
        """One of SLURM's commands; what it prints."""
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, **self.environment}
        )
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout

    def occupy(self, node: str, seconds: float) -> None:
        """A more important job takes a whole node for a while."""
        where = ("--partition=high", f"--nodelist={node}", "--exclusive", "--mem=0", "--output=/dev/null")
        self.run("sbatch", *where, f"--wrap=sleep {seconds}")

    def profile(self, **changes: Any) -> ClusterProfile:
        """A profile for toy jobs."""
        values: dict[str, Any] = {
            "kind": "slurm", "partition": "low", "cpus_per_task": 1, "memory_gb": 0.5, "time_limit_min": 60,
            "signal_lead_s": 20, "poll_s": 1.0, "max_concurrent": 8,
        }  # fmt: skip
        return ClusterProfile(**{**values, **changes})


@contextmanager
def _cluster(*options: str) -> Iterator[DevCluster]:
    # A short path: munge's and MariaDB's sockets lie below it.
    folder = Path(tempfile.mkdtemp(prefix="vprdist-slurm-", dir="/tmp"))
    done = subprocess.run([DEVCLUSTER, "up", folder, *options], capture_output=True, text=True, check=False)
    if done.returncode == 2 and ("not installed" in done.stderr or "by root" in done.stderr):
        pytest.skip(f"no SLURM here: {done.stderr.splitlines()[0]}")
    assert done.returncode == 0, done.stderr
    try:
        yield DevCluster(folder, options)
    finally:
        subprocess.run([DEVCLUSTER, "down", folder, "--now"], check=True, capture_output=True)
        subprocess.run(["rm", "-rf", folder], check=True)


@pytest.fixture(scope="session")
def _without_accounting() -> Iterator[DevCluster]:
    with _cluster("--nodes=3", "--gpus=4", "--cpus=16", "--grace=4") as cluster:
        yield cluster


@pytest.fixture(scope="session")
def _with_accounting() -> Iterator[DevCluster]:
    # squeue soon forgets a job that ended, so that accounting is what is asked.
    with _cluster("--nodes=2", "--gpus=2", "--cpus=16", "--accounting", "--min-job-age=2") as cluster:
        yield cluster


@pytest.fixture
def slurm_cluster(_without_accounting: DevCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[DevCluster]:
    """Three nodes of four fake GPUs, no accounting; its queue is empty, all nodes are up, toy jobs are importable."""
    yield from _ready(_without_accounting, monkeypatch)


@pytest.fixture
def slurm_accounting(_with_accounting: DevCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[DevCluster]:
    """Two nodes of two fake GPUs, with accounting; jobs need the account `vpr`, or none."""
    yield from _ready(_with_accounting, monkeypatch)


def _ready(cluster: DevCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[DevCluster]:
    cluster.up()
    for key, value in cluster.environment.items():
        monkeypatch.setenv(key, value)
    # The code under test too: the environment may have another checkout installed.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (LAUNCH, REPO))))
    yield cluster
    cluster.up()
    cluster.run("scancel", "--user=root")
    until(lambda: not cluster.run("squeue", "--noheader").strip(), 120)


def hold(cluster: DevCluster, *options: str) -> str:
    """A job that waits; its id."""
    return cluster.run("sbatch", "--parsable", "--hold", "--output=/dev/null", *options, "--wrap=true").strip()

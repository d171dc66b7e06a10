"""A real SLURM for the tests: slurm/devcluster, one without and one with accounting, each started when it is needed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from tests.slurm.devclusters import DEVCLUSTER, REPO, DevCluster, NoSlurm, devcluster
from tests.waiting import until

__all__ = ["DEVCLUSTER", "DevCluster"]
LAUNCH = REPO / "tests" / "launch"
sys.path.insert(0, str(LAUNCH))


def _cluster(*options: str) -> Iterator[DevCluster]:
    try:
        with devcluster(*options) as cluster:
            yield cluster
    except NoSlurm as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def _without_accounting() -> Iterator[DevCluster]:
    yield from _cluster("--nodes=3", "--gpus=4", "--cpus=16", "--grace=4")


@pytest.fixture(scope="session")
def _with_accounting() -> Iterator[DevCluster]:
    # squeue soon forgets a job that ended, so that accounting is what is asked.
    yield from _cluster("--nodes=2", "--gpus=2", "--cpus=16", "--accounting", "--min-job-age=2")


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

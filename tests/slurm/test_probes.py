"""Probes made by a job array on a real SLURM: the values of this machine's own processes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.probing import copied, finished_trial, order_of, values
from tests.slurm.conftest import DevCluster
from vprdist.probes import make_probes
from vprdist.spec.profile import read_profile


@contextlib.contextmanager
def quiet(title: str) -> Iterator[object]:
    yield lambda done, total: None


@pytest.mark.slow
def test_an_array_finds_what_this_machine_finds(slurm_cluster: DevCluster, tmp_path: Path) -> None:
    trial = finished_trial(tmp_path)
    here, there = (order_of(copied(trial, tmp_path / name)) for name in ("here", "there"))
    said: list[str] = []
    make_probes([here], read_profile("local"), said.append, quiet, concurrent=1)
    make_probes([there], slurm_cluster.profile(memory_gb=3), said.append, quiet)
    assert len(values(here)) == 2 and values(there) == values(here)
    assert not there.missing and there.num_done == len(there.probes)
    assert any("array vprdist-probe" in line and "2 task(s)" in line for line in said), said
    before = list(said)
    make_probes([there], slurm_cluster.profile(memory_gb=3), said.append, quiet)
    assert said == before, "nothing is submitted for what is there"

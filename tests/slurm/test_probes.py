"""Probes made by a job array on a real SLURM: the values of this machine's own processes."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest

from tests.end_to_end.test_one_network import started
from tests.probing import at_features, copied, finished_trial, order_of, silent, trained_sweep, values
from tests.slurm.conftest import DevCluster, hold
from tests.slurm.test_caches import write_profile
from tests.waiting import until
from vprdist.cli import main
from vprdist.console import Console
from vprdist.files import digest_json
from vprdist.launch.array_folder import Array
from vprdist.launch.driver_job import driver_name
from vprdist.probes.make import make_probes
from vprdist.report.publish import watch
from vprdist.spec.probes import How
from vprdist.spec.profile import read_profile
from vprdist.store.driving import DriverRecord, write_driver


@pytest.mark.slow
@pytest.mark.parametrize("how", ["each", "pooled"])
def test_an_array_finds_what_this_machine_finds(slurm_cluster: DevCluster, tmp_path: Path, how: How) -> None:
    trial = finished_trial(tmp_path) if how == "each" else finished_trial(tmp_path, at_features("gem"))
    here, there = (order_of(copied(trial, tmp_path / name), how=how) for name in ("here", "there"))
    said: list[str] = []
    make_probes([here], read_profile("local"), said.append, silent, concurrent=1)
    make_probes([there], slurm_cluster.profile(memory_gb=3), said.append, silent)
    assert len(values(here)) == 2 and values(there) == values(here)
    assert not there.missing and there.num_done == len(there.probes)
    assert any("array vprdist-probe" in line and "2 task(s)" in line for line in said), said
    before = list(said)
    make_probes([there], slurm_cluster.profile(memory_gb=3), said.append, silent)
    assert said == before, "nothing is submitted for what is there"


class Slept(Exception):
    """Somebody who watches is not done."""


def sleep(seconds: float) -> None:
    raise Slept


def counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A squeue that leaves a line in the file that is returned, and asks the real one."""
    from shutil import which

    fake, count = folder / "bin" / "squeue", folder / "asked"
    fake.parent.mkdir()
    fake.write_text(f'#!/bin/sh\necho >> {count}\nexec {which("squeue")} "$@"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    return count


@pytest.mark.slow
def test_probes_that_wait_are_shown_and_cancelled_with_or_without_a_driver(
    slurm_cluster: DevCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, runs = trained_sweep(tmp_path)
    folder, words = runs / "sweeps" / "tiny", ["tiny", "--runs", str(runs)]
    profile = write_profile(slurm_cluster, tmp_path / "site.yaml")
    for node in ("gpu01", "gpu02", "gpu03"):
        slurm_cluster.occupy(node, 300)

    def arrays() -> list[str]:
        listed = slurm_cluster.run("squeue", "--noheader", "--states=PD,R,CG", "--format=%j").split()
        return [name for name in listed if name.startswith("vprdist-probe-")]

    def told(*command: str) -> str:
        capsys.readouterr()
        assert main([command[0], *words, *command[1:]]) == 0
        return " ".join(capsys.readouterr().out.split())

    def watched() -> int:
        return watch(folder, runs, Console(file=io.StringIO()), 1, sleep)

    with started(file, runs, f"cluster={profile}") as driver:
        until(lambda: arrays() or driver.poll() is not None, 240)
        assert driver.poll() is None, driver.communicate()[0]
        (name,) = arrays()
        with monkeypatch.context() as patch:
            count = counted(tmp_path, patch)
            text = told("status")
            assert f"probes: 0 of 28 made (1 network); array {name}: queued (" in text, text
            assert "1 done" in text and "Leaderboard" not in text and "No driver" not in text, text
            assert len(count.read_text()) == 1, "one question"
            probes = json.loads(told("status", "--json"))["probes"]
            assert len(count.read_text()) == 2
            with pytest.raises(Slept):
                watched()
            assert len(count.read_text()) == 3
        assert (probes["made"], probes["total"], probes["networks"]) == (0, 28, 1)
        assert [(each["name"], each["state"]) for each in probes["arrays"]] == [(name, "queued")]

        text = told("cancel", "--yes")
        assert f"array {name}: cancelled" in text and not arrays(), text
        output, _ = driver.communicate(timeout=60)
        assert driver.returncode == 2 and "cancelled by" in output and "The same command again" in output, output
        assert output.count("array vprdist-probe-") == 1, "submitted once"
    assert not arrays()
    assert "Nothing to cancel" in told("cancel", "--yes")
    text = told("status")
    assert f"array {name}: not in the queue" in text and "the same command again makes probes" in text, text
    assert watched() == 0

    (place,) = runs.rglob(f"array-{name.removeprefix('vprdist-probe-')}")
    array = Array(name.removeprefix("vprdist-"), place)
    hold(slurm_cluster, f"--job-name={name}", f"--comment={array.token}")  # as if the driver had died beside its array
    assert watched() == 0, "nobody would make finalists"
    leave_driver(slurm_cluster, folder)
    with pytest.raises(Slept):
        watched()  # the driver waits in the queue
    text = told("cancel", "--yes")
    assert f"array {name}: cancelled" in text and not arrays(), "an array that outlived its driver goes too"
    assert watched() == 0


def leave_driver(cluster: DevCluster, sweep: Path) -> None:
    """A detached driver of the sweep that waits in the queue, as one that has put itself back does."""
    job = hold(cluster, f"--job-name={driver_name(sweep)}", f"--comment={digest_json(str(sweep), 16)}")
    record = DriverRecord(job_id=job, name=driver_name(sweep), log="none", submitted_at=0.0)
    write_driver(sweep, record)

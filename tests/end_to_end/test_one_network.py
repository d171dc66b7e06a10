"""One network for all subsets as a user runs it: networks, probes, finalists, and what is said of the classes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import warm
from tests.end_to_end.test_sweep import REPO, rows, starts
from tests.probing import SWEEP, trained_sweep
from tests.training.making import make_cache
from tests.waiting import until
from tests.worlds import spread_queries


@contextmanager
def started(file: Path, runs: Path, *words: str) -> Iterator[warm.Popen]:
    """The driver, and with it its probing processes, in a process group of their own, which is killed in the end."""
    command = [sys.executable, "-m", "vprdist.sweep", str(file), "--runs", str(runs), *words]
    process = warm.Popen(
        command, cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, process_group=0
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def finish(file: Path, runs: Path, *words: str) -> str:
    with started(file, runs, *words) as process:
        output, _ = process.communicate(timeout=570)
    assert process.returncode == 0, output
    return output


def attribution(runs: Path) -> dict[str, Any]:
    """What is said, but for how long it took."""
    told = json.loads((runs / "sweeps" / "tiny" / "attribution.json").read_text())
    for setting in told["settings"]:
        for name in ("train_s", "probe_s", "finalists_s"):
            assert setting["cost"].pop(name) > 0
    return told


def parts(runs: Path) -> dict[Path, bytes]:
    return {path.relative_to(runs): path.read_bytes() for path in runs.glob("trials/*/probes/*/*.parquet")}


@pytest.mark.slow
def test_killed_while_probing_it_goes_on_trains_nothing_twice_and_says_the_same(
    small_tree: Path, tmp_path: Path
) -> None:
    file, runs = tmp_path / "tiny.yaml", tmp_path / "runs"
    spread_queries(small_tree, "bob")  # one cluster tells nothing, and would be refused
    file.write_text(SWEEP.format(root=small_tree, cache=make_cache(small_tree, tmp_path), finalists=1, seeds=[0, 1]))
    with started(file, runs, "cluster=local") as driver:
        deadline = time.monotonic() + 300
        while not parts(runs):
            assert driver.poll() is None and time.monotonic() < deadline, driver.communicate()[0]
            time.sleep(0.05)
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
    early, networks = parts(runs), starts(runs)
    assert len(early) < 4, "the kill came while probing"
    assert set(networks.values()) == {1} and len(networks) == 2, "the networks alone were trained by then"

    output = finish(file, runs)
    assert "of 56 probes of 2 network(s) are to be made" in output and "probing: 56 of" not in output
    assert len(list(runs.glob("trials/*/result.json"))) == len(starts(runs))
    assert set(starts(runs).values()) == {1}, "nothing was trained twice"
    assert networks.items() <= starts(runs).items()
    made = parts(runs)
    assert len(made) == 4 and all(made[path] == data for path, data in early.items()), "no part was made again"

    (setting,) = attribution(runs)["settings"]
    assert (setting["method"], setting["num_seeds"], setting["num_queries"]) == ("one_network", 2, 8)
    assert {row["player"] for row in setting["players"]} == {"built", "thin", "green"}
    for row in setting["players"]:
        assert set(row["placebos"]) == set(row["beyond"]) == {"random", "image", "classes"}
        assert row["area"] is not None and row["num_gained"] is not None
    assert len(setting["arms"]) == 28 and len(setting["pairs"]) == 3
    alone = [arm["players"] for arm in setting["arms"] if arm["alone"] is not None]
    assert ["built", "thin", "green"] in alone and len(alone) == (len(starts(runs)) - 2) // 2
    assert setting["cost"] == {
        "num_trials": 2, "num_probes": 56, "num_finalists": len(starts(runs)) - 2, "on_gpu": setting["cost"]["on_gpu"]
    }  # fmt: skip
    folder = runs / "sweeps" / "tiny"
    for name in ("attribution.parquet", "attribution.md", "attribution.tex", "leaderboard.html", "manifest.json"):
        assert (folder / name).stat().st_size > 0, name
    assert len(rows(runs, "tiny")) == 1 + len(alone), "a row for the network, one for each finalist"
    for words in ("built", "thin", "green"):
        assert words in output

    # The same networks probed without a break, elsewhere; the rest is over, and only shown.
    other = tmp_path / "other"
    shutil.copytree(runs, other)
    for place in other.glob("trials/*/probes"):
        shutil.rmtree(place)
    (other / "sweeps" / "tiny" / "attribution.json").unlink()
    before = starts(other)
    assert "56 of 56 probes of 2 network(s)" in finish(file, other)
    assert starts(other) == before
    assert attribution(other) == attribution(runs)
    assert parts(other) == made, "to the byte"
    assert set(starts(other).values()) == {1}


def workers_of(driver: int) -> list[Path]:
    """The processes that probe for a driver, in /proc: those of its group, but for itself."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            group = int((place / "stat").read_text().rpartition(")")[2].split()[2])
            if group == driver and int(place.name) != driver:
                found.append(place)
        except OSError:  # it ended meanwhile
            continue
    return found


@pytest.mark.slow
def test_sigterm_while_probing_ends_the_probing_processes_too(tmp_path: Path) -> None:
    """Whoever stops the driver alone, not its process group, leaves nothing behind."""
    file, runs = trained_sweep(tmp_path)
    with started(file, runs, "cluster=local") as driver:
        deadline = time.monotonic() + 300
        while not (workers := workers_of(driver.pid)):
            assert driver.poll() is None and time.monotonic() < deadline, driver.communicate()[0]
            time.sleep(0.05)
        driver.terminate()
        output, _ = driver.communicate(timeout=120)
        assert driver.returncode == 130, output
        assert "Interrupted. What was made is kept; the same command again continues." in output
        until(lambda: not any(place.exists() for place in workers))

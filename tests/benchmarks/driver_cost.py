# ruff: noqa: E402  (the toy jobs of tests/launch are found by path, here and on the node)
"""What the driver and all that it starts cost on a login node, with 1, 8 and 64 jobs in flight on a real SLURM.

A plain grid (`search`), and a sweep under ASHA (`follow`), whose trials Tune follows while they run.

    python tests/benchmarks/driver_cost.py
    python tests/benchmarks/driver_cost.py --other ../vprdist-before --ways follow    # another checkout beside it

Proportional and unique set size, processes, threads, CPU seconds a minute once the jobs run and nothing happens, and
the squeue and sacct calls of that minute; before that, how long a sweep of one trivial trial takes on this machine.
The jobs themselves are not counted.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
from told import tell

REPO = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPO), str(REPO / "tests" / "launch"), str(REPO / "tests" / "drills")]

from counting import calls, counting_path, forget
from toy import behave, toy_trials
from toy_driver import start

from tests.waiting import until
from vprdist.spec.profile import ClusterProfile
from vprdist.store.trial_folder import TrialFolder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--ways", nargs="+", default=["search", "follow"], help="a plain grid; one under ASHA")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to look, once the jobs run")
    parser.add_argument("--other", type=Path, help="the folder of another checkout, to compare with")
    args = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="vprdist-cost-"))
    sides = {"this": REPO} | ({"other": args.other.resolve()} if args.other else {})
    whole = {side: whole_sweep_s(base / f"whole-{side}", code) for side, code in sides.items()}
    print("a sweep of one trivial trial: " + ", ".join(f"{side} {seconds:.1f} s" for side, seconds in whole.items()))
    command = [REPO / "slurm" / "devcluster"]
    up = [*command, "up", str(base / "slurm"), "--nodes", "4", "--gpus", "0", "--cpus", "32", "--memory-gb", "64"]
    subprocess.run(up, check=True, stdout=subprocess.DEVNULL)
    os.environ["SLURM_CONF"] = str(base / "slurm" / "etc" / "slurm.conf")
    os.environ["PATH"] = counting_path(base / "shims")
    heads = ("PSS MB", "USS MB", "processes", "threads", "CPU s/min")
    print(f"{'way':>7} {'jobs':>5} {'side':>6} " + " ".join(f"{head:>10}" for head in heads) + "  calls a minute")
    try:
        for way, jobs in itertools.product(args.ways, args.jobs):
            seen = {}
            for side, code in sides.items():
                seen[side], calls_made = measure(base / side, code, way, jobs, args.seconds)
                print(f"{way:>7} {jobs:5d} {side:>6} " + _row(seen[side], "10.1f") + f"  {calls_made}", flush=True)
            tell(f"memory of a driver, {way}, {jobs} jobs", seen["this"][0], "MB PSS")
            tell(f"a driver that waits, {way}, {jobs} jobs", seen["this"][4], "CPU s/min")
            if args.other:
                ratios = [theirs / ours if ours else float("nan") for ours, theirs in zip(*seen.values(), strict=True)]
                print(f"{way:>7} {jobs:5d} {'ratio':>6} " + _row(ratios, "10.2f"), flush=True)
    finally:
        subprocess.run([*command, "down", str(base / "slurm"), "--now"], check=True, stdout=subprocess.DEVNULL)
    return 0


def _row(values: Sequence[float], form: str) -> str:
    return " ".join(f"{value:{form}}" for value in values)


def whole_sweep_s(runs: Path, code: Path) -> float:
    """Seconds from start to end of a driver of one trial that does nothing, as a job of this machine."""
    behave(runs, steps=1)
    os.environ["PYTHONPATH"] = str(code)
    begin = time.monotonic()
    assert "results 1" in start("follow", runs, 1).communicate(timeout=600)[0]
    return time.monotonic() - begin


def measure(base: Path, code: Path, way: str, jobs: int, seconds: float) -> tuple[list[float], str]:
    """The cost with so many jobs in flight, as the columns have it, and SLURM's calls a minute."""
    runs, shims = base / f"{way}-{jobs}", base.parent / "shims"
    behave(runs, steps=1, hold=True)
    profile = ClusterProfile(
        kind="slurm", partition="gpu", memory_gb=0.5, cpus_per_task=1, time_limit_min=60, max_concurrent=jobs,
        poll_s=30, check=False,
    )  # fmt: skip
    os.environ["PYTHONPATH"] = str(code)
    driver = start(way, runs, jobs, profile)
    folders = [TrialFolder.of(runs, trial.trial_id) for trial in toy_trials(jobs)]
    until(lambda: all(folder.starts() for folder in folders), 900)
    if (code / "vprdist" / "search" / "reaper.py").exists():  # a process a reader, which start one after another
        until(lambda: sum("Trainable" in name for name in names(driver.pid)) >= (jobs if way == "follow" else 1), 900)
    time.sleep(10)
    forget(shims)
    cpu = cpu_seconds(driver.pid)
    time.sleep(seconds)
    used = (cpu_seconds(driver.pid) - cpu) * 60 / seconds
    asked = ", ".join(f"{name} {n * 60 / seconds:.1f}" for name, n in sorted(calls(shims).items()))
    family = processes(driver.pid)
    pss, uss = (sum(memory(process, kind) for process in family) / 2**20 for kind in ("pss", "uss"))
    threads = sum(process.num_threads() for process in family)
    (runs / "go").touch()
    driver.communicate(timeout=900)
    return [pss, uss, len(family), threads, used], asked or "none"


def processes(pid: int) -> list[psutil.Process]:
    """The driver, its children, and the processes of an earlier version's Ray, which have parents of their own."""
    driver = psutil.Process(pid)
    family = {driver, *driver.children(recursive=True)}
    every = [(process, process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    watched = {words[3] for _, words in every if len(words) > 4 and words[4] == str(pid) and "reaper.py" in words[2]}
    for process, words in every:
        if any(folder in word for folder in watched for word in words):
            family |= {process, *process.children(recursive=True)}
    return [process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def names(pid: int) -> list[str]:
    """Command lines of the family."""
    found = []
    for process in processes(pid):
        try:
            found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def memory(process: psutil.Process, kind: str) -> int:
    """Proportional (`pss`) or unique (`uss`) set size, bytes."""
    try:
        return int(getattr(process.memory_full_info(), kind))
    except psutil.Error:
        return 0


def cpu_seconds(pid: int) -> float:
    """CPU time of the family so far, seconds."""
    total = 0.0
    for process in processes(pid):
        try:
            times = process.cpu_times()
            total += times.user + times.system
        except psutil.Error:
            continue
    return total


if __name__ == "__main__":
    sys.exit(main())

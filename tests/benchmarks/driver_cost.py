# ruff: noqa: E402  (the toy jobs of tests/launch are found by path, here and on the node)
"""What the driver and all that it starts cost on a login node, with 8, 16 and 64 jobs in flight on a real SLURM.

A plain grid, which one process reads (`search`), beside a sweep with a scheduler, which follows every trial (`follow`).

    python tests/benchmarks/driver_cost.py

Proportional set size (shared pages counted once), processes, threads, CPU seconds a minute once the jobs run, and
the squeue and sacct calls of that minute. The jobs themselves are SLURM's and are not counted.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

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
    parser.add_argument("--jobs", type=int, nargs="+", default=[8, 16, 64])
    parser.add_argument("--ways", nargs="+", default=["search", "follow"], help="a plain grid; one with a scheduler")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to look, once the jobs run")
    args = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="vprdist-cost-"))
    command = [REPO / "slurm" / "devcluster"]
    up = [*command, "up", str(base / "slurm"), "--nodes", "4", "--gpus", "0", "--cpus", "32", "--memory-gb", "64"]
    subprocess.run(up, check=True, stdout=subprocess.DEVNULL)
    os.environ["SLURM_CONF"] = str(base / "slurm" / "etc" / "slurm.conf")
    os.environ["PATH"] = counting_path(base / "shims")
    print(f"{'way':>7} {'jobs':>5} {'PSS MB':>8} {'processes':>10} {'threads':>8} {'CPU s/min':>10}  calls a minute")
    try:
        for way, jobs in itertools.product(args.ways, args.jobs):
            print(measure(base, way, jobs, args.seconds), flush=True)
    finally:
        subprocess.run([*command, "down", str(base / "slurm"), "--now"], check=True, stdout=subprocess.DEVNULL)
    return 0


def measure(base: Path, way: str, jobs: int, seconds: float) -> str:
    """One line: the cost with so many jobs in flight."""
    runs = base / f"{way}-{jobs}"
    behave(runs, steps=1, hold=True)
    profile = ClusterProfile(
        kind="slurm", partition="gpu", memory_gb=0.5, cpus_per_task=1, time_limit_min=60, max_concurrent=jobs, poll_s=30
    )
    driver = start(way, runs, jobs, profile)
    folders = [TrialFolder.of(runs, trial.trial_id) for trial in toy_trials(jobs)]
    until(lambda: all(folder.starts() for folder in folders), 600)
    readers = jobs if way == "follow" else 1
    until(lambda: sum("Trainable" in name for name in names(driver.pid)) >= readers, 600)
    time.sleep(10)
    forget(base / "shims")
    cpu = cpu_seconds(driver.pid)
    time.sleep(seconds)
    used = (cpu_seconds(driver.pid) - cpu) * 60 / seconds
    asked = ", ".join(f"{name} {n * 60 / seconds:.1f}" for name, n in sorted(calls(base / "shims").items()))
    family = processes(driver.pid)
    pss = sum(memory(process) for process in family) / 2**20
    threads = sum(process.num_threads() for process in family)
    line = f"{way:>7} {jobs:5d} {pss:8.0f} {len(family):10d} {threads:8d} {used:10.1f}  {asked or 'none'}"
    (runs / "go").touch()
    driver.communicate(timeout=600)
    return line


def processes(pid: int) -> list[psutil.Process]:
    """The driver, its children, and the processes of its Ray, which have parents of their own."""
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


def memory(process: psutil.Process) -> int:
    """Proportional set size, bytes."""
    try:
        return int(process.memory_full_info().pss)
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

# ruff: noqa: E402  (the toy jobs of tests/launch are found by path, here and on the node)
"""500 trivial trials by vprdist beside 500 bare submitit jobs of the same function, on the same real SLURM.

    python tests/benchmarks/trivial_trials.py --count 500

Neither side imports torch. Prints wall time, the ratio, and how often SLURM's commands were called.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPO / "tests" / "launch"), str(REPO / "tests" / "drills")]

from counting import calls, counting_path, forget
from toy import behave, toy_trials
from toy_driver import start

from vprdist.spec.profile import ClusterProfile
from vprdist.store.trial_folder import TrialFolder

BARE = """if True:
    import sys, submitit
    from toy import bare_toy, toy_trials
    from pathlib import Path
    folder, runs, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    executor = submitit.SlurmExecutor(folder)
    executor.update_parameters(partition="gpu", mem="500MB", cpus_per_task=1, time=30, stderr_to_stdout=True)
    jobs = [executor.submit(bare_toy, trial, runs / trial.trial_id) for trial in toy_trials(count)]
    for job in jobs:
        job.result()
    print(f"results {len(jobs)}")
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--concurrent", type=int, default=32, help="vprdist's trials in flight")
    args = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="vprdist-trivial-"))
    command = [REPO / "slurm" / "devcluster"]
    up = [*command, "up", str(base / "slurm"), "--nodes", "4", "--gpus", "0", "--accounting"]
    subprocess.run(up, check=True, stdout=subprocess.DEVNULL)
    os.environ["SLURM_CONF"] = str(base / "slurm" / "etc" / "slurm.conf")
    os.environ["PATH"] = counting_path(base / "shims")
    path = [str(REPO / "tests" / "launch"), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(path)
    try:
        behave(base / "runs", steps=0)
        bare = measure("bare submitit", base, lambda: run_bare(base, args.count))
        ours = measure("vprdist", base, lambda: run_ours(base, args.count, args.concurrent))
        print(f"vprdist / bare submitit: {ours / bare:.2f} of its wall time")
    finally:
        subprocess.run([*command, "down", str(base / "slurm"), "--now"], check=True, stdout=subprocess.DEVNULL)
    return 0


def measure(name: str, base: Path, work: Callable[[], None]) -> float:
    """Seconds of `work`; prints them with SLURM's calls."""
    forget(base / "shims")
    begin = time.monotonic()
    work()
    seconds = time.monotonic() - begin
    asked = ", ".join(f"{command} {number}" for command, number in sorted(calls(base / "shims").items()))
    print(f"{name:14s} {seconds:7.1f} s   {asked}", flush=True)
    return seconds


def run_bare(base: Path, count: int) -> None:
    """submitit alone: submit all, wait for all."""
    out = subprocess.run(
        [sys.executable, "-c", BARE, str(base / "bare"), str(base / "bare-runs"), str(count)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert f"results {count}" in out


def run_ours(base: Path, count: int, concurrent: int) -> None:
    """A whole sweep: Ray Tune, journal, adoption, results."""
    profile = ClusterProfile(
        kind="slurm", partition="gpu", memory_gb=0.5, cpus_per_task=1, time_limit_min=30, max_concurrent=concurrent
    )
    driver = start("search", base / "runs", count, profile)
    text = driver.communicate()[0]
    folders = [TrialFolder.of(base / "runs", trial.trial_id) for trial in toy_trials(count)]
    assert all(folder.has_result and len(folder.starts()) == 1 for folder in folders), text[-2000:]


if __name__ == "__main__":
    sys.exit(main())

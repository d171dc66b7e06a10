# ruff: noqa: E402  (the toy jobs of tests/launch are found by path, here and on the node)
"""500 trivial trials by vprdist, in four ways, beside bare job arrays of as many tasks, on the same real SLURM.

    python tests/benchmarks/trivial_trials.py --count 500

Bare: an sbatch array of a Python that writes one file, and submitit's `map_array` of the same function. Ours: a job a
trial, packs, an array, an array of packs; each is a whole sweep, with journals, adoption and results. No side loads
torch; with `--loads torch` each does, as trials that train do. Prints wall times, their ratios to the bare sbatch
array, the CPU seconds of what submits and waits (jobs are the daemons' children, and not in it), and how often SLURM's
commands were called.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPO / "tests" / "launch"), str(REPO / "tests" / "drills")]

from counting import calls, counting_path, forget
from told import tell
from toy import behave, toy_trials
from toy_driver import start

from vprdist.launch.first_job import FirstJob
from vprdist.spec.profile import ClusterProfile
from vprdist.store.trial_folder import TrialFolder

TASK = """
import importlib, json, os, pathlib
for name in os.environ["TOY_LOADS"].split():
    importlib.import_module(name)
path = pathlib.Path(os.environ["OUT"]) / os.environ["SLURM_ARRAY_TASK_ID"] / "result.json"
path.parent.mkdir(parents=True)
path.write_text(json.dumps({"recall@1": 0.5}))
"""
SUBMITIT = """if True:
    import sys, submitit
    from toy import bare_toy, toy_trials
    from pathlib import Path
    folder, runs, count, most = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    executor = submitit.SlurmExecutor(folder)
    executor.update_parameters(partition="gpu", mem=f"{sys.argv[5]}MB", cpus_per_task=1, time=30, stderr_to_stdout=True,
                               array_parallelism=most)
    trials = toy_trials(count)
    jobs = executor.map_array(bare_toy, trials, [runs / trial.trial_id for trial in trials])
    for job in jobs:
        job.result()
    print(f"results {len(jobs)}")
"""
WAYS: dict[str, dict[str, Any]] = {
    "a job each": {},
    "packs": {"trials_per_job": 16},
    "array": {"arrays": True},
    "array of packs": {"arrays": True, "trials_per_job": 16},
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--concurrent", type=int, default=32, help="jobs, or tasks, at once; on every side")
    parser.add_argument("--pack", type=int, default=16, help="trials a job, where there are packs")
    parser.add_argument("--loads", nargs="+", default=[], metavar="MODULE", help="what each task, or job, loads first")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), metavar="WAY", help="some of ours only")
    parser.add_argument("--no-submitit", action="store_true", help="without bare submitit, which takes its minutes")
    args = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="vprdist-trivial-"))
    command = [REPO / "slurm" / "devcluster"]
    up = [*command, "up", str(base / "slurm"), "--nodes", "4", "--gpus", "0", "--accounting"]
    subprocess.run(up, check=True, stdout=subprocess.DEVNULL)
    os.environ["SLURM_CONF"] = str(base / "slurm" / "etc" / "slurm.conf")
    os.environ["PATH"] = counting_path(base / "shims")
    path = [str(REPO / "tests" / "launch"), str(REPO), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(path)
    os.environ["TOY_LOADS"] = " ".join(args.loads)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # jobs that compile every module again are not what users have
    try:
        what = f" that load {', '.join(args.loads)}" * bool(args.loads)
        print(
            f"{args.count} trials{what}, at most {args.concurrent} jobs at once; load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
        bare = measure("bare sbatch array", base, lambda: run_bare(base, args.count, args.concurrent), None)
        if not args.no_submitit:
            measure("bare submitit map_array", base, lambda: run_submitit(base, args.count, args.concurrent), bare)
        for way in args.ways:
            changes = WAYS[way]
            if "trials_per_job" in changes:
                changes = {**changes, "trials_per_job": args.pack}
            runs = base / way.replace(" ", "-")
            behave(runs, steps=0)
            work = lambda runs=runs, changes=changes: run_ours(runs, args.count, args.concurrent, changes)  # noqa: E731
            measure(f"vprdist, {way}", base, work, bare)
    finally:
        subprocess.run([*command, "down", str(base / "slurm"), "--now"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["rm", "-rf", str(base)], check=True)
    return 0


def measure(name: str, base: Path, work: Callable[[], None], bare: float | None) -> float:
    """Seconds of `work`; prints them with the ratio and SLURM's calls."""
    forget(base / "shims")
    begin, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    work()
    seconds, after = time.monotonic() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    own = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if bare is not None:
        tell(name, seconds, "s", peer="bare sbatch array", theirs=bare)
    asked = ", ".join(f"{command} {number}" for command, number in sorted(calls(base / "shims").items()))
    print(f"{name:26s} {seconds:7.1f} s   {seconds / (bare or seconds):5.2f}   {own:6.1f} CPU s   {asked}", flush=True)
    return seconds


def memory_mb() -> int:
    """What a job may take; torch alone takes 500 MB."""
    return 1000 if os.environ["TOY_LOADS"] else 500


def run_bare(base: Path, count: int, concurrent: int) -> None:
    """One sbatch, and a look for results ten times a second: `sbatch --wait` itself looks every ten seconds at last."""
    (base / "task.py").write_text(TASK)
    out = base / "bare-results"
    words = ["sbatch", f"--array=0-{count - 1}%{concurrent}", "--partition=gpu", f"--mem={memory_mb()}MB"]
    words += ["--cpus-per-task=1", f"--output={base}/bare-%a.out", f"--wrap={sys.executable} {base / 'task.py'}"]
    subprocess.run(words, check=True, capture_output=True, env={**os.environ, "OUT": str(out)})
    deadline = time.monotonic() + 60 + 10 * count
    while len(list(out.glob("*/result.json"))) < count:
        assert time.monotonic() < deadline, f"no {count} results; what the tasks said: {base}/bare-*.out"
        time.sleep(0.1)


def run_submitit(base: Path, count: int, concurrent: int) -> None:
    """submitit alone: one array, wait for all."""
    words = [str(base / "bare"), str(base / "bare-runs"), str(count), str(concurrent), str(memory_mb())]
    out = subprocess.run([sys.executable, "-c", SUBMITIT, *words], check=True, capture_output=True, text=True).stdout
    assert f"results {count}" in out


def run_ours(runs: Path, count: int, concurrent: int, changes: dict[str, Any]) -> None:
    """A whole sweep."""
    profile = ClusterProfile(
        kind="slurm", partition="gpu", memory_gb=memory_mb() / 1000, cpus_per_task=1, time_limit_min=30,
        max_concurrent=concurrent, **changes,
    )  # fmt: skip
    FirstJob(profile, runs, print).place.write_passed([])  # once a profile and run folder; not what is compared
    text = start("search", runs, count, profile).communicate()[0]
    folders = [TrialFolder.of(runs, trial.trial_id) for trial in toy_trials(count)]
    assert all(folder.has_result and len(folder.starts()) == 1 for folder in folders), text[-2000:]


if __name__ == "__main__":
    sys.exit(main())

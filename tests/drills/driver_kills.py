# ruff: noqa: E402  (the toy jobs of tests/launch are found by path, here and on the node)
"""Kill the driver 50 times in a 20-trial sweep on a real SLURM, with preemptions and a failing node, and count.

    python tests/drills/driver_kills.py --kills 50 --trials 20

Every trial must end with one result, no submission may be made twice, no step may be lost. Takes about eight minutes;
leaves its folder for a look where something is wrong.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPO / "tests" / "launch"), str(REPO / "tests" / "drills")]

from counting import calls, counting_path
from toy import behave, toy_trials
from toy_driver import start

from vprdist.spec.profile import ClusterProfile
from vprdist.store.trial_folder import TrialFolder

PROFILE = ClusterProfile(
    kind="slurm", partition="low", memory_gb=0.5, cpus_per_task=1, time_limit_min=120, signal_lead_s=20, poll_s=1.0,
    max_concurrent=6, max_attempts=3,
)  # fmt: skip


def devcluster(*words: str) -> None:
    subprocess.run([REPO / "slurm" / "devcluster", *words], check=True, stdout=subprocess.DEVNULL)


def slurm(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


class Chaos:
    """Now and then a more important job takes a node; once, in the middle, a node fails and comes back."""

    def __init__(self, cluster: Path, rng: random.Random) -> None:
        self.cluster, self.rng = cluster, rng
        self.preemptions = self.failures = 0
        self._next, self._failed_at = time.monotonic() + 15, 0.0

    def act(self, share: float) -> None:
        """Called between two kills; `share` of the kills are done."""
        if time.monotonic() > self._next:
            self._next = time.monotonic() + self.rng.uniform(15, 30)
            node = self.rng.choice(["gpu01", "gpu03", "gpu04"])
            slurm("sbatch", "-p", "high", "-w", node, "--exclusive", "--mem=0", "-o", "/dev/null", "--wrap=sleep 3")
            self.preemptions += 1
        if share > 0.4 and not self.failures:
            devcluster("fail", "gpu02", str(self.cluster), "--at-once")
            self.failures, self._failed_at = 1, time.monotonic()
        elif self._failed_at and time.monotonic() - self._failed_at > 20:
            self.mend()

    def mend(self) -> None:
        """Boot the node again."""
        if self._failed_at:
            devcluster("up", str(self.cluster))
            self._failed_at = 0.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--steps", type=int, default=90, help="seconds a trial takes, undisturbed")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="vprdist-drill-"))
    cluster, runs = base / "slurm", base / "runs"
    devcluster("up", str(cluster), "--nodes", "4", "--gpus", "0", "--min-job-age", "7200")
    os.environ["SLURM_CONF"] = str(cluster / "etc" / "slurm.conf")
    os.environ["PATH"] = counting_path(base / "shims")
    try:
        behave(runs, steps=args.steps, dt=1.0)
        drill(args, Chaos(cluster, random.Random(args.seed)), runs)
        good = report(runs, args.trials, calls(base / "shims"))
    finally:
        devcluster("down", str(cluster), "--now")
    print(f"folder: {base}")
    return 0 if good else 1


def drill(args: argparse.Namespace, chaos: Chaos, runs: Path) -> None:
    rng = random.Random(args.seed)
    folders = [TrialFolder.of(runs, trial.trial_id) for trial in toy_trials(args.trials)]
    began, kills = time.monotonic(), 0
    while kills < args.kills and not all(folder.has_result for folder in folders):
        driver = start("search", runs, args.trials, PROFILE)
        deadline = time.monotonic() + rng.uniform(0.2, 9.0)
        while time.monotonic() < deadline and driver.poll() is None:
            time.sleep(0.02)
        if driver.poll() is None:
            os.kill(driver.pid, signal.SIGKILL)
            kills += 1
        driver.communicate()
        chaos.act(kills / args.kills)
        done = sum(folder.has_result for folder in folders)
        print(f"\r{kills} kills, {done}/{args.trials} results, {time.monotonic() - began:.0f} s ", end="", flush=True)
    chaos.mend()
    last = start("search", runs, args.trials, PROFILE)
    text = last.communicate(timeout=1800)[0]
    print(f"\n{text.strip().splitlines()[-1]}")
    print(f"{kills} kills, {chaos.preemptions} preempting jobs, {chaos.failures} node failure(s), "
          f"{time.monotonic() - began:.0f} s")  # fmt: skip


def report(runs: Path, count: int, asked: Counter[str]) -> bool:
    """What the folders and SLURM say of every trial; True when all is as it must be."""
    known = Counter(line.strip() for line in slurm("squeue", "-h", "--states=all", "-o", "%j").splitlines())
    totals: Counter[str] = Counter()
    for trial in toy_trials(count):
        folder = TrialFolder.of(runs, trial.trial_id)
        record, starts = folder.job(), folder.starts()
        steps = [row["step"] for row in folder.rows()[0] if row["kind"] == "train"]
        allowed = 0 if record is None else record.attempt + record.lost
        jobs = known[f"vprdist-{trial.trial_id}"]
        totals["results"] += folder.has_result
        totals["failures"] += folder.failure() is not None
        totals["jobs"] += jobs
        totals["jobs without a death before them (duplicates)"] += max(0, jobs - allowed)
        totals["starts"] += len(starts)
        totals["results written by more than one evaluation"] += (
            sum(row["kind"] == "evaluate" for row in folder.rows()[0]) > 1
        )
        totals["steps lost"] += len(set(range(1, max(steps, default=0) + 1)) - set(steps))
        totals["steps repeated"] += len(steps) - len(set(steps))
        logs = "".join(path.read_text(errors="replace") for path in folder.log.glob("attempt-*/*_log.out"))
        totals["copies that met another copy and left"] += logs.count("Another copy of")
        totals["jobs that found themselves unwanted and left"] += logs.count("is not wanted any more")
    for name, value in totals.items():
        print(f"{value:6d}  {name}")
    print(f"        calls: {', '.join(f'{name} {number}' for name, number in sorted(asked.items()))}")
    wrong = ("failures", "jobs without a death before them (duplicates)", "steps lost")
    return totals["results"] == count and not any(totals[name] for name in wrong)


if __name__ == "__main__":
    sys.exit(main())

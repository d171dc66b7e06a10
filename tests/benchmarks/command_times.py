"""How long the commands take that a person waits for, beside `python -c "import numpy"` on the same machine.

    python tests/benchmarks/command_times.py                                  the demo's table1, then copies of it
    python tests/benchmarks/command_times.py --beside ../vprdist-before       another checkout in the same run
    python tests/benchmarks/command_times.py --work /tmp/times --sizes 10 100 1000    keeps what it made, for next time

A short table1 of the built-in city is run for real. Copies of its trials, under ids of their own, make sweeps of any
size: two modes, learning rates, some seeds each, with the results and queries of the real trials in turn. Every
command is a process of its own; the sides and `import numpy` take turns. The least of several runs counts, by the
clock and by the processor, beside the largest resident set of any process that the best run started.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from told import tell

REPO = Path(__file__).resolve().parents[2]

SHORT = ("trial.train.steps=4",)
NUMPY = ("-c", "import numpy")
AIMS = {"--help": 2.0, "status": 6.0, "plan": 6.0}
"""What commands on a finished demo sweep may take, in times of `NUMPY`."""


@dataclass
class Cost:
    """The least of several runs."""

    wall_s: float = float("inf")
    cpu_s: float = float("inf")
    peak_mb: float = 0.0

    def take(self, other: Cost) -> None:
        if other.cpu_s < self.cpu_s:  # the first run may count what the others remember
            self.peak_mb = other.peak_mb
        self.wall_s, self.cpu_s = min(self.wall_s, other.wall_s), min(self.cpu_s, other.cpu_s)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="*", default=[10, 100, 1000], help="trials of the copied sweeps")
    parser.add_argument("--work", type=Path, help="where the sweeps are made, and kept (default: removed again)")
    parser.add_argument("--beside", type=Path, help="the folder of another checkout, to compare with")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each command, of which the least counts")
    parser.add_argument("--limit", type=float, default=600.0, metavar="S", help="a command that takes longer is ended")
    parser.add_argument("--seeds", type=int, default=5, help="seeds of each row of the copied sweeps")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="only commands that begin with one of these words")
    args = parser.parse_args()
    work = args.work or Path(tempfile.mkdtemp(prefix="vprdist-times-"))
    work = work.resolve()
    sides = ({"before": args.beside.resolve()} if args.beside else {}) | {"now": REPO}
    try:
        rounds = [(8, commands_of_demo(demo_sweep(work)))]
        rounds += [(size, commands_of_copies(copies(work, size, args.seeds))) for size in args.sizes]
        report(rounds, sides, args)
    finally:
        if args.work is None:
            shutil.rmtree(work)
    return 0


def demo_sweep(work: Path) -> Path:
    """The folder where a short table1 was run to its end; made where it is not there yet."""
    if not (work / "runs" / "sweeps" / "table1" / "leaderboard.csv").exists():
        print("running a short table1", file=sys.stderr, flush=True)
        words = ("-m", "vprdist", "sweep", str(REPO / "sweeps" / "table1.yaml"), *SHORT, "--runs", str(work / "runs"))
        subprocess.run([sys.executable, *words], env=environment(REPO), stdout=subprocess.DEVNULL, check=True)
    return work


def commands_of_demo(work: Path) -> dict[str, tuple[Sequence[str], Path]]:
    """By their names, the words of commands on the finished sweep, and the folder where they are typed."""
    file = (str(REPO / "sweeps" / "table1.yaml"), *SHORT)
    trial = next(iter(sorted((work / "runs" / "trials").iterdir()))).name
    commands: dict[str, Sequence[str]] = {
        "--help": ("--help",), "keys": ("keys", "trial.train"), "logs": ("logs", trial), "status": ("status",),
        "status NAME": ("status", "table1"), "cancel NAME": ("cancel", "table1", "--yes"),
        "leaderboard": ("leaderboard", "table1"), "plan": ("plan", *file), "sweep again": ("sweep", *file),
    }  # fmt: skip
    return {name: (words, work) for name, words in commands.items()}


def commands_of_copies(place: Path) -> dict[str, tuple[Sequence[str], Path]]:
    """The same of a sweep of copies."""
    commands: dict[str, Sequence[str]] = {
        "status": ("status",), "status NAME": ("status", "copies"), "leaderboard": ("leaderboard", "copies"),
        "plan": ("plan", "copies.yaml"),
    }  # fmt: skip
    return {name: (words, place) for name, words in commands.items()}


def copies(work: Path, size: int, seeds: int) -> Path:
    """A folder with `copies.yaml` and a run folder where that sweep of about so many trials is finished.

    It is made by a process of its own: what a process has in memory when it starts another counts as the other's peak.
    """
    place = work / f"copies-{size}-{seeds}"
    if not (place / "copies.yaml").exists():
        print(f"making {size} trials", file=sys.stderr, flush=True)
        words = ("-m", "tests.benchmarks.command_copies", str(work / "runs"), str(place), str(size), str(seeds))
        subprocess.run([sys.executable, *words], cwd=REPO, env=environment(REPO), check=True)
    return place


def report(
    rounds: Sequence[tuple[int, Mapping[str, tuple[Sequence[str], Path]]]], sides: Mapping[str, Path],
    args: argparse.Namespace,
) -> None:  # fmt: skip
    """Run everything and print a line a command, size and side."""
    print(
        f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}; numpy: python -c 'import numpy', the same turns"
    )
    print(
        f"{'command':>12} {'trials':>6} {'side':>7} {'s':>7} {'/numpy':>7} {'cpu s':>7} {'/numpy':>7} {'peak MB':>8} "
        f"{'ms a trial more':>15}"
    )
    first: dict[tuple[str, str], tuple[int, Cost]] = {}
    for size, commands in rounds:
        for name, (words, place) in commands.items():
            if args.only and not any(name.startswith(word) for word in args.only):
                continue
            numpy, costs = measure(words, place, sides, args.repeats, args.limit)
            for side, cost in costs.items():
                grown = ""
                if size != rounds[0][0]:
                    least, of_least = first.setdefault((name, side), (size, cost))
                    grown = f"{1000 * (cost.cpu_s - of_least.cpu_s) / (size - least):.3f}" if size > least else ""
                print(
                    f"{name:>12} {size:6d} {side:>7} {cost.wall_s:7.2f} {cost.wall_s / numpy.wall_s:7.1f} "
                    f"{cost.cpu_s:7.2f} {cost.cpu_s / numpy.cpu_s:7.1f} {cost.peak_mb:8.0f} {grown:>15}",
                    flush=True,
                )
            tell(f"{name}, {size} trials", costs["now"].wall_s, "s", peer="import numpy", theirs=numpy.wall_s,
                 at_most=AIMS.get(name) if size == rounds[0][0] else None)  # fmt: skip
            if len(costs) == 2:
                before, now = costs["before"], costs["now"]
                print(
                    f"{'':>12} {'':>6} {'ratio':>7} {before.wall_s / now.wall_s:7.2f} {'':>7} "
                    f"{before.cpu_s / now.cpu_s:7.2f} {'':>7} {before.peak_mb / now.peak_mb:8.2f}"
                )
    for size, commands in rounds[1:]:
        place = next(iter(commands.values()))[1] / "runs" / "sweeps" / "copies" / "leaderboard.html"
        if place.exists():
            print(f"page of {size} trials, {args.seeds} a row: {place.stat().st_size / 1e6:.2f} MB")


def measure(
    words: Sequence[str], place: Path, sides: Mapping[str, Path], repeats: int, limit_s: float
) -> tuple[Cost, dict[str, Cost]]:
    """What `import numpy` and the command on each side take, in turns."""
    numpy, costs = Cost(), {side: Cost() for side in sides}
    for _ in range(repeats):
        numpy.take(run(NUMPY, place, REPO, limit_s))
        for side, code in sides.items():
            if costs[side].wall_s in (float("inf"),) or costs[side].wall_s < limit_s:
                costs[side].take(run(("-m", "vprdist", *words), place, code, limit_s))
    return numpy, costs


def run(words: Sequence[str], place: Path, code: Path, limit_s: float) -> Cost:
    """One process with all that it starts and waits for."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *words], cwd=place, env=environment(code), stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    before = signal.signal(signal.SIGALRM, lambda number, frame: os.killpg(process.pid, signal.SIGKILL))
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    _, status, used = os.wait4(process.pid, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1, -signal.SIGKILL):
        raise RuntimeError(f"{' '.join(words)} ended with exit code {process.returncode}")
    return Cost(time.perf_counter() - begin, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6)


def environment(code: Path) -> dict[str, str]:
    """That of a process which takes vprdist from a checkout."""
    return {**os.environ, "PYTHONPATH": str(code), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


if __name__ == "__main__":
    sys.exit(main())

# ruff: noqa: E402  (the checkout is found by path)
"""From the command to the leaderboard: the demo's table1, this checkout beside another, in one run with equal numbers.

    python tests/benchmarks/whole_sweep.py                                    this checkout alone
    python tests/benchmarks/whole_sweep.py --beside ../vprdist-before         and another one, in turns
    python tests/benchmarks/whole_sweep.py --words trial.train.steps=4 'search.grid.network.unfreeze=[0-2]'

The city is drawn once, before the clock starts. Seconds are by the clock and by the processor, of the driver and of
everything that it starts; between the first and the last row of `metrics.jsonl` a trial's stages are added up.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import itertools
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO))

from told import tell

SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER of Linux' prctl(2): jobs, which outlive who started them, are ours to wait for."""
NUMBERS = ("name", "recall@1", "recall@5", "map@5", "untrained_recall@1")


def measured(root: Path, runs: Path, words: Sequence[str]) -> tuple[float, float]:
    """Wall and processor seconds of a sweep, in a process whose children are its own."""
    pid = os.fork()
    if pid == 0:
        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
        command = [sys.executable, "-m", "vprdist.sweep", "sweeps/table1.yaml", *words, "--runs", str(runs)]
        begin, environment = time.monotonic(), {**os.environ, "PYTHONPATH": str(root)}
        with (runs / "said.txt").open("w") as said:
            driver = subprocess.Popen(command, cwd=root, env=environment, stdout=said, stderr=said)
            code = driver.wait()
        wall = time.monotonic() - begin
        while True:
            try:
                os.wait()
            except ChildProcessError:
                break
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        (runs / "cost.json").write_text(json.dumps([wall, used.ru_utime + used.ru_stime, code]))
        os._exit(0)
    os.waitpid(pid, 0)
    wall, cpu, code = json.loads((runs / "cost.json").read_text())
    assert code == 0, (runs / "said.txt").read_text()
    return wall, cpu


def rows_of(runs: Path) -> list[tuple[str, ...]]:
    """What the leaderboard says, for the comparison."""
    with (runs / "sweeps" / "table1" / "leaderboard.csv").open() as stream:
        return sorted(tuple(row[name] for name in NUMBERS) for row in csv.DictReader(stream))


def stages_of(runs: Path) -> Counter[str]:
    """Seconds from each row of a trial's metrics to the next, by what the first of them says, over all trials."""
    spent: Counter[str] = Counter()
    for file in runs.glob("trials/*/metrics.jsonl"):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        start = json.loads((file.parent / "log" / "starts.jsonl").read_text().splitlines()[0])["time"]
        spent["loading, until the first stage"] += rows[0]["time"] - start
        for row, following in itertools.pairwise(rows):
            spent[str(row.get("stage", row["kind"]))] += following["time"] - row["time"]
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--beside", type=Path, help="another checkout")
    parser.add_argument("--rounds", type=int, default=1, help="of each side, in turns; the least counts")
    parser.add_argument("--words", nargs="*", default=[], help="key=value for the sweep")
    args = parser.parse_args()
    sides = {"this": REPO, **({"beside": args.beside.resolve()} if args.beside else {})}
    best: dict[str, tuple[float, float]] = {}
    told: dict[str, list[tuple[str, ...]]] = {}
    with tempfile.TemporaryDirectory(prefix="vprdist-sweep-") as place:
        made = Path(place) / "made"
        made.mkdir()
        measured(REPO, made, ["search.grid.input.mode=[masked]", "search.grid.network.unfreeze=[0-2]",
                              "trial.train.steps=1", "name=first"])  # fmt: skip
        for turn in range(args.rounds):
            for name, root in sides.items():
                runs = Path(place) / f"{name}{turn}"
                shutil.copytree(made / "data", runs / "data", ignore=shutil.ignore_patterns("untrained", "resized"))
                cost = measured(root, runs, args.words)
                told[name] = rows_of(runs)
                print(f"{name:8s} {cost[0]:7.1f} s by the clock, {cost[1]:7.1f} s of a core", flush=True)
                for stage, seconds in stages_of(runs).most_common(6):
                    print(f"    {stage:40s} {seconds:7.1f} s, all trials")
                wall, cpu = best.get(name, cost)
                best[name] = (min(wall, cost[0]), min(cpu, cost[1]))
    assert all(rows == told["this"] for rows in told.values()), told
    wall, cpu = best["this"]
    if args.beside:
        print("equal numbers in every row")
        tell(
            "table1 of the demo, by the clock",
            wall,
            "s",
            peer="the other checkout",
            theirs=best["beside"][0],
            at_most=0.6,
        )
        tell(
            "table1 of the demo, of a core", cpu, "s", peer="the other checkout", theirs=best["beside"][1], at_most=0.6
        )
    else:
        tell("table1 of the demo, by the clock", wall, "s")
        tell("table1 of the demo, of a core", cpu, "s")


if __name__ == "__main__":
    main()

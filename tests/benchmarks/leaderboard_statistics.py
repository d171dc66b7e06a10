"""How long intervals, p-values and groups of a leaderboard take, the intervals beside a plain loop.

    python tests/benchmarks/leaderboard_statistics.py [--rows 8] [--queries 11000] [--seeds 1] [--loop 20]

The loop leaves out a cluster at a time by selecting the other queries, as one would write it first; it leaves out
--loop clusters and its time is scaled. Both sides run in one process, on one thread where OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from told import tell

from vprdist.report.comparisons import all_pairs, holm, p_values
from vprdist.report.statistics import Panel, chance


def make_panel(rows: int, seeds: int, queries: int) -> Panel:
    rng = np.random.default_rng(0)
    cluster = np.repeat(np.arange(queries // 10), 10)
    values = tuple((rng.random((seeds, len(cluster))) < 0.6).astype(float) for _ in range(rows))
    return Panel(values, cluster)


def intervals(panel: Panel) -> None:
    found = chance(panel)
    for row in range(len(panel.values)):
        found.interval(row)
        found.difference(row, 0)


def loop(panel: Panel, clusters: int) -> None:
    for left_out in range(clusters):
        others = panel.cluster != left_out
        for values in panel.values:
            np.mean([values[seed, others].mean() for seed in range(len(values))])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("rows", 8), ("queries", 11_000), ("seeds", 1), ("loop", 20)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    panel = make_panel(args.rows, args.seeds, args.queries)
    pairs = [(row, 0) for row in range(1, args.rows)]
    print(f"{args.rows} rows x {args.seeds} seeds x {panel.num_queries} queries in {panel.num_clusters} clusters")
    sides = {
        "intervals (clusters left out)": lambda: intervals(panel),
        "p-values (flipped signs) and Holm": lambda: holm(p_values(panel, pairs)),
        "groups (largest of all pairs)": lambda: all_pairs(panel),
    }
    took: dict[str, float] = {}
    for name, work in sides.items():
        start = time.perf_counter()
        work()
        took[name] = time.perf_counter() - start
        print(f"{name:<36}{took[name]:9.2f} s")
    start = time.perf_counter()
    loop(panel, args.loop)
    plain = (time.perf_counter() - start) * panel.num_clusters / args.loop
    tell("intervals of a leaderboard", next(iter(took.values())), "s", peer="a plain loop (scaled)", theirs=plain)
    print(f"{'plain loop, intervals alone':<36}{plain:9.2f} s (from {args.loop} clusters)")


if __name__ == "__main__":
    main()

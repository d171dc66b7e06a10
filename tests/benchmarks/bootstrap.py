"""Intervals and p-values of a leaderboard at MSLS' size, beside a plain loop that draws and averages query by query.

    python tests/benchmarks/bootstrap.py [--rows 8] [--queries 11000] [--seeds 1] [--resamples 10000] [--loop 20]

The loop resamples the same clusters with numpy fancy indexing, a resample at a time, as one would write it first; it
runs --loop resamples and its time is scaled. Both sides run in one process, on one thread where OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from vprdist.report.statistics import Panel, bootstrap, holm, p_values, told_apart


def make_panel(rows: int, seeds: int, queries: int) -> Panel:
    rng = np.random.default_rng(0)
    cluster = np.repeat(np.arange(queries // 10), 10)
    values = tuple((rng.random((seeds, len(cluster))) < 0.6).astype(float) for _ in range(rows))
    return Panel(values, cluster)


def loop(panel: Panel, resamples: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    members = [np.flatnonzero(panel.cluster == c) for c in range(panel.num_clusters)]
    out = np.empty((resamples, len(panel.values)))
    for b in range(resamples):
        drawn = np.concatenate([members[c] for c in rng.integers(0, panel.num_clusters, panel.num_clusters)])
        for row, values in enumerate(panel.values):
            out[b, row] = np.mean([values[seed, drawn].mean() for seed in range(len(values))])
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("rows", 8), ("queries", 11_000), ("seeds", 1), ("resamples", 10_000), ("loop", 20)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    panel = make_panel(args.rows, args.seeds, args.queries)
    pairs = [(row, 0) for row in range(1, args.rows)]
    print(f"{args.rows} rows x {args.seeds} seeds x {panel.num_queries} queries in {panel.num_clusters} clusters")
    sides = {
        "intervals (bootstrap)": lambda: bootstrap(panel, args.resamples),
        "p-values (flipped signs) and Holm": lambda: holm(p_values(panel, pairs, args.resamples)),
        "groups (largest of all pairs)": lambda: told_apart(panel),
    }
    for name, work in sides.items():
        start = time.perf_counter()
        work()
        sides[name] = time.perf_counter() - start
        print(f"{name:<36}{sides[name]:9.2f} s")
    start = time.perf_counter()
    drawn = loop(panel, args.loop)
    plain = (time.perf_counter() - start) * args.resamples / args.loop
    print(f"{'plain loop, bootstrap alone':<36}{plain:9.2f} s (from {args.loop} resamples)")
    print(f"bootstrap: {plain / sides['intervals (bootstrap)']:.0f} times faster than the loop")
    spread = bootstrap(panel, 2000).scores_BR.std(axis=0) / drawn.std(axis=0)
    print(f"spread of the draws beside the loop's: {spread.mean():.2f} (1 but for the loop's few resamples)")


if __name__ == "__main__":
    main()

"""Positives and graded similarity among a million images: by the tree, and by brute force, some queries at a time.

    python tests/benchmarks/positives.py                       # 1,000,000 images, 100,000 queries
    python tests/benchmarks/positives.py --images 100000 --queries 10000

Worlds, each in a process of its own:

    spread      images at random, some 30 within 25 m of a query
    panoramas   twelve images at each position (panoramas that were cut), some 30 positions within 25 m of a query
    crowd       a tenth of the images within 10 m of one place, and a thousand of the queries; the others as in `spread`

Brute force measures the distance of every query to every image. It runs for `--sample` queries, half of them from the
crowd, and its time for all of them is extrapolated. Graded similarity is that of `--graded` queries, for brute force of
`--graded-sample` of them: overlaps with all images. Results are compared to the bit. Seconds are the process's own;
`beyond` is the peak memory beyond what was there before and the result itself.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

for pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[pool] = "1"

import numpy as np  # noqa: E402
from told import tell  # noqa: E402

from vprdist.data.positives import rows_within  # noqa: E402
from vprdist.data.sectors import sector_overlap  # noqa: E402
from vprdist.data.similarity import graded_similarity  # noqa: E402

RADIUS_M, FOV_M, DEGREES, NEAR = 25.0, 50.0, 90.0, 30
WORLDS = ("spread", "panoramas", "crowd")


@dataclass(frozen=True)
class World:
    """(M, 2) and (N, 2) metres, (M,) and (N,) degrees; the first queries are those of the crowd."""

    database: np.ndarray
    query: np.ndarray
    ca_database: np.ndarray
    ca_query: np.ndarray


def make_world(name: str, images: int, queries: int) -> World:
    rng = np.random.default_rng(0)
    each = 12 if name == "panoramas" else 1
    width = (np.pi * RADIUS_M**2 * (images / each) / NEAR) ** 0.5
    database = np.repeat(rng.uniform(0, width, (-(-images // each), 2)), each, axis=0)[:images]
    query = rng.uniform(0, width, (queries, 2))
    if name == "crowd":
        database[: images // 10] = width / 2 + rng.uniform(-7, 7, (images // 10, 2))
        query[: min(1000, queries // 10)] = width / 2
    origin = np.array([5e5, 4e6])
    return World(database + origin, query + origin, rng.uniform(0, 360, images), rng.uniform(0, 360, queries))


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(step: Callable[[], Any]) -> tuple[Any, float, float]:
    """What a step answers, its own seconds, and by how many MB it raised the peak."""
    before, begin = peak_mb(), time.process_time()
    answer = step()
    return answer, time.process_time() - begin, peak_mb() - before


def near_by_brute_force(world: World, asked: np.ndarray) -> list[np.ndarray]:
    return [np.flatnonzero(np.hypot(*(world.database - world.query[row]).T) <= RADIUS_M) for row in asked]


def overlaps_by_brute_force(world: World, asked: np.ndarray) -> list[np.ndarray]:
    out = []
    for row in asked:
        parts = []
        for begin in range(0, len(world.database), 2**14):
            part = slice(begin, begin + 2**14)
            offset, ca = world.database[part] - world.query[row], world.ca_database[part]
            parts.append(sector_overlap(offset, np.full(len(ca), world.ca_query[row]), ca, FOV_M, DEGREES))
        out.append(np.concatenate(parts).astype(np.float32))
    return out


def some_rows(count: int, sample: int) -> np.ndarray:
    """The first ones and the last ones."""
    return np.unique(np.r_[: sample // 2, count - (sample - sample // 2) : count])


def positives(name: str, args: argparse.Namespace) -> None:
    world = make_world(name, args.images, args.queries)
    rows, seconds, memory = timed(lambda: rows_within(world.query, world.database, RADIUS_M))
    counts = np.array([len(each) for each in rows])
    asked = some_rows(args.queries, args.sample)
    slow, slow_seconds, _ = timed(lambda: near_by_brute_force(world, asked))
    assert all(np.array_equal(rows[row], each) for row, each in zip(asked, slow, strict=True))
    row_mb = counts.sum() * 8 / 2**20
    say(name, "positives", counts.sum(), seconds, row_mb, memory, slow_seconds * args.queries / len(asked))


def graded(name: str, args: argparse.Namespace) -> None:
    # A crowd whose cameras all see each other has as many pairs as its square: some of its queries are enough.
    world = make_world(name, args.images, args.graded)
    sides = (world.query, world.ca_query, world.database, world.ca_database)
    found, seconds, memory = timed(lambda: graded_similarity(*sides, FOV_M, DEGREES))
    asked = some_rows(args.graded, args.graded_sample)
    slow, slow_seconds, _ = timed(lambda: overlaps_by_brute_force(world, asked))
    for row, each in zip(asked, slow, strict=True):
        assert np.array_equal(found[[row]].toarray()[0], each)
    row_mb = sum(getattr(found, part).nbytes for part in ("data", "indices", "indptr")) / 2**20
    say(name, "graded", found.nnz, seconds, row_mb, memory, slow_seconds * args.graded / len(asked))


def say(world: str, what: str, pairs: int, seconds: float, result_mb: float, peak: float, slow_s: float) -> None:
    tell(f"{what}, {world}", seconds, "s", peer="brute force (extrapolated)", theirs=slow_s)
    print(
        f"{world:<11}{what:<11}{pairs:>12,}{seconds:>9.1f}{result_mb:>11.0f}{peak - result_mb:>11.0f}"
        f"{slow_s:>13.0f}{slow_s / seconds:>9.0f}   same to the bit",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=100_000)
    parser.add_argument("--graded", type=int, default=20_000, help="queries of graded similarity")
    parser.add_argument("--sample", type=int, default=100, help="queries of brute force")
    parser.add_argument("--graded-sample", type=int, default=4)
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=WORLDS)
    args = parser.parse_args()
    print(f"{args.images:,} images; {args.queries:,} queries for positives, {args.graded:,} for graded similarity")
    print(
        f"{'world':<11}{'what':<11}{'pairs':>12}{'seconds':>9}{'result MB':>11}{'beyond MB':>11}"
        f"{'brute force':>13}{'ratio':>9}"
    )
    for name in args.worlds:
        for step in (positives, graded):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                pool.apply(step, (name, args))


if __name__ == "__main__":
    main()

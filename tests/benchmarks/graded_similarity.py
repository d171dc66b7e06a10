"""Labels of a large city: computed by us, by a plain loop over a geometric library, and read from what was kept.

    pip install -e '.[dev]' && python tests/benchmarks/graded_similarity.py --count 100000 --candidates 100

`count` queries and as many database images lie at random on a square that gives each query about `candidates` images
within two radii; the compass angles are random. Every step of ours runs in a process of its own, whose peak memory is
printed. Time is the process's own CPU time, which on an idle machine is the clock's, beside it. The loop asks shapely
for the area of an intersection, pair by pair, with arcs of 64 points; it runs for some queries only, and its time for
all of them is extrapolated.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

for pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[pool] = "1"

import numpy as np  # noqa: E402
from scipy.sparse import csr_matrix  # noqa: E402
from scipy.spatial import cKDTree  # noqa: E402
from told import tell  # noqa: E402

from vprdist.data.graph import CityGraph  # noqa: E402
from vprdist.data.labels import read_labels  # noqa: E402
from vprdist.data.pairs import PairSampler  # noqa: E402
from vprdist.data.places import City, Side  # noqa: E402
from vprdist.data.positives import rows_within  # noqa: E402
from vprdist.spec.data import DataSpec  # noqa: E402

RADIUS_M, DEGREES = 50.0, 90.0
NUM_POINTS = 64
Step = Callable[[City, Path], str]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000, help="images a side")
    parser.add_argument("--candidates", type=float, default=100, help="database images within two radii of a query")
    parser.add_argument("--sample", type=int, default=200, help="queries that the loop over shapely is run for")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vprdist-labels-") as folder:
        city = make_city(args.count, args.candidates, Path(folder))
        computed_s = measure("labels made and kept", compute, city, folder)
        read_s = measure("kept labels read", read, city, folder)
        measure("read, 10 chunks drawn", draw, city, folder)
        measure("positives within 25 m", positives, city, folder)
        loop_s = compare(city, Path(folder), min(args.sample, args.count))
        made_s = {degrees: measure(f"made of {degrees:g} degrees", WIDE[degrees], city, folder) for degrees in WIDE}
        for degrees in WIDE:
            compare(city, Path(folder), min(args.sample, args.count) // 10, degrees)
    for degrees, seconds in made_s.items():
        print(f"{degrees:g} degrees / {DEGREES:g} degrees: {seconds / computed_s:.2f}")
    tell("labels made", computed_s, "s", peer="shapely's loop (extrapolated)", theirs=loop_s)
    tell("kept labels read", read_s, "s", peer="made", theirs=computed_s)
    print(f"made / read: {computed_s / read_s:.0f}")
    print(f"shapely's loop / made: {loop_s / computed_s:.0f} (the loop is extrapolated)")
    return 0


def make_city(count: int, candidates: float, root: Path) -> City:
    """Random places and compass angles; no pictures."""
    rng = np.random.default_rng(0)
    width = (np.pi * (2 * RADIUS_M) ** 2 * count / candidates) ** 0.5
    query, database = (make_side(root, name, rng, count, width) for name in ("query", "database"))
    return City(name="large", split="train_val", query=query, database=database)


def make_side(root: Path, name: str, rng: np.random.Generator, count: int, width: float) -> Side:
    nothing = np.zeros(count, bool)
    return Side(
        city="large", side=name, folder=root / "train_val" / "large" / name, keys=np.arange(count).astype(str),
        paths=(), pano=nothing, ca=rng.uniform(0, 360, count), easting=5e5 + rng.uniform(0, width, count),
        northing=5e6 + rng.uniform(0, width, count), night=nothing, view_direction=np.zeros(count, "U1"), subtasks={},
        sequence_key=np.zeros(count, "U1"), frame_number=np.arange(count), conditions=np.zeros(count, "U1"),
    )  # fmt: skip


def measure(name: str, step: Step, city: City, folder: str) -> float:
    """CPU seconds of a step, in a process of its own; prints them with the clock's and its peak memory."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        clock_s, seconds, memory_mb, note = pool.apply(timed, (step, city, folder))
    print(f"{name:26} {seconds:8.2f} s ({clock_s:.2f} s by the clock)   peak {memory_mb:4.0f} MB   {note}", flush=True)
    return seconds


def timed(step: Step, city: City, folder: str) -> tuple[float, float, float, str]:
    clock, begin = time.perf_counter(), time.process_time()
    note = step(city, Path(folder))
    spent = time.perf_counter() - clock, time.process_time() - begin
    return *spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, note


def compute(city: City, folder: Path) -> str:
    return compute_of(DEGREES, city, folder)


def compute_of(degrees: float, city: City, folder: Path) -> str:
    spec = DataSpec(root=str(folder), fov_degrees=degrees)
    return f"{read_labels(city, spec, folder, lambda message: None).nnz:,} pairs overlap"


WIDE: dict[float, Step] = {degrees: partial(compute_of, degrees) for degrees in (270.0, 360.0)}
"""360 degrees are labels of distance, whatever the angles."""


def kept(city: City, folder: Path, degrees: float = DEGREES) -> csr_matrix:
    def refuse(message: str) -> None:
        raise AssertionError(message)

    return read_labels(city, DataSpec(root=str(folder), fov_degrees=degrees), folder, refuse)


def read(city: City, folder: Path) -> str:
    return f"{kept(city, folder).nnz:,} pairs"


def draw(city: City, folder: Path) -> str:
    everybody = np.arange(len(city.query))
    sampler = PairSampler([CityGraph("large", everybody, everybody, kept(city, folder))], 0, 10_000)
    begin = time.process_time()
    num_pairs = sum(len(sampler.chunk(index)) for index in range(10))
    return f"of which a chunk takes {(time.process_time() - begin) / 10 * 1000:.0f} ms; {num_pairs:,} pairs in all"


def positives(city: City, folder: Path) -> str:
    rows = rows_within(city.query.positions, city.database.positions, 25.0)
    return f"{sum(len(r) for r in rows):,} pairs"


def compare(city: City, folder: Path, sample: int, degrees: float = DEGREES) -> float:
    """Seconds that the loop would take for every query; prints the largest difference from our labels."""
    import shapely

    def sector(position: np.ndarray, ca: float) -> shapely.Polygon:
        bearing = np.radians(ca + np.linspace(-0.5, 0.5, num_points) * degrees)
        apex = [] if degrees == 360 else [position]
        return shapely.Polygon([*apex, *(position + RADIUS_M * np.stack([np.sin(bearing), np.cos(bearing)], 1))])

    num_points = round(NUM_POINTS * degrees / DEGREES)
    labels = kept(city, folder, degrees)
    query, database = city.query.positions, city.database.positions
    tree, num_pairs, worst = cKDTree(database), 0, 0.0
    begin = time.process_time()
    for row in range(sample):
        own = sector(query[row], city.query.ca[row])
        for other in tree.query_ball_point(query[row], 2 * RADIUS_M):
            theirs = sector(database[other], city.database.ca[other])
            common = own.intersection(theirs).area
            num_pairs += 1
            worst = max(worst, abs(common / (own.area + theirs.area - common) - labels[row, other]))
    seconds = (time.process_time() - begin) * len(query) / sample
    name = f"shapely's loop, {degrees:g} degrees"
    print(f"{name:26} {seconds:8.0f} s   extrapolated from {sample} queries, {num_pairs:,} pairs")
    print(f"largest difference from it: {worst:.1e} (its arcs are polygons)")
    return seconds


if __name__ == "__main__":
    raise SystemExit(main())

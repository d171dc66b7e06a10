"""Exact retrieval in blocks beside plain FAISS with everything in memory: seconds, peak memory, and what differs.

    python tests/benchmarks/retrieval.py                                      # MSLS' validation cities: 740 x 18,871
    python tests/benchmarks/retrieval.py --queries 10000 --database 1000000 --rounds 1    # 12 GB of disk below --folder

Descriptors are random unit vectors; each query is a noisy copy of some database row. In every round each side runs in a
process of its own, in an order that turns round from one round to the next; ratios are medians of those within rounds:

    faiss     IndexFlatL2 over all descriptors, in memory
    float32   ours; descriptors mapped from a file, a block at a time
    float16   the same from half the bytes

Seconds are the clock's, beside the process's own, which others on the machine disturb less. `own MB` is the peak of the
memory that the process has to itself, beyond what it had before; pages of mapped files are the system's to take back.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from told import tell

SIDES = ("faiss", "float32", "float16")
DEPTH, BLOCK = 20, 20_000
Measured = dict[str, list[dict[str, float]]]


def unit_rows(rng: np.random.Generator, count: int, dimensions: int) -> np.ndarray:
    values = rng.standard_normal((count, dimensions), np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def write_world(folder: Path, queries: int, database: int, dimensions: int) -> None:
    """gallery-float32.npy, gallery-float16.npy, query.npy, origin.npy (the row that a query is a copy of)."""
    rng = np.random.default_rng(0)
    shape = (database, dimensions)
    stores = [
        np.lib.format.open_memmap(folder / f"gallery-{kind}.npy", "w+", kind, shape) for kind in ("float32", "float16")
    ]
    for begin in range(0, database, BLOCK):
        values = unit_rows(rng, min(BLOCK, database - begin), dimensions)
        for store in stores:
            store[begin : begin + len(values)] = values
    origin = rng.integers(0, database, queries)
    query = stores[0][np.sort(origin)] + 10 * unit_rows(rng, queries, dimensions)  # hard to find
    np.save(folder / "query.npy", query / np.linalg.norm(query, axis=1, keepdims=True))
    np.save(folder / "origin.npy", np.sort(origin))


class OwnMemory(threading.Thread):
    """Samples the memory that this process alone has."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.before_mb = self.highest_mb = self.now_mb()

    @staticmethod
    def now_mb() -> float:
        return int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0]) / 1024

    @property
    def peak_mb(self) -> float:
        return self.highest_mb - self.before_mb

    def run(self) -> None:
        while True:
            self.highest_mb = max(self.highest_mb, self.now_mb())
            time.sleep(0.005)


def measure(side: str, folder: Path) -> dict[str, float]:
    """One side in this process; the rows that it found go to `rows-<side>.npy`."""
    import faiss

    from vprdist.evaluation.retrieve import retrieve

    query = np.load(folder / "query.npy")
    asked = query.astype("float32" if side == "faiss" else side)
    memory = OwnMemory()
    memory.start()
    clock, own = time.perf_counter(), time.process_time()
    if side == "faiss":
        index = faiss.IndexFlatL2(query.shape[1])
        index.add(np.load(folder / "gallery-float32.npy"))
        rows = index.search(asked, DEPTH)[1]
    else:
        gallery = np.load(folder / f"gallery-{side}.npy", mmap_mode="r")
        rows = retrieve(asked, gallery, DEPTH)
    seconds = {"seconds": time.perf_counter() - clock, "own_seconds": time.process_time() - own}
    np.save(folder / f"rows-{side}.npy", rows)
    return {**seconds, "own_mb": memory.peak_mb}


def show(folder: Path, measured: Measured) -> None:
    origin = np.load(folder / "origin.npy")
    found = {side: np.load(folder / f"rows-{side}.npy") for side in measured}
    first = next(iter(found.values()))
    print(
        f"{'side':<9}{'seconds':>9}{'own s':>9}{'own MB':>9}{'R@1':>8}{'R@20':>8}   "
        f"same 20 as {next(iter(found))}, same order"
    )
    for side, rounds in measured.items():
        row = {name: np.median([each[name] for each in rounds]) for name in rounds[0]}
        recall = [float((found[side][:, :k] == origin[:, None]).any(1).mean()) for k in (1, DEPTH)]
        same = np.mean([len(np.intersect1d(a, b)) for a, b in zip(found[side], first, strict=True)]) / DEPTH
        order = (found[side] == first).all(1).mean()
        print(
            f"{side:<9}{row['seconds']:>9.2f}{row['own_seconds']:>9.2f}{row['own_mb']:>9.0f}"
            f"{recall[0]:>8.4f}{recall[1]:>8.4f}   {same:.5f}, {order:.4f}"
        )
    for side, other in (("float32", "faiss"), ("float16", "faiss"), ("float16", "float32")):
        if side in measured and other in measured:
            seconds = [float(np.median([each["own_seconds"] for each in measured[name]])) for name in (side, other)]
            tell(f"exact retrieval, {side}", seconds[0], "own s", peer=other, theirs=seconds[1])
            print(f"{side} beside {other}: {beside(measured[side], measured[other])}")


def beside(rounds: list[dict[str, float]], others: list[dict[str, float]]) -> str:
    """Medians of the ratios within rounds, with the smallest and largest of the clock's."""
    ratios = {name: [one[name] / other[name] for one, other in zip(rounds, others, strict=True)] for name in rounds[0]}
    time_, own, memory = (float(np.median(ratios[name])) for name in ("seconds", "own_seconds", "own_mb"))
    low, high = min(ratios["seconds"]), max(ratios["seconds"])
    return f"{time_:.2f} of the time ({low:.2f} to {high:.2f}; its own: {own:.2f}), {memory:.2f} of the memory"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=740)
    parser.add_argument("--database", type=int, default=18_871)
    parser.add_argument("--dimensions", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES)
    parser.add_argument("--folder", type=Path, help="for descriptors (default: a temporary one)")
    parser.add_argument("--measure", choices=SIDES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure, args.folder)))
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        write_world(folder, args.queries, args.database, args.dimensions)
        print(f"{args.queries} queries, {args.database} database rows, {args.dimensions} dimensions", flush=True)
        measured: Measured = {side: [] for side in args.sides}
        for number in range(args.rounds):
            for side in args.sides if number % 2 == 0 else reversed(args.sides):
                command = [sys.executable, __file__, "--measure", side, "--folder", name]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                measured[side].append(json.loads(done.stdout))
                print(number + 1, side, measured[side][-1], flush=True)
        show(folder, measured)


if __name__ == "__main__":
    main()

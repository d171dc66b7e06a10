"""`vprdist plan` on a made-up tree of MSLS' size: every CSV of the paper's seven cities, pictures of one byte.

    python tests/benchmarks/plan_paper_scale.py --rows 140000

Plans `sweeps/table1.yaml scale=paper` twice, the second time with warm file caches, beside the bare reading of the
same CSVs; prints seconds, ratios, and the peak memory of each process.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO))

from tests.benchmarks.told import tell  # noqa: E402
from tests.worlds import SUBTASKS, write_rows  # noqa: E402
from vprdist.spec.vocabulary import PAPER_TRAIN, PAPER_VALIDATE  # noqa: E402

SHARES = {"amman": 1, "boston": 8, "london": 4, "manila": 6, "zurich": 2, "cph": 8, "sf": 4}
"""How large the cities are to each other, roughly as in MSLS; a third of each are queries."""
BARE = """if True:
    import csv, resource, sys
    from pathlib import Path
    count = sum(len(list(csv.reader(path.open()))) for path in Path(sys.argv[1]).rglob("*.csv"))
    print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
PLAN = """if True:
    import resource, sys
    from vprdist.cli import main
    code = main(sys.argv[1:])
    print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    sys.exit(code)
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=140_000, help="images in all")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vprdist-paper-") as base:
        root, runs = Path(base) / "msls", Path(base) / "runs"
        begin = time.monotonic()
        images = write_tree(root, args.rows)
        files = sum(1 for _ in root.rglob("*.csv"))
        print(f"made {images} rows of {files} CSVs and as many pictures in {time.monotonic() - begin:.0f} s")
        bare = measure("csv.reader alone", [sys.executable, "-c", BARE, str(root)], root)
        words = ["plan", "sweeps/table1.yaml", "scale=paper", "cluster=local", "search.grid.input.mode=[rgb]"]
        plan = [sys.executable, "-c", PLAN, *words, "--runs", str(runs)]
        cold = measure("plan, first", plan, root)
        warm = measure("plan, again", plan, root)
        tell("plan at the paper's scale", cold, "s", peer="csv.reader alone", theirs=bare)
        tell("plan again", warm, "s", peer="csv.reader alone", theirs=bare)
        print(f"plan / csv.reader: {cold / bare:.1f}, again {warm / bare:.1f}")
        assert not runs.exists(), "a plan writes nothing"
    return 0


def measure(name: str, command: list[str], root: Path) -> float:
    """Seconds of a command, whose last word is its peak memory in KB."""
    begin = time.monotonic()
    environ = {**os.environ, "MSLS_ROOT": str(root)}
    done = subprocess.run(command, cwd=REPO, env=environ, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - begin
    assert done.returncode == 0, done.stderr
    print(f"{name:18s} {seconds:6.1f} s   peak {int(done.stdout.split()[-1]) / 1024:.0f} MB", flush=True)
    return seconds


def write_tree(root: Path, rows: int) -> int:
    """Cities along streets a metre between images; positions, angles and subtasks at random. Returns the rows."""
    rng, total = np.random.default_rng(0), 0
    for city in (*PAPER_TRAIN, *PAPER_VALIDATE):
        count = rows * SHARES[city] // sum(SHARES.values())
        for side, size in (("query", count // 3), ("database", count - count // 3)):
            write_side(root / "train_val" / city / side, city, size, rng)
            total += size
    return total


def write_side(folder: Path, city: str, size: int, rng: np.random.Generator) -> None:
    """One side of a city; the pictures have no bytes."""
    keys = [f"{city}{folder.name[0]}{number:017d}" for number in range(size)]
    east, north = rng.uniform(0, 3e3, size), np.round(rng.uniform(0, 3e3, size), -2)  # streets 100 m apart
    angles = rng.choice([0.0, 90.0, 180.0, 270.0], size) + rng.normal(0, 5, size)
    raw = [(k, 2.0, 48.0, round(a % 360, 3), "2018-06-01", False) for k, a in zip(keys, angles, strict=True)]
    write_rows(folder / "raw.csv", ("key", "lon", "lat", "ca", "captured_at", "pano"), raw)
    post = [(k, e, n, 0, False, False, "Forward") for k, e, n in zip(keys, east, north, strict=True)]
    header = ("key", "easting", "northing", "unique_cluster", "control_panel", "night", "view_direction")
    write_rows(folder / "postprocessed.csv", header, post)
    sequences = [(k, f"{city}_seq{i // 50}", i % 50) for i, k in enumerate(keys)]
    write_rows(folder / "seq_info.csv", ("key", "sequence_key", "frame_number"), sequences)
    write_rows(folder / "subtask_index.csv", SUBTASKS, [(True,) + (False,) * 6] * size)
    (folder / "images").mkdir()
    for key in keys:
        (folder / "images" / f"{key}.jpg").write_bytes(b"x")


if __name__ == "__main__":
    sys.exit(main())

"""How long it takes to know what a data set of millions holds, and how much memory: MSLS' tables, and names of files.

Each way runs in a process of its own; all must answer the same columns. `python tests/benchmarks/indexing.py --rows
1600000 --names 3000000 --work /tmp/index` makes that many rows and empty files there, and deletes them at the end.

The time of a side begins when its modules are imported; Arrow's own are not, which takes half a second.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from told import tell

from tests.data.utm_trees import utm_name
from vprdist.data.layouts import City, kept, msls, utm
from vprdist.data.layouts.less import LessLayout
from vprdist.data.layouts.msls import Msls
from vprdist.data.layouts.utm import Utm
from vprdist.data.pictures import check_images

COLUMNS = ("keys", "easting", "northing", "ca", "pano", "night", "sequence_key", "frame_number", "view_direction")
SUBTASKS = ("all", "s2w", "w2s", "o2n", "n2o", "d2n", "n2d")
LINKS = 50_000
"""Names of one file; ext4 allows 65,000."""
SHARE = 0.1
"""The part of all pictures that is queries."""


def write_msls(folder: Path, rows: int) -> None:
    """The four CSVs of both sides of one city, with keys of 22 letters as Mapillary's."""
    rng = np.random.default_rng(0)
    for side, count in (("query", int(rows * SHARE)), ("database", rows - int(rows * SHARE))):
        out = folder / "train_val" / "big" / side
        out.mkdir(parents=True)
        numbers = rng.uniform(0, 1e5, (2, count)).round(8).tolist()
        with (
            (out / "raw.csv").open("w") as raw, (out / "postprocessed.csv").open("w") as truth,
            (out / "seq_info.csv").open("w") as sequence, (out / "subtask_index.csv").open("w") as subtask,
        ):  # fmt: skip
            raw.write(",key,lon,lat,ca,captured_at,pano\n")
            truth.write(",key,easting,northing,unique_cluster,control_panel,night,view_direction\n")
            sequence.write(",key,sequence_key,frame_number\n")
            subtask.write(",".join(["", *SUBTASKS]) + "\n")
            for i in range(count):
                key = f"{side[0]}{i * 7919:021d}"
                raw.write(f"{i},{key},2.{i},48.{i},{i % 360}.{i % 97:02d},2019-01-01,{i % 50 == 7}\n")
                truth.write(f"{i},{key},{numbers[0][i]},{numbers[1][i]},{i},False,{i % 9 == 1},Forward\n")
                sequence.write(f"{i},{key},{i // 100:022d},{i % 100}\n")
                subtask.write(f"{i},True" + f",{i % 2 == 0},{i % 3 == 0}" * 3 + "\n")


def write_names(folder: Path, count: int, folders: int) -> None:
    """Files called as SF-XL's pictures, spread over folders; they are links to few, which are made much faster."""
    real = folder / "real"
    for side, number in (("queries", int(count * SHARE)), ("database", count - int(count * SHARE))):
        for shard in range(folders):
            (folder / "test" / side / f"{shard:04d}").mkdir(parents=True)
        for i in range(number):
            easting, northing = 544388.51 + i % 5000, 4172758.25 + i // 5000
            more = {"zone": 10, "letter": "S", "pano": f"{i // 12:022d}", "tile": f"{i % 12:02d}"}
            name = utm_name(f"{easting:010.2f}", f"{northing:010.2f}", heading=f"{i % 360:03d}", **more)
            path = folder / "test" / side / f"{i * 7919 % folders:04d}" / name
            if i % LINKS == 0:
                real.unlink(missing_ok=True)
                real.write_bytes(b"no picture")
            os.link(real, path)


def plain_names(folder: Path) -> dict[str, Any]:
    """As everybody reads them: all paths, sorted, and numbers between marks."""
    out = {}
    for side in ("queries", "database"):
        paths = sorted((folder / "test" / side).rglob("*.jpg"), key=lambda path: (str(path.parent), path.name))
        parts = [path.name.split("@") for path in paths]
        out[side] = [np.array([float(each[place]) for each in parts]) for place in (1, 2, 9)]
        out[side] += [np.array([path.stem for path in paths])]
    return out


def told(city: City) -> str:
    """A digest of all columns of a city."""
    digest = hashlib.sha256()
    for side in city.sides:
        for name in COLUMNS:
            values = getattr(side, name)
            digest.update(f"{name} {values.dtype.kind}".encode() + np.ascontiguousarray(values).tobytes())
        for name, flags in side.subtasks.items():
            digest.update(name.encode() + flags.tobytes())
    return digest.hexdigest()[:16]


def told_plainly(folder: Path) -> str:
    digest = hashlib.sha256()
    for columns in plain_names(folder).values():
        for values in columns:
            digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()[:16]


def told_as_plainly(city: City) -> str:
    digest = hashlib.sha256()
    for side in city.sides:
        for name in ("easting", "northing", "ca", "keys"):
            digest.update(np.ascontiguousarray(getattr(side, name)).tobytes())
    return digest.hexdigest()[:16]


def careful(folder: Path) -> City:
    msls.PlainTable = no_plain_table  # type: ignore[assignment,misc]
    msls.KEPT_BYTES = 2**62
    return Msls(folder).read("big")


def no_plain_table(*_: object) -> None:
    raise msls.NotPlain


def by_arrow(folder: Path) -> City:
    msls.KEPT_BYTES = 2**62
    return Msls(folder).read("big")


def listed(folder: Path) -> City:
    utm.KEPT_FROM = 2**62
    return Utm(folder).read("test")


def without_one(folder: Path) -> int:
    layout = Utm(folder)
    return len(LessLayout(layout, ["test/query/none", "nothing"]).read("test").query)


def check(folder: Path) -> None:
    for side in Utm(folder).read("test").sides:
        check_images(side)


WAYS: dict[str, Callable[[Path], Any]] = {
    "msls, careful": careful,
    "msls, by Arrow": by_arrow,
    "msls, first use": lambda folder: Msls(folder).read("big"),
    "msls, from the index": lambda folder: Msls(folder).read("big"),
    "names, plain Python": plain_names,
    "names, by Arrow": listed,
    "names, first use": lambda folder: Utm(folder).read("test"),
    "names, from the index": lambda folder: Utm(folder).read("test"),
    "names, digest": lambda folder: Utm(folder).digest("test"),
    "names, check of pictures": check,
    "names, left out": without_one,
}
SAME = {
    "msls": ("msls, careful", "msls, by Arrow", "msls, first use", "msls, from the index"),
    "names": ("names, by Arrow", "names, first use", "names, from the index"),
}


def child(way: str, folder: Path) -> None:
    utm.FRESH_S = -1
    before, start, used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter(), time.process_time()
    found = WAYS[way](folder)
    seconds, used = time.perf_counter() - start, time.process_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({
        "seconds": seconds, "used": used, "peak_mb": (peak - before) / 1024,
        "told": told(found) if isinstance(found, City) else "",
        "plainly": told_as_plainly(found) if way == "names, by Arrow" else
        told_plainly(folder) if way == "names, plain Python" else "",
    }))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000, help="of MSLS' tables (default: %(default)s)")
    parser.add_argument("--names", type=int, default=100_000, help="of files (default: %(default)s)")
    parser.add_argument("--folders", type=int, default=100, help="a side that they lie in (default: %(default)s)")
    parser.add_argument("--work", type=Path, required=True, help="an empty folder of its own")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), help="only these")
    parser.add_argument("--keep", action="store_true", help="leave what was made there")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child, args.work)
        return
    trees = {"msls": args.work / "msls", "names": args.work / "names"}
    for name, write in (("msls", lambda: write_msls(trees["msls"], args.rows)),
                        ("names", lambda: write_names(trees["names"], args.names, args.folders))):  # fmt: skip
        if not trees[name].exists():
            start = time.perf_counter()
            write()
            print(f"{name}: made in {time.perf_counter() - start:.0f} s", flush=True)
    try:
        compare(args.ways, trees)
    finally:
        if not args.keep:
            for tree in trees.values():
                shutil.rmtree(tree, ignore_errors=True)


def compare(ways: list[str], trees: dict[str, Path]) -> None:
    found: dict[str, dict[str, Any]] = {}
    for tree in trees.values():
        shutil.rmtree(tree / kept.FOLDER, ignore_errors=True)
    for way in ways:
        tree = trees[way.split(",")[0]]
        words = [sys.executable, __file__, "--work", str(tree), "--child", way]
        found[way] = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
        first = found[next(each for each in found if each.split(",")[0] == way.split(",")[0])]
        if found[way] is not first:
            tell(
                way, found[way]["used"], "CPU s", peer=next(w for w in found if found[w] is first), theirs=first["used"]
            )
        each, ratio = found[way], first["used"] / found[way]["used"]
        print(
            f"{way:28s} {each['seconds']:8.2f} s {each['used']:8.2f} s CPU {each['peak_mb']:8.0f} MB {ratio:7.1f} x",
            flush=True,
        )
    for some in SAME.values():
        assert len({found[way]["told"] for way in some if way in found}) <= 1, "all ways answer the same columns"
    plainly = {each["plainly"] for each in found.values()} - {""}
    assert len(plainly) <= 1, "and what plain Python reads"
    print("all columns are equal")


if __name__ == "__main__":
    main()

"""Trees with pictures that nobody can read, and trees that never had some of their pictures."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Collection
from pathlib import Path

BROKEN = {
    "ada/query/ada_q003": "is empty",
    "ada/database/ada_d000": "is cut, or no picture",
    "bob/query/bob_q005": "is a web page",
    "bob/database/bob_d011": "is missing",
}
"""What `break_pictures` does to a tree of `ada` and `bob`."""


def picture(root: Path, name: str) -> Path:
    city, side, key = name.split("/")
    return root / "train_val" / city / side / "images" / f"{key}.jpg"


def break_pictures(root: Path) -> Path:
    """One picture of each kind that is broken."""
    picture(root, "ada/query/ada_q003").write_bytes(b"")
    cut = picture(root, "ada/database/ada_d000")
    cut.write_bytes(cut.read_bytes()[:-200])
    picture(root, "bob/query/bob_q005").write_text("<!DOCTYPE html><html>404: no such picture</html>")
    picture(root, "bob/database/bob_d011").unlink()
    return root


def without(root: Path, out: Path, names: Collection[str]) -> Path:
    """A copy of a tree whose tables never had these pictures (`city/side/key`)."""
    shutil.copytree(root, out)
    for folder in sorted({picture(out, name).parents[1] for name in names}):
        gone = {picture(out, name).stem for name in names if picture(out, name).parents[1] == folder}
        with (folder / "seq_info.csv").open(newline="") as stream:
            keys = [row["key"] for row in csv.DictReader(stream)]
        for table in folder.glob("*.csv"):
            head, *lines = table.read_text().splitlines()
            kept = [line for line, key in zip(lines, keys, strict=True) if key not in gone]
            table.write_text("\n".join([head, *kept]) + "\n")
        for key in gone:
            (folder / "images" / f"{key}.jpg").unlink(missing_ok=True)
    return out

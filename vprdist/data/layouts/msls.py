"""Reading an MSLS tree: cities, sides, CSV columns, image names. Errors name the file, the row and the remedy.

On disk: `{train_val,test}/<city>/{query,database}/` with `images/<key>.jpg` and four CSVs whose first column is a
row index. Rows of the CSVs of one side stand in one order. Cities of `test` may lack raw and postprocessed: their
ground truth is public since April 2026, and they are read as any other city where it was put beside them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vprdist.data.layouts.base import Layout
from vprdist.data.layouts.csv_table import AGAIN, Table
from vprdist.data.picture_paths import KeyPaths
from vprdist.data.pictures import folder_sizes
from vprdist.data.places import City, Side, Words
from vprdist.errors import DataError, nearest
from vprdist.files import open_file
from vprdist.spec.names import first_no_name, is_name, name_remedy
from vprdist.spec.vocabulary import SIDES, SUBTASKS

SPLITS = ("train_val", "test")


class Msls(Layout):
    """The layout of the functions below."""

    @classmethod
    def evidence(cls, root: Path) -> str:
        return f"{SPLITS[0]}/ or {SPLITS[1]}/ with <city>/query" if city_names(root) else ""

    def names(self) -> list[str]:
        if not (found := city_names(self.root)):
            raise _no_tree(self.root)
        return found

    def read(self, city: str) -> City:
        return read_city(self.root, city)

    def digest(self, city: str) -> str:
        return city_digest(self.root, city)

    def label_file(self, city: str) -> Path | None:
        return _label_file(city_folder(self.root, city)[1])


def city_names(root: Path) -> list[str]:
    """The cities of a tree, sorted. Empty when there is no tree."""
    return sorted(p.name for split in SPLITS for p in (root / split).glob("*") if (p / "query").is_dir())


def city_folder(root: Path, city: str) -> tuple[str, Path]:
    """The split and folder of a city.

    Raises:
        DataError: no tree, or no such city; a path in the place of its name.
    """
    if not is_name(city):
        raise DataError(root, "a city must be called by its name, not by a path", city, name_remedy(city))
    for split in SPLITS:
        if (root / split / city).is_dir():
            return split, root / split / city
    known = city_names(root)
    if not known:
        raise _no_tree(root)
    raise DataError(root, "the tree has no such city", city, nearest(city, known))


def read_city(root: Path, city: str) -> City:
    """Read the CSVs of a city; no pictures are looked at.

    Raises:
        DataError: a missing, cut or contradictory CSV; with file, line and remedy.
    """
    split, folder = city_folder(root, city)
    query, database = (_read_side(folder / side, city, side, needs_truth=split == "train_val") for side in SIDES)
    return City(name=city, split=split, query=query, database=database, label_file=_label_file(folder))


def city_digest(root: Path, city: str) -> str:
    """16 hex digits over the CSVs' bytes and the names and sizes of the images: never the pixels."""
    _, folder = city_folder(root, city)
    digest = hashlib.sha256()
    for side in SIDES:
        for path in sorted((folder / side).glob("*.csv")):
            digest.update(f"{side}/{path.name}\0".encode())
            _digest_file(digest, path)
        for name, size in sorted(folder_sizes(folder / side / "images", ".jpg").items()):
            digest.update(f"{side}/{name}\0{size}\n".encode())
    return digest.hexdigest()[:16]


def _digest_file(digest: hashlib._Hash, path: Path) -> None:
    try:
        with open_file(path) as stream:
            while block := stream.read(2**20):
                digest.update(block)
    except OSError as error:
        raise DataError(path, "the CSV cannot be read", error.strerror, AGAIN) from None


def _no_tree(root: Path) -> DataError:
    fault = "an MSLS tree must have train_val/<city>/{query,database}"
    return DataError(root, fault, None, "Set trial.data.root to the tree's folder.")


def _label_file(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}_gt.h5")


def _read_side(folder: Path, city: str, side: str, needs_truth: bool) -> Side:
    subtask = Table(folder / "subtask_index.csv", SUBTASKS)
    sequence = Table(folder / "seq_info.csv", ("key", "sequence_key", "frame_number"))
    raw = _table(folder / "raw.csv", ("key", "ca", "pano"), needs_truth)
    truth_columns = ("key", "easting", "northing", "night", "view_direction")
    truth = _table(folder / "postprocessed.csv", truth_columns, needs_truth)
    _check_names(sequence)
    keys = np.array(sequence.texts("key"))
    for table in (subtask, raw, truth):
        _same_rows(sequence, table, keys)
    seen: dict[str, int] = {}
    for row, key in enumerate(keys.tolist()):
        if key in seen:
            raise DataError(
                sequence.where(row), f"a key stands twice; it is also in row {seen[key]}", key, "Delete one."
            )
        seen[key] = row
    count = len(keys)
    return Side(
        city=city,
        side=side,
        folder=folder,
        keys=keys,
        paths=KeyPaths(folder / "images", keys),
        pano=raw.flags("pano") if raw else np.zeros(count, bool),
        ca=raw.numbers("ca", may_lack=True) if raw else None,
        easting=truth.numbers("easting") if truth else None,
        northing=truth.numbers("northing") if truth else None,
        night=truth.flags("night") if truth else np.zeros(count, bool),
        view_direction=np.array(truth.texts("view_direction") if truth else [""] * count),
        subtasks={name: subtask.flags(name) for name in SUBTASKS},
        sequence_key=np.array(sequence.texts("sequence_key")),
        frame_number=sequence.whole_numbers("frame_number"),
        conditions=np.full(count, ""),
        files={"ca": folder / "raw.csv", "easting": folder / "postprocessed.csv"},
    )


def _table(path: Path, columns: Sequence[str], needed: bool) -> Table | None:
    """None where it is not there, and need not be."""
    return Table(path, columns) if needed or path.exists() else None


def _check_names(table: Table) -> None:
    """Keys are names of files: none leads to another folder."""
    keys = table.texts("key")
    if (row := first_no_name(keys)) is not None:
        fault = "a key must be the name of a picture, not a path"
        raise DataError(table.where(row), fault, keys[row], "Mend the row in each CSV of the side.")


def _same_rows(reference: Table, table: Table | None, keys: Words) -> None:
    if table is None:
        return
    if len(table) != len(keys):
        fault = f"the CSVs of a side must have one row an image; {reference.path.name} has {len(keys)}"
        raise DataError(table.path, fault, len(table), AGAIN)
    if "key" in table:
        for row, (here, there) in enumerate(zip(table.texts("key"), keys.tolist(), strict=True)):
            if here != there:
                fault = f"rows must stand in the order of {reference.path.name}, which has {there!r} here"
                raise DataError(table.where(row), fault, here, f"Sort its rows so. {AGAIN}")

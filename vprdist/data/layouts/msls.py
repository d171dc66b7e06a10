"""Reading an MSLS tree: cities, sides, CSV columns, image names. Errors name the file, the row and the remedy.

On disk: `{train_val,test}/<city>/{query,database}/` with `images/<key>.jpg` and four CSVs whose first column is a
row index. Rows of the CSVs of one side stand in one order. Cities of `test` may lack raw and postprocessed: their
ground truth is public since April 2026, and they are read as any other city where it was put beside them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from vprdist.data.layouts.base import Layout
from vprdist.data.layouts.csv_table import AGAIN, Table
from vprdist.data.layouts.msls_index import add_file, files_of, kept_side
from vprdist.data.layouts.plain_table import NotPlain, PlainTable
from vprdist.data.picture_paths import KeyPaths
from vprdist.data.pictures import folder_sizes
from vprdist.data.places import City, Side
from vprdist.errors import DataError, nearest
from vprdist.spec.names import first_no_name, is_name, name_remedy
from vprdist.spec.vocabulary import SIDES, SUBTASKS

SPLITS = ("train_val", "test")
PLAIN_BYTES = 2**20
"""Bytes of a side's `seq_info.csv`, some 20,000 rows, from which on Arrow reads it sooner than it is loaded."""
KEPT_BYTES = 3 * 2**20
"""The same from which on what was read is kept."""
Read = TypeVar("Read", Table, PlainTable)
NO_NAME = r"^(|\.|\.\.)$|[/\\\x00-\x1f\x7f]"
"""What is no name (`spec.names`), as a regular expression."""


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
    sides, notes = list[Side](), list[str]()
    for side in SIDES:
        read = partial(_read_side, folder / side, city, side, split == "train_val")
        if _bytes(folder / side / "seq_info.csv") < KEPT_BYTES:
            sides.append(read())
        else:
            found, told = kept_side(root, folder / side, read)
            sides.append(found)
            notes += told
    return City(
        name=city, split=split, query=sides[0], database=sides[1], label_file=_label_file(folder), notes=tuple(notes)
    )


def city_digest(root: Path, city: str) -> str:
    """16 hex digits over the CSVs' bytes and the names and sizes of the images: never the pixels."""
    _, folder = city_folder(root, city)
    digest = hashlib.sha256()
    for side in SIDES:
        for path in sorted((folder / side).glob("*.csv")):
            digest.update(f"{side}/{path.name}\0".encode())
            add_file(digest, path)
        for name, size in sorted(folder_sizes(folder / side / "images", ".jpg").items()):
            digest.update(f"{side}/{name}\0{size}\n".encode())
    return digest.hexdigest()[:16]


def _bytes(path: Path) -> int:
    """How many a CSV has; 0 where it is not there, which its reader says."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _no_tree(root: Path) -> DataError:
    fault = "an MSLS tree must have train_val/<city>/{query,database}"
    remedy = "Set trial.data.root to the tree's folder, or trial.data.layout to what `vprdist data info` recognises."
    return DataError(root, fault, None, remedy)


def _label_file(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}_gt.h5")


class _Tables(NamedTuple, Generic[Read]):
    """The CSVs of a side; those of a test city that are not there are None."""

    subtask: Read
    sequence: Read
    raw: Read | None
    truth: Read | None


def _tables(read: Callable[[Path, Sequence[str]], Read], folder: Path, needs_truth: bool) -> _Tables[Read]:
    def optional(path: Path, columns: Sequence[str]) -> Read | None:
        return read(path, columns) if needs_truth or path.exists() else None

    return _Tables(
        read(folder / "subtask_index.csv", SUBTASKS),
        read(folder / "seq_info.csv", ("key", "sequence_key", "frame_number")),
        optional(folder / "raw.csv", ("key", "ca", "pano")),
        optional(folder / "postprocessed.csv", ("key", "easting", "northing", "night", "view_direction")),
    )


def _read_side(folder: Path, city: str, side: str, needs_truth: bool) -> Side:
    """A large side by Arrow; by the careful reader where Arrow could read something otherwise, or it is wrong."""
    if _bytes(folder / "seq_info.csv") >= PLAIN_BYTES:
        with suppress(NotPlain):
            return _side_of(folder, city, side, _plain_tables(folder, needs_truth))
    return _side_of(folder, city, side, _careful_tables(folder, needs_truth))


def _side_of(folder: Path, city: str, side: str, tables: _Tables[Table] | _Tables[PlainTable]) -> Side:
    subtask, sequence, raw, truth = tables
    keys = sequence.words("key")
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
        view_direction=truth.words("view_direction") if truth else np.full(count, ""),
        subtasks={name: subtask.flags(name) for name in SUBTASKS},
        sequence_key=sequence.words("sequence_key"),
        frame_number=sequence.whole_numbers("frame_number"),
        conditions=np.full(count, ""),
        files=files_of(folder),
    )


def _plain_tables(folder: Path, needs_truth: bool) -> _Tables[PlainTable]:
    """The CSVs with equal rows, and keys that are unique names.

    Raises:
        NotPlain: they are not, or one is not plain.
    """
    tables = _tables(PlainTable, folder, needs_truth)
    keys = tables.sequence.texts("key")
    for table in (tables.raw, tables.truth):
        if table is not None and not keys.same_as(table.texts("key")):
            raise NotPlain
    if len(tables.subtask) != len(keys) or keys.num_different() < len(keys) or keys.matches(NO_NAME).any():
        raise NotPlain
    return tables


def _careful_tables(folder: Path, needs_truth: bool) -> _Tables[Table]:
    """The same with all that may be wrong said.

    Raises:
        DataError: a missing, cut or contradictory CSV.
    """
    tables = _tables(Table, folder, needs_truth)
    sequence = tables.sequence
    keys = sequence.texts("key")
    _check_names(sequence, keys)
    for table in (tables.subtask, tables.raw, tables.truth):
        _same_rows(sequence, table, keys)
    seen: dict[str, int] = {}
    for row, key in enumerate(keys):
        if key in seen:
            fault = f"a key stands twice; it is also in row {seen[key]}"
            raise DataError(sequence.where(row), fault, key, "Delete one.")
        seen[key] = row
    return tables


def _check_names(table: Table, keys: Sequence[str]) -> None:
    """Keys are names of files: none leads to another folder."""
    if (row := first_no_name(keys)) is not None:
        fault = "a key must be the name of a picture, not a path"
        raise DataError(table.where(row), fault, keys[row], "Mend the row in each CSV of the side.")


def _same_rows(reference: Table, table: Table | None, keys: Sequence[str]) -> None:
    if table is None:
        return
    if len(table) != len(keys):
        fault = f"the CSVs of a side must have one row an image; {reference.path.name} has {len(keys)}"
        raise DataError(table.path, fault, len(table), AGAIN)
    if "key" in table:
        for row, (here, there) in enumerate(zip(table.texts("key"), keys, strict=True)):
            if here != there:
                fault = f"rows must stand in the order of {reference.path.name}, which has {there!r} here"
                raise DataError(table.where(row), fault, here, f"Sort its rows so. {AGAIN}")

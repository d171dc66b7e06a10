"""Reading an MSLS tree: cities, sides, CSV columns, image names. Errors name the file, the row and the remedy.

On disk: `{train_val,test}/<city>/{query,database}/` with `images/<key>.jpg` and four CSVs whose first column is a
row index. Rows of the CSVs of one side stand in one order. Cities of `test` may lack raw and postprocessed: their
ground truth is public since April 2026, and they are read as any other city where it was put beside them.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vprdist.data.layouts.base import Layout
from vprdist.data.pictures import folder_sizes
from vprdist.data.places import City, KeyPaths, Side, Words
from vprdist.errors import DataError, nearest
from vprdist.spec.names import first_no_name, is_name, name_remedy
from vprdist.spec.vocabulary import SIDES, SUBTASKS

SPLITS = ("train_val", "test")


class Msls(Layout):
    """The layout of the functions below."""

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
            digest.update(f"{side}/{path.name}\0".encode() + path.read_bytes())
        for name, size in sorted(folder_sizes(folder / side / "images", ".jpg").items()):
            digest.update(f"{side}/{name}\0{size}\n".encode())
    return digest.hexdigest()[:16]


def _no_tree(root: Path) -> DataError:
    fault = "an MSLS tree must have train_val/<city>/{query,database}"
    return DataError(root, fault, None, "Set trial.data.root to the tree's folder.")


def _label_file(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}_gt.h5")


def _read_side(folder: Path, city: str, side: str, needs_truth: bool) -> Side:
    subtask = _read_csv(folder / "subtask_index.csv", SUBTASKS)
    sequence = _read_csv(folder / "seq_info.csv", ("key", "sequence_key", "frame_number"))
    raw = _read_csv(folder / "raw.csv", ("key", "ca", "pano"), optional=not needs_truth)
    truth_columns = ("key", "easting", "northing", "night", "view_direction")
    truth = _read_csv(folder / "postprocessed.csv", truth_columns, optional=not needs_truth)
    keys = np.array(sequence.texts("key"))
    for table in (subtask, raw, truth):
        _same_rows(sequence, table, keys)
    _check_names(sequence)
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
        pano=raw.column("pano", _bool) if raw else np.zeros(count, bool),
        ca=raw.column("ca", _angle) if raw else None,
        easting=truth.column("easting", float) if truth else None,
        northing=truth.column("northing", float) if truth else None,
        night=truth.column("night", _bool) if truth else np.zeros(count, bool),
        view_direction=np.array(truth.texts("view_direction") if truth else [""] * count),
        subtasks={name: subtask.column(name, _bool) for name in SUBTASKS},
        sequence_key=np.array(sequence.texts("sequence_key")),
        frame_number=sequence.column("frame_number", int),
        files={"ca": folder / "raw.csv", "easting": folder / "postprocessed.csv"},
    )


@dataclass(frozen=True)
class _Table:
    path: Path
    rows: list[dict[str, str]]

    def __bool__(self) -> bool:
        return self.path.name != ""

    def where(self, row: int) -> str:
        return f"{self.path}:{row + 2}"  # line 1 is the header

    def texts(self, name: str) -> list[str]:
        return [row[name] for row in self.rows]

    def column(self, name: str, convert: Callable[[str], Any]) -> Any:
        values = []
        for index, row in enumerate(self.rows):
            try:
                value = convert(row[name])
                if isinstance(value, float) and not (np.isfinite(value) or (convert is _angle and np.isnan(value))):
                    raise ValueError
            except ValueError:
                kind = {_bool: "True or False", int: "a whole number"}.get(convert, "a finite number")
                kind += ", or nothing" if convert is _angle else ""
                raise DataError(
                    self.where(index), f"column {name!r} must hold {kind}", row[name], "Mend the row."
                ) from None
            values.append(value)
        return np.array(values, dtype={_bool: bool, int: np.int64}.get(convert, np.float64))


def _bool(text: str) -> bool:
    if text not in ("True", "False"):
        raise ValueError(text)
    return text == "True"


def _angle(text: str) -> float:
    """NaN where the field is empty."""
    return float(text or "nan")


def _read_csv(path: Path, columns: Sequence[str], optional: bool = False) -> _Table:
    if optional and not path.exists():
        return _Table(Path(), [])
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            names = reader.fieldnames or []
            missing = [name for name in columns if name not in names]
            if missing:
                raise DataError(
                    f"{path}:1",
                    f"the header must have the column {missing[0]!r}",
                    ",".join(names),
                    "Unpack it again.",
                )
            rows = []
            for index, row in enumerate(reader):
                if None in row or None in row.values():
                    found = ",".join(str(v) for v in row.values() if v is not None)
                    fault = f"a row must have {len(names)} fields; the file may be cut"
                    raise DataError(f"{path}:{index + 2}", fault, found[:120], "Unpack the city again.")
                rows.append(row)
    except FileNotFoundError:
        raise DataError(path, "this file of an MSLS side is missing", None, "Unpack the city again.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(path, "a CSV must be UTF-8 text", str(error), "Unpack the city again.") from None
    except OSError as error:
        raise DataError(path, "the CSV cannot be read", error.strerror, "Unpack the city again.") from None
    if not rows:
        raise DataError(path, "a side must have at least one image", None, "Unpack the city again.")
    return _Table(path, rows)


def _check_names(table: _Table) -> None:
    """Keys are names of files: none leads to another folder."""
    keys = table.texts("key")
    if (row := first_no_name(keys)) is not None:
        fault = "a key must be the name of a picture, not a path"
        raise DataError(table.where(row), fault, keys[row], "Mend the row in each CSV of the side.")


def _same_rows(reference: _Table, table: _Table, keys: Words) -> None:
    if not table:
        return
    if len(table.rows) != len(keys):
        fault = f"the CSVs of a side must have one row an image; {reference.path.name} has {len(keys)}"
        raise DataError(table.path, fault, len(table.rows), "The file may be cut: unpack the city again.")
    if "key" in table.rows[0]:
        for row, (here, there) in enumerate(zip(table.texts("key"), keys.tolist(), strict=True)):
            if here != there:
                fault = f"rows must stand in the order of {reference.path.name}, which has {there!r} here"
                raise DataError(table.where(row), fault, here, "Unpack the city again.")

"""A side of a large MSLS city as columns that are kept; see `kept`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vprdist.data.layouts.csv_table import AGAIN
from vprdist.data.layouts.kept import Columns, Index
from vprdist.data.picture_paths import KeyPaths
from vprdist.data.places import Side
from vprdist.errors import DataError
from vprdist.files import open_file
from vprdist.spec.vocabulary import SUBTASKS

PLAIN = ("keys", "pano", "night", "view_direction", "sequence_key", "frame_number")
OPTIONAL = ("ca", "easting", "northing")


def kept_side(root: Path, folder: Path, read: Callable[[], Side]) -> tuple[Side, tuple[str, ...]]:
    """A side from what is kept of its CSVs, or as `read` answers it, and what a person should know of that.

    Args:
        folder: of the side: its name is the side's, that of the folder above the city's.

    Raises:
        DataError: as `read`.
    """
    city, word = folder.parent.name, folder.name
    digest = tables_digest(folder)
    index = Index(root, f"{city}-{word}", ["msls", digest])
    made: list[Side] = []

    def make() -> Columns:
        made.append(read())
        # Somebody may have written to the CSVs meanwhile: what they are now is noted.
        return _columns(made[0]) | {"tables": np.array(tables_digest(folder))}

    columns = index.get_or_make(lambda found: _is_of(found, digest), make)
    side = made[0] if made else _side(columns, folder)
    return side, tuple(index.notes)


def tables_digest(folder: Path) -> str:
    """64 hex digits over the names and bytes of the CSVs of a side."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.csv")):
        digest.update(f"{path.name}\0".encode())
        add_file(digest, path)
    return digest.hexdigest()


def add_file(digest: hashlib._Hash, path: Path) -> None:
    """The bytes of a CSV go into a digest.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with open_file(path) as stream:
            while block := stream.read(2**20):
                digest.update(block)
    except OSError as error:
        raise DataError(path, "the CSV cannot be read", error.strerror, AGAIN) from None


def _columns(side: Side) -> dict[str, npt.NDArray[Any]]:
    optional = {name: values for name in OPTIONAL if (values := getattr(side, name)) is not None}
    subtasks = np.stack([side.subtasks[name] for name in SUBTASKS])
    return {name: getattr(side, name) for name in PLAIN} | optional | {"subtasks": subtasks}


def _is_of(columns: Columns, digest: str) -> bool:
    """Whether columns are those of CSVs of a digest."""
    if "tables" not in columns or str(columns["tables"]) != digest or "keys" not in columns:
        return False
    count = len(columns["keys"])
    whole = all(name in columns and columns[name].shape == (count,) for name in PLAIN)
    return whole and "subtasks" in columns and columns["subtasks"].shape == (len(SUBTASKS), count)


def _side(columns: Columns, folder: Path) -> Side:
    keys = columns["keys"]
    known: dict[str, Any] = {name: columns[name] for name in PLAIN} | {name: columns.get(name) for name in OPTIONAL}
    return Side(
        city=folder.parent.name, side=folder.name, folder=folder, paths=KeyPaths(folder / "images", keys),
        subtasks=dict(zip(SUBTASKS, columns["subtasks"], strict=True)), conditions=np.full(len(keys), ""),
        files=files_of(folder), **known,
    )  # fmt: skip


def files_of(folder: Path) -> dict[str, Path]:
    """What messages about a column name."""
    return {"ca": folder / "raw.csv", "easting": folder / "postprocessed.csv"}

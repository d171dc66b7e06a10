"""A table beside a folder of pictures whose names tell where they were taken, with what names cannot tell.

`vprdist data convert --to utm` writes it: `database.csv` beside `database/`, `queries.csv` beside `queries/`. Programs
that read names alone do not look at it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from vprdist.data.columns import condition_words
from vprdist.data.layouts.csv_table import AGAIN, Table
from vprdist.data.places import Side
from vprdist.errors import DataError, RuleError
from vprdist.files import digest_file
from vprdist.spec.vocabulary import SUBTASKS

BESIDE = ("file", "pano", "night", "view_direction", "sequence_key", "frame_number", "condition", *SUBTASKS)
"""Its columns; `file` is a picture's name."""


def tables_of(top: Path, folders: Sequence[str]) -> list[Path]:
    """The tables beside the folders of a side; none where no folder has one.

    Raises:
        DataError: some folders have one and others do not.
    """
    paths = [top / f"{folder}.csv" for folder in folders]
    missing = [path for path in paths if not path.is_file()]
    if len(missing) == len(paths):
        return []
    if missing:
        fault = "each folder of a side must have its table beside it, or none"
        raise DataError(missing[0], fault, None, "Write it as vprdist data convert does, or delete the others'.")
    return paths


def with_table(side: Side, tables: Sequence[Path]) -> Side:
    """A side with what its tables tell of its pictures.

    Raises:
        DataError: a table that cannot be read, or has not exactly one row a picture.
    """
    if not tables:
        return side
    read = [Table(path, BESIDE) for path in tables]
    rows = {name: (table, row) for table in read for row, name in enumerate(table.texts("file"))}
    if (count := sum(map(len, read))) != len(side) or len(rows) != count:
        fault = f"a table beside pictures must have a row each: {len(side)}"
        raise DataError(tables[0], fault, len(rows), f"Delete it where names tell all. {AGAIN}")
    names = [path.name for path in side.paths]
    if (other := next((name for name in names if name not in rows), None)) is not None:
        raise DataError(tables[0], "a table beside pictures must name each", other, AGAIN)
    offsets = dict(zip(map(id, read), np.cumsum([0, *map(len, read)]).tolist(), strict=False))
    order = np.array([offsets[id(table)] + row for table, row in map(rows.__getitem__, names)], np.int64)

    def texts(name: str) -> np.ndarray[tuple[int], np.dtype[np.str_]]:
        return np.array([text for table in read for text in table.texts(name)], dtype=str)[order]

    def flags(name: str) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        return np.concatenate([table.flags(name) for table in read])[order]

    try:
        conditions = condition_words(texts("condition"), len(side))
    except RuleError as error:
        raise DataError(tables[0], error.fault, error.value, error.remedy) from None
    return replace(
        side, pano=flags("pano"), night=flags("night"), view_direction=texts("view_direction"),
        sequence_key=texts("sequence_key"), conditions=conditions,
        frame_number=np.concatenate([table.whole_numbers("frame_number") for table in read])[order],
        subtasks={name: flags(name) for name in SUBTASKS},
    )  # fmt: skip


def add_tables(digest: hashlib._Hash, tables: Sequence[Path]) -> None:
    """The tables' contents; nothing where there are none, so that digests stay."""
    for path in tables:
        digest.update(f"{path.name}\0{digest_file(path)}\0".encode())

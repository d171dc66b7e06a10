"""`<city>_<side>.npz` with `keys` (N,) and `activations` (N, C, h, w) uint8, in any order.

`grid`, a text, says where the points of the activations lie; without it they lie as `cells`. `classes`, C texts, says
what they are of; without it they are of the table that was asked for, the 19 where nobody asked.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np

from vprdist.arrays import TooLarge, npz_header, npz_names, read_npz
from vprdist.errors import CacheError, RuleError, first_line
from vprdist.files import digest_json, open_file
from vprdist.semantics.masks import Activations
from vprdist.spec.base import Names
from vprdist.spec.class_table import CITYSCAPES, ClassTable, check_names, table_of
from vprdist.spec.vocabulary import SIDES, Grid

AGAIN = "Make the file again."
MEMBERS = ("keys", "activations")
GRIDS: tuple[str, ...] = get_args(Grid)
SHARE = 0.9
"""What a side's activations may take of the memory: nothing else of size lies there while they are read."""
BROKEN = (OSError, ValueError, KeyError)
"""What `vprdist.arrays` raises over cut or changed files."""


class NpzSource:
    """One file a side. A side's activations are held in memory while it is read, one side at a time."""

    def __init__(self, path: Path, table: ClassTable | None = None) -> None:
        self.path, self.table = path, table
        self._held: tuple[Path, Activations] | None = None  # a side is read shard by shard, and unpacked once

    def has(self, city: str) -> bool:
        return any(self._file(city, side).exists() for side in SIDES)

    def size(self, city: str, side: str, keys: Sequence[str]) -> tuple[int, int]:
        """The size in the file, from its header alone."""
        path = self._file(city, side)
        try:
            header = npz_header(path, "activations")
        except BROKEN as error:
            raise _broken(path, error) from None
        self._check_activations(city, side, header.shape, header.dtype)
        return header.shape[2], header.shape[3]

    def classes(self, city: str, side: str) -> Names:
        """Those that the file names, or those of the table.

        Raises:
            CacheError: they cannot be class names, or are others than those of the table that was asked for.
        """
        path, asked = self._file(city, side), self.table or table_of(CITYSCAPES)
        try:
            stored = read_npz(path, "classes") if "classes" in npz_names(path) else None
        except BROKEN as error:
            raise _broken(path, error) from None
        if stored is None:
            return asked.classes
        if stored.ndim != 1 or stored.dtype.kind != "U":
            raise CacheError(path, "`classes` must be a list of texts", f"{stored.dtype} {stored.shape}", AGAIN)
        found = tuple(map(str, stored.tolist()))
        try:
            check_names(found)
        except RuleError as error:
            raise CacheError(f"{path}: classes", error.fault, error.value, AGAIN) from None
        if self.table is not None and (differs := asked.differs(found)):
            fault = f"the file must be of the class table that is asked for, {asked.words}"
            raise CacheError(path, fault, differs, "Leave out --class-table to take the file's own.")
        return found

    def grid(self, city: str, side: str) -> Grid:
        path = self._file(city, side)
        try:
            found = str(read_npz(path, "grid"))[:60] if "grid" in npz_names(path) else "cells"
        except BROKEN as error:
            raise _broken(path, error) from None
        if found not in GRIDS:
            raise CacheError(path, f"`grid` must be {' or '.join(GRIDS)}", found, AGAIN)
        return cast(Grid, found)

    def fingerprint(self, city: str, side: str, keys: Sequence[str]) -> str:
        """From the sizes and CRC-32 of the members, which stand in the archive's directory."""
        path = self._file(city, side)
        try:
            with open_file(path) as file, zipfile.ZipFile(file) as archive:
                members = [[i.filename, i.file_size, i.CRC] for i in archive.infolist()]
        except Exception as error:  # zipfile has many words for a broken archive
            raise _broken(path, error) from None
        return digest_json(["npz", sorted(members)])

    def read(self, city: str, side: str, keys: Sequence[str]) -> Iterator[tuple[str, Activations]]:
        path = self._file(city, side)
        rows = self._rows(path, keys)
        if self._held is None or self._held[0] != path:
            self._held = None  # two sides never lie in memory
            self.size(city, side, keys)  # checks that its channels are the classes
            if (shape := npz_header(path, "activations").shape)[0] != rows[""]:
                raise CacheError(path, "`activations` must have one entry a key", shape, AGAIN)
            self._held = path, _load(path, "activations")
        activations = self._held[1]
        for key in keys:
            yield key, activations[rows[key]]

    def _rows(self, path: Path, keys: Sequence[str]) -> dict[str, int]:
        """The row of each key, and under "" how many rows there are."""
        stored = _load(path, "keys")
        if stored.ndim != 1 or stored.dtype.kind != "U":
            found = f"{stored.dtype} {stored.shape}"
            raise CacheError(path, "`keys` must be a list of texts", found, AGAIN)
        rows: dict[str, int] = {}
        for row, key in enumerate(stored.tolist()):
            if rows.setdefault(key, row) != row:
                raise CacheError(path, "a key stands twice in `keys`", key, AGAIN)
        for key in keys:
            if key not in rows:
                fault = f"`keys` must hold every key of the side's CSVs ({len(keys)} wanted, {len(rows)} there)"
                raise CacheError(path, fault, f"no {key}", "Segment the missing images, or use the data set it is of.")
        return {**rows, "": len(stored)}

    def _check_activations(self, city: str, side: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        num_classes = len(self.classes(city, side))
        if len(shape) != 4 or shape[1] != num_classes or dtype != np.uint8 or 0 in shape:
            fault = f"`activations` must be (N, {num_classes}, h, w) uint8, softmax x 255"
            known = len(shape) == 4 and dtype == np.uint8 and 0 not in shape
            remedy = "Name the classes that they are of: --class-table, or `classes` in the file." if known else AGAIN
            raise CacheError(self._file(city, side), fault, f"{dtype} {shape}", remedy)

    def _file(self, city: str, side: str) -> Path:
        return self.path / f"{city}_{side}.npz"


def _load(path: Path, member: str) -> Any:
    try:
        return read_npz(path, member, SHARE)
    except BROKEN as error:
        raise _broken(path, error) from None


def _broken(path: Path, error: Exception) -> CacheError:
    if isinstance(error, FileNotFoundError):
        return CacheError(
            path, "no such file; the source must have one for each side of the city", None, "Add the file."
        )
    if isinstance(error, TooLarge):
        remedy = "Import it where there is more memory, or write the side as PNGs: <city>/<side>/<key>/<class>.png."
        return CacheError(path, "a side's array must fit the memory", first_line(error), remedy)
    fault = f"the file must be a whole .npz with {' and '.join(MEMBERS)}"
    return CacheError(path, fault, first_line(error), "Copy or make it again; it may be cut.")

"""One CSV of an MSLS side, as its columns. A damaged, hostile or endless file is one message with its line."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vprdist.data.columns import FAR
from vprdist.errors import DataError
from vprdist.files import open_file

LINE_BYTES = 2**16
AGAIN = "Mend the file, or unpack the city again."
MISSING = "Write it, or unpack the city again; data that lie otherwise need a layout of yours (trial.data.layout)."


class Table:
    """The columns of a CSV that somebody asks for, by name; a row is where `where` says.

    Raises:
        DataError: a missing, cut or contradictory CSV; with file, line and remedy.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        self._lines: list[int] = []
        try:
            with open_file(path) as stream:
                self._columns = self._read(_Lines(path, stream), columns)
        except FileNotFoundError:
            raise DataError(path, "this file of an MSLS side is missing", None, MISSING) from None
        except OSError as error:
            raise DataError(path, "the CSV cannot be read", error.strerror, AGAIN) from None
        if not self._lines:
            raise DataError(path, "a side must have at least one image", None, AGAIN)

    def __len__(self) -> int:
        return len(self._lines)

    def __contains__(self, name: str) -> bool:
        return name in self._columns

    def where(self, row: int) -> str:
        """File and line of a row."""
        return f"{self.path}:{self._lines[row]}"

    def texts(self, name: str) -> list[str]:
        """A column as it stands there."""
        return self._columns[name]

    def words(self, name: str) -> Any:
        """(N,) a column as it stands there, as an array."""
        return np.array(self._columns[name])

    def numbers(self, name: str, may_lack: bool = False) -> Any:
        """(N,) finite float64; with `may_lack` NaN where nothing stands, or nan."""

        def number(text: str) -> float:
            value = float(text or "nan") if may_lack else float(text)
            if not (math.isfinite(value) or (may_lack and math.isnan(value))):
                raise ValueError(text)
            return value

        kind = "a finite number" + (", or nothing" if may_lack else "")
        found = self._converted(name, number, kind, np.float64)
        if len(far := np.flatnonzero(np.abs(found) >= FAR)):
            row = int(far[0])
            fault, value = f"column {name!r} must hold numbers below {FAR:g}", self._columns[name][row][:60]
            raise DataError(self.where(row), fault, value, "Mend the row.")
        return found

    def whole_numbers(self, name: str) -> Any:
        """(N,) int64."""

        def whole(text: str) -> int:
            if len(text) > 20 or not -(2**63) <= (value := int(text)) < 2**63:
                raise ValueError(text)
            return value

        return self._converted(name, whole, "a whole number of 64 bits", np.int64)

    def flags(self, name: str) -> Any:
        """(N,) booleans."""
        return self._converted(name, FLAGS.__getitem__, "True or False", np.bool_)

    def _converted(self, name: str, convert: Callable[[str], Any], kind: str, dtype: type[np.generic]) -> Any:
        values = []
        for row, text in enumerate(self._columns[name]):
            try:
                values.append(convert(text))
            except (ValueError, KeyError):
                fault = f"column {name!r} must hold {kind}"
                raise DataError(self.where(row), fault, text[:60], "Mend the row.") from None
        return np.array(values, dtype)

    def _read(self, lines: _Lines, columns: Sequence[str]) -> dict[str, list[str]]:
        found: list[list[str]] = []
        places: list[int] = []
        names: list[str] = []
        try:
            for fields in csv.reader(lines, strict=True):
                where = f"{self.path}:{lines.first}"
                if not names:
                    names, places = fields, self._places(fields, columns)
                    found = [[] for _ in columns]
                elif any(fields):  # programs for tables leave lines of commas behind
                    if len(fields) != len(names):
                        fault = f"a row must have {len(names)} fields; the file may be cut"
                        raise DataError(where, fault, ",".join(fields)[:120], AGAIN)
                    self._lines.append(lines.first)
                    for name, column, place in zip(columns, found, places, strict=True):
                        if lines.read > lines.first and any(end in fields[place] for end in "\r\n"):
                            fault = f"column {name!r} must hold one line; a quote may be missing"
                            raise DataError(where, fault, fields[place][:60], AGAIN)
                        column.append(fields[place])
                lines.begin_row()
        except csv.Error as error:
            raise DataError(f"{self.path}:{lines.first}", "the row is no CSV", str(error), AGAIN) from None
        if not names:
            self._places([], columns)
        return dict(zip(columns, found, strict=True))

    def _places(self, names: list[str], columns: Sequence[str]) -> list[int]:
        where = f"{self.path}:1"
        for name in columns:
            if name not in names:
                fault, found = f"the header must have the column {name!r}", ",".join(names)[:200]
                apart = any(mark in found for mark in ";\t") and "," not in found
                do = (
                    "Columns are set apart by commas: save it as CSV with commas."
                    if apart
                    else f"Write the column. {AGAIN}"
                )
                raise DataError(where, fault, found, do)
            if names.count(name) > 1:
                raise DataError(where, "a column stands twice in the header", name, "Delete one.")
        return [names.index(name) for name in columns]


UTF_16 = ("\udcff\udcfe", "\udcfe\udcff")
"""The bytes at its beginning, as Python has them that cannot be decoded."""
FLAGS = {"True": True, "False": False, "TRUE": True, "FALSE": False}
"""As Python writes them, and as programs for tables do that opened and saved the file."""


class _Lines(Iterator[str]):
    """The lines of a CSV with their ends, for its reader: none is endless, or holds what is no text.

    They end as on Unix, Windows or the first Macintosh. A quoted field may go on in the next lines, but no row is
    longer than `LINE_BYTES`: the reader would read on within a field that has no end.

    Attributes:
        read: how many were read.
        first: the line at which the row begins that is being read.
    """

    def __init__(self, path: Path, stream: BinaryIO) -> None:
        self.path = path
        # What is no UTF-8 is found line by line: the decoder, which reads ahead, does not know where it stands.
        self._text = io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline="")
        self.read = 0
        self.begin_row()

    def begin_row(self) -> None:
        """The next line is the first one of a row."""
        self.first, self._left = self.read + 1, LINE_BYTES

    def __next__(self) -> str:
        line = self._text.readline(self._left + 1)
        if not line:
            raise StopIteration
        self.read += 1
        where = f"{self.path}:{self.read}"
        if self.read == 1 and line.startswith(UTF_16):
            raise DataError(where, "a CSV must be UTF-8 text", "UTF-16", "Save it as CSV UTF-8, with commas.")
        raw = line.encode("utf-8", "surrogateescape")
        self._left -= len(raw)
        if self._left < 0:
            fault = f"a row must have {LINE_BYTES} bytes at most; a quote may be missing"
            raise DataError(f"{self.path}:{self.first}", fault, None, AGAIN)
        if b"\0" in raw:
            raise DataError(where, "a row holds zeros, and is no text", None, f"The disk lost it. {AGAIN}")
        try:
            raw.decode()
        except UnicodeDecodeError as error:
            raise DataError(where, "a CSV must be UTF-8 text", str(error)[:100], "Save it as UTF-8.") from None
        return line

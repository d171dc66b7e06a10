"""One CSV of an MSLS side, read by Arrow in less time and memory than `csv_table.Table` (tests/benchmarks/indexing).

It knows no messages. Whatever readers of CSV could differ about, and all that is wrong, is `NotPlain`: `Table` reads
the file then, and says what it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vprdist.data.columns import FAR
from vprdist.data.layouts.csv_table import FLAGS
from vprdist.text_columns import Texts, read_plain_csv


class NotPlain(Exception):
    """The careful reader has to look."""


class PlainTable:
    """The columns of a CSV that somebody asks for, by name, as `Table` has them.

    Raises:
        NotPlain: see above.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        try:
            found = read_plain_csv(path, columns)
        except OSError:
            found = None
        if found is None:
            raise NotPlain
        self._columns = found

    def __len__(self) -> int:
        return len(next(iter(self._columns.values())))

    def texts(self, name: str) -> Texts:
        """A column as it stands there."""
        return self._columns[name]

    def words(self, name: str) -> Any:
        """(N,) the same as an array."""
        return self._columns[name].array()

    def numbers(self, name: str, may_lack: bool = False) -> Any:
        """(N,) finite float64; with `may_lack` NaN where nothing stands, or nan."""
        found = self._columns[name].numbers()
        if found is None or not ((np.abs(found) < FAR) | (np.isnan(found) & may_lack)).all():
            raise NotPlain
        return found

    def whole_numbers(self, name: str) -> Any:
        """(N,) int64."""
        if (found := self._columns[name].whole_numbers()) is None:
            raise NotPlain
        return found

    def flags(self, name: str) -> Any:
        """(N,) booleans."""
        column = self._columns[name]
        words = {word: column.equal(word) for word in FLAGS}
        if not np.logical_or.reduce(list(words.values())).all():
            raise NotPlain
        return np.logical_or.reduce([words[word] for word, value in FLAGS.items() if value])

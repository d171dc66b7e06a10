"""A table of results: Arrow inside, rows, pandas and HTML outside."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vprdist.api.html import MOST_ROWS, cell_text, paragraphs, table
from vprdist.errors import UserError, nearest

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

MOST_COLUMNS = 12
"""Columns that are shown; the others are there all the same."""


class Table:
    """Rows and columns, for a notebook.

    Iterating gives rows as dictionaries; `table[0]` is a row, `table["recall@1"]` a column. pyarrow, polars, duckdb and
    others take the object itself (Arrow's PyCapsule interface).

    Attributes:
        title: what it is a table of.
        notes: what a person should know of it, and files that could not be read.

    Example:
        >>> sweep.results.to_pandas().groupby("name")["recall@1"].mean()
    """

    def __init__(self, arrow: pa.Table, title: str = "", notes: Sequence[str] = ()) -> None:
        self._arrow, self.title, self.notes = arrow, title, tuple(notes)

    @classmethod
    def of(
        cls, records: Sequence[Mapping[str, object]], columns: Sequence[str] = (), title: str = "",
        notes: Sequence[str] = (),
    ) -> Table:  # fmt: skip
        """A table of records.

        Args:
            columns: that it has in any case, in this order; other keys follow.
        """
        return cls(arrow_of(records, columns), title, notes)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(self._arrow.column_names)

    def to_arrow(self) -> pa.Table:
        """The table as pyarrow has it."""
        return self._arrow

    def to_pandas(self) -> pd.DataFrame:
        """The table as pandas has it.

        Raises:
            UserError: pandas is not installed.
        """
        if importlib.util.find_spec("pandas") is None:
            raise UserError("to_pandas", "frames need pandas", None, "pip install 'vprdist[notebooks]'.")
        return self._arrow.to_pandas()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._arrow.__arrow_c_stream__(requested_schema)

    def __len__(self) -> int:
        return int(self._arrow.num_rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._arrow.to_pylist())

    def __getitem__(self, which: int | str) -> Any:
        """A row by its place, or the values of a column.

        Raises:
            IndexError: no such row.
            UserError: no such column.
        """
        if isinstance(which, int):
            place = which + len(self) if which < 0 else which
            if not 0 <= place < len(self):
                raise IndexError(which)
            return self._arrow.slice(place, 1).to_pylist()[0]
        if which not in self.columns:
            raise UserError(self.title or "table", "no such column", which, nearest(which, self.columns))
        return self._arrow.column(which).to_pylist()

    def __repr__(self) -> str:
        said = "".join(f"\n{note}" for note in self.notes)
        return f"{self.title or 'table'}: {len(self)} rows, columns {', '.join(self.columns)}{said}"

    def _repr_html_(self) -> str:
        shown = self.columns[:MOST_COLUMNS]
        rows = self._arrow.slice(0, MOST_ROWS).to_pylist()
        lines = [[cell_text(row[name]) for name in shown] for row in rows]
        lines += [[]] * (len(self) - len(lines))  # counted, not shown
        left = self.columns[MOST_COLUMNS:]
        notes = [f"further columns: {', '.join(left)}"] if left else []
        return table(shown, lines, self.title) + paragraphs([*notes, *self.notes])


def arrow_of(records: Sequence[Mapping[str, object]], columns: Sequence[str] = ()) -> pa.Table:
    """Records as a table of pyarrow; a column whose values are of several kinds becomes one of texts."""
    import pyarrow as pa

    names = dict.fromkeys([*columns, *(name for record in records for name in record)])
    return pa.table({name: _array([record.get(name) for record in records]) for name in names})


def _array(values: list[object]) -> Any:
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError, ValueError, TypeError):
        texts = [None if value is None else str(value) for value in values]
        return pa.array([None if text is None else text.encode("utf-8", "backslashreplace").decode() for text in texts])

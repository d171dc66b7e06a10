"""Parquet tables: what is read is what Arrow makes of them, whatever a column holds."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

import vprdist.parquet
from vprdist.parquet import read_parquet


@pytest.mark.parametrize("rows_a_group", [3, 100])
def test_every_kind_of_column_is_what_arrow_makes_of_it(tmp_path: Path, rows_a_group: int) -> None:
    """Texts, and lists of them, are read as numbers of dictionaries: one dictionary for each group of rows."""
    columns = {
        "text": ["a", None, "", "é", "a"], "number": [1, 2, None, 4, 5], "none": pa.nulls(5, pa.string()),
        "bytes": [b"\xff", None, b"", b"x", b"x"], "texts": [["a", None], None, [], ["b", "b"], ["a"]],
        "lists": [[["a"], None], None, [], [["b", "c"], []], [["a"]]], "numbers": [[1], None, [], [2, None], [3]],
        "large": pa.array([["x"], None, ["y"], [], ["x"]], pa.large_list(pa.large_string())),
    }  # fmt: skip
    table = pa.table(columns)
    for path, rows in ((tmp_path / "all", table), (tmp_path / "none", table.slice(0, 0))):
        parquet.write_table(rows, path, row_group_size=rows_a_group)
        assert read_parquet(path) == rows.to_pydict()
        assert list(read_parquet(path, ["texts", "text"])) == ["texts", "text"]


def test_texts_are_made_of_plain_columns_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrow takes six times as long to make Python's values of dictionaries."""
    parquet.write_table(pa.table({"text": ["a", "b"], "texts": [["a"], ["b", "b"]]}), tmp_path / "t")
    made = []
    plain = vprdist.parquet._plain
    monkeypatch.setattr(vprdist.parquet, "_plain", lambda column: made.append(plain(column)) or made[-1])
    read_parquet(tmp_path / "t")
    assert len(made) == 2 and not any("dictionary" in str(column.type) for column in made)

"""Rows of float32 in Arrow files: what was written is read, without a copy, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from vprdist.arrow import map_rows, write_rows


@pytest.mark.parametrize("shape", [(3, 5, 7), (1, 1, 1), (2, 0, 4), (19, 4, 33)])
def test_what_was_written_is_read(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    names = [f"map {index}" for index in range(shape[0])]
    write_rows(tmp_path / "a.arrow", names, 96, values, {"kind": "own"})
    found = map_rows(tmp_path / "a.arrow")
    assert found.facts == {"kind": "own"}
    if shape[1]:
        assert (found.names, found.first) == (tuple(names), 96)
        assert np.array_equal(found.values_KNM, values) and not found.values_KNM.flags.writeable
    table = pa.ipc.open_file(tmp_path / "a.arrow").read_all()
    assert table.column_names == ["of", "place", "values"] and len(table) == shape[0] * shape[1]


def _of(path: Path, of: list[str], place: list[int], values: pa.Array) -> None:
    batch = pa.record_batch({"of": of, "place": place, "values": values})
    with pa.ipc.new_file(path, batch.schema) as file:
        file.write_batch(batch)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("cut", "."), ("text", "."), ("places", "places do not follow"), ("names", "rows are missing"),
        ("kind", "values of type"), ("column", "."), ("nulls", "rows are missing"),
    ],
)  # fmt: skip
def test_what_is_no_such_file_is_refused(tmp_path: Path, fault: str, words: str) -> None:
    path, pair = tmp_path / "a.arrow", pa.array([[1.0, 2.0]] * 4, pa.list_(pa.float32(), 2))
    write_rows(path, ["a", "b"], 0, np.ones((2, 2, 2), np.float32), {})
    if fault == "cut":
        path.write_bytes(path.read_bytes()[:-30])
    elif fault == "text":
        path.write_text("not an Arrow file, though long enough to be one")
    elif fault == "places":
        _of(path, ["a", "a", "b", "b"], [0, 1, 1, 0], pair)
    elif fault == "names":
        _of(path, ["a", "b", "a", "b"], [0, 0, 1, 1], pair)
    elif fault == "kind":
        _of(path, ["a", "a", "b", "b"], [0, 1, 0, 1], pa.array([[1.0, 2.0]] * 4, pa.list_(pa.float32())))
    elif fault == "nulls":
        _of(path, ["a", "a", "b", "b"], [0, 1, 0, 1], pa.array([[1.0, None]] * 4, pa.list_(pa.float32(), 2)))
    else:
        batch = pa.record_batch({"of": ["a"]})
        with pa.ipc.new_file(path, batch.schema) as file:
            file.write_batch(batch)
    with pytest.raises(ValueError, match=words):
        map_rows(path)


def test_what_is_missing_or_no_file_is_an_error_of_the_system(tmp_path: Path) -> None:
    for path in (tmp_path / "none.arrow", tmp_path):
        with pytest.raises(OSError, match=r"."):
            map_rows(path)

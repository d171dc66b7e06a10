"""A file of a run folder that says nothing, or is no file: what it told is lost, and named; nothing else is."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from tests.fuzz.formats.run_folder import journal, make, rows
from vprdist.errors import LaunchError, UserError
from vprdist.files import append_json_line, parse_json, read_json, read_json_lines
from vprdist.parquet import read_parquet
from vprdist.store.driving import want_again
from vprdist.store.journal import JobRecord
from vprdist.store.queries import queries_path, read_queries
from vprdist.store.trial_folder import TrialFolder, held


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        '{"a": NaN}',
        '{"a": 1e999}',
        '{"a": 9' + "9" * 5000 + "}",
        '"\\ud800"',
        '{"a": 1, "a": 2}',
        b"\xff",
    ],
)
def test_json_that_nobody_writes_is_refused_as_what_is_no_json(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError):
        read_json(path)


def test_what_writers_make_is_read():
    assert parse_json(b'{"a": [1.5, "\\ud83d\\ude00", 18446744073709551615, null]}')["a"][1] == "😀"


def test_a_file_of_gigabytes_is_not_read(tmp_path):
    path = tmp_path / "a"
    path.touch()
    os.truncate(path, 5 * 10**9)
    for read in (read_json, read_json_lines):
        with pytest.raises(OSError, match="any of its kind"):
            read(path)


def test_damaged_rows_cost_their_points_alone(tmp_path):
    place = TrialFolder(tmp_path / "t")
    rows = [
        {"kind": "train", "step": 1, "steps": 9, "loss": 0.5}, {"kind": "train", "step": "x", "steps": 9},
        {"kind": "evaluate", "step": 1, "recall@1": {}}, {"kind": []}, {"kind": "stage"},
        {"kind": "evaluate", "step": 2},
    ]  # fmt: skip
    for row in rows:
        append_json_line(place.metrics_file, row)
    assert place.rows()[0] == [rows[0], rows[5]]
    append_json_line(place.starts_file, {"time": "now"})
    append_json_line(place.starts_file, {"time": 1.0, "host": "h"})
    assert [row["host"] for row in place.starts()] == ["h"]


def test_a_folder_in_a_locks_place_is_refused_by_name(tmp_path):
    (tmp_path / "lock").mkdir()
    with pytest.raises(LaunchError, match="a lock must be a file"):
        held(tmp_path / "lock")


@pytest.mark.parametrize("field", ["pid", "process_group"])
def test_no_journal_names_a_group_of_processes_that_no_job_is(field):
    """Zero is whoever asks, and one the machine's own."""
    with pytest.raises(ValueError, match=field):
        JobRecord.model_validate({**journal("t").model_dump(), field: 1})


def test_a_small_table_that_would_fill_the_memory_is_refused_before_it_does(tmp_path):
    path = tmp_path / "a.parquet"
    column = pa.DictionaryArray.from_arrays(np.zeros(6000, np.int32), pa.array(["x" * 1_000_000]))
    parquet.write_table(pa.table({"a": column}), path, compression="zstd")
    assert path.stat().st_size < 700_000
    with pytest.raises(ValueError, match="that would become 6,0"):
        read_parquet(path)


def test_per_query_results_with_other_kinds_of_values_are_refused_by_the_column(tmp_path):
    make(tmp_path)
    path = queries_path(TrialFolder.of(tmp_path, rows()[0].trial_id).path)
    table = parquet.read_table(path)
    for name, values in {
        "query": [1] * len(table),
        "easting": ["x"] * len(table),
        "frame_number": [0.5] * len(table),
    }.items():
        changed = table.set_column(table.column_names.index(name), name, pa.array(values))
        parquet.write_table(changed, path)
        with pytest.raises(UserError, match=name if name != "frame_number" else "frame's number"):
            read_queries(path)


def test_a_folder_in_the_place_of_a_cancellation_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "cancelled.json").mkdir()
    with pytest.raises(LaunchError, match=r"cancelled\.json: it cannot be removed: 'Is a directory'"):
        want_again(tmp_path, math.inf)

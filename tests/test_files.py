"""Lines of JSON that a full disk or a power cut tore: the others are read, and the next one is whole."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from vprdist.files import append_json_line, read_json_lines


def test_a_line_that_a_full_disk_cut_is_told_and_costs_no_other_line(tmp_path: Path) -> None:
    path = tmp_path / "log" / "metrics.jsonl"
    append_json_line(path, {"step": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 5, limits[1]))
    try:
        with pytest.raises(OSError, match=r"metrics\.jsonl"):
            append_json_line(path, {"step": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not path.read_bytes().endswith(b"\n"), "the disk took a part of the line"
    rows, offset = read_json_lines(path)
    assert rows == [{"step": 1}]
    append_json_line(path, {"step": 2}, durable=True)
    assert read_json_lines(path)[0] == [{"step": 1}, {"step": 2}]
    assert read_json_lines(path, offset)[0] == [{"step": 2}], "who was reading goes on"


def test_a_tail_of_zeros_costs_no_other_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n' + bytes(12))  # what some file systems leave after a power cut
    append_json_line(path, {"step": 2})
    assert read_json_lines(path)[0] == [{"step": 1}, {"step": 2}]

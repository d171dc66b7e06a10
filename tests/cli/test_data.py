"""`vprdist data info` finds what a sweep would refuse, all of it at once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.broken import BROKEN, break_pictures
from vprdist.cli import main

COUNTS = {"ada/query": 12, "ada/database": 20, "bob/query": 8, "bob/database": 16}


def said(words: list[object], capsys: pytest.CaptureFixture[str], code: int) -> str:
    assert main(["data", "info", *map(str, words)]) == code
    out = capsys.readouterr()
    assert "Traceback" not in out.out + out.err
    return " ".join(out.out.split())


def test_everything_that_is_broken_is_named_at_once(small_tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Both ends of each picture were looked at" in said([small_tree], capsys, 0)
    break_pictures(small_tree)
    found = said([small_tree], capsys, 2)
    for name, what in BROKEN.items():
        side = name.rpartition("/")[0]
        assert f"{side}: 1 of {COUNTS[side]} pictures: each {what} ({name})" in found
    assert "trial.data.broken: leave_out" in found
    left = said([small_tree, "--leave-out", *BROKEN], capsys, 0)
    assert "ada is read without 1 of 12 query images and 1 of 20 database images" in left


def test_decoding_finds_more(small_tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = small_tree / "train_val/bob/query/images/bob_q001.jpg"
    path.write_bytes(b"\xff\xd8 no picture at all \xff\xd9")
    said([small_tree], capsys, 0)
    assert "each is cut, or no picture (bob/query/bob_q001)" in said([small_tree, "--decode"], capsys, 2)


def test_tables_alone_are_counted(small_tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in small_tree.glob("train_val/*/*/images"):
        shutil.rmtree(folder)
    found = said([small_tree], capsys, 0)
    assert "ada: its tables are there, and its pictures are not" in found and " 12 " in found


def test_cities_that_cannot_be_measured_or_trained_on_are_said(
    small_tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = small_tree / "train_val" / "bob" / "query" / "postprocessed.csv"
    table.write_text(table.read_text().replace(",5000001.0,", ",5900001.0,"))
    table = small_tree / "train_val" / "ada" / "query" / "raw.csv"
    table.write_text(table.read_text().replace(",90.0,", ",-1.0,"))
    found = said([small_tree], capsys, 0)
    assert "bob: no query has a database image within 25 m: it cannot be measured" in found
    assert "labels: auto takes distance for ada (no query image has a compass angle)" in found
    assert "every compass angle of bob is 90: labels computed from it know how far pictures are apart" in found
    assert "every compass angle of ada" not in found, "no labels are computed from it"

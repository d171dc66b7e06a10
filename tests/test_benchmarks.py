"""The table of all benchmarks: none is forgotten, what is missing or fails is a row, and aims are compared rightly."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.benchmarks import __main__ as command
from tests.benchmarks import registry
from tests.benchmarks.registry import BENCHMARKS, HELPERS, NEEDS, REPO, Benchmark
from tests.benchmarks.told import ROWS, Row, read_rows, tell
from tests.gpu import measure

FOLDER = REPO / "tests" / "benchmarks"


def test_every_benchmark_is_registered_once_and_tells_rows() -> None:
    files = {path.stem: path for path in FOLDER.glob("*.py") if path.stem not in HELPERS}
    names = [each.name for each in BENCHMARKS]
    assert sorted(files) == sorted(names)
    for each in BENCHMARKS:
        assert bool(each.short) != bool(each.why_not), f"{each.name} has a short form, or says why not"
        assert set(each.needs) <= set(NEEDS), each.name
        assert "tell(" in files[each.name].read_text(), f"{each.name} tells the table nothing"


def written(folder: Path, text: str) -> Benchmark:
    """A benchmark of this text, in a checkout of its own."""
    path = folder / "tests" / "benchmarks" / "made_up.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"import sys\nsys.path.insert(0, {str(FOLDER)!r})\nfrom told import tell\n{text}\n")
    return Benchmark("made_up", "--data {data} --work {work}")


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("tell('speed', 9, '1/s', peer='theirs', theirs=10, at_least=0.9)", 0, "yes"),
        ("tell('speed', 8, '1/s', peer='theirs', theirs=10, at_least=0.9)", 0, "no"),
        ("tell('speed', float('nan'), '1/s', peer='theirs', theirs=10, at_least=0.9)", 0, "no"),
        ("tell('speed', 8); sys.exit('the disk is full')", 1, "failed: exit code 1: the disk is full"),
        ("pass", 1, "failed: it told no row"),
        ("import time; time.sleep(600)", 1, "failed: longer than 2 s"),
    ],
)
def test_what_comes_of_a_benchmark_is_a_row(
    text: str, code: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "BENCHMARKS", (written(tmp_path, text),))
    monkeypatch.setattr(command, "REPO", tmp_path)
    limit = ["--limit", "2"] if "sleep" in text else []
    assert command.main(["--json", str(tmp_path / "table.json"), *limit]) == code
    shown = capsys.readouterr().out
    assert says in shown and "load (1, 5, 15 min): before" in shown and f"Python {sys.version.split()[0]}" in shown
    made = json.loads((tmp_path / "table.json").read_text())
    assert [each["name"] for each in made["benchmarks"]] == ["made_up"] and made["machine"]["cores"] >= 1
    if says in ("yes", "no"):
        [row] = made["benchmarks"][0]["rows"]
        assert row["met"] is (says == "yes")
        assert row["ratio"] == (None if row["ours"] is None else pytest.approx(row["ours"] / 10))


def test_what_is_missing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmarks = (Benchmark("one", "-", needs=("lip6",)), Benchmark("two", why_not="an hour"))
    monkeypatch.setattr(command, "BENCHMARKS", benchmarks)
    assert command.main(["--data", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "skipped: no lip6 in the folder of real data" in shown and "skipped: an hour (--full)" in shown
    assert command.main(["--list", "--data", str(tmp_path)]) == 0
    assert "no lip6 in the folder of real data" in capsys.readouterr().out
    assert command.main(["--total", "1e-9", "--data", "/"]) == 0
    assert "two" in capsys.readouterr().out
    assert command.main(["--only", "tow"]) == 2
    assert "'two'" in capsys.readouterr().err


def test_what_is_measured_on_a_gpu_is_said_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert measure.main(["--data", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("no GPU on this machine") == len(measure.BENCHMARKS)
    for each in measure.BENCHMARKS:
        assert each.name in {known.name for known in BENCHMARKS}


@pytest.mark.parametrize(
    ("row", "met"),
    [
        (Row(what="-", ours=5), None),
        (Row(what="-", ours=5, at_most=5), True),
        (Row(what="-", ours=5, at_most=4), False),
        (Row(what="-", ours=5, theirs=4, at_least=1.2, at_most=1.3), True),
        (Row(what="-", ours=5, theirs=4, at_least=1.3), False),
        (Row(what="-", ours=5, theirs=0, at_least=1.3), False),
    ],
)
def test_an_aim_is_that_of_the_ratio_or_of_the_figure_alone(row: Row, met: bool | None) -> None:
    assert row.met is met


def test_rows_are_told_to_the_table_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ROWS, raising=False)
    tell("nothing", 1)
    monkeypatch.setenv(ROWS, str(tmp_path / "rows"))
    tell("a", 1, "s", peer="b", theirs=2, at_most=1)
    tell("c", 3)
    assert [(row.what, row.ratio, row.met) for row in read_rows(tmp_path / "rows")] == [
        ("a", 0.5, True),
        ("c", None, None),
    ]
    assert registry.missing(Benchmark("-", "-"), tmp_path) == ""

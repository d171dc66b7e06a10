"""Real commands where names are markup, escapes, formulas and HTML: they are words, and stay words."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from tests.report.making import leave, records_of, result
from tests.worlds import write_city
from vprdist.cli import main
from vprdist.files import write_text
from vprdist.store.journal import Failure
from vprdist.store.trial_folder import TrialFolder

NAMES = ["[/x] [bold]loud[/bold]", "\x1b[31mred\x1b[0m \u202eback", "<script>alert(1)</script> | `code` _it_", "=1+1"]
SHOWN = ["[/x] [bold]loud[/bold]", r"\x1b[31mred\x1b[0m \u202eback", NAMES[2], "=1+1"]
SWEEP = "mine [bold]"
REASON = "node [/z] said \x1b]0;owned\x07 and \r went"
REASON_SHOWN = r"node [/z] said \x1b]0;owned\x07 and \r went"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Four trials: two have results, one failed, of one there is nothing yet."""
    runs = tmp_path / "runs [old]"
    rows = [
        (result(0.5), records_of(0.5, 0)), (result(0.7, unfreeze="all"), records_of(0.7, 1)),
        (result(0.6, mode="masked"), records_of(0.6, 2)), (result(0.4, mode="masked", unfreeze="all"), None),
    ]  # fmt: skip
    leave(runs, rows, SWEEP, NAMES)
    return runs


def fail(runs: Path, row: int) -> TrialFolder:
    from vprdist.store.manifest import read_manifest

    folder = TrialFolder.of(runs, list(read_manifest(runs / "sweeps" / SWEEP)["names"])[row])
    folder.result_file.unlink()
    folder.write_failure(Failure(reason=REASON, attempts=2, log_lines=("[/w] \x1b[2J last line",)))
    return folder


def said(capsys: pytest.CaptureFixture[str], code: int, *words: object) -> str:
    """What a command says, in one line; nothing of it steers a terminal."""
    assert main(list(map(str, words))) == code
    out, err = capsys.readouterr()
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", out + err)
    return out + err


def test_tables_of_sweeps_and_trials_show_them(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fail(runs, 1)
    table = said(capsys, 0, "status", SWEEP, "--runs", runs)
    for name in (SHOWN[0], SHOWN[2], SHOWN[3]):
        assert name in table
    assert SHOWN[1] in table and REASON_SHOWN in table and f"vprdist retry {SWEEP}" in table
    assert SWEEP in said(capsys, 0, "status", "--runs", runs)
    assert REASON_SHOWN in said(capsys, 0, "retry", SWEEP, "--list", "--runs", runs)
    assert "\\u001b[31mred" in said(capsys, 0, "status", SWEEP, "--json", "--runs", runs)


def test_refusals_name_them(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"{runs}: no such sweep: " in said(capsys, 2, "status", "[no]", "--runs", runs)
    assert NAMES[0] in said(capsys, 2, "cancel", SWEEP, "loud", "--runs", runs)
    assert r"no such trial: '\x1b[31m'" in said(capsys, 2, "logs", "\x1b[31m", "--runs", runs)
    with pytest.raises(SystemExit):
        main(["status", "a", "\x1b[31mb"])
    assert r"unrecognized arguments: \x1b[31mb" in capsys.readouterr().err


def test_paths_are_whole(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert str(runs) in said(capsys, 0, "leaderboard", SWEEP, "--runs", runs)
    assert f"Nothing to remove in {runs}." in said(capsys, 0, "prune", "--runs", runs)
    city = "aa [bold]"
    write_city(runs / "tree", city, num_query=2, num_database=3, seed=1)
    assert f" {city} " in said(capsys, 0, "data", "info", runs / "tree")


def test_a_log_is_shown_without_its_colours_and_kept_with_them(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = fail(runs, 1)
    log = folder.log / "attempt-1-token" / "1_0_log.out"
    write_text(log, "\x1b[32mok\x1b[0m [/x] 10 %\r20 %\r\n\x07\u202edone\n")
    shown = said(capsys, 0, "logs", folder.trial_id, "--runs", runs)
    assert shown == f"==> {log}\nok [/x] 10 %\n20 %\n\\x07\\u202edone\n"
    assert "\x1b[32m" in log.read_text()


def test_files_for_other_programs_hold_words(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = runs / "sweeps" / SWEEP
    board = said(capsys, 0, "leaderboard", SWEEP, "--parts", "--runs", runs)
    assert all(name in board for name in SHOWN)
    for file in ("leaderboard.csv", "breakdown.csv"):
        with (folder / file).open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert {row["name"] for row in rows} <= {SHOWN[0], SHOWN[1], SHOWN[2], "'=1+1"}
    with (folder / "leaderboard.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert "'=1+1" in {row["name"] for row in rows}
    differences = [row["difference"] for row in rows if row["difference"]]
    assert any(value.startswith("-") and float(value) < 0 for value in differences), "numbers stay numbers"
    markdown = (folder / "leaderboard.md").read_text()
    assert r"| \<script>alert(1)\</script> \| \`code\` \_it\_ |" in markdown and not re.search(r"(?<!\\)<\w", markdown)
    assert "\x1b" not in markdown and "\u202e" not in markdown
    for lines in re.findall(r"(?:^\|.*\n)+", markdown, re.M):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in lines.splitlines()}
        assert len(widths) == 1, "a table is whole"
    page = (folder / "leaderboard.html").read_text()
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)" in page
    tex = (folder / "leaderboard.tex").read_text()
    assert "{[}/x] [bold]loud" in tex and r"\textless{}script\textgreater{}" in tex
    assert not re.search(r"\\\\\s*[\[*]", tex), "a row that begins so would be an argument of the row above"
    assert "\x1b" not in tex

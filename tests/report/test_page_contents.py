"""What the page tells: queries that flipped, pictures, results as they come, and what is not there or not readable."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.report.making import four, leave, records_of, result, written
from vprdist.console import Console
from vprdist.files import append_json_line, write_json, write_text
from vprdist.report import publish
from vprdist.report.board import Board, read_board
from vprdist.report.board_page import page_path, write_page
from vprdist.report.page import build
from vprdist.report.page.build import page
from vprdist.report.page.contents import Contents, Figure, NoPictures, Progress, View
from vprdist.report.page.figures import figures_of, kinds_of_mask
from vprdist.report.page.flips import MOST_BYTES, Album
from vprdist.report.publish import leaderboard, watch
from vprdist.spec.input import InputSpec
from vprdist.spec.trial import TrialSpec
from vprdist.status.status import show_sweep
from vprdist.store.queries import queries_path


def test_the_watch_ends_with_the_last_trial(tmp_path, monkeypatch):
    folder = four(tmp_path)
    waiting = tmp_path / "trials" / result(0.5).trial_id / "result.json"
    text = waiting.read_text()
    waiting.unlink()
    seen = []

    def sleep(seconds: float) -> None:
        seen.append(page_path(folder).read_text())
        write_text(waiting, text)

    assert watch(folder, tmp_path, Console(file=io.StringIO()), 7, sleep) == 0
    assert len(seen) == 1 and 'data-refresh="7"' in seen[0] and "3 of 4 trials" in seen[0]
    last = page_path(folder).read_text()
    assert 'data-refresh="0"' in last and "4 of 4 trials" in last


def test_the_last_page_has_a_result_that_came_while_the_board_was_read(tmp_path, monkeypatch):
    folder = four(tmp_path)
    waiting = tmp_path / "trials" / result(0.5).trial_id / "result.json"
    text = waiting.read_text()
    waiting.unlink()

    def read_slowly(*places: Path) -> Board:
        found = read_board(*places)
        write_text(waiting, text)
        return found

    monkeypatch.setattr(publish, "read_board", read_slowly)
    assert watch(folder, tmp_path, Console(file=io.StringIO()), 7, lambda seconds: None) == 0
    assert "4 of 4 trials" in page_path(folder).read_text()


def test_a_sweep_without_a_result_has_a_page_too(tmp_path, browser):
    folder = four(tmp_path)
    for path in (tmp_path / "trials").glob("*/result.json"):
        path.unlink()
    write_page(read_board(folder, tmp_path), 30)
    browser.open(page_path(folder))
    assert "No trial has a result yet." in browser.run("document.body.innerText")
    assert browser.run("document.querySelectorAll('svg.chart').length") == 2
    assert browser.complaints == []


class Painted:
    """Pictures of one colour."""

    reason = None

    def __init__(self, side: int = 8) -> None:
        stream = io.BytesIO()
        noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
        Image.fromarray(noise).save(stream, "JPEG", quality=95)
        self.jpeg, self.asked = stream.getvalue(), []

    def thumbnail(self, city, side, key):
        self.asked.append((side, key))
        return self.jpeg

    def masked(self, city, side, key, trial):
        self.asked.append((side, f"{key} masked"))
        return [View("masked", self.jpeg), View("masked, stretched 10 x", self.jpeg)] if trial.input.uses_mask else []

    def figure(self, trial, count):
        words = ("picture", "classes", "mask", "masked")
        return [Figure("a", f"q{i}", tuple(View(word, self.jpeg) for word in words)) for i in range(count)]


def contents_of(folder: Path, runs: Path, pictures) -> Contents:
    from vprdist.store.queries import queries_path, read_answers

    board = read_board(folder, runs)
    return Contents(
        title=board.title, objective="recall@1", written="now", blocks=board.blocks, progress=[], curves=[],
        queries=board.queries, pictures=pictures, sweep_file="", manifest={},
        answers=lambda trial, wanted: read_answers(queries_path(runs / "trials" / trial), wanted, "all"),
    )  # fmt: skip


def test_flips_are_queries_that_one_row_alone_finds(tmp_path, browser):
    folder, pictures = four(tmp_path), Painted()
    path = tmp_path / "page.html"
    path.write_text(page(contents_of(folder, tmp_path, pictures)))
    browser.open(path)
    told = browser.run("[...document.querySelectorAll('[id^=flips] summary')].map((e) => e.textContent)")
    best = {r["query"]: r["recall@1"] for r in records_of(0.72, 1, noise=0.3) if r["subtask"] == "all"}
    other = {r["query"]: r["recall@1"] for r in records_of(0.6, 2, noise=0.3) if r["subtask"] == "all"}
    gained = [q for q in best if other[q] and not best[q]]
    lost = [q for q in best if best[q] and not other[q]]
    assert told[0] == f"masked 0-2 against rgb all: {len(gained)} gained, {len(lost)} lost"
    first = "[...document.querySelector('[id^=flips]').querySelectorAll('h4')]"
    shown = browser.run(f"{first}.map((e) => [e.textContent.split(':')[0], e.querySelector('bdi').textContent])")
    assert [kind for kind, _ in shown] == ["Gained"] * 4 + ["Lost"] * 4
    assert all(query in (gained if kind == "Gained" else lost) for kind, query in shown)
    assert browser.run("[...document.images].every((i) => i.complete && i.naturalWidth > 0)"), "every picture is whole"
    assert browser.run("document.querySelectorAll('.figures img').length") == 16
    assert {side for side, _ in pictures.asked} == {"query", "database"}
    shots = "[...document.querySelectorAll('[id^=flips] article')].map((a) => [...a.querySelectorAll('li > span')]"
    roles = browser.run(f"{shots}.map((s) => s.firstChild.textContent.split(':')[0]))")
    assert roles[0] == [
        "query, unmasked", "query as the row sees it, masked", "query as the row sees it, masked, stretched 10 x",
        "retrieved by the row, unmasked", "retrieved by the row, masked",
        "retrieved by the row, masked, stretched 10 x",
        "retrieved by the baseline, unmasked", "the place itself, unmasked",
    ]  # fmt: skip
    told = browser.run("[...document.querySelectorAll('#figure ~ h3')].map((e) => e.textContent)")
    assert told == ["masked: mean of 10 classes"]


def test_each_kind_of_mask_is_shown_with_what_it_is(tmp_path):
    kinds = [{"mask_reduce": "sum"}, {"placebo": "random"}, {"placebo": "image", "classes": ("road", "car")}, {}]
    trials = [
        TrialSpec(input=InputSpec(mode="masked", **kind).resolved(), seed=seed) for kind in kinds for seed in (0, 1)
    ]
    trials += [TrialSpec(), TrialSpec(input=InputSpec(mode="rgb+mask").resolved())]
    assert [trial.input.placebo for trial in kinds_of_mask(trials)] == ["none", "none", "none", "random", "image"]
    shown = [figures_of(trial, Painted(), Album(Painted())) for trial in kinds_of_mask(trials)]
    assert [each["mask"] for each in shown] == [
        "masked: sum of 10 classes", "masked: mean of 10 classes", "rgb+mask: mean of 10 classes",
        "masked: mean of 10 classes; placebo: random blobs",
        "masked: mean of road, car; placebo: another picture's mask",
    ]  # fmt: skip


def test_without_pictures_keys_are_shown_and_the_reason(tmp_path):
    text = page(contents_of(four(tmp_path), tmp_path, NoPictures("/data/msls: <gone>.")))
    assert "No pictures: <bdi>/data/msls: &lt;gone&gt;.</bdi>" in text and "<img" not in text


def test_pictures_stop_at_a_number_of_bytes(tmp_path):
    album = Album(Painted(400))
    taken = [album.uri(album.pictures.jpeg) for _ in range(3 * MOST_BYTES // len(album.pictures.jpeg))]
    assert sum(len(uri) for uri in taken if uri) <= MOST_BYTES and album.full and taken[0] and not taken[-1]
    big = Painted(700)
    text = page(contents_of(four(tmp_path), tmp_path, big))
    assert len(text) < MOST_BYTES + 1_000_000 and "shown by their keys" in text


def test_a_page_of_many_rows_says_how_many_it_shows_and_where_the_others_are(tmp_path, monkeypatch):
    folder = four(tmp_path)
    written(folder, tmp_path)
    whole = page_path(folder).read_text()
    assert "are shown; all are in" not in whole and "in their folders" not in whole
    monkeypatch.setattr(build, "MOST_ROWS", 3)
    monkeypatch.setattr(build, "MOST_CELLS", 3)
    written(folder, tmp_path)
    text = page_path(folder).read_text()
    assert "The first 3 of 4 rows are shown; all are in leaderboard.csv beside this page." in text
    assert "The first 1 of 3 rows are shown; all are in breakdown.csv beside this page." in text
    assert "of the first 3 here, and of 1 more in their folders" in text
    for name in ("table1", "keys1"):
        table = re.search(rf'<table class="sortable" id="{name}">.*?</table>', text, re.S)[0]
        assert table.count("<tr>") == 1 + 3
    with (folder / "leaderboard.csv").open() as stream:
        assert len(list(csv.reader(stream))) == 1 + 4


def test_rows_of_two_protocols_have_tables_of_their_own(tmp_path, browser):
    rows = [
        (result(0.5), records_of(0.5, 0, noise=0.3)),
        (result(0.9, subtask="s2w", unfreeze="all"), records_of(0.9, 1)),
    ]
    folder = leave(tmp_path, rows)
    written(folder, tmp_path)
    browser.open(page_path(folder))
    assert browser.run("document.querySelectorAll('table.sortable[id^=table]').length") == 2
    assert browser.run("document.body.innerText.split('are not ranked with these').length") == 3
    assert browser.complaints == []


def test_files_that_are_not_there_are_no_reason_to_stop(tmp_path):
    folder = four(tmp_path)
    shutil.rmtree(tmp_path / "trials" / result(0.5).trial_id / "predictions")
    (tmp_path / "trials" / result(0.6, mode="masked").trial_id / "metrics.jsonl").unlink()
    assert "no per-query results" in written(folder, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda value: value | {"trial_id": "0123456789abcdef"},
            "a result must be that of its folder's trial; found '0123",
        ),
        (
            lambda value: value["metrics"].pop("map@5") and value,
            "a result must have map@5, a share in [0, 1]; found 'none'",
        ),
        (
            lambda value: value["metrics"].update({"recall@1": 50.0}) or value,
            "a result must have recall@1, a share in [0",
        ),
        (lambda value: value | {"untrained": {"recall@1": 0.1}}, "a result must have recall@5, a share in [0, 1]"),
        (lambda value: value | {"steps": "few"}, "a result must be readable; found 'steps: Input should be"),
    ],
    ids=["another's", "cut", "per cent", "untrained", "type"],
)
def test_a_result_that_is_none_of_its_trial_is_left_out(tmp_path, change, message):
    folder = four(tmp_path)
    path = tmp_path / "trials" / result(0.5).trial_id / "result.json"
    write_json(path, change(json.loads(path.read_text())))
    out = io.StringIO()
    assert leaderboard(folder, tmp_path, Console(file=out, width=400)) == 0
    assert f"{path}: {message}" in out.getvalue()
    assert "3 of 4 trials, 1 unreadable" in out.getvalue() and "rgb 0-2" not in out.getvalue()


def test_an_unreadable_file_costs_its_row_the_comparison_and_not_the_leaderboard(tmp_path):
    folder = four(tmp_path)
    queries_path(tmp_path / "trials" / result(0.5).trial_id).write_bytes(b"cut")
    out = io.StringIO()
    assert leaderboard(folder, tmp_path, Console(file=out, width=400)) == 0
    assert "queries.parquet: per-query results must be readable" in out.getvalue()
    assert "4 of 4 trials, 1 unreadable or of another version left out" in out.getvalue()
    assert "per-query results must be readable" in page_path(folder).read_text()


def test_a_journal_that_cannot_be_read_is_named_and_costs_nothing_else(tmp_path):
    folder = four(tmp_path)
    trial = tmp_path / "trials" / result(0.5).trial_id
    write_text(trial / "job.json", "cut\n")
    text = written(folder, tmp_path)
    assert f"{trial / 'job.json'}: the journal of a job must be readable" in text
    assert "4 done" in text


@pytest.mark.parametrize(
    ("hours", "told"), [(12345.6, "12,346 GPU-hours"), (45.61, "45.6 GPU-hours"), (0.0, "0 GPU-hours")]
)
def test_hours_are_never_told_as_powers_of_ten(tmp_path, hours, told):
    contents = contents_of(four(tmp_path), tmp_path, NoPictures("none"))
    spent = [Progress(trial="t", name="n", state="done", spent_h=hours, wasted_h=0.0)]
    assert f"<p>{told}, 0 of them lost" in page(replace(contents, progress=spent, gpus=True))


def test_trials_that_answered_the_same_queries_hold_them_once(tmp_path):
    """MSLS' 11,000 queries in all their subtasks are 8 MB of words a trial; the metrics are half a megabyte."""
    queries = list(read_board(four(tmp_path), tmp_path).queries.values())
    assert len(queries) == 3 and len({id(each.query) for each in queries}) == 1
    assert len({id(each.metrics["recall@1"]) for each in queries}) == 3


@pytest.mark.parametrize("text", ['{"version": 1, "metr', "[]", '{"version": 0}'])
def test_a_cut_result_of_a_job_costs_its_trial_alone(tmp_path, text):
    folder = four(tmp_path)
    trial = tmp_path / "trials" / result(0.5).trial_id
    append_json_line(trial / "log" / "starts.jsonl", {"time": 1e9, "host": "here"})
    write_text(trial / "result.json", text)
    assert "3 of 4 trials, 1 unreadable" in written(folder, tmp_path)
    out = io.StringIO()
    assert show_sweep(tmp_path, "mine", Console(file=out, width=200), watch=False, every_s=1, as_json=False) == 0
    assert ("4 done" if "0" in text else "3 done, 1 unreadable") in out.getvalue()


def test_a_copied_run_folder_has_taken_the_hours_of_the_first(tmp_path):
    """The files of a copy are of the day of copying; a result says how long its trial took."""
    folder = four(tmp_path)
    trial = tmp_path / "trials" / result(0.5).trial_id
    append_json_line(trial / "log" / "starts.jsonl", {"time": 1e9, "host": "here"})
    assert "<p>0.0278 rank-hours" in written(folder, tmp_path), "100 s"

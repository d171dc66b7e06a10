"""The page in a real browser: sorting, maps, reloading, widths, print; hostile names; a thousand trials; no network."""

from __future__ import annotations

import html.parser
import io
import itertools
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from tests.report.chromium import PROGRAM, Chromium
from tests.report.making import consistent, record, write_queries
from tests.report.test_evidence import records_of
from tests.report.test_leaderboard import result
from vprdist import board
from vprdist.board import leaderboard, page_path, read_board, watch, write_page
from vprdist.files import append_json_line, write_json, write_text
from vprdist.report.page.build import page
from vprdist.report.page.contents import Contents, Figure, NoPictures
from vprdist.report.page.flips import MOST_BYTES, Album
from vprdist.report.queries import queries_path

HOSTILE = '<script>document.title="owned"</script> "quoted\' & &amp; \u202eright to left\u202c ' + "x" * 300


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    if PROGRAM is None:
        pytest.skip("no Chromium here (apt-get install chromium)")
    opened = Chromium()
    yield opened
    opened.close()


def leave(runs: Path, rows, name="mine", names=None) -> Path:
    """A sweep's folders as a driver and its jobs leave them; `rows`: [(result, records or None)]."""
    folder = runs / "sweeps" / name
    entries = []
    rows = [(consistent(one, records), records) for one, records in rows]
    for index, (one, records) in enumerate(rows):
        trial = runs / "trials" / one.trial_id
        row = names[index] if names else f"{one.trial.input.mode} {one.trial.network.unfreeze_name}"
        entries.append({"trial": one.trial_id, "name": row, "seed": one.trial.seed})
        write_text(trial / "result.json", one.model_dump_json(by_alias=True))
        write_json(trial / "trial.json", one.trial.to_json())
        for step in (5, 10):
            append_json_line(trial / "metrics.jsonl", {"kind": "train", "step": step, "steps": 10, "loss": 1 / step})
        append_json_line(trial / "metrics.jsonl", {"kind": "evaluate", "step": 10, "recall@1": one.metrics["recall@1"]})
        if records is not None:
            write_queries(trial, records)
    write_json(folder / "manifest.json", {"name": name, "objective": "recall@1", "trials": entries, "fallbacks": []})
    write_text(folder / "sweep.yaml", f"name: {name}\n# {HOSTILE}\n")
    return folder


def four(tmp_path: Path) -> Path:
    rows = [
        (result(0.5, wall_s=100.0), records_of(0.5, 0, noise=0.3)),
        (result(0.72, unfreeze="all", wall_s=9.0), records_of(0.72, 1, noise=0.3)),
        (result(0.6, mode="masked", wall_s=20.0), records_of(0.6, 2, noise=0.3)),
        (result(0.4, mode="masked", unfreeze="all", wall_s=30.0), None),
    ]
    return leave(tmp_path, rows)


def written(folder: Path, runs: Path) -> str:
    assert leaderboard(folder, runs, Console(file=io.StringIO(), width=200)) == 0
    return page_path(folder).read_text()


COLUMN = """(() => [...document.querySelectorAll('#table1 tbody tr')].map((row) => row.cells[0].textContent))()"""


def test_a_click_or_a_key_sorts_and_tells_readers_so(tmp_path, browser):
    written(four(tmp_path), tmp_path)
    browser.open(page_path(tmp_path / "sweeps" / "mine"))
    assert browser.run(COLUMN) == ["rgb all", "masked 0-2", "rgb 0-2", "masked all"]
    heads = browser.run("[...document.querySelectorAll('#table1 thead th')].map((th) => th.textContent)")
    wall = heads.index("wall s")
    button = f"document.querySelectorAll('#table1 thead button')[{wall}]"
    browser.run(f"{button}.click()")
    assert browser.run(COLUMN) == ["rgb 0-2", "masked all", "masked 0-2", "rgb all"], "9 s is less than 20 s"
    assert browser.run(f"{button}.closest('th').ariaSort") == "descending"
    browser.run(f"{button}.focus()")
    browser.press("Enter", "\r")
    assert browser.run(COLUMN) == ["rgb all", "masked 0-2", "masked all", "rgb 0-2"]
    assert browser.run("document.querySelectorAll('#table1 [aria-sort]').length") == 1
    difference = heads.index("to baseline")
    for _ in range(2):
        browser.run(f"document.querySelectorAll('#table1 thead button')[{difference}].click()")
        assert browser.run(COLUMN)[-2:] in (["rgb all", "masked all"], ["masked all", "rgb all"]), "no value: last"
    assert browser.complaints == [] and browser.requests == []


def test_the_map_shows_any_two_rows(tmp_path, browser):
    written(four(tmp_path), tmp_path)
    browser.open(page_path(tmp_path / "sweeps" / "mine"))
    read = "Object.fromEntries([...document.querySelectorAll('#maps1 [data-count]')].map((e) => [e.dataset.count, 0]))"
    assert set(browser.run(read)) == {"both", "gained", "lost", "neither"}
    hits = {
        name: {
            r["query"]: r["recall@1"]
            for r in records_of(share, seed, noise=0.3)
            if r["subtask"] == "all" and r["city"] == "a"
        }
        for name, share, seed in (("rgb all", 0.72, 1), ("rgb 0-2", 0.5, 0))
    }
    script = """((row, other) => {
      const form = document.querySelector('form.pick');
      const named = (select, name) => [...select.options].find((o) => o.text.startsWith(name)).value;
      form.elements.row.value = named(form.elements.row, row);
      form.elements.baseline.value = named(form.elements.baseline, other);
      form.dispatchEvent(new Event('change'));
      const figure = document.querySelector('#maps1 figure');
      const kinds = [...figure.querySelectorAll('circle')].map((c) => c.getAttribute('class'));
      return [Number(figure.querySelector('[data-count=gained]').textContent), kinds];
    })"""
    gained, kinds = browser.run(f"{script}('rgb all', 'rgb 0-2')")
    expected = sum(hits["rgb all"][q] and not hits["rgb 0-2"][q] for q in hits["rgb all"])
    assert gained == expected == kinds.count("gained") and len(kinds) == len(hits["rgb all"])
    same, kinds = browser.run(f"{script}('rgb all', 'rgb all')")
    assert same == 0 and set(kinds) == {"both", "neither"}


@pytest.mark.parametrize(("width", "media"), [(360, ""), (768, ""), (1600, ""), (1030, "print")])
def test_nothing_is_wider_than_the_screen_or_the_paper(tmp_path, browser, width, media):
    names = [HOSTILE, "rgb all", "masked 0-2", "ltr \u05e9\u05dc\u05d5\u05dd"]
    folder = four(tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text())
    for entry, name in zip(manifest["trials"], names, strict=True):
        entry["name"] = name
    write_json(folder / "manifest.json", manifest)
    text = written(folder, tmp_path)
    assert "<script>document" not in text
    browser.send("Emulation.setEmulatedMedia", media=media)
    try:
        browser.open(page_path(folder), width)
        assert browser.run("document.title") != "owned"
        assert browser.run("document.documentElement.scrollWidth") <= width
        assert browser.complaints == []
        assert browser.run(COLUMN)[2] == HOSTILE
    finally:
        browser.send("Emulation.setEmulatedMedia", media="")


def test_it_can_be_read_without_eyes_or_mouse(tmp_path, browser):
    written(four(tmp_path), tmp_path)
    browser.open(page_path(tmp_path / "sweeps" / "mine"))
    assert browser.run("document.documentElement.lang") == "en"
    bare = (
        "[...document.querySelectorAll('img:not([alt]), svg:not([aria-label]):not([aria-hidden]),"
        "table:not(:has(caption)), th:not([scope])')].map((e) => e.outerHTML.slice(0, 80))"
    )
    assert browser.run(bare) == []
    assert browser.run("[...document.querySelectorAll('h1, h2, h3, h4')].map((h) => Number(h.tagName[1]))")[0] == 1
    levels = browser.run("[...document.querySelectorAll('h1, h2, h3, h4')].map((h) => Number(h.tagName[1]))")
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels)), "no level is skipped"
    ids = browser.run("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))
    reached = []
    for _ in range(40):
        browser.tab()
        reached.append(browser.run("document.activeElement.tagName + ' ' + document.activeElement.className"))
    assert reached[0] == "A skip"
    assert {"BUTTON ", "DIV scroll", "SELECT "} <= set(reached)
    outline = browser.run("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none", "focus can be seen"


def contrast(one: str, other: str) -> float:
    def light(colour: str) -> float:
        channels = [int(v) / 255 for v in re.findall(r"\d+", colour)[:3]]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_have_contrast(tmp_path, browser, scheme):
    written(four(tmp_path), tmp_path)
    feature = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.send("Emulation.setEmulatedMedia", features=feature)
    try:
        browser.open(page_path(tmp_path / "sweeps" / "mine"))
        paper = browser.run("getComputedStyle(document.body).backgroundColor")
        for selector in ("body", ".quiet", "a", ".warn", "thead th"):
            ink = browser.run(f"getComputedStyle(document.querySelector('{selector}')).color")
            assert contrast(ink, paper) >= 4.5, selector
        for number in range(8):
            probe = f"getComputedStyle(document.querySelector('.c{number}') || document.body).color"
            assert contrast(browser.run(probe), paper) >= 3, f"line {number}"
    finally:
        browser.send("Emulation.setEmulatedMedia", features=[])


def test_a_watched_page_reloads_and_keeps_the_readers_place(tmp_path, browser):
    folder = four(tmp_path)
    board = read_board(folder, tmp_path)
    write_page(board, 1)
    browser.open(page_path(folder), 700, 500)
    browser.run("document.querySelectorAll('#table1 thead button')[0].click()")
    browser.run("document.querySelector('#repeat2').open = true; scrollTo(0, 777); window.old = true; 0")
    before = browser.run(COLUMN)
    write_page(board, None)
    browser.wait_for("Page.loadEventFired")
    assert browser.run("window.old") is None, "it is the new page"
    assert browser.run("document.body.dataset.refresh") == "0"
    write_page(board, 60)
    browser.run("location.reload(); 0")
    browser.wait_for("Page.loadEventFired")
    assert browser.run(COLUMN) == before == sorted(before)
    assert browser.run("document.querySelector('#repeat2').open") is True
    assert browser.run("scrollY") == 777


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

    def read_slowly(*places: Path) -> board.Board:
        found = read_board(*places)
        write_text(waiting, text)
        return found

    monkeypatch.setattr(board, "read_board", read_slowly)
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

    def masked(self, city, key, trial):
        return self.jpeg

    def figure(self, trial, count):
        return [Figure("a", f"q{i}", *[self.jpeg] * 4) for i in range(count)]


def contents_of(folder: Path, runs: Path, pictures) -> Contents:
    from vprdist.report.queries import queries_path, read_answers

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


class Balance(html.parser.HTMLParser):
    """Every element that is opened is closed, in order."""

    VOID = frozenset(("meta", "link", "img", "br", "input", "hr"))

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("count", [1, 150, pytest.param(1000, marks=pytest.mark.drill)])
def test_from_one_trial_to_a_thousand(tmp_path, browser, count):
    luck = np.random.default_rng(0)
    rows = []
    for index in range(count):
        hits = luck.random((60, 2)) < 0.5
        records = [
            record(f"q{i:02d}", list(h), frame=i, place=(i * 10.0, 0.0), positives=("x", "y"))
            for i, h in enumerate(hits.tolist())
        ]
        one = result(float(hits[:, 0].mean()), margin=0.1 + index / 1e5)
        rows.append((one, records))
    folder = leave(tmp_path, rows, names=[f"margin {index}" for index in range(count)])
    text = written(folder, tmp_path)
    assert len(text) < 20_000_000
    checked = Balance()
    checked.feed(text)
    assert checked.open == []
    browser.open(page_path(folder))
    assert len(browser.run(COLUMN)) == count
    assert browser.complaints == []


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


def test_an_unreadable_file_costs_its_row_the_comparison_and_not_the_leaderboard(tmp_path):
    folder = four(tmp_path)
    queries_path(tmp_path / "trials" / result(0.5).trial_id).write_bytes(b"cut")
    out = io.StringIO()
    assert leaderboard(folder, tmp_path, Console(file=out, width=400)) == 0
    assert "queries.parquet: per-query results must be readable" in out.getvalue()
    assert "4 of 4 trials, 1 unreadable or of another version left out" in out.getvalue()
    assert "per-query results must be readable" in page_path(folder).read_text()

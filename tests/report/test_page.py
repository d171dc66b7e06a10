"""The page in a real browser: sorting, maps, reloading, widths, print; hostile names; a thousand trials; no network."""

from __future__ import annotations

import html.parser
import itertools
import json
import re
from collections.abc import Iterator

import numpy as np
import pytest

from tests.report.making import HOSTILE, four, leave, record, records_of, result, written
from vprdist.files import append_json_line, write_json
from vprdist.report.board import page_path, read_board, write_page

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
    difference = next(i for i, head in enumerate(heads) if head.startswith("to baseline"))
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


@pytest.mark.parametrize("width", [360, 1280])
def test_words_of_charts_can_be_read_and_do_not_meet(tmp_path, browser, width):
    folder = four(tmp_path)
    row = {"kind": "train", "step": 100_000, "steps": 100_000, "loss": 0.125}
    append_json_line(tmp_path / "trials" / result(0.5).trial_id / "metrics.jsonl", row)
    written(folder, tmp_path)
    browser.open(page_path(tmp_path / "sweeps" / "mine"), width)
    script = """[...document.querySelectorAll('svg.chart')].map((svg) => [svg, ...svg.querySelectorAll('text')].map(
      (e) => { const b = e.getBoundingClientRect(); return [b.left, b.top, b.right, b.bottom]; }))"""
    charts = browser.run(script)
    assert len(charts) == 3
    for (_, top, _, bottom), *words in charts:
        assert all(max(x2 - x1, y2 - y1) >= 10 for x1, y1, x2, y2 in words)
        assert all(x1 >= 0 and x2 <= width and top <= y1 and y2 <= bottom + 3 for x1, y1, x2, y2 in words)
        for one, other in itertools.combinations(words, 2):
            apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] + 3 or other[3] <= one[1] + 3
            assert apart, (one, other)
    steps = browser.run("[...document.querySelectorAll('.chart .tick + text')].map((e) => e.textContent)")
    assert steps[:4] == ["1", "5", "10", "20"] and "100000" in steps and all(map(str.isdecimal, steps)), "whole steps"


def test_paper_has_heads_on_every_page_and_says_which_rows_a_map_shows(tmp_path, browser):
    written(four(tmp_path), tmp_path)
    browser.send("Emulation.setEmulatedMedia", media="print")
    try:
        browser.open(page_path(tmp_path / "sweeps" / "mine"))
        display = "getComputedStyle(document.querySelector('thead button')).display"
        assert browser.run(display) == "contents", "Chromium repeats heads without their buttons"
        browser.run("document.querySelector('.pick select').value = 2")
        browser.run("document.querySelector('.pick').dispatchEvent(new Event('change'))")
        assert browser.run("document.querySelector('.onpaper').innerText") == (
            "The row is rgb 0-2, seed 0, the other rgb all, seed 0."
        )
        browser.run("dispatchEvent(new Event('beforeprint'))")
        closed = "[...document.querySelectorAll('details:not([open]) summary')].map((e) => e.textContent)"
        assert browser.run(closed) == ["manifest"], "pages of JSON"
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


@pytest.fixture
def due(browser) -> Iterator[str]:
    """Does what a page does every so many milliseconds, and says how many; the page itself waits for the test."""
    source = "window.setInterval = (work, ms) => { window.due = () => { work(); return ms; }; };"
    held = browser.send("Page.addScriptToEvaluateOnNewDocument", source=source)
    yield "due()"
    browser.send("Page.removeScriptToEvaluateOnNewDocument", **held)


def test_a_watched_page_reloads_and_keeps_the_readers_place(tmp_path, browser, due):
    folder = four(tmp_path)
    board = read_board(folder, tmp_path)
    write_page(board, 7)
    browser.open(page_path(folder), 700, 500)
    browser.run("document.querySelectorAll('#table1 thead button')[0].click()")
    browser.run("document.querySelector('#repeat2').open = true; scrollTo(0, 777); window.old = true; 0")
    before = browser.run(COLUMN)
    write_page(board, None)
    assert browser.run(due) == 7000
    browser.wait_for("Page.loadEventFired")
    assert browser.run("window.old") is None, "it is the new page"
    assert browser.run("window.due") is None, "which no longer reloads"
    write_page(board, 60)
    browser.run("location.reload(); 0")
    browser.wait_for("Page.loadEventFired")
    assert browser.run(COLUMN) == before == sorted(before)
    assert browser.run("document.querySelector('#repeat2').open") is True
    assert browser.run("scrollY") == 777


def test_a_reader_keeps_rows_by_name_and_the_place_of_the_keyboard(tmp_path, browser, due):
    """A row that comes in between moves all others. The last page no longer reloads, and starts no reader anew."""
    folder = four(tmp_path)
    best = tmp_path / "trials" / result(0.72, unfreeze="all").trial_id / "result.json"
    text = best.read_text()
    best.unlink()
    write_page(read_board(folder, tmp_path), 7)
    browser.open(page_path(folder), 700, 500)
    chosen = "[...document.querySelectorAll('.pick select')].map((e) => e.selectedOptions[0].text)"
    assert browser.run(chosen) == ["rgb 0-2, seed 0", "masked 0-2, seed 0"]
    browser.run(
        "document.querySelector('.pick select').selectedIndex = 0; document.querySelector('#flips1-1').open = false"
    )
    browser.tab()  # a mouse leaves no focus to come back to
    browser.run("document.querySelectorAll('#table1 thead button')[5].focus(); scrollTo(0, 333); 0")
    best.write_text(text)
    write_page(read_board(folder, tmp_path), None)
    browser.run(due)
    browser.wait_for("Page.loadEventFired")
    assert browser.run(chosen) == ["masked 0-2, seed 0", "rgb all, seed 0"], "one was chosen, the other is the baseline"
    assert browser.run("document.querySelectorAll('#maps1 circle.gained').length > 0")
    assert browser.run("document.querySelector('#flips1-1').open") is True, "it is of another pair of rows now"
    assert browser.run("document.activeElement.closest('th').cellIndex") == 5
    assert browser.run("scrollY") == 333
    assert browser.complaints == []


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

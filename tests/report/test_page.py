"""The page in a real browser: sorting, maps, reloading, widths, print; hostile names; a thousand trials; no network."""

from __future__ import annotations

import html.parser
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.report.making import HOSTILE, four, leave, record, records_of, result, written
from tests.report.test_page_contents import Painted, contents_of
from vprdist.files import append_json_line, write_json
from vprdist.report.board import read_board
from vprdist.report.board_page import page_path, write_page
from vprdist.report.page.build import page

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


def seeded(tmp_path: Path) -> Path:
    """Four rows of three seeds each: with seeds there are groups and p-values."""
    settings = ((0.5, "rgb", "0-2"), (0.8, "rgb", "all"), (0.78, "masked", "0-2"), (0.2, "masked", "all"))
    rows = [
        (result(share, mode=mode, unfreeze=units, wall_s=12345.0, seed=seed), records_of(share, seed, noise=0.3))
        for share, mode, units in settings
        for seed in (0, 1, 2)
    ]
    return leave(tmp_path, rows)


def test_small_p_values_and_names_come_first_other_columns_start_with_the_largest(tmp_path, browser):
    written(seeded(tmp_path), tmp_path)
    browser.open(page_path(tmp_path / "sweeps" / "mine"))
    heads = browser.run("[...document.querySelectorAll('#table1 thead th')].map((th) => th.textContent)")
    for name, rising in (("p", True), ("group", True), ("row", True), ("to baseline", False), ("R@1", False)):
        column = heads.index(name)
        browser.run(f"document.querySelectorAll('#table1 thead button')[{column}].click()")
        sorts = browser.run(
            f"[...document.querySelectorAll('#table1 tbody tr')].map((row) => row.cells[{column}].dataset.sort)"
        )
        values = [text if name == "row" else float(text) for text in sorts if text]
        assert values == sorted(values, reverse=not rising) and len(set(values)) > 1, name
        assert not any(sorts[len(values) :]), "rows without a value stand last"


WIDE = "[...document.querySelectorAll('.scroll')].map((e) => [e.scrollWidth > e.clientWidth, shown(e)])"
SHOWN = "const shown = (e) => e.previousElementSibling.matches('.hint') && e.previousElementSibling.offsetHeight > 0"


@pytest.mark.parametrize("width", [390, 1440])
def test_a_table_fits_or_says_that_it_scrolls(tmp_path, browser, width):
    """On a common screen the board fits: a column that nobody sees is none."""
    written(seeded(tmp_path), tmp_path)
    browser.open(page_path(tmp_path / "sweeps" / "mine"), width)
    browser.run("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    found = browser.run(f"(() => {{ {SHOWN}; return new Promise((done) => setTimeout(() => done({WIDE}), 100)); }})()")
    assert len(found) >= 3 and all(wide == told for wide, told in found)
    assert found[0][0] == (width == 390)


@pytest.mark.parametrize("several", [False, True])
def test_rows_name_their_baselines_and_how_they_differ(tmp_path, browser, several):
    pairs = list(itertools.product(("rgb", "masked"), ("all", "0-2")))
    shares = (0.7, 0.5, 0.6, 0.4)
    rows = [result(share, mode=mode, unfreeze=units) for share, (mode, units) in zip(shares, pairs, strict=True)]
    folder = leave(tmp_path, [(one, records_of(share, 0)) for share, one in zip(shares, rows, strict=True)])
    manifest = json.loads((folder / "manifest.json").read_text())
    ids = {entry["name"]: entry["trial"] for entry in manifest["trials"]}
    against = {ids[f"{mode} {units}"]: ids[f"rgb {units}"] for mode, units in pairs}
    against |= {} if several else dict.fromkeys(against, ids["rgb all"])
    for entry in manifest["trials"]:
        entry["baseline"] = against[entry["trial"]]
    write_json(folder / "manifest.json", manifest)
    written(folder, tmp_path)
    browser.open(page_path(folder))
    column = browser.run(
        "[...document.querySelectorAll('#table1 thead th')].findIndex((e) => e.textContent.startsWith('to baseline'))"
    )
    cells = browser.run(
        f"Object.fromEntries([...document.querySelectorAll('#table1 tbody tr')].map((row) => [row.cells[0].innerText,"
        f" row.cells[{column}].innerText]))"
    )
    assert cells["rgb all"] == "baseline"
    if several:
        assert cells["rgb 0-2"] == "baseline" and cells["masked 0-2"].endswith("]\nto rgb 0-2")
    else:
        assert cells["masked 0-2"].endswith("]"), "one baseline is named once, below the table"
        assert "minus rgb all, on the same queries" in browser.run("document.body.innerText")
    heads = browser.run("[...document.querySelectorAll('#keys1 thead th')].map((e) => e.textContent)")
    assert heads == ["row", "input.mode", "network.unfreeze", "trials"]
    line = browser.run("[...document.querySelectorAll('#keys1 tbody tr')[0].cells].map((e) => e.textContent)")
    assert line == ["rgb all", "rgb", "all", ids["rgb all"]]
    assert "0-2 trains layer3, layer4." in browser.run("document.body.innerText")


def test_a_report_on_paper_is_a_few_pages(tmp_path, browser):
    """A page of 150 rows has its table, and no more."""
    files = [
        (result(0.3 + i / 20, mode=mode, unfreeze=units), records_of(0.3 + i / 20, i, noise=0.3))
        for i, (mode, units) in enumerate(itertools.product(("rgb", "masked"), ("0-2", "2-2", "0-4", "all")))
    ]
    folder = leave(tmp_path, files)
    contents = contents_of(folder, tmp_path, Painted(200))
    path = tmp_path / "page.html"
    path.write_text(page(replace(contents, sweep_file="key: value\n" * 90)))
    browser.open(path)
    assert browser.run("document.querySelectorAll('article.flip').length") > 20
    assert browser.num_pages() <= 7


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
        *pairs, last = browser.run(closed)
        assert last == "manifest", "pages of JSON"
        assert len(pairs) == 1 and "against" in pairs[0], "pairs that the reader did not open"
        browser.run("dispatchEvent(new Event('afterprint'))")
        assert "How the rows differ, and their trials" in browser.run(closed)
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

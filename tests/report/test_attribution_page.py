"""The page's answer in a real browser: drawing, sorting, widths, readers without eyes, pictures and their bytes."""

from __future__ import annotations

import dataclasses
import io
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.report.chromium import PROGRAM, Chromium
from tests.report.reports import HELPS, HOSTILE, beside, full, greedy, in_form, player, report, setting, six_forms
from tests.report.test_leaderboard import blocks_of, result
from vprdist.console import Console
from vprdist.files import write_json, write_text
from vprdist.report.attribution import write_attribution
from vprdist.report.board_page import page_path
from vprdist.report.page.build import page
from vprdist.report.page.classes import A_CLASS
from vprdist.report.page.contents import Contents, Figure, NoPictures, View
from vprdist.report.page.flips import MOST_BYTES
from vprdist.report.publish import Wanted, leaderboard
from vprdist.report.wording import NO_CONTROL
from vprdist.store.attribution_file import attribution_path


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    if PROGRAM is None:
        pytest.skip("no Chromium here (apt-get install chromium)")
    opened = Chromium()
    yield opened
    opened.close()


class Noise:
    """Pictures that differ by nothing but who asked for them."""

    reason = None

    def __init__(self, side: int = 8) -> None:
        stream = io.BytesIO()
        noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
        Image.fromarray(noise).save(stream, "JPEG", quality=95)
        self.jpeg, self.asked, self.through = stream.getvalue(), [], []

    def thumbnail(self, city, side, key):
        self.asked.append((side, key))
        return self.jpeg

    def masked(self, city, side, key, trial):
        self.through.append((trial.network.unfreeze, trial.input.class_names, trial.input.placebo))
        return [View("masked", self.jpeg)]

    def figure(self, trial, count):
        return [Figure("a", f"q{i}", (View("picture", self.jpeg),)) for i in range(count)]


def contents(what, pictures=None) -> Contents:
    blocks = blocks_of(result(0.5), result(0.6, mode="masked"), result(0.4, mode="masked", unfreeze="1-2"))
    return Contents(
        title="mine", objective="recall@1", written="now", blocks=blocks, progress=[], curves=[], queries={},
        answers=lambda trial, wanted: {}, pictures=pictures or NoPictures("<gone>."), sweep_file="", manifest={},
        attribution=what,
    )  # fmt: skip


def opened(browser: Chromium, tmp_path: Path, what, width: int = 1280, pictures=None) -> str:
    path = tmp_path / "page.html"
    path.write_text(page(contents(what, pictures)))
    browser.open(path, width)
    return path.read_text()


NAMES = "[...document.querySelectorAll('#classes-numbers1 tbody th')].map((th) => th.textContent)"


def test_the_answer_stands_before_the_leaderboard(tmp_path, browser):
    opened(browser, tmp_path, full(6))
    order = browser.run("[...document.querySelectorAll('h2')].map((h) => h.textContent)")
    assert order[:2] == ["Which classes help?", "Leaderboard"]
    assert (
        browser.run("document.querySelector('h3').textContent") == "mode masked, unfreeze 0-2: one network for all arms"
    )
    said = browser.run("document.querySelector('.answer').textContent")
    assert said.startswith("road (+0.150 [+0.120, +0.180]), sidewalk") and "beyond every placebo" in said
    links = browser.run("[...document.querySelectorAll('nav a')].map((a) => [a.textContent, a.hash])")
    assert links[:2] == [["Which classes help?", "#classes"], ["Leaderboard", "#board1"]]
    assert browser.run("[...document.querySelectorAll('nav a')].every((a) => document.querySelector(a.hash))")
    text = browser.run("document.querySelector('main section').innerText")
    for sentence in ("Kendall's tau 0.71", "3 trainings", "240 probes", "3 finalists apart", "The ranking is settled."):
        assert sentence in text
    assert browser.complaints == [] and browser.requests == []


def test_without_an_attribution_the_page_is_as_it_was(tmp_path, browser):
    opened(browser, tmp_path, None)
    assert browser.run("document.querySelectorAll('#classes, .effects').length") == 0
    assert browser.run("document.querySelector('.skip').textContent") == "Skip to the leaderboard"
    assert browser.run("document.querySelector('nav a').hash") == "#main"
    assert browser.complaints == []


def test_the_table_sorts_by_number_and_by_strength_of_claim(tmp_path, browser):
    opened(browser, tmp_path, full(19))
    names = browser.run(NAMES)
    assert names[0] == "road" and len(names) == 19
    assert browser.run("document.querySelector('#classes-numbers1 [aria-sort]').textContent").startswith("adds")
    heads = browser.run("[...document.querySelectorAll('#classes-numbers1 thead th')].map((th) => th.textContent)")
    expected = ("class", "beyond image [95 %]", "claim", "bound", "placebo classes", "seed sd", "area", "confidence")
    assert set(expected) <= set(heads)

    def click(head: str) -> list[str]:
        browser.run(f"document.querySelectorAll('#classes-numbers1 thead button')[{heads.index(head)}].click()")
        return browser.run(NAMES)

    assert click("class") == sorted(names)
    by_claim = click("claim")
    assert by_claim[-1] == "bicycle" and by_claim[-2] == "truck" and by_claim.index("motorcycle") == 9
    assert click("seed sd")[0] == "motorcycle" and browser.run(NAMES)[-1] == "bicycle", "no value stands last"
    assert browser.complaints == []


def test_dots_stand_where_their_numbers_are(tmp_path, browser):
    opened(browser, tmp_path, full(5, placebos=("random", "image")))
    centre = "(e) => { const b = e.getBoundingClientRect(); return b.left + b.width / 2; }"
    dots = browser.run(f"[...document.querySelectorAll('.effects > svg > g > circle')].map({centre})")
    zero = browser.run(f"[document.querySelector('.effects .zero')].map({centre})")[0]
    values = [each.adds.value for each in full(5).settings[0].players]
    scale = (dots[0] - dots[3]) / (values[0] - values[3])
    for dot, value in zip(dots, values, strict=True):
        assert dot - zero == pytest.approx(scale * value, abs=1)
    marks = browser.run(f"[...document.querySelectorAll('.effects .placebo')].slice(0, 2).map({centre})")
    assert [mark - zero for mark in marks] == pytest.approx([scale * 0.01, scale * 0.015], abs=1.5)
    ends = browser.run(
        "(({ left, right }) => [left, right])(document.querySelector('line.helps').getBoundingClientRect())"
    )
    assert [end - zero for end in ends] == pytest.approx([scale * 0.12, scale * 0.18], abs=1.5)
    rows = browser.run("[...document.querySelectorAll('.effects .name')].map((e) => e.getBoundingClientRect().top)")
    tops = browser.run(
        "[...document.querySelectorAll('.effects > svg > g > circle')].map((e) => e.getBoundingClientRect().top)"
    )
    assert all(top <= dot for top, dot in zip(rows, tops, strict=True))
    assert all(dot < top for top, dot in zip(rows[1:], tops, strict=False)), "each name beside its own dot"


def test_letters_of_the_drawing_are_as_large_on_a_phone(tmp_path, browser):
    heights = []
    for width in (360, 1280):
        opened(browser, tmp_path, full(4), width)
        heights.append(browser.run("document.querySelector('.effects text').getBoundingClientRect().height"))
    assert heights[0] == heights[1] >= 11


def test_one_wild_interval_does_not_hide_the_others(tmp_path, browser):
    wild = player("wall", 0.2, "none", half=50.0, placebos=())
    opened(browser, tmp_path, report(setting([wild, player("pole", 0.1, "raises", placebos=())])))
    ticks = browser.run(
        "[...document.querySelectorAll('.effects text')].map((t) => Number(t.textContent)).filter(Number.isFinite)"
    )
    assert min(ticks) >= -1 and max(ticks) <= 1
    assert browser.run("document.querySelector('.effects').textContent").count("no effect detected") == 1


WIDE = report(
    *full(19, placebos=("random", "image", "classes")).settings,
    setting([player(HOSTILE, 0.1, "helps", placebos=(HOSTILE,), flips=3, parts=2), player("wall", 0.0)],
            named={"input.mode": HOSTILE}, notes=(HOSTILE,)),
    setting((), method="greedy", taken=(HOSTILE, "wall"), named={"input.mode": "masked"}),
)  # fmt: skip


@pytest.mark.parametrize(("width", "media"), [(360, ""), (768, ""), (1600, ""), (1030, "print")])
def test_nothing_is_wider_than_the_screen_or_the_paper(tmp_path, browser, width, media):
    browser.send("Emulation.setEmulatedMedia", media=media)
    try:
        text = opened(browser, tmp_path, WIDE, width, Noise())
        assert "<script>document" not in text
        browser.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        assert browser.run("document.documentElement.scrollWidth") <= width
        assert browser.run("document.title") == "mine"
        assert browser.run("document.querySelector('#classes-setting2').textContent").startswith(f"mode {HOSTILE}")
        assert browser.complaints == []
    finally:
        browser.send("Emulation.setEmulatedMedia", media="")


def test_it_can_be_read_without_eyes_or_mouse(tmp_path, browser):
    opened(browser, tmp_path, WIDE, pictures=Noise())
    bare = (
        "[...document.querySelectorAll('img:not([alt]), svg:not([aria-label]):not([aria-hidden]),"
        "table:not(:has(caption)), th:not([scope]), .scroll:not([aria-label])')].map((e) => e.outerHTML.slice(0, 80))"
    )
    assert browser.run(bare) == []
    told = browser.run("document.querySelector('.effects > svg desc').textContent")
    assert "road: +0.150 [+0.120, +0.180], helps: more than every placebo, placebo random +0.010" in told
    levels = browser.run("[...document.querySelectorAll('h1, h2, h3, h4')].map((h) => Number(h.tagName[1]))")
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels)), "no level is skipped"
    ids = browser.run("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))
    tables = browser.run("[...document.querySelectorAll('table.sortable')].map((e) => e.id)")
    assert all(tables), "a watched page finds them again"


def contrast(one: str, other: str) -> float:
    def light(colour: str) -> float:
        channels = [int(v) / 255 for v in re.findall(r"\d+", colour)[:3]]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_have_contrast(tmp_path, browser, scheme):
    browser.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    try:
        opened(browser, tmp_path, full(19))
        paper = browser.run("getComputedStyle(document.body).backgroundColor")
        for selector in ("span.helps", "span.hurts", "span.none", ".answer"):
            ink = browser.run(f"getComputedStyle(document.querySelector('{selector}')).color")
            assert contrast(ink, paper) >= 4.5, selector
        for selector in ("line.helps", "line.hurts", "line.none", ".zero", ".placebo"):
            ink = browser.run(f"getComputedStyle(document.querySelector('{selector}')).stroke")
            assert contrast(ink, paper) >= 3, selector
    finally:
        browser.send("Emulation.setEmulatedMedia", features=[])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_class_x_form_comes_first_and_is_coloured_by_what_a_class_adds(tmp_path, browser, scheme):
    browser.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    try:
        opened(browser, tmp_path, six_forms(), pictures=Noise())
        first = "document.querySelector('section.classes table')"
        assert browser.run(f"{first}.id") == "classes-side1"
        assert browser.run("document.querySelector('.classes .answer').textContent").startswith(
            "In every form that was"
        )
        heads = browser.run(f"[...{first}.tHead.rows[0].cells].map((th) => th.textContent)")
        forms = ["black", "mean colour", "picture's mean", "blur", "noise", "features"]
        assert heads == ["class", *forms, "verdict"]
        cells = browser.run(f"[...{first}.tBodies[0].rows[3].cells].map((td) => td.innerText)")
        assert cells[0] == "building" and cells[1].split() == ["+0.078", "▲", "[+0.058,", "+0.098]"]
        assert cells[6].split()[:2] == ["-0.057", "▼"]
        assert cells[7].split("\n") == [
            "depends on the form",
            "hurts in features; no claim in noise; helps in the other 4",
        ]
        ink = browser.run("getComputedStyle(document.body).color")
        colours = browser.run(
            f"[...{first}.querySelectorAll('td.above, td.below')].map((td) => {{ const c = document.createElement"
            "('canvas').getContext('2d'); c.fillStyle = getComputedStyle(td).backgroundColor; c.fillRect(0, 0, 1, 1); "
            "return 'rgb(' + c.getImageData(0, 0, 1, 1).data.slice(0, 3) + ')'; })"
        )
        assert len(set(colours)) > 20 and all(contrast(ink, colour) >= 4.5 for colour in colours)
        browser.run(f"{first}.tHead.rows[0].cells[7].querySelector('button').click()")
        order = browser.run(f"[...{first}.tBodies[0].rows].map((tr) => tr.cells[7].innerText.split('\\n')[0])")
        assert order[:3] == ["helps in every form"] * 2 + ["depends on the form"] and order[-1] == "hurts in every form"
        assert browser.run("document.querySelectorAll('#classes-overview').length") == 0, "it would say the same"
        assert browser.complaints == []
    finally:
        browser.send("Emulation.setEmulatedMedia", features=[])


@pytest.mark.parametrize("width", [360, 1280])
def test_class_x_form_fits_and_has_names_of_its_own(tmp_path, browser, width):
    opened(browser, tmp_path, six_forms(), width)
    assert browser.run("document.documentElement.scrollWidth") <= width
    ids = browser.run("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))
    box = "document.querySelector('#classes-side1').closest('.scroll')"
    if width == 1280:
        assert browser.run(f"{box}.scrollWidth <= {box}.clientWidth"), "ten classes x six forms fit on a screen"


def test_one_form_is_said_once_on_the_page(tmp_path, browser):
    opened(browser, tmp_path, beside(in_form("black", {"sky": HELPS})))
    text = browser.run("document.querySelector('section.classes').innerText")
    assert text.count("One form of the mask was run: black.") == 1


def test_flipped_queries_are_shown_with_and_without_the_class(tmp_path, browser):
    pictures = Noise()
    opened(browser, tmp_path, full(3), pictures=pictures)
    told = browser.run("[...document.querySelectorAll('#classes-flips1 details > summary')].map((e) => e.textContent)")
    assert told == ["road: 18 gained, 6 lost", "sidewalk: 18 gained, 6 lost"], "the third one has none"
    note = browser.run("document.querySelector('#classes-flips1 > p').textContent")
    assert "Both by the network of the first seed." in note
    kinds = browser.run(
        "[...document.querySelectorAll('#classes-flips1-1 h4')].map((e) => e.textContent.split(':')[0])"
    )
    assert kinds == ["Gained", "Gained", "Lost", "Lost"] and len(kinds) == A_CLASS
    shots = browser.run(
        "[...document.querySelectorAll('#classes-flips1-1 article')].map((a) => "
        "[...a.querySelectorAll('li')].map((li) => [li.querySelector('span').textContent, li.className]))"
    )
    assert shots[0][0][0].startswith("query, unmasked")
    assert shots[0][1][0].startswith("query through road, masked")
    assert [text.split(":")[0] for text, _ in shots[0][2:]] == [
        "first with road, unmasked", "first without road, unmasked"
    ]  # fmt: skip
    assert [(text[-2:], kind) for text, kind in shots[0][2:]] == [("d0", "right"), ("e0", "wrong")]
    assert [(text[-2:], kind) for text, kind in shots[2][2:]] == [("d2", "wrong"), ("e2", "right")]
    assert browser.run("[...document.images].every((i) => i.complete && i.naturalWidth > 0)")
    assert set(pictures.through) == {("0-2", ("road",), "none"), ("0-2", ("sidewalk",), "none")}


def test_the_mask_is_that_of_the_setting():
    pictures = Noise()
    what = report(setting([player("wall", 0.1, flips=1), player("all", 0.1, flips=1, classes=("<b>",))],
                          named={"input.mode": "masked", "network.unfreeze": "1-2"}))  # fmt: skip
    page(contents(what, pictures))
    assert pictures.through == [("1-2", ("wall",), "none")], "of no known class there is no mask"


def test_where_found_is_among_five_the_first_may_be_wrong(tmp_path, browser):
    one = report(setting([player("wall", 0.1, flips=1)]), objective="recall@5")
    opened(browser, tmp_path, one, pictures=Noise())
    kinds = browser.run("[...document.querySelectorAll('#classes-flips1-1 li')].map((li) => li.className)")
    assert kinds == ["", "", "", "wrong"]


def test_nineteen_classes_and_twenty_settings_fit(tmp_path, browser):
    pictures = Noise(300)
    text = opened(browser, tmp_path, full(19, 20, flips=8), pictures=pictures)
    assert len(text) < 20_000_000
    assert sum(len(uri) for uri in re.findall(r'src="(data:[^"]+)"', text)) <= MOST_BYTES
    assert len(pictures.asked) < 400, "nothing is read from the data once there is no room"
    assert "those that did not fit are shown by their keys" in text
    assert browser.run("document.querySelectorAll('.figures img').length") == 4, "the masks still have room"
    assert browser.run("document.querySelectorAll('#classes-overview thead th').length") == 21
    cells = browser.run("[...document.querySelectorAll('#classes-overview tbody td')].map((td) => td.textContent)")
    assert len(cells) == 19 * 20 and cells[0] == "+0.150 ▲" and cells[-1].endswith("?")
    assert browser.run("document.querySelectorAll('details[open][id$=details]').length") == 1, "one setting is open"
    assert browser.complaints == []


def test_every_class_has_a_picture_before_one_has_two():
    small, many = Noise(170), full(19, 1)
    room = page(contents(many, small))
    assert len(small.asked) > 3 * 18
    assert "Which classes help?" in room
    first = [key for side, key in small.asked if side == "query"]
    assert first[:18] == ["q0"] * 18 and first[18] == "q2"


def test_without_a_control_marks_are_hollow_and_say_what_is_needed(tmp_path, browser):
    opened(browser, tmp_path, full(4, 2, placebos=()))
    cells = browser.run("[...document.querySelectorAll('#classes-overview tbody td')].map((td) => td.textContent)")
    assert cells[0] == "+0.150 △"
    note = browser.run(
        "document.querySelector('#classes-overview').closest('.scroll').parentElement.querySelector('.quiet').innerText"
    )
    assert note.endswith('△ raises, no control, ? nothing tells ("helps" needs a control (subsets.placebos)).')
    labels = browser.run("[...document.querySelectorAll('.effects .name span')].map((e) => e.textContent)")
    assert labels[:4] == ["raises, no control"] * 3 + ["nothing tells"]
    legend = browser.run("document.querySelector('.effects-key').innerText")
    assert "raises, no control" in legend and "helps" not in legend
    style = "getComputedStyle(document.querySelector('.effects > svg > g > circle'))"
    paper, edge = (browser.run(f"{style}.{name}") for name in ("fill", "stroke"))
    assert paper == browser.run("getComputedStyle(document.body).backgroundColor") != edge
    line = "getComputedStyle(document.querySelector('.effects > svg > g > line.raises')).stroke"
    assert edge == browser.run(line)
    assert browser.complaints == []


def test_no_control_greedy_and_untold_are_told_plainly(tmp_path, browser):
    untold = setting(
        [player("wall", 0.1, "untold", half=None, placebos=())], named={"input.mode": "masked"}, num_seeds=1
    )
    what = report(*greedy().settings, untold, setting(()))
    opened(browser, tmp_path, what)
    warned = browser.run("[...document.querySelectorAll('#main section section > .warn')].map((e) => e.textContent)")
    assert warned == [NO_CONTROL] * 3
    steps = browser.run("[...document.querySelectorAll('.taken li')].map((e) => e.textContent)")
    assert steps == ["building: 0.500 (+0.480)", "pole: 0.600 (+0.100)", "traffic sign: 0.700 (+0.100)"]
    said = browser.run("[...document.querySelectorAll('.answer')].map((e) => e.textContent)")
    assert said[1].startswith("Nothing here tells of wall") and said[2] == "No class could be measured."
    assert browser.run("document.querySelectorAll('.effects').length") == 1
    assert browser.complaints == []


def sweep_folder(runs: Path) -> Path:
    """One finished trial of a sweep of subsets, as its driver leaves it."""
    folder, one = runs / "sweeps" / "mine", result(0.6, mode="masked")
    trial = runs / "trials" / one.trial_id
    write_text(trial / "result.json", one.model_dump_json(by_alias=True))
    write_json(trial / "trial.json", one.trial.to_json())
    trials = [{"trial": one.trial_id, "name": "masked", "seed": 0}]
    write_json(folder / "manifest.json", {"name": "mine", "objective": "recall@1", "trials": trials, "fallbacks": []})
    write_text(folder / "sweep.yaml", "name: mine\n")
    return folder


def test_the_leaderboard_command_shows_names_and_draws_it(tmp_path):
    pytest.importorskip("matplotlib")
    folder, out = sweep_folder(tmp_path), io.StringIO()
    write_attribution(folder, full(3))
    assert leaderboard(folder, tmp_path, Console(file=out, width=200), Wanted(plots=True)) == 0
    text = out.getvalue()
    assert "what each class adds to recall@1" in text and "helps: more than every placebo" in text
    assert str(folder) in "".join(text.split())
    for name in (
        "attribution.json",
        "attribution.parquet",
        "attribution.md",
        "attribution.tex",
        "plots/attribution.svg",
    ):
        assert (folder / name).exists()
    assert "Which classes help?" in page_path(folder).read_text()


@pytest.mark.parametrize("text", ['[{"setting": {}, "taken": []}]', '{"version": 1, "settings": []}', "{cut"])
def test_a_file_of_another_version_is_named_and_left_out(tmp_path, text):
    folder, out = sweep_folder(tmp_path), io.StringIO()
    write_text(attribution_path(folder), text)
    assert leaderboard(folder, tmp_path, Console(file=out, width=400)) == 0
    assert f"left out: {attribution_path(folder)}: an attribution" in out.getvalue()
    shown = page_path(folder).read_text()
    assert "attribution.json: an attribution" in shown and 'id="classes"' not in shown


def test_contents_need_no_attribution():
    (field,) = [each for each in dataclasses.fields(Contents) if each.name == "attribution"]
    assert field.default is None

"""Puts the page together: one HTML file with its style, its script and its pictures inside."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup

from vprdist.console import number_text
from vprdist.report.differing import NONE, differing, naming
from vprdist.report.evidence import Block, Standing
from vprdist.report.leaderboard import (
    PUBLISHED_HEADERS,
    difference_text,
    fallbacks,
    machine_notes,
    part_name,
    part_score,
    rows_of,
    score_text,
)
from vprdist.report.own_table import own_difference, own_score, own_seeds
from vprdist.report.page.charts import Line, interval_bar, line_chart
from vprdist.report.page.classes import classes_section
from vprdist.report.page.contents import MOST_LINES, Contents, Curve
from vprdist.report.page.figures import figures_of, kinds_of_mask
from vprdist.report.page.flips import MOST_BYTES, Album, FlipSet, flip_sets
from vprdist.report.page.maps import Choice, CityMap, choices, city_maps, first_pair, found_metric
from vprdist.report.page.shares import axes_sections
from vprdist.report.published import NOTES, published_rows
from vprdist.report.reading import BELOW, P_CHOSEN, P_HOLM, against_text, p_text, reading, short, warnings
from vprdist.report.rows import other_metrics
from vprdist.report.sources import code_lines
from vprdist.spec.vocabulary import KS

MOST_FAILURES = 50
MOST_ROWS, MOST_CELLS = 2_000, 24_000
"""Rows of all leaderboards, and cells of all breakdowns: a row takes some 3 kB, and a page is to open at once."""
MOST_CHARTS = 6
"""Charts of a program's other numbers."""
Points = Sequence[tuple[int, float]]


def page(contents: Contents) -> str:
    """The whole page as HTML. Text from data is escaped; only our own script may run, and nothing is loaded."""
    style, script = _part("style.css") + _part("classes.css"), _part("page.js")
    made = contents.manifest.get("trials", [])
    trials = [row.trial for row in rows_of(contents.blocks)]
    # Classes stand first, and would leave no room for the leaderboard's own pictures.
    first = Album(contents.pictures, MOST_BYTES // 2)
    classes = None if contents.attribution is None else classes_section(contents.attribution, trials, first)
    album = Album(contents.pictures, MOST_BYTES - first.used)
    masked = kinds_of_mask(trials)
    # Before the flips, which are many: what masks are must not be what has no room.
    figures = [found for trial in masked if (found := figures_of(trial, contents.pictures, album))]
    most = MOST_ROWS // max(1, len(contents.blocks))
    sections = [_section(block, contents, album, most) for block in contents.blocks]
    return _template().render(
        contents=contents,
        classes=classes,
        style=Markup(style),
        script=Markup(script),
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        sections=sections,
        axes=axes_sections(contents),
        training=_training(contents),
        progress=_progress(contents),
        figures=figures,
        learnt=contents.learnt,
        has_masks=bool(masked),
        album_full=album.full or first.full,
        most_bytes=MOST_BYTES,
        notes=NOTES,
        notes_at=next((i for i, section in enumerate(sections) if section["published"]), None),
        published_headers=PUBLISHED_HEADERS,
        code=code_lines(rows_of(contents.blocks)),
        fallbacks=fallbacks(rows_of(contents.blocks)),
        machine_notes=machine_notes(rows_of(contents.blocks)),
        manifest=json.dumps({**contents.manifest, "trials": made[:MOST_ROWS]}, indent=1),
        manifest_left_out=max(0, len(made) - MOST_ROWS),
        most_repeated=MOST_ROWS,
        most_lines=MOST_LINES,
    )


@cache
def _template() -> Template:
    """Compiled once in a process: a page that is written again and again shows other contents alone."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=FunctionLoader(_part)
    )
    environment.filters["hours"] = _hours
    return environment.from_string(_part("template.html"))


def _hours(value: float) -> str:
    """Three digits, and never a power of ten: 0.0123, 45.6, 12,345."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value >= 1e-4 else "0"


def _part(name: str) -> str:
    return (files("vprdist.report.page") / name).read_text(encoding="utf-8")


@dataclass(frozen=True)
class _Cell:
    """A cell of a sortable table: what is read, a second line of it, and what it is sorted by."""

    text: str
    sort: float | str | None
    bar: str = ""
    below: str = ""


@dataclass(frozen=True)
class _Head:
    """A column's head: what is read, what it means, what a first click does to the rows, whether they stand by it."""

    text: str
    meaning: str
    first: str = "descending"
    is_order: bool = False


def _section(block: Block, contents: Contents, album: Album, most: int) -> dict[str, Any]:
    """What the template needs for one protocol, and at most so many rows of it."""
    queries = contents.queries
    shown = choices(block, queries)
    row, baseline = first_pair(block, shown) if shown else (0, 0)
    maps: list[CityMap] = city_maps(block, queries, shown[row], shown[baseline]) if shown else []
    scale = _score_scale(block)
    sets: list[FlipSet] = flip_sets(block, queries, contents.answers, album)
    return {
        "block": block,
        "warnings": warnings(block),
        "reading": [*reading(block), *naming(block.rows)],
        "differing": _differing(block, most),
        "headers": _headers(block),
        "lines": [_line(block, standing, scale) for standing in block.standings[:most]],
        "left_out": _left_out("leaderboard.csv", min(most, len(block.standings)), len(block.standings)),
        "parts": _parts(block, MOST_CELLS * most // MOST_ROWS),
        "recall": _recall_chart(block),
        "published": published_rows(block, contents.published),
        "choices": shown,
        "first": (row, baseline),
        "maps": maps,
        "map_data": _map_data(shown, maps),
        "metric": short(found_metric(block.objective)),
        "flips": sets,
    }


def _headers(block: Block) -> list[_Head]:
    """The leaderboard's columns."""
    if block.protocol is None:
        return _own_headers(block)
    name, seeds = short(block.objective), block.knows_seeds
    return [
        _Head("row", "the row's values on the swept axes", "ascending"),
        *([_Head("group", "rows of one group are not told apart from its best row", "ascending")] if seeds else []),
        _Head(name, f"the objective, with its 95 % interval; {BELOW} it was better before training", is_order=True),
        _Head(
            "to baseline" if seeds else "to baseline, these networks",
            "difference to the baseline on the same queries, with its 95 % interval",
        ),
        *([_Head("p", P_CHOSEN if block.chosen else P_HOLM, "ascending")] if seeds else []),
        *(_Head(short(column), column) for column in other_metrics(block.objective)),
        _Head("untrained", f"{name} of the network before training"),
        _Head("seeds", "seeds that the row is the mean of"),
        _Head("wall s", "mean seconds from start to result"),
    ]


def _own_headers(block: Block) -> list[_Head]:
    """The same where numbers are a program's own."""
    first = "ascending" if block.direction == "minimize" else "descending"
    means_p = "allows for all pairs of rows" if block.chosen else P_HOLM
    return [
        _Head("row", "the row's values on the swept axes", "ascending"),
        _Head(block.objective, "the objective, with its 95 % interval over seeds", first, is_order=True),
        _Head("to baseline", "difference to the baseline, paired by seed, with its 95 % interval"),
        *([_Head("p", means_p, "ascending")] if block.knows_seeds else []),
        *(_Head(name, f"the program's {name}") for name in block.others),
        _Head("seeds", "seeds that the row is the mean of"),
        _Head("wall s", "mean seconds from start to result"),
    ]


def _own_line(block: Block, standing: Standing, scale: tuple[float, float]) -> list[_Cell]:
    row, found, against = standing.row, standing.difference, against_text(block, standing)
    score, wall = row.metric(block.objective), sum(result.wall_s for result in row.results) / len(row.results)
    p = [_Cell("–", None) if found is None else _Cell(p_text(found.corrected), found.corrected)]
    numbers = [(row.metric(name), number_text(row.metric(name))) for name in block.others]
    return [
        _Cell(row.name, row.name),
        _Cell(own_score(block, standing), score, interval_bar(score, standing.intervals.get(block.objective), scale)),
        _Cell(against or "–", None) if found is None else _Cell(own_difference(found), found.value, below=against),
        *(p if block.knows_seeds else []),
        *(_Cell(text, None if math.isnan(value) else value) for value, text in numbers),
        _Cell(own_seeds(block, standing), len(row.seeds)),
        _Cell(f"{wall:.0f}", wall),
    ]


def _score_scale(block: Block) -> tuple[float, float]:
    bounds = [s.intervals.get(block.objective) or (s.row.metric(block.objective),) * 2 for s in block.standings]
    return min(low for low, _ in bounds), max(high for _, high in bounds)


def _line(block: Block, standing: Standing, scale: tuple[float, float]) -> list[_Cell]:
    if block.protocol is None:
        return _own_line(block, standing, scale)
    row, found, objective = standing.row, standing.difference, block.objective
    score, bounds = row.metric(objective), standing.intervals.get(objective)
    spread, untrained = row.seed_spread(objective), row.untrained(objective)
    wall = sum(result.wall_s for result in row.results) / len(row.results)
    against = against_text(block, standing)
    group, p = [], []
    if block.knows_seeds:
        group = [_Cell("–" if standing.group is None else str(standing.group), standing.group)]
        p = [_Cell("–", None) if found is None else _Cell(p_text(found.corrected), found.corrected)]
    return [
        _Cell(row.name, row.name),
        *group,
        _Cell(score_text(objective, standing), score, interval_bar(score, bounds, scale)),
        _Cell(against or "–", None) if found is None else _Cell(difference_text(found), found.value, below=against),
        *p,
        *(_Cell(f"{row.metric(c):.3f}", row.metric(c)) for c in other_metrics(objective)),
        _Cell("–" if untrained is None else f"{untrained:.3f}", untrained),
        _Cell(str(len(row.seeds)) + ("" if spread is None else f" (sd {spread:.3f})"), len(row.seeds)),
        _Cell(f"{wall:.0f}", wall),
    ]


def _left_out(file: str, shown: int, count: int) -> str:
    """What a reader is told of rows that are not on the page; empty: all of them are."""
    if shown == count:
        return ""
    return f"The first {shown:,} of {count:,} rows are shown; all are in {file} beside this page."


def _differing(block: Block, most: int) -> dict[str, Any]:
    """How the rows differ, key by key, and their trials."""
    rows = [standing.row for standing in block.standings]
    found = differing(rows)
    lines = []
    for place, row in enumerate(rows[:most]):
        told = [values[place] for values in found.values()]
        trials = " ".join(result.trial_id for result in row.results)
        lines.append(
            [_Cell(row.name, row.name), *(_Cell(NONE if v is None else v, v) for v in told), _Cell(trials, trials)]
        )
    return {"headers": [*found], "lines": lines}


def _parts(block: Block, most: int) -> dict[str, Any] | None:
    """Breakdowns, of at most so many cells."""
    measured, metric = [standing for standing in block.standings if standing.parts], block.objective
    if not measured:
        return None
    rows = measured[: max(1, most // len(measured[0].parts))]
    return {
        "headers": [part_name(part) for part in measured[0].parts],
        "lines": [
            [_Cell(s.row.name, s.row.name), *(_Cell(part_score(p, metric), p.metrics[metric]) for p in s.parts)]
            for s in rows
        ],
        "left_out": _left_out("breakdown.csv", len(rows), len(measured)),
    }


def _recall_chart(block: Block) -> Markup:
    lines = list[Line]()
    if block.protocol is None:
        return Markup()
    for number, standing in enumerate(block.standings[:MOST_LINES]):
        names = [f"recall@{k}" for k in KS]
        band = [(k, *standing.intervals[n]) for k, n in zip(KS, names, strict=True) if n in standing.intervals]
        values = [(float(k), standing.row.metric(name)) for k, name in zip(KS, names, strict=True)]
        lines.append(Line(standing.row.name, number, values, band))
    told = "; ".join(f"{line.label}: " + ", ".join(f"{y:.3f} at {x:g}" for x, y in line.points) for line in lines)
    return line_chart(
        lines, title="recall at 1, 5, 10 and 20", description=told, x_label="k retrieved", y_label="recall@k",
        x_ticks=[float(k) for k in KS],
    )  # fmt: skip


def _map_data(shown: Sequence[Choice], maps: Sequence[CityMap]) -> list[Mapping[str, str]]:
    """What the script repaints the maps from: per choice and city a digit a query."""
    return [{city.city: choice.found[city.city] for city in maps} for choice in shown]


def _training(contents: Contents) -> list[Markup]:
    """Loss and objective over steps; rows in the leaderboard's order, each seed a line."""
    numbers: dict[str, int] = {}
    for curve in contents.curves:
        numbers.setdefault(curve.row, len(numbers))
    charts = []
    others = list(dict.fromkeys(name for curve in contents.curves for name in curve.others))[:MOST_CHARTS]
    drawn: list[tuple[str, str, Callable[[Curve], Points]]] = [
        ("loss over steps", "loss", lambda curve: curve.loss),
        ("objective over steps", short(contents.objective), lambda curve: curve.objective),
        *((f"{name} over steps", name, partial(_other, name)) for name in others),
    ]
    for title, label, points_of in drawn:
        lines = [
            Line(curve.row, numbers[curve.row], points)
            for curve in contents.curves
            if (points := points_of(curve)) and numbers[curve.row] < MOST_LINES
        ]
        told = f"{len(lines)} trials; the values are in their metrics.jsonl"
        charts.append(line_chart(lines, title=title, description=told, x_label="step", y_label=label))
    return [chart for chart in charts if chart]


def _other(name: str, curve: Curve) -> Points:
    return curve.others.get(name, ())


def _progress(contents: Contents) -> dict[str, Any]:
    bad = [
        each for each in contents.progress if each.state in ("failed", "cancelled", "ended", "stopped", "unreadable")
    ]
    return {
        "states": Counter(each.state for each in contents.progress).most_common(),
        "spent_h": sum(each.spent_h for each in contents.progress),
        "wasted_h": sum(each.wasted_h for each in contents.progress),
        "bad": bad[:MOST_FAILURES],
        "more": max(0, len(bad) - MOST_FAILURES),
    }

"""Where queries were found and missed: a map a city, and what each row found, for the page's script to repaint."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from vprdist.report.evidence import Block, Standing
from vprdist.report.page.charts import ticks
from vprdist.store.queries import Queries

MOST_ROWS = 20
"""Rows that can be chosen on the map: each costs a byte a query."""
SIZE = 420
MARGIN, RULER_TEXT = 14, 70
KINDS = ("both", "gained", "lost", "neither")


@dataclass(frozen=True)
class Choice:
    """A row that the map can show: per city what its first seed found, a digit a query."""

    name: str
    seed: int
    found: Mapping[str, str]


@dataclass(frozen=True)
class CityMap:
    """One city: its drawing for the first choice against the second, and how many queries are of each kind."""

    city: str
    svg: Markup
    counts: Mapping[str, int]


def found_metric(objective: str) -> str:
    """What counts as found: the objective where it is a recall, else recall@1."""
    return objective if objective.startswith("recall") else "recall@1"


def choices(block: Block, queries: Mapping[str, Queries]) -> list[Choice]:
    """The first rows that have per-query results, best first, and the baselines among them."""
    metric = found_metric(block.objective)
    out = list[Choice]()
    if block.protocol is None:
        return out
    for standing in _shown(block):
        result = standing.row.results[0]
        asked = queries[result.asked]
        own = asked.subtask == block.protocol.subtask
        hits, city = asked.metrics[metric][own] > 0.5, asked.city[own]
        digits = {str(c): "".join("01"[int(h)] for h in hits[city == c]) for c in sorted(set(city.tolist()))}
        out.append(Choice(standing.row.name, result.trial.seed, digits))
    return out


def _shown(block: Block) -> list[Standing]:
    paired = [standing for standing in block.standings if standing.paired]
    named = {standing.difference.baseline for standing in paired if standing.difference}
    first = paired[:MOST_ROWS]
    return first + [s for s in paired[MOST_ROWS:] if s.row.name in named][:MOST_ROWS]


def first_pair(block: Block, shown: Sequence[Choice]) -> tuple[int, int]:
    """Which choices the map starts with: the best row that has a baseline, and that baseline; or a row and itself."""
    places = {choice.name: index for index, choice in enumerate(shown)}
    for standing in block.standings:
        found = standing.difference
        if found and standing.row.name in places and found.baseline in places:
            return places[standing.row.name], places[found.baseline]
    return 0, 0


def kind_of(row: str, baseline: str) -> str:
    """How a query fared, from two digits."""
    return {"11": "both", "10": "gained", "01": "lost", "00": "neither"}[row + baseline]


def city_maps(block: Block, queries: Mapping[str, Queries], row: Choice, baseline: Choice) -> list[CityMap]:
    """A map a city; cities without positions have none."""
    asked = queries[next(s for s in block.standings if s.paired).row.results[0].asked]
    out = list[CityMap]()
    if block.protocol is None:
        return out
    own = asked.subtask == block.protocol.subtask
    for city in row.found:
        inside = own & (asked.city == city)
        east, north = asked.easting_m[inside], asked.northing_m[inside]
        kinds = [kind_of(a, b) for a, b in zip(row.found[city], baseline.found[city], strict=True)]
        if np.isfinite(east).all() and np.isfinite(north).all():
            svg = _draw(city, east, north, kinds)
            out.append(CityMap(city, svg, {kind: kinds.count(kind) for kind in KINDS}))
    return out


def _draw(city: str, east: np.ndarray, north: np.ndarray, kinds: Sequence[str]) -> Markup:
    span = max(float(np.ptp(east)), float(np.ptp(north)), 1.0)
    scale = (SIZE - 2 * MARGIN) / span
    length = ticks(0, span / 3)[-1]
    width = math.ceil(max(float(np.ptp(east)) * scale + 2 * MARGIN, length * scale + MARGIN + RULER_TEXT))
    height = math.ceil(float(np.ptp(north)) * scale) + 2 * MARGIN + 26
    x = MARGIN + (east - east.min()) * scale
    y = MARGIN + (north.max() - north) * scale
    dots = "".join(
        f'<circle class="{kind}" cx="{a:.1f}" cy="{b:.1f}" r="3"/>' for kind, a, b in zip(kinds, x, y, strict=True)
    )
    ruler = Markup('<path class="ruler" d="M{m} {y}v5h{w}v-5"/><text x="{t}" y="{y}" dy="9">{label} m</text>').format(
        m=MARGIN, y=height - 18, w=f"{length * scale:.1f}", t=f"{MARGIN + length * scale + 6:.1f}", label=f"{length:g}"
    )
    name = f"Map of the queries of {city}, north up"
    return Markup(
        '<svg class="map" data-city="{}" width="{w}" height="{h}" viewBox="0 0 {w} {h}" role="img" aria-label="{n}">'
        "<title>{n}</title>{}{}</svg>"
    ).format(city, Markup(dots), ruler, w=width, h=height, n=name)

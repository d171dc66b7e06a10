"""Charts as SVG text. Colours differ in lightness too, and every line has a dash and a mark of its own.

Text from data is escaped by `Markup.format`; shapes are drawn in colours that the style sheet names, so that they
follow light, dark and print.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 72, 28, 14, 46
DASHES = ("", "7 3", "2 3", "9 3 2 3", "14 4", "5 2 1 2 1 2", "1 4", "10 6")
BESIDE = 4
"""Lines with whiskers stand so far beside each other: on one place whiskers would hide each other."""
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """One line of a chart. Lines of one `number` (from 0) share colour, dash and mark; the first has a legend entry."""

    label: str
    number: int
    points: Points
    band: Sequence[tuple[float, float, float]] = ()
    """(x, low, high): whiskers."""


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from low to high: steps of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 12) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def line_chart(
    lines: Sequence[Line], *, title: str, description: str, x_label: str, y_label: str,
    x_ticks: Sequence[float] | None = None, bounds_y: tuple[float, float] | None = None,
) -> Markup:  # fmt: skip
    """An SVG of lines with marks, and a legend below it; empty where there is nothing to draw."""
    points = [point for line in lines for point in line.points]
    if not points:
        return Markup()
    low_x, high_x = _bounds([x for x, _ in points])
    low_y, high_y = bounds_y or _bounds(
        [y for _, y in points] + [v for line in lines for _, *b in line.band for v in b]
    )
    beside = BESIDE if any(line.band for line in lines) else 0
    room = beside * (len(lines) - 1) / 2
    across = _scale(low_x, high_x, LEFT + room, WIDTH - RIGHT - room)
    down = _scale(low_y, high_y, HEIGHT - BOTTOM, TOP)
    parts = [
        Markup(
            '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}"><title>{}</title><desc>{}</desc>'
        ).format(WIDTH, HEIGHT, title, title, description)
    ]
    for y in ticks(low_y, high_y):
        parts.append(
            Markup('<line class="grid" x1="{}" x2="{}" y1="{y}" y2="{y}"/>'
                   '<text x="{}" y="{y}" dy="4" class="end">{}</text>')
            .format(LEFT, WIDTH - RIGHT, LEFT - 6, f"{y:g}", y=_n(down(y)))
        )  # fmt: skip
    steps = [x for x in ticks(low_x, high_x) if x == round(x)]  # there is no half step
    for x in x_ticks if x_ticks is not None else steps:
        parts.append(
            Markup('<line class="tick" x1="{x}" x2="{x}" y1="{}" y2="{}"/><text x="{x}" y="{}" class="mid">{}</text>')
            .format(HEIGHT - BOTTOM, HEIGHT - BOTTOM + 4, HEIGHT - BOTTOM + 17, f"{x:g}", x=_n(across(x)))
        )  # fmt: skip
    parts.append(Markup('<text x="{}" y="{}" class="mid">{}</text>').format((LEFT + WIDTH) / 2, HEIGHT - 6, x_label))
    parts.append(
        Markup('<text transform="translate(16 {}) rotate(-90)" class="mid">{}</text>').format(
            (HEIGHT - BOTTOM) / 2, y_label
        )
    )
    parts += [_line(line, across, down, beside * place - room) for place, line in enumerate(lines)]
    return Markup("").join([*parts, Markup("</svg>"), _legend(lines)])


def _line(line: Line, across: Callable[[float], float], down: Callable[[float], float], aside: float) -> Markup:
    number = line.number % len(DASHES)
    places = [(_n(across(x) + aside), _n(down(y))) for x, y in line.points]
    path = " ".join(f"{x},{y}" for x, y in places)
    whiskers = "".join(f"M{_n(across(x) + aside)} {_n(down(low))}V{_n(down(high))}" for x, low, high in line.band)
    marks = "".join(_mark(number, float(x), float(y)) for x, y in places) if len(places) <= 30 else ""
    return Markup(
        '<g class="c{}"><title>{}</title><path class="whisker" d="{}"/><polyline points="{}" stroke-dasharray="{}"/>'
        '<path class="mark" d="{}"/></g>'
    ).format(number, line.label, whiskers, path, DASHES[number], marks)


def _mark(number: int, x: float, y: float) -> str:
    """A dot, square, triangle or diamond, as a path."""
    shapes = (
        "m-3 -3h6v6h-6z", "m0 -4l4 7h-8z", "m0 -4l4 4l-4 4l-4 -4z", "m-3 0a3 3 0 1 0 6 0a3 3 0 1 0 -6 0z",
    )  # fmt: skip
    return f"M{_n(x)} {_n(y)}{shapes[number % len(shapes)]}"


def _legend(lines: Sequence[Line]) -> Markup:
    first = {line.number: line for line in reversed(lines)}
    items = [
        Markup(
            '<li><svg class="key" viewBox="0 0 36 12" aria-hidden="true"><g class="c{n}">'
            '<polyline points="0,6 36,6" stroke-dasharray="{}"/><path class="mark" d="{}"/></g></svg><bdi>{}</bdi></li>'
        ).format(DASHES[n % len(DASHES)], _mark(n, 18, 6), first[n].label, n=n % len(DASHES))
        for n in sorted(first)
    ]
    return Markup('<ul class="legend">{}</ul>').format(Markup("").join(items))


def interval_bar(score: float, bounds: tuple[float, float] | None, scale: tuple[float, float]) -> Markup:
    """A score and its interval on a line of its own; the numbers stand beside it, so it is hidden from readers."""
    across = _scale(*scale, 4, 136)
    dot = Markup('<circle cx="{}" cy="8" r="3.5"/>').format(_n(across(score)))
    line = Markup()
    if bounds is not None:
        line = Markup('<path d="M{low} 8H{high}M{low} 4v8M{high} 4v8"/>').format(
            low=_n(across(bounds[0])), high=_n(across(bounds[1]))
        )
    return Markup('<svg class="bar" viewBox="0 0 140 16" aria-hidden="true">{}{}</svg>').format(line, dot)


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (end - start)


def _n(value: float) -> str:
    """A coordinate in a few bytes."""
    return f"{value:.1f}".rstrip("0").rstrip(".")

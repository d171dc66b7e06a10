"""Class x form and class x network as a figure for papers: cells coloured by what a class adds, claims in bold."""

from __future__ import annotations

from typing import Any

from vprdist.report.beside_words import NOT_RUN, cells_of, columns_of, title, verdict_text
from vprdist.report.wording import bounds, level
from vprdist.spec.attribution import AttributionReport, PlayerRow, SideBySide

ABOVE, BELOW = (0, 114, 178), (213, 94, 0)
MOST_TINT = 0.5
"""Share of the colour in the strongest cell: black letters on it keep their contrast."""
CLAIMED = ("helps", "hurts")


def draw_side(side: SideBySide, report: AttributionReport, figure: Any) -> None:
    """Values with intervals in a grid, the first player at the top, and the verdict at the right."""
    rows = [cells_of(side, report, each.player) for each in side.players]
    most = max((abs(row.adds.value) for cells in rows for row in cells.values() if row), default=0.0)
    figure.set_size_inches(2.6 + 1.15 * len(side.columns), 1.1 + 0.42 * len(rows))
    axes = figure.add_subplot()
    for y, (cells, told) in enumerate(zip(rows, side.players, strict=True)):
        for x, row in enumerate(cells.values()):
            left, right, top, bottom = x - 0.5, x + 0.5, y - 0.5, y + 0.5
            corners = ([left, right, right, left], [top, top, bottom, bottom])
            axes.fill(*corners, facecolor=_tint(row, most), edgecolor="white")
            weight = "bold" if row is not None and row.claim in CLAIMED else "normal"
            axes.text(x, y - 0.14, _value(row), ha="center", va="center", fontsize=8, fontweight=weight)
            axes.text(x, y + 0.22, _interval(row), ha="center", va="center", fontsize=5.5)
        verdict = verdict_text(side, report, told.player).partition(":")[0]
        axes.text(len(side.columns) - 0.4, y, verdict, va="center", fontsize=7)
    axes.set(xlim=(-0.5, len(side.columns) + 0.9), ylim=(len(rows) - 0.5, -0.5))
    axes.set_xticks(range(len(side.columns)), [_plain(name, 18) for name in side.columns], fontsize=8)
    axes.set_yticks(range(len(rows)), [_plain(each.player, 30) for each in side.players], fontsize=8)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    at = level(columns_of(side, report)[0])
    axes.set_title(_plain(f"{title(side)}: adds to {report.objective}, {at} intervals; bold: claimed"), fontsize=8)


def _tint(row: PlayerRow | None, most: float) -> tuple[float, ...]:
    """White at zero; blue above it, orange below."""
    share = MOST_TINT * abs(row.adds.value) / most if row is not None and most else 0.0
    towards = ABOVE if row is not None and row.adds.value >= 0 else BELOW
    return tuple(1 - share + share * channel / 255 for channel in towards)


def _value(row: PlayerRow | None) -> str:
    return NOT_RUN if row is None else f"{row.adds.value:+.3f}" + ("?" if row.claim == "untold" else "")


def _interval(row: PlayerRow | None) -> str:
    found = None if row is None else bounds(row.adds)
    return "" if found is None else f"[{found[0]:+.3f}, {found[1]:+.3f}]"


def _plain(name: str, most: int = 90) -> str:
    """A name that matplotlib does not take for mathematics."""
    return (name if len(name) <= most else name[: most - 1] + "…").replace("$", r"\$")

"""What notebooks show: small tables and lines as HTML, in which every word is escaped and nothing is run."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from vprdist.console import visible

MOST_ROWS = 20
"""Rows of a table that are shown."""
MOST_LETTERS = 200
"""Letters of a cell."""


def words(text: object) -> str:
    """A value as text of HTML: no markup, nothing that turns the direction of reading; lines stay lines."""
    shown = visible(str(text))
    shown = shown if len(shown) <= MOST_LETTERS else f"{shown[:MOST_LETTERS]}…"
    return "<br>".join(html.escape(line) for line in shown.split("\n"))


def table(heads: Sequence[str], rows: Sequence[Sequence[object]], title: str = "") -> str:
    """The first rows as a table, the first column to the left; a line says how many more there are."""
    caption = f'<caption style="text-align:left">{words(title)}</caption>' if title else ""
    head = "".join(f'<th style="text-align:{_side(place)}">{words(each)}</th>' for place, each in enumerate(heads))
    lines = "".join(
        f"<tr>{''.join(_cell(place, cell) for place, cell in enumerate(row))}</tr>" for row in rows[:MOST_ROWS]
    )
    more = len(rows) - MOST_ROWS
    after = paragraph(f"… and {more} more rows") if more > 0 else ""
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>{after}"


def paragraph(text: str) -> str:
    """One line below a table, as long as it is."""
    return f"<p>{html.escape(visible(text))}</p>"


def paragraphs(lines: Iterable[str]) -> str:
    """Each line as a paragraph."""
    return "".join(map(paragraph, lines))


def cell_text(value: object) -> str:
    """A value of a table: a dash for none, numbers to four digits."""
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _side(place: int) -> str:
    return "right" if place else "left"


def _cell(place: int, value: object) -> str:
    return f'<td style="text-align:{_side(place)}">{words(value)}</td>'

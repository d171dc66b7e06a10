"""Settings side by side on the page: a table whose cells are the warmer the more a class adds, and its sentences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vprdist.report.beside_tables import alike_columns, difference_columns
from vprdist.report.beside_words import (
    NOT_RUN,
    ORDER,
    answer,
    cells_of,
    columns_of,
    reading,
    title,
    verdict_text,
)
from vprdist.report.wording import MARKS, bounds, claim_text, effect_text, level, mark_key
from vprdist.spec.attribution import AttributionReport, PlayerRow, SideBySide

MOST_HEAT = 46
"""Per cent of colour in the strongest cell: letters on it keep their contrast."""
MakeTable = Callable[..., Any]


@dataclass(frozen=True)
class HeatCell:
    """A value, its interval below it, and how strongly it is coloured: per cent of blue above zero, of orange below."""

    text: str
    below: str
    sort: float | None
    heat: float
    is_above: bool
    claim: str
    told: str


def shown_side(number: int, side: SideBySide, report: AttributionReport, table: MakeTable) -> dict[str, Any]:
    """What the template needs of one table.

    Args:
        number: from 1.
        table: makes a sortable table of name, caption, note and columns.
    """
    rows = {each.player: cells_of(side, report, each.player) for each in side.players}
    most = max((abs(row.adds.value) for cells in rows.values() for row in cells.values() if row), default=0.0)
    at = level(columns_of(side, report)[0])
    return {
        "id": f"classes-side{number}",
        "title": title(side),
        "kind": side.kind,
        "answer": answer(side, report),
        "note": f"What a class adds to {report.objective}; below it the {at} interval, which holds together with those "
        f"of all classes in its column. {mark_key(columns_of(side, report))}. Stronger colour: it adds or takes more.",
        "heads": [*side.columns],
        "lines": [
            {
                "player": each.player,
                "cells": [_cell(row, most) for row in rows[each.player].values()],
                "verdict": verdict_text(side, report, each.player).partition(": "),
                "sort": ORDER[each.verdict],
                "claim": each.verdict,
            }
            for each in side.players
        ],
        "reading": reading(side, report),
        "tables": [
            (caption, made)
            for kind, caption, columns in (
                ("differences", "How much a class differs between networks", difference_columns(side)),
                ("alike", f"How alike {side.kind}s order the classes", alike_columns(side)),
            )
            if (made := table(f"{kind}{number}", caption, "A column's button sorts.", columns)) is not None
        ],
    }


def _cell(row: PlayerRow | None, most: float) -> HeatCell:
    if row is None:
        return HeatCell(NOT_RUN, "", None, 0.0, True, "untold", NOT_RUN)
    value, found = row.adds.value, bounds(row.adds)
    return HeatCell(
        text=f"{value:+.3f} {MARKS[row.claim]}",
        below=f"[{found[0]:+.3f}, {found[1]:+.3f}]" if found else "[–]",
        sort=value,
        heat=round(MOST_HEAT * abs(value) / most, 1) if most else 0.0,
        is_above=value >= 0,
        claim=row.claim,
        told=f"{effect_text(row.adds)}, {claim_text(row)}",
    )

"""The table class x form, or class x network, column by column."""

from __future__ import annotations

from vprdist.report.attribution_tables import DASH, Cell, Column
from vprdist.report.beside_words import (
    NOT_RUN,
    ORDER,
    VERDICT_WORDS,
    agreement_text,
    cells_of,
    columns_of,
    verdict_text,
)
from vprdist.report.wording import MARKS, effect_text, level
from vprdist.spec.attribution import AttributionReport, Effect, PlayerRow, SideBySide


def side_columns(side: SideBySide, report: AttributionReport, narrow: bool = False) -> list[Column]:
    """A row a player: what it adds in each column, marked by its claim there, and the verdict last.

    Args:
        narrow: values without intervals, verdicts in a word or two.
    """
    at = level(columns_of(side, report)[0])
    found = {each.player: cells_of(side, report, each.player) for each in side.players}
    columns = [
        Column(
            name, f"what a class adds in {name}" + ("" if narrow else f" [{at}]"),
            tuple(_value(cells[name], narrow) for cells in found.values()), 1,
        )
        for name in side.columns
    ]  # fmt: skip
    verdicts = [
        Cell(VERDICT_WORDS[each.verdict] if narrow else verdict_text(side, report, each.player), ORDER[each.verdict])
        for each in side.players
    ]
    return [
        Column("class", "a class, or a group of classes", tuple(Cell(name, name) for name in found), plain=True),
        *columns,
        Column("verdict", f"what is claimed in every {side.kind}", tuple(verdicts), plain=not narrow),
    ]


def _value(row: PlayerRow | None, narrow: bool) -> Cell:
    if row is None:
        return Cell(NOT_RUN, None)
    text = f"{row.adds.value:+.3f}" if narrow else effect_text(row.adds)
    return Cell(f"{text} {MARKS[row.claim]}", row.adds.value)


def alike_columns(side: SideBySide) -> list[Column]:
    """Every two columns and how alike they order the players; empty where nothing tells."""
    pairs = [pair for pair in side.pairs if pair.agreement.tau is not None]
    if not pairs:
        return []
    pairs = sorted(pairs, key=lambda pair: -(pair.agreement.tau or 0.0))
    names = [" and ".join(pair.columns) for pair in pairs]
    return [
        Column(f"{side.kind}s", f"two {side.kind}s", tuple(Cell(name, name) for name in names), plain=True),
        Column("tau-b [95 %]", "1: they order what classes add alike, 0: unrelated; each interval stands alone",
               tuple(Cell(agreement_text(pair.agreement), pair.agreement.tau) for pair in pairs)),
    ]  # fmt: skip


def difference_columns(side: SideBySide) -> list[Column]:
    """A row a player: what it adds to one network less what to another, on the same queries."""
    pairs = [pair for pair in side.pairs if pair.differences]
    if not pairs:
        return []
    names = [each.player for each in side.players]
    return [
        Column("class", "", tuple(Cell(name, name) for name in names), plain=True),
        *(
            Column(" less ".join(pair.columns), "on the same queries; intervals of all classes and pairs hold together",
                   tuple(_difference(pair.differences.get(name)) for name in names), 1)
            for pair in pairs
        ),
    ]  # fmt: skip


def _difference(effect: Effect | None) -> Cell:
    return Cell(DASH, None) if effect is None else Cell(effect_text(effect), effect.value)

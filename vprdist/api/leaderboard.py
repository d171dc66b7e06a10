"""The leaderboard of a sweep as a notebook has it: the rows with their intervals, block by block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vprdist.api.html import paragraphs, table
from vprdist.api.table import Table, arrow_of
from vprdist.report.evidence import Block, Interval
from vprdist.report.leaderboard import difference_text, fields_of, headers, records, row_cells
from vprdist.report.one_pair import Pair
from vprdist.report.reading import p_text, reading, short, warnings

SEVERAL = "one seed a row: it speaks of these very networks, and no p is told"


class Leaderboard(Table):
    """A row a configuration, best first within its protocol, with the columns of `leaderboard.parquet`.

    `recall@1_low` and `recall@1_high` are the 95 % interval of `recall@1`; `difference`, `p` and `p_holm` are to the
    row's `baseline`.

    Attributes:
        blocks: the rows of each protocol as the report weighs them; only rows of one block are ranked and compared.

    Example:
        >>> board = sweep.leaderboard
        >>> board[0]["name"], board[0]["recall@1_low"], board[0]["recall@1_high"]
    """

    def __init__(self, blocks: Sequence[Block], title: str, notes: Sequence[str] = ()) -> None:
        self.blocks = tuple(blocks)
        rows = [each for block in blocks for each in records(block)]
        super().__init__(arrow_of(rows, fields_of(blocks)), title, notes)

    def __repr__(self) -> str:
        lines = [self.title, *self.notes]
        for block in self.blocks:
            name, place = short(block.objective), _place(block)
            lines += [block.heading, *(f"  {s.row.name}: {name} {row_cells(block, s)[place]}" for s in block.standings)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        shown = paragraphs([] if self.blocks else [self.title, "No trial has a result yet."])
        for place, block in enumerate(self.blocks):
            title = f"{self.title}\n{block.heading}" if place == 0 else block.heading
            shown += table(headers(block), [row_cells(block, standing) for standing in block.standings], title)
            shown += paragraphs([*warnings(block), *reading(block)])
        return shown + paragraphs(self.notes)


def _place(block: Block) -> int:
    """Where the objective with its interval stands among a row's cells."""
    return 2 if block.knows_seeds else 1


@dataclass(frozen=True, repr=False)
class Comparison:
    """A row less another in one metric, on the same queries.

    Attributes:
        value: the difference; above zero `row` is better.
        interval: 95 %; None where the queries are fewer than two clusters.
        p: of this one comparison, two-sided; who looks at many must correct it, as the leaderboard does (`p_holm`).
            None where no row has two seeds: it would speak of these networks alone.
        holds_for: what it speaks of: "settings", or "these networks".
    """

    row: str
    other: str
    metric: str
    value: float
    interval: Interval | None
    p: float | None
    num_queries: int
    num_clusters: int
    holds_for: str
    _pair: Pair

    @classmethod
    def of(cls, row: str, metric: str, pair: Pair) -> Comparison:
        """What the report found of two rows."""
        found = pair.difference
        return cls(
            row, found.baseline, metric, found.value, found.interval, found.p, pair.num_queries, pair.num_clusters,
            "settings" if pair.knows_seeds else "these networks", pair,
        )  # fmt: skip

    def __repr__(self) -> str:
        p = f", p {p_text(self.p)}" if self.p is not None else f" ({SEVERAL})" if not self._pair.knows_seeds else ""
        words = f"{short(self.metric)} {difference_text(self._pair.difference)}{p}"
        return f"{self.row} less {self.other}: {words}; {self.num_queries} queries in {self.num_clusters} clusters"

    def _repr_html_(self) -> str:
        return paragraphs([repr(self)])

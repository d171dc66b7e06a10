"""Two rows of a leaderboard side by side: their difference on the same queries, and what it is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vprdist.errors import UserError
from vprdist.report.comparisons import p_values
from vprdist.report.evidence import Difference, QueriesOf, sample_of
from vprdist.report.rows import Row
from vprdist.report.statistics import chance


@dataclass(frozen=True)
class Pair:
    """A row less another.

    Attributes:
        difference: its p is of this one comparison, which somebody chose before looking; None with one seed a row.
        num_clusters: of the queries that both were asked.
        knows_seeds: it speaks of settings; else of these very networks.
    """

    difference: Difference
    num_queries: int
    num_clusters: int
    knows_seeds: bool


def compare(rows: Sequence[Row], row: Row, other: Row, metric: str, queries_of: QueriesOf) -> Pair:
    """The difference of two rows by the formulas of the leaderboard, with what all rows tell of seeds.

    Args:
        rows: all of the protocol, the two among them.

    Raises:
        UserError: one of the two cannot be compared query by query.
    """
    sample, notes = sample_of(rows, queries_of)
    asked = [] if sample is None else sample.rows
    missing = next((each for each in (row, other) if not any(one is each for one in asked)), None)
    if sample is None or missing is not None:
        where = (missing or row).name
        raise UserError(where, "the row cannot be compared query by query", None, " ".join(notes))
    if not all(metric in queries.metrics for seeds in sample.asked for queries in seeds):
        raise UserError(row.name, "the metric is not known query by query", metric, "Compare another one.")
    panel = sample.panel(metric)
    found = chance(panel)
    at, base = (next(place for place, one in enumerate(asked) if one is each) for each in (row, other))
    tells = found.luck is not None and panel.num_clusters > 1
    p = p_values(panel, [(at, base)])[0] if tells and at != base else None
    value = float(panel.means_R[at] - panel.means_R[base])
    difference = Difference(other.name, value, found.difference(at, base), p)
    return Pair(difference, panel.num_queries, panel.num_clusters, found.luck is not None)

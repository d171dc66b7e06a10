"""Rows with what may be said of them: intervals, the difference to a baseline, who is told apart from whom."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import numpy.typing as npt

from vprdist.report.parts import RESAMPLES, Part, cuts
from vprdist.report.rows import Row
from vprdist.report.statistics import (
    Panel,
    bootstrap,
    groups,
    holm,
    interval,
    p_values,
    pooled_seed_sd,
    told_apart,
    wilson,
)
from vprdist.spec.result import Protocol, ResultRow
from vprdist.spec.vocabulary import METRICS
from vprdist.store.queries import Queries

BEST_BASELINE = "The baseline is the best row, picked after looking: that makes differences large. Groups allow for it."
Interval = tuple[float, float]
QueriesOf = Callable[[str], Queries | None]
"""The per-query results of a trial id."""


@dataclass(frozen=True)
class Difference:
    """A row minus its baseline in the objective, on the same queries; p corrected by Holm over the whole sweep.

    Interval and p are None where the queries are fewer than two clusters: nothing tells then what is chance.
    """

    baseline: str
    value: float
    interval: Interval | None
    p: float | None
    p_holm: float | None = None


@dataclass(frozen=True)
class Standing:
    """A row and what may be said of it. Without per-query results: Wilson's interval of recall, and nothing else.

    Parts have the scores of the objective alone.
    """

    row: Row
    intervals: Mapping[str, Interval]
    paired: bool
    difference: Difference | None = None
    group: int | None = None
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Block:
    """The rows of one protocol, best first. Only these are ranked and compared."""

    protocol: Protocol
    objective: str
    standings: tuple[Standing, ...]
    num_clusters: int | None
    seed_sd: float | None
    notes: tuple[str, ...]

    @property
    def heading(self) -> str:
        return f"protocol {self.protocol.fingerprint}: {self.protocol.summary}"


def weigh(
    rows: Sequence[Row], objective: str, queries_of: QueriesOf, baselines: Mapping[str, str] | None
) -> list[Block]:
    """Judge rows, protocol by protocol; p-values are corrected over all of them together.

    Args:
        rows: protocols together, best first.
        queries_of: per-query results of a trial; None where there are none.
        baselines: by trial id the trial that it is compared with; None: each protocol's best row.
    """
    return _corrected(
        [
            _block(list(members), objective, queries_of, baselines)
            for _, members in groupby(rows, key=lambda row: row.protocol.fingerprint)
        ]
    )


def _corrected(blocks: Sequence[Block]) -> list[Block]:
    """The blocks with Holm's correction over the comparisons of all of them."""
    tests = [
        (place, row, p)
        for place, block in enumerate(blocks)
        for row, standing in enumerate(block.standings)
        if standing.difference is not None and (p := standing.difference.p) is not None
    ]
    found = {(place, row): p for (place, row, _), p in zip(tests, holm([p for *_, p in tests]), strict=True)}

    def judged(standing: Standing, p_holm: float | None) -> Standing:
        if standing.difference is None:
            return standing
        return replace(standing, difference=replace(standing.difference, p_holm=p_holm))

    return [
        replace(block, standings=tuple(judged(s, found.get((place, row))) for row, s in enumerate(block.standings)))
        for place, block in enumerate(blocks)
    ]


def _block(rows: list[Row], objective: str, queries_of: QueriesOf, baselines: Mapping[str, str] | None) -> Block:
    sample, notes = _sample(rows, queries_of)
    if sample is None:
        standings = tuple(Standing(row, _wilson(row), paired=False) for row in rows)
        return Block(rows[0].protocol, objective, standings, None, None, notes)
    panel = sample.panel(objective)
    differences = _differences(sample.rows, panel, baselines)
    number = groups(panel.means_R.tolist(), told_apart(panel))
    intervals, parts = _intervals(sample), _parts(sample, objective)
    judged = {
        id(row): Standing(row, intervals[i], True, differences.get(i), number[i], parts[i])
        for i, row in enumerate(sample.rows)
    }
    standings = tuple(judged.get(id(row)) or Standing(row, _wilson(row), paired=False) for row in rows)
    if baselines is None and len(sample.rows) > 1:
        notes = (*notes, BEST_BASELINE)
    return Block(rows[0].protocol, objective, standings, panel.num_clusters, pooled_seed_sd(panel)[0], notes)


def _sample(rows: Sequence[Row], queries_of: QueriesOf) -> tuple[_Sample | None, tuple[str, ...]]:
    """The rows that can be compared query by query, and notes on the others."""
    sample: _Sample | None = None
    variants = [row.name for row in rows if row.is_variant]
    without: list[str] = []
    differing: list[str] = []
    wrong: list[str] = []
    for row in (row for row in rows if not row.is_variant):
        own = [queries_of(result.trial_id) for result in row.results]
        found = [queries for queries in own if queries is not None]
        if len(found) < len(own):
            without.append(row.name)
        elif not all(_average(q, r) for q, r in zip(found, row.results, strict=True)):
            wrong.append(row.name)
        elif not all(queries.same_as(sample.queries if sample else found[0]) for queries in found):
            differing.append(row.name)
        else:
            sample = sample or _Sample(found[0], [], [], row.protocol.subtask)
            sample.rows.append(row)
            sample.asked.append(found)
    return sample, _notes(variants, without, differing, wrong)


def _average(queries: Queries, result: ResultRow) -> bool:
    """The queries are those that the result was made of."""
    own = queries.subtask == result.protocol.subtask
    return all(
        bool(own.any()) and abs(float(queries.metrics[name][own].mean(dtype=np.float64)) - value) < 1e-4
        for name, value in result.metrics.items()
        if name in queries.metrics
    )


def _notes(
    variants: Sequence[str], without: Sequence[str], differing: Sequence[str], wrong: Sequence[str]
) -> tuple[str, ...]:
    """Which rows could not be compared, and why; the first few by name."""
    told = (
        (variants, "another evaluation of the same descriptors; per-query results are kept for the first alone"),
        (without, "there are no per-query results"),
        (differing, "other queries than the best row's were asked"),
        (wrong, "per-query results do not average to its result"),
    )
    return tuple(
        f"{len(names)} row(s) with Wilson's interval, too short where frames are alike, and no comparison: "
        f"{reason}: {', '.join(names[:3])}{', …' if len(names) > 3 else ''}."
        for names, reason in told
        if names
    )


@dataclass(frozen=True)
class _Sample:
    """The queries that rows have in common, the rows, and for each row those of its seeds."""

    queries: Queries
    rows: list[Row]
    asked: list[list[Queries]]
    subtask: str

    def panel(self, metric: str, chosen_Q: npt.NDArray[np.bool_] | None = None) -> Panel:
        """What the rows scored on some queries; on those of the subtask, where none are named."""
        chosen = self.queries.subtask == self.subtask if chosen_Q is None else chosen_Q
        _, cluster = np.unique(self.queries.cluster[chosen], return_inverse=True)
        values = (np.stack([q.metrics[metric][chosen].astype(np.float64) for q in seeds]) for seeds in self.asked)
        return Panel(tuple(values), cluster.astype(np.int64))


def _wilson(row: Row) -> dict[str, Interval]:
    return {name: wilson(row.metric(name), row.protocol.num_queries) for name in METRICS if name.startswith("recall")}


def _intervals(sample: _Sample) -> list[dict[str, Interval]]:
    out: list[dict[str, Interval]] = [{} for _ in sample.asked]
    for metric in METRICS:
        panel = sample.panel(metric)
        draws = bootstrap(panel)
        for row, found in enumerate(out):
            found[metric] = interval(panel, draws, row)
    return out


def _differences(rows: Sequence[Row], panel: Panel, baselines: Mapping[str, str] | None) -> dict[int, Difference]:
    """By row; rows that are a baseline themselves, or whose baseline has no per-query results, have none."""
    row_of = {result.trial_id: index for index, row in enumerate(rows) for result in row.results}
    if baselines is None:
        pairs = [(index, 0) for index in range(1, len(rows))]
    else:
        pairs = []
        for index, row in enumerate(rows):
            wanted = [row_of[b] for r in row.results if (b := baselines.get(r.trial_id)) in row_of]
            if wanted and wanted[0] != index:
                pairs.append((index, wanted[0]))
    draws, means = bootstrap(panel), panel.means_R
    p = p_values(panel, pairs) if panel.num_clusters > 1 else [None] * len(pairs)
    return {
        row: Difference(rows[base].name, float(means[row] - means[base]), draws.difference(row, base), chance)
        for (row, base), chance in zip(pairs, p, strict=True)
    }


def _parts(sample: _Sample, objective: str) -> list[tuple[Part, ...]]:
    """Each row's objective by city, by subtask and by view direction."""
    out: list[list[Part]] = [[] for _ in sample.asked]
    for kind, name, chosen_Q in cuts(sample.queries, sample.subtask):
        panel = sample.panel(objective, chosen_Q)
        draws, means = bootstrap(panel, RESAMPLES), panel.means_R.tolist()
        for row, parts in enumerate(out):
            scores, bounds = {objective: means[row]}, {objective: interval(panel, draws, row)}
            parts.append(Part(kind, name, panel.num_queries, panel.num_clusters, scores, bounds))
    return [tuple(parts) for parts in out]

"""Rows with what may be said of them: intervals, the difference to a baseline, who is told apart from whom."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import numpy.typing as npt

from vprdist.report.comparisons import AllPairs, all_pairs, groups, holm, p_values
from vprdist.report.own_numbers import by_seed, mean_interval, other_numbers, paired, pooled_spread, usual_numbers
from vprdist.report.parts import Part, cuts
from vprdist.report.rows import Row, other_metrics
from vprdist.report.seeds import SeedSpread
from vprdist.report.statistics import Chance, Panel, chance, wilson
from vprdist.spec.result import Protocol, ResultRow
from vprdist.spec.search import Direction
from vprdist.spec.vocabulary import METRICS
from vprdist.store.queries import Queries

BEST_BASELINE = (
    "The baseline is the best row compared, chosen by the same queries, which makes differences large: intervals are "
    "as wide as all pairs of rows need."
)
BEST_OF_OWN = (
    "The baseline is the best row compared, chosen by the same seeds, which makes differences large: intervals and p "
    "allow for all pairs of rows (Bonferroni)."
)
Interval = tuple[float, float]
QueriesOf = Callable[[str], Queries | None]
"""By `ResultRow.asked`."""
"""The per-query results of a trial id."""
SpreadOf = Callable[[Protocol], SeedSpread | None]
"""How much seeds change scores of a protocol in other sweeps."""


@dataclass(frozen=True)
class Difference:
    """A row minus its baseline in the objective, on the same queries.

    Attributes:
        interval: None where the queries are fewer than two clusters: nothing tells then what is chance.
        p: None there too; where no row has two seeds (`Block.knows_seeds`), since it would speak of these networks
            alone; and where the baseline is the best row, since it would not allow for the choice.
        p_holm: p corrected by Holm over the whole sweep.
        p_all_pairs: where the baseline is the best row: how often chance makes a largest difference of all pairs as
            large as this one, times the sweep's protocols.
    """

    baseline: str
    value: float
    interval: Interval | None
    p: float | None = None
    p_holm: float | None = None
    p_all_pairs: float | None = None

    @property
    def corrected(self) -> float | None:
        """The p-value that tables show."""
        return self.p_all_pairs if self.p_holm is None else self.p_holm


@dataclass(frozen=True)
class Standing:
    """A row and what may be said of it. Without per-query results: Wilson's interval of recall, and nothing else.

    `group` is None too where no row of its protocol has two seeds: groups of these networks would be read as groups of
    settings. Parts have the scores of the objective alone.
    """

    row: Row
    intervals: Mapping[str, Interval]
    paired: bool
    difference: Difference | None = None
    group: int | None = None
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Block:
    """The rows of one protocol, best first. Only these are ranked and compared.

    Attributes:
        num_clusters: of the queries that rows are compared on; None: no row can be.
        seed_sd: the standard deviation between seeds; None: no row has two.
        chosen: the baseline is the best row.
        direction: which end of the objective is better.
        elsewhere: where no row has two seeds, what they change in other sweeps of the run folder, and below which
            difference rows may then be equal.
    """

    protocol: Protocol | None
    objective: str
    standings: tuple[Standing, ...]
    num_clusters: int | None
    seed_sd: float | None
    notes: tuple[str, ...]
    chosen: bool = False
    elsewhere: tuple[SeedSpread, float] | None = None
    direction: Direction = "maximize"

    @property
    def rows(self) -> list[Row]:
        return [standing.row for standing in self.standings]

    @property
    def measured_by(self) -> str:
        """`protocol ab12cd34`, or `program train.py`."""
        return self.standings[0].row.results[0].measured_by

    @property
    def others(self) -> list[str]:
        """The numbers that a table shows beside the objective."""
        return other_metrics(self.objective) if self.protocol else usual_numbers(self.rows, self.objective)

    @property
    def all_others(self) -> list[str]:
        """Those that a file has beside the objective."""
        return other_metrics(self.objective) if self.protocol else other_numbers(self.rows, self.objective)

    @property
    def knows_seeds(self) -> bool:
        """Whether anything is said of settings: without, intervals hold for these very networks."""
        return self.seed_sd is not None

    @property
    def baselines(self) -> list[str]:
        """The rows that others are compared with."""
        return sorted({standing.difference.baseline for standing in self.standings if standing.difference})

    @property
    def heading(self) -> str:
        return self.standings[0].row.results[0].summary

    @property
    def fingerprint(self) -> str:
        """What names its protocol, or the program whose own numbers it has."""
        return self.standings[0].row.fingerprint


def weigh(
    rows: Sequence[Row],
    objective: str,
    queries_of: QueriesOf,
    baselines: Mapping[str, str] | None,
    spread_of: SpreadOf = lambda protocol: None,
    direction: Direction = "maximize",
) -> list[Block]:
    """Judge rows, protocol by protocol; p-values are corrected over all of them together.

    Args:
        rows: protocols together, best first.
        queries_of: per-query results of a trial; None where there are none.
        baselines: by trial id the trial that it is compared with; None: each protocol's best row.
        spread_of: asked where no row of a protocol has two seeds.
        direction: which end of the objective is better; of numbers of a program's own alone it may be the lower one.
    """
    blocks = [list(members) for _, members in groupby(rows, key=lambda row: row.fingerprint)]
    return _corrected(
        [
            _own_block(block, objective, baselines, direction)
            if block[0].protocol is None
            else _block(block, objective, queries_of, baselines, spread_of)
            for block in blocks
        ]
    )


def _own_block(
    rows: list[Row], objective: str, baselines: Mapping[str, str] | None, direction: Direction
) -> Block:  # fmt: skip
    """Rows of numbers of a program's own, judged by their seeds alone."""
    values = [by_seed(row, objective) for row in rows]
    chosen = baselines is None and len(rows) > 1
    num_pairs = len(rows) * (len(rows) - 1) // 2 if chosen else 1
    differences = {}
    for place, base in _compared(rows, baselines):
        found = paired(values[place], values[base], num_pairs)
        corrected = None if found.p is None else min(1.0, found.p * num_pairs)
        differences[place] = Difference(
            rows[base].name, found.value, found.interval,
            p=None if chosen else found.p, p_all_pairs=corrected if chosen else None,
        )  # fmt: skip
    standings = []
    for place, row in enumerate(rows):
        bounds = mean_interval([*values[place].values()])
        intervals = {} if bounds is None else {objective: bounds}
        standings.append(Standing(row, intervals, False, differences.get(place)))
    still = [s.row.name for s in standings if len(s.row.results) > 1 and not s.intervals]
    notes = [f"{len(still)} row(s) without an interval: seeds change nothing in {_first(still)}."] if still else []
    notes += [BEST_OF_OWN] if chosen and any(each.interval for each in differences.values()) else []
    return Block(
        None, objective, tuple(standings), None, pooled_spread(rows, objective), tuple(notes), chosen,
        direction=direction,
    )  # fmt: skip


def _corrected(blocks: Sequence[Block]) -> list[Block]:
    """The blocks, corrected for the comparisons of all of them: by Holm; by Bonferroni where the best was chosen."""
    tests = [
        (place, row, p)
        for place, block in enumerate(blocks)
        for row, standing in enumerate(block.standings)
        if standing.difference is not None and (p := standing.difference.p) is not None
    ]
    found = {(place, row): p for (place, row, _), p in zip(tests, holm([p for *_, p in tests]), strict=True)}
    num_chosen = sum(any(s.difference and s.difference.p_all_pairs for s in block.standings) for block in blocks)

    def judged(standing: Standing, p_holm: float | None) -> Standing:
        if standing.difference is None:
            return standing
        chosen = standing.difference.p_all_pairs
        corrected = None if chosen is None else min(1.0, chosen * num_chosen)
        return replace(standing, difference=replace(standing.difference, p_holm=p_holm, p_all_pairs=corrected))

    return [
        replace(block, standings=tuple(judged(s, found.get((place, row))) for row, s in enumerate(block.standings)))
        for place, block in enumerate(blocks)
    ]


def _block(
    rows: list[Row], objective: str, queries_of: QueriesOf, baselines: Mapping[str, str] | None, spread_of: SpreadOf
) -> Block:
    protocol = rows[0].protocol
    sample, notes = sample_of(rows, queries_of)
    if sample is None:
        standings = tuple(Standing(row, _wilson(row), paired=False) for row in rows)
        return Block(protocol, objective, standings, None, None, notes)
    panel = sample.panel(objective)
    found = chance(panel)
    pairs = all_pairs(panel) if found.luck is not None or baselines is None else None
    differences = _differences(sample.rows, found, baselines, pairs)
    number: list[int | None] = [None] * len(sample.rows)
    if found.luck is not None and pairs is not None:
        number = [*groups(panel.means_R.tolist(), pairs.apart)]
    intervals, parts = _intervals(sample), _parts(sample, objective)
    judged = {
        id(row): Standing(row, intervals[i], True, differences.get(i), number[i], parts[i])
        for i, row in enumerate(sample.rows)
    }
    standings = tuple(judged.get(id(row)) or Standing(row, _wilson(row), paired=False) for row in rows)
    chosen = baselines is None and len(sample.rows) > 1
    if chosen:
        notes = (*notes, BEST_BASELINE)
    elsewhere = None
    compared = _compared(sample.rows, baselines)
    if found.luck is None and compared and protocol is not None and (spread := spread_of(protocol)) is not None:
        num_pairs = len(sample.rows) * (len(sample.rows) - 1) // 2 if chosen else len(compared)
        elsewhere = spread, found.luck_bound(compared, spread.sd, spread.freedom, num_pairs)
    seed_sd = None if found.luck is None else found.luck.sd
    return Block(protocol, objective, standings, panel.num_clusters, seed_sd, notes, chosen, elsewhere)


def sample_of(rows: Sequence[Row], queries_of: QueriesOf) -> tuple[Sample | None, tuple[str, ...]]:
    """The rows that can be compared query by query, and notes on the others."""
    sample: Sample | None = None
    variants = [row.name for row in rows if row.is_variant]
    without: list[str] = []
    differing: list[str] = []
    wrong: list[str] = []
    for row in (row for row in rows if not row.is_variant):
        own = [queries_of(result.asked) for result in row.results]
        found = [queries for queries in own if queries is not None]
        if len(found) < len(own):
            without.append(row.name)
        elif not all(_average(q, r) for q, r in zip(found, row.results, strict=True)):
            wrong.append(row.name)
        elif not all(queries.same_as(sample.queries if sample else found[0]) for queries in found):
            differing.append(row.name)
        elif row.protocol is not None:
            sample = sample or Sample(found[0], [], [], row.protocol.subtask)
            sample.rows.append(row)
            sample.asked.append(found)
    return sample, _notes(variants, without, differing, wrong)


def _average(queries: Queries, result: ResultRow) -> bool:
    """The queries are those that the result was made of."""
    if result.protocol is None:
        return False
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
        f"{reason}: {_first(names)}."
        for names, reason in told
        if names
    )


def _first(names: Sequence[str]) -> str:
    return f"{', '.join(names[:3])}{', …' if len(names) > 3 else ''}"


@dataclass(frozen=True)
class Sample:
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
    if row.protocol is None:
        return {}
    count = row.protocol.num_queries
    return {name: wilson(row.metric(name), count) for name in METRICS if name.startswith("recall")}


def _intervals(sample: Sample) -> list[dict[str, Interval]]:
    out: list[dict[str, Interval]] = [{} for _ in sample.asked]
    for metric in METRICS:
        moved = chance(sample.panel(metric))
        for row, found in enumerate(out):
            found[metric] = moved.interval(row)
    return out


def _differences(
    rows: Sequence[Row], found: Chance, baselines: Mapping[str, str] | None, pairs: AllPairs | None
) -> dict[int, Difference]:
    """By row; rows that are a baseline themselves, or whose baseline has no per-query results, have none.

    Args:
        pairs: all pairs of rows, where the baseline is chosen after looking or seeds are known.
    """
    means, tells = found.panel.means_R, found.luck is not None and found.panel.num_clusters > 1
    compared = _compared(rows, baselines)
    if baselines is None:
        assert pairs is not None, "the best row is picked of all pairs"
        return {
            row: Difference(
                rows[base].name, float(means[row] - means[base]), found.difference(row, base, pairs.half(row, base)),
                p_all_pairs=pairs.p(row, base) if tells else None,
            )
            for row, base in compared
        }  # fmt: skip
    p = p_values(found.panel, compared) if tells else [None] * len(compared)
    return {
        row: Difference(rows[base].name, float(means[row] - means[base]), found.difference(row, base), raw)
        for (row, base), raw in zip(compared, p, strict=True)
    }


def _compared(rows: Sequence[Row], baselines: Mapping[str, str] | None) -> list[tuple[int, int]]:
    """Places of rows and of their baselines, where both were asked the same queries and are not one."""
    if baselines is None:
        return [(row, 0) for row in range(1, len(rows))]
    row_of = {result.trial_id: index for index, row in enumerate(rows) for result in row.results}
    found = []
    for index, row in enumerate(rows):
        wanted = [row_of[b] for r in row.results if (b := baselines.get(r.trial_id)) in row_of]
        if wanted and wanted[0] != index:
            found.append((index, wanted[0]))
    return found


def _parts(sample: Sample, objective: str) -> list[tuple[Part, ...]]:
    """Each row's objective by city, by subtask and by view direction."""
    out: list[list[Part]] = [[] for _ in sample.asked]
    for kind, name, chosen_Q in cuts(sample.queries, sample.subtask):
        panel = sample.panel(objective, chosen_Q)
        moved, means = chance(panel), panel.means_R.tolist()
        for row, parts in enumerate(out):
            scores, bounds = {objective: means[row]}, {objective: moved.interval(row)}
            parts.append(Part(kind, name, panel.num_queries, panel.num_clusters, scores, bounds))
    return [tuple(parts) for parts in out]

"""Which axes matter over the trials of a run folder, protocol by protocol: from rows to shares and claims."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from vprdist.game.axes import Axis, axis, terms, thirds, told_apart
from vprdist.game.axis_effects import chance_p, value_effects
from vprdist.game.shares import Luck, Scores, Told, shares
from vprdist.report.comparisons import holm
from vprdist.report.differing import differing
from vprdist.report.evidence import QueriesOf, sample_of
from vprdist.report.own_numbers import by_seed
from vprdist.report.rows import Row
from vprdist.report.statistics import LEVEL, Panel, chance
from vprdist.spec.result import Protocol
from vprdist.spec.vocabulary import METRICS

MOST_NUMBERS = 5
"""Numbers of an axis that are values of their own; more are cut in thirds of the rows."""
MOST_WORDS = 8
"""Words of an axis that are always values; more only where rows are at least twice as many."""

NO_LUCK = Luck(0.0, 0.0, 1)
"""Networks that nobody trains (`train.steps: 0`) are the same under every seed: other queries alone are chance."""


@dataclass(frozen=True)
class ValueRow:
    """One value of an axis: its rows, and what it adds to the mean over the axis' values."""

    value: str
    num_rows: int
    adds: Told


@dataclass(frozen=True)
class AxisRow:
    """One axis, or several that nobody can tell apart.

    Attributes:
        share: of the variance of a trial's score.
        p: how often chance explains as much beyond the other axes; None: nobody can tell.
        p_holm: the same, corrected by Holm over the axes of all protocols.
    """

    keys: tuple[str, ...]
    share: Told
    values: tuple[ValueRow, ...]
    p: float | None
    p_holm: float | None = None

    @property
    def title(self) -> str:
        return " + ".join(self.keys)

    @property
    def claim(self) -> str:
        """What is said of it."""
        if self.p_holm is None:
            return "nobody can tell"
        return "matters" if self.p_holm <= 1 - LEVEL else "not told"


@dataclass(frozen=True)
class Importance:
    """The axes of one protocol, the largest share first.

    Attributes:
        luck: the share of what another seed changes; of what no axis explains, where rows have one seed each.
        queries: the share of what other queries would change.
        rest: the share of what rows differ by and neither axes nor two of them together explain.
        sd: the standard deviation of a trial's score.
        of_seeds: whether rows have several seeds, by whose luck axes are judged; or networks that have none.
        notes: what cannot be told, and why, in sentences.
    """

    protocol: Protocol | None
    fingerprint: str
    heading: str
    objective: str
    axes: tuple[AxisRow, ...]
    luck: float
    queries: float
    rest: float
    sd: float
    of_seeds: bool
    num_trials: int
    num_rows: int
    num_clusters: int
    notes: tuple[str, ...]


def importances(
    rows: Sequence[Row], objective: str, queries_of: QueriesOf
) -> tuple[list[Importance], list[tuple[str, str]]]:
    """What matters under each protocol, and why others say nothing.

    Args:
        rows: protocols together (`report.rows.group_rows`).
        queries_of: per-query results of a trial; None where there are none.
    """
    found: list[Importance] = []
    silent: list[tuple[str, str]] = []
    for _, members in groupby(rows, key=lambda row: row.fingerprint):
        several = list(members)
        if all(row.is_variant for row in several):
            continue
        said = _importance(several, objective, queries_of)
        if isinstance(said, Importance):
            found.append(said)
        else:
            silent.append((several[0].results[0].measured_by, said))
    return _corrected(found), silent


def _corrected(found: Sequence[Importance]) -> list[Importance]:
    """With p-values that allow for the number of all axes."""
    tests = [(place, row, each.p) for place, one in enumerate(found) for row, each in enumerate(one.axes)]
    known = [(place, row, p) for place, row, p in tests if p is not None]
    corrected = {(a, b): p for (a, b, _), p in zip(known, holm([p for *_, p in known]), strict=True)}
    return [
        replace(one, axes=tuple(replace(a, p_holm=corrected.get((place, row))) for row, a in enumerate(one.axes)))
        for place, one in enumerate(found)
    ]


def _importance(rows: Sequence[Row], objective: str, queries_of: QueriesOf) -> Importance | str:
    """What the rows of one protocol tell; or why they tell nothing."""
    if rows[0].protocol is None:
        return _own_importance(rows, objective)
    if objective not in METRICS:
        return f"nothing that vprdist evaluates is called {objective}"
    sample, left_out = sample_of(rows, queries_of)
    if sample is None:
        return "no trial has per-query results"
    return _of_panel(sample.panel(objective), sample.rows, objective, left_out)


def _own_importance(rows: Sequence[Row], objective: str) -> Importance | str:
    """The same of a program's own numbers: each trial is one score, and nothing but its seed is chance."""
    kept = [row for row in rows if not math.isnan(row.metric(objective))]
    if not kept:
        return f"its results have no {objective}"
    scale = max(abs(value) for row in kept for value in by_seed(row, objective).values()) or 1.0
    values = [np.array([*by_seed(row, objective).values()])[:, None] / scale for row in kept]
    missing = (
        [f"{len(rows) - len(kept)} row(s) are left out: they have no {objective}."] if len(kept) < len(rows) else []
    )
    found = _of_panel(Panel(tuple(values), np.zeros(1, np.int64)), kept, objective, missing)
    return found if isinstance(found, str) else _scaled(found, scale)


def _scaled(found: Importance, scale: float) -> Importance:
    """In the program's own units: shares have none."""

    def own(value: ValueRow) -> ValueRow:
        adds = Told(value.adds.value * scale, value.adds.low * scale, value.adds.high * scale)
        return replace(value, adds=adds)

    axes = tuple(replace(each, values=tuple(own(value) for value in each.values)) for each in found.axes)
    return replace(found, axes=axes, sd=found.sd * scale)


def _of_panel(panel: Panel, kept: Sequence[Row], objective: str, left_out: Sequence[str]) -> Importance | str:
    rows, scores, asked = kept, scores_of(panel), kept[0].protocol is not None
    if not asked:  # no queries, and so no chance of theirs
        scores = replace(scores, parts_CR=np.zeros((2, len(kept))))
    one = asked and panel.num_clusters < 2
    if not any(row.trial.job or row.trial.train.steps for row in kept):
        scores = replace(scores, luck=NO_LUCK)
    made, notes = _axes(kept)
    axes = told_apart(made, scores.weights_R)
    if not axes:
        return f"every axis has one value in the {len(scores.values_T)} trials that have results"
    found = terms(axes, scores.weights_R, len(scores.values_T))
    told = shares(found, len(axes), scores, LEVEL)
    p = chance_p(found, len(axes), scores, told.by)
    adds = value_effects(axes, scores, told.by, LEVEL)
    lines = [
        AxisRow(each.names, _known(share, one), _values(each, effects, one), own)
        for each, share, effects, own in zip(axes, told.axes, adds, p, strict=True)
    ]
    crossed = [" × ".join(axes[place].title for place in sorted(pair)) for pair in found if len(pair) == 2]
    return Importance(
        protocol=rows[0].protocol, fingerprint=rows[0].fingerprint, heading=rows[0].results[0].summary,
        objective=objective,
        axes=tuple(sorted(lines, key=lambda line: -line.share.value)), luck=told.luck, queries=told.queries,
        rest=told.rest, sd=told.sd,
        of_seeds=told.by.of_seeds, num_trials=len(scores.values_T), num_rows=len(kept),
        num_clusters=panel.num_clusters,
        notes=(*notes, *_nested(axes), *_together(axes), *_doubts(axes, told.by, one, crossed), *left_out),
    )  # fmt: skip


def scores_of(panel: Panel) -> Scores:
    """What rows scored on the same queries, as `game.shares` takes it."""
    found = chance(panel)
    values = [each.mean(axis=1) for each in panel.values]
    row = np.repeat(np.arange(len(values)), panel.num_seeds_R)
    luck = None
    if found.luck is not None:
        seen = sum(float(((each - each.mean()) ** 2).sum()) for each in values) / found.luck.freedom
        luck = Luck(found.luck.sd**2, seen, found.luck.freedom)
    parts_CR = panel.sums_CR / panel.num_queries
    return Scores(np.concatenate(values), row, parts_CR, found.moves_CR, found.freedom, luck)


def _axes(rows: Sequence[Row]) -> tuple[list[Axis], list[str]]:
    """The axes of rows, and notes on how their values were taken."""
    axes, notes = [], []
    for key, values in _values_by_key(rows).items():
        known = {value for value in values if value is not None}
        numbers = [None if value is None else _number(value) for value in values]
        if len(known) > MOST_NUMBERS and None not in {_number(value) for value in known}:
            axes.append(axis(key, thirds(numbers)))
            notes.append(f"{key} has {len(known)} numbers: rows are compared by thirds of them.")
        elif len(known) > max(MOST_WORDS, len(rows) / 2):
            notes.append(
                f"{key} is left out: {len(known)} values in {len(rows)} rows name the rows and do not group them."
            )
        else:
            axes.append(axis(key, values))
    return axes, notes


def _values_by_key(rows: Sequence[Row]) -> Mapping[str, Sequence[str | None]]:
    """As `differing`; a form that a row's masks do not have, since it has none, is no value of it."""
    found = {key: list(values) for key, values in differing(rows).items()}
    for place, row in enumerate(rows):
        asked = row.trial.input
        for key, has in (("input.mask_at", asked.mode == "masked"), ("input.mask_fill", asked.hides)):
            if key in found and not has:
                found[key][place] = None
    return found


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _known(told: Told, one_cluster: bool) -> Told:
    """Without an interval where one cluster of queries tells nothing of others."""
    return Told(told.value) if one_cluster else told


def _values(each: Axis, adds: Sequence[Told], one_cluster: bool) -> tuple[ValueRow, ...]:
    counts = np.bincount(each.codes[each.there], minlength=len(each.values)).tolist()
    told = zip(each.values, counts, adds, strict=True)
    rows = [ValueRow(value, count, _known(own, one_cluster)) for value, count, own in told]
    return tuple(sorted(rows, key=lambda row: -row.adds.value))


def _nested(axes: Sequence[Axis]) -> list[str]:
    """Which axes some rows do not have: the fill of a mask at the features, any form where there is no mask."""
    return [
        f"{each.title} is told over the {int(each.there.sum())} of {len(each.there)} rows that have it: the others say "
        "nothing of it, and what having it changes belongs to the axis that decides on it."
        for each in axes
        if not each.there.all()
    ]


def _together(axes: Sequence[Axis]) -> list[str]:
    """Which axes have one number."""
    return [
        f"{', '.join(each.names[:-1])} and {each.names[-1]} vary together in these rows: nobody can tell which of them "
        "it is, and they have one number."
        for each in axes
        if len(each.names) > 1
    ]


def _doubts(axes: Sequence[Axis], luck: Luck, one_cluster: bool, crossed: Sequence[str]) -> list[str]:
    """What the design cannot tell."""
    notes = []
    if one_cluster:
        notes.append("All queries are neighbours of each other: nothing tells what other queries would say.")
    if not luck.freedom:
        notes.append(
            "No row has two seeds, and axes explain every difference: nothing tells their effects from luck. "
            "'seeds=[0,1,2]' on the sweep's command adds seeds; intervals hold for these very networks."
        )
    elif luck is NO_LUCK:
        notes.append("Nobody trained these networks, and a seed changes nothing: other queries alone are chance.")
    elif not luck.of_seeds:
        notes.append("One seed a row: axes are judged by what rows differ by and no axis explains.")
    if crossed:
        notes.append(f"Shares hold half of what two axes change together: {', '.join(crossed)}.")
    elif len(axes) > 1:
        notes.append("What two axes change only together is in no share: that takes more trials that cross them.")
    return notes

"""What seeds tell of numbers that a program leaves: no queries were asked here, whose luck could be told.

A row's interval is Student's of the mean over its seeds. Two rows are compared by seeds, paired, where both have the
same ones: a seed may make two programs lucky alike, and what they share cancels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import stdev

from scipy.special import stdtr, stdtrit  # scipy.stats would take a second to load, for every command

from vprdist.report.rows import Row, mean_of
from vprdist.report.statistics import LEVEL

Interval = tuple[float, float]
STILL = 1e-12
"""A spread of seeds below so much of their size is rounding: seeds change nothing, and tell nothing of chance."""


@dataclass(frozen=True)
class Paired:
    """A row minus another, seed by seed; without interval and p where the seeds are not the same or change nothing."""

    value: float
    interval: Interval | None = None
    p: float | None = None


def spread_of(values: Sequence[float]) -> float | None:
    """The standard deviation; None with fewer than two values, where they are all alike, or beyond what floats hold."""
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return None
    try:
        found = stdev(values)
    except OverflowError:
        return None
    return found if found > STILL * max(map(abs, values)) and math.isfinite(found) else None


def mean_interval(values: Sequence[float], num_intervals: int = 1) -> Interval | None:
    """Student's 95 % interval of the mean; None where `spread_of` is.

    Args:
        num_intervals: so many hold together (Bonferroni).
    """
    spread = spread_of(values)
    if spread is None:
        return None
    tail = (1 - LEVEL) / 2 / max(1, num_intervals)
    mean, half = mean_of(values), float(stdtrit(len(values) - 1, 1 - tail)) * spread / math.sqrt(len(values))
    return mean - half, mean + half


def paired(own: Mapping[int, float], base: Mapping[int, float], num_intervals: int = 1) -> Paired:
    """The difference of the means, and what the paired t-test says of it.

    Args:
        own: by seed the row's number; base: its baseline's.
        num_intervals: as in `mean_interval`; p is not corrected.
    """
    value = mean_of([*own.values()]) - mean_of([*base.values()])
    if own.keys() != base.keys():
        return Paired(value)
    differences = [own[seed] - base[seed] for seed in own]
    spread = spread_of(differences)
    scale = max(abs(each) for some in (own, base) for each in some.values())
    if spread is None or spread <= STILL * scale:
        return Paired(value)
    count = len(differences)
    t = mean_of(differences) / (spread / math.sqrt(count))
    return Paired(value, mean_interval(differences, num_intervals), float(2 * stdtr(count - 1, -abs(t))))


def by_seed(row: Row, name: str) -> dict[int, float]:
    """A number of each seed's trial; NaN where it left none of that name."""
    return {result.trial.seed: result.metrics.get(name, math.nan) for result in row.results}


def pooled_spread(rows: Sequence[Row], name: str) -> float | None:
    """The standard deviation between seeds, pooled over rows; None where no row has two."""
    several = [[*by_seed(row, name).values()] for row in rows if len(row.results) > 1]
    freedom = sum(len(each) - 1 for each in several)
    if not freedom:
        return None
    return math.sqrt(sum((len(each) - 1) * (spread_of(each) or 0.0) ** 2 for each in several) / freedom)


def other_numbers(rows: Sequence[Row], objective: str) -> list[str]:
    """The names of the program's other numbers: those of most rows first, then in the order in which it leaves them."""
    counts: dict[str, int] = {}
    for row in rows:
        for name in dict.fromkeys(name for result in row.results for name in result.metrics):
            counts[name] = counts.get(name, 0) + 1
    return sorted((name for name in counts if name != objective), key=lambda name: -counts[name])


def usual_numbers(rows: Sequence[Row], objective: str, most: int = 8) -> list[str]:
    """Those of them that a table has room for, which more than half of the rows have."""
    others = other_numbers(rows, objective)
    having = {name: sum(not math.isnan(row.metric(name)) for row in rows) for name in others}
    return [name for name in others if 2 * having[name] > len(rows)][:most]

"""Which differences are more than chance makes of rows that do not differ: p-values and groups.

Chance flips the sign of each cluster's difference (the wild cluster bootstrap: Cameron, Gelbach, Miller 2008), which
holds its rate also where few queries differ and clusters are unequal, and adds the luck of seeds (`statistics`). Where
no row has two seeds these speak of the very networks alone, and `evidence` does not ask for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vprdist.report.statistics import LEVEL, Floats, Panel, SeedLuck, seed_luck

RESAMPLES = 10_000
GROUP_RESAMPLES = 2_000
CHUNK = 500
"""Sign patterns that are drawn at once: bounds the memory at CHUNK x clusters."""


def null_draws(panel: Panel, resamples: int, seed: int = 1) -> Iterator[Floats]:
    """(b, R) draws, in chunks, whose differences are what chance makes of rows that do not differ: signs flipped."""
    rng = np.random.default_rng(seed)
    sums_CR = panel.sums_CR
    # What all rows share cancels in every difference; taken away, rounding stays small.
    sums_CR = (sums_CR - sums_CR.mean(axis=1, keepdims=True)) / panel.num_queries
    luck = seed_luck(panel)
    for start in range(0, resamples, CHUNK):
        size = min(CHUNK, resamples - start)
        signs = rng.integers(0, 2, (size, panel.num_clusters)) * 2.0 - 1.0
        yield signs @ sums_CR + _seed_noise(luck, size, rng)


def _seed_noise(luck: SeedLuck | None, resamples: int, rng: np.random.Generator) -> Floats | float:
    """(B, R) Student's noise of the rows' means over their seeds."""
    if luck is None or not luck.variances_R.any():
        return 0.0
    normal = rng.standard_normal((resamples, len(luck.variances_R)))
    shared = np.sqrt(luck.freedom / rng.chisquare(luck.freedom, (resamples, 1)))
    return np.asarray(normal * shared * np.sqrt(luck.variances_R))


def p_values(
    panel: Panel, pairs: Sequence[tuple[int, int]], resamples: int | None = None, seed: int = 1
) -> list[float]:
    """For each pair of rows how often chance alone makes a difference as large as theirs; two-sided, never 0.

    Args:
        resamples: None: enough for the smallest of so many p-values to survive Holm's correction.
    """
    if not pairs:
        return []
    count = resamples or max(RESAMPLES, 50 * len(pairs))
    rows, baselines = np.array(pairs).T
    found = np.abs(panel.means_R[rows] - panel.means_R[baselines])
    larger = np.zeros(len(pairs))
    for drawn in null_draws(panel, count, seed):
        # Ties count as large: all signs alike give the very difference back, but for rounding.
        larger += (np.abs(drawn[:, rows] - drawn[:, baselines]) >= found - 1e-12).sum(axis=0)
    return [float(value) for value in (1 + larger) / (1 + count)]


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm 1979): the smallest times m, the next times m - 1, …, never falling."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    out, least = [0.0] * len(p_values), 0.0
    for place, index in enumerate(order):
        least = max(least, min(1.0, (len(p_values) - place) * p_values[index]))
        out[index] = least
    return out


@dataclass(frozen=True)
class AllPairs:
    """All differences of a panel beside the largest that chance makes: these hold for rows picked after looking.

    Attributes:
        found_RR: (R, R) each difference, in its standard errors; errors_RR: these.
        largest_B: (B,) the largest such number of all pairs, in draws where no row differs.
    """

    found_RR: Floats
    errors_RR: Floats
    largest_B: Floats

    @property
    def bound(self) -> float:
        """What the largest stays below in 19 of 20 sweeps of rows that do not differ."""
        return float(np.quantile(self.largest_B, LEVEL))

    def half(self, row: int, baseline: int) -> float:
        """Half the interval of a pair that was picked: it leaves zero out where the rows are told apart."""
        return self.bound * float(self.errors_RR[row, baseline])

    @property
    def apart(self) -> npt.NDArray[np.bool_]:
        """(R, R) which rows are told apart. On a tie with the bound chance is as good an explanation."""
        return np.asarray(self.found_RR > self.bound + 1e-9)

    def p(self, row: int, baseline: int) -> float:
        """How often chance makes a largest difference of all pairs that is as large as this one; never 0."""
        larger = (self.largest_B >= self.found_RR[row, baseline] - 1e-9).sum()
        return float((1 + larger) / (1 + len(self.largest_B)))


def all_pairs(panel: Panel, seed: int = 2) -> AllPairs:
    """Each pair's difference divided by its standard error, and the largest of them under flipped signs."""
    rows = len(panel.values)
    null = np.concatenate(list(null_draws(panel, GROUP_RESAMPLES, seed)))
    variance = np.cov(null, rowvar=False, bias=True).reshape(rows, rows)
    diagonal = np.diag(variance)
    spread = np.sqrt(np.maximum(diagonal[:, None] + diagonal[None, :] - 2 * variance, 0.0))
    differs = spread > 1e-12
    scale = np.divide(1.0, spread, out=np.zeros_like(spread), where=differs)
    largest = np.zeros(len(null))
    for row in range(rows - 1):
        size = np.abs(null[:, row : row + 1] - null[:, row + 1 :]) * scale[row, row + 1 :]
        np.maximum(largest, size.max(axis=1), out=largest)
    means = panel.means_R
    return AllPairs(np.abs(means[:, None] - means[None, :]) * scale, spread, largest)


def groups(means: Sequence[float], apart: npt.NDArray[np.bool_]) -> list[int]:
    """The group of each row, from 1: the best row and all that are not told apart from it, then the best of the rest, …

    Rows of one group are not told apart from its best row. Rows of different groups need not be told apart from
    each other.
    """
    out = [0] * len(means)
    left = sorted(range(len(means)), key=lambda row: -means[row])
    number = 0
    while left:
        number += 1
        first = left[0]
        for row in [row for row in left if row == first or not apart[first, row]]:
            out[row] = number
            left.remove(row)
    return out

"""What a difference between rows is worth: one model of chance for intervals, p-values and groups.

A row's score is the mean, over places and over seeds, of what its networks score on a query. Two things are chance:

- **Which queries were asked.** Frames of one drive are near copies of each other, so whole clusters are drawn:
  (city, sequence, block of about ten consecutive frames). Seeds are averaged within a query first. Intervals resample
  clusters with replacement (a bootstrap: Efron 1979; of clusters: Field and Welsh 2007), the same clusters for every
  row, which makes differences paired. Deviations are widened by sqrt(C/(C-1)) and by Student's t over the normal
  quantile, C clusters: without that, few clusters give intervals that are too short. Tests flip the sign of each
  cluster's difference instead (the wild cluster bootstrap: Cameron, Gelbach, Miller 2008), which holds its rate also
  where few queries differ.
- **Which seeds were trained.** One variance between seeds is taken for all rows of a protocol, pooled over the rows
  that have several seeds, so that three seeds of eight rows give sixteen degrees of freedom and not two. The part of
  it that single queries explain (a network of another seed misses other queries) is taken away, since the clusters
  carry it already. It comes on top of each draw, with Student's tails. With one seed a row nothing is known
  of it: intervals then hold for these very networks, and `Draws.seed_sd` is None, which the leaderboard says.

Everything is seeded: the same results give the same leaderboard.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtrit  # scipy.stats would take a second to load, for every command

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

LEVEL = 0.95
Z = float(ndtri((1 + LEVEL) / 2))
RESAMPLES = 10_000
GROUP_RESAMPLES = 2_000
CHUNK = 500
"""Resamples that are drawn at once: bounds the memory at CHUNK x clusters."""


@dataclass(frozen=True)
class Panel:
    """What rows scored on the same queries: for each row (S, Q) values of its S seeds; (Q,) cluster codes from 0."""

    values: tuple[Floats, ...]
    cluster: Codes

    @property
    def num_queries(self) -> int:
        return len(self.cluster)

    @property
    def num_clusters(self) -> int:
        return int(self.cluster.max()) + 1 if len(self.cluster) else 0

    @property
    def means_R(self) -> Floats:
        """(R,) the rows' scores."""
        return np.array([values.mean() for values in self.values])

    @property
    def num_seeds_R(self) -> Codes:
        """(R,) seeds of each row."""
        return np.array([len(values) for values in self.values])

    @property
    def counts_C(self) -> Floats:
        """(C,) queries of each cluster."""
        return np.bincount(self.cluster, minlength=self.num_clusters).astype(np.float64)

    @property
    def sums_CR(self) -> Floats:
        """(C, R) seed-averaged values, summed over each cluster's queries."""
        size = self.num_clusters
        return np.stack([np.bincount(self.cluster, v.mean(axis=0), size) for v in self.values], axis=1)

    def only(self, chosen_Q: npt.NDArray[np.bool_]) -> Panel:
        """The same rows on some of the queries."""
        _, codes = np.unique(self.cluster[chosen_Q], return_inverse=True)
        return Panel(tuple(values[:, chosen_Q] for values in self.values), codes.astype(np.int64))


def pooled_seed_sd(panel: Panel) -> tuple[float | None, int]:
    """The standard deviation between seeds beyond what single queries explain, and its degrees of freedom.

    None, 0 where no row has two seeds.
    """
    freedom, total = 0, 0.0
    clusters_ = panel.num_clusters
    for values in panel.values:
        seeds = len(values)
        if seeds < 2:
            continue
        means = values.mean(axis=1)
        residual = values - values.mean(axis=0) - (means - means.mean())[:, None]
        sums = np.stack([np.bincount(panel.cluster, line, clusters_) for line in residual])
        of_queries = (sums**2).sum() / panel.num_queries**2 * clusters_ / max(clusters_ - 1, 1)
        total += ((means - means.mean()) ** 2).sum() - of_queries
        freedom += seeds - 1
    return (math.sqrt(max(0.0, total / freedom)), freedom) if freedom else (None, 0)


@dataclass(frozen=True)
class Draws:
    """How the rows of a panel could have come out: (B, R) scores, and the seed noise that is in them."""

    scores_BR: Floats
    seed_sd: float | None
    num_clusters: int

    def difference(self, row: int, baseline: int) -> tuple[float, float] | None:
        """The 95 % percentile interval of a row's difference to the baseline; None with fewer than two clusters.

        Where all draws are the same, no cluster of C differs from the others: by the rule of three (Hanley and
        Lippman-Hand 1983) up to 3/C of all clusters may, and each moves the difference by one at most.
        """
        if self.num_clusters < 2:
            return None
        drawn = self.scores_BR[:, row] - self.scores_BR[:, baseline]
        if drawn.var() < 1e-15:
            value, most = float(drawn.mean()), 3 / self.num_clusters
            return max(-1.0, value - most), min(1.0, value + most)
        low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return float(low), float(high)


def bootstrap(panel: Panel, resamples: int = RESAMPLES, seed: int = 0) -> Draws:
    """Resample clusters, the same for all rows, and add the seeds' noise."""
    rng = np.random.default_rng(seed)
    sums_CR, counts_C, means_R = panel.sums_CR, panel.counts_C, panel.means_R
    columns_CK = np.concatenate([sums_CR, counts_C[:, None]], axis=1)
    parts = []
    for weights in _drawn_clusters(panel.num_clusters, resamples, rng):
        drawn = weights @ columns_CK
        parts.append(drawn[:, :-1] / drawn[:, -1:])
    scores = means_R + (np.concatenate(parts) - means_R) * _widening(panel.num_clusters)
    seed_sd, freedom = pooled_seed_sd(panel)
    return Draws(scores + _seed_noise(panel, seed_sd, freedom, resamples, rng), seed_sd, panel.num_clusters)


def interval(panel: Panel, draws: Draws, row: int) -> tuple[float, float]:
    """The 95 % interval of a row's score, in [0, 1].

    Wilson's, for as many independent queries as would make a share of this size vary as much as the draws do (Korn
    and Graubard's effective sample size): near 0 and 1 plain percentiles miss the truth too often. A score of zeros
    and ones never counts as more than its queries. A score that no draw changes, or of zeros or ones alone, counts as
    its clusters: ten of ten is not certainty.
    """
    share, variance = float(panel.values[row].mean()), float(draws.scores_BR[:, row].var())
    is_share = bool(np.isin(panel.values[row], (0.0, 1.0)).all())
    if variance < 1e-15 or share * (1 - share) < 1e-12:
        return wilson(share, panel.num_clusters)
    count = share * (1 - share) / variance
    return wilson(share, min(count, panel.num_queries) if is_share else count)


def null_draws(panel: Panel, resamples: int, seed: int = 1) -> Iterator[Floats]:
    """(b, R) draws, in chunks, whose differences are what chance makes of rows that do not differ: signs flipped."""
    rng = np.random.default_rng(seed)
    sums_CR = panel.sums_CR
    # What all rows share cancels in every difference; taken away, rounding stays small.
    sums_CR = (sums_CR - sums_CR.mean(axis=1, keepdims=True)) / panel.num_queries
    seed_sd, freedom = pooled_seed_sd(panel)
    for start in range(0, resamples, CHUNK):
        size = min(CHUNK, resamples - start)
        signs = rng.integers(0, 2, (size, panel.num_clusters)) * 2.0 - 1.0
        yield signs @ sums_CR + _seed_noise(panel, seed_sd, freedom, size, rng)


def _drawn_clusters(num_clusters: int, resamples: int, rng: np.random.Generator) -> Iterator[Floats]:
    """(b, C) how often each cluster is drawn, in chunks."""
    for start in range(0, resamples, CHUNK):
        size = min(CHUNK, resamples - start)
        drawn = rng.integers(0, num_clusters, (size, num_clusters)) + np.arange(size)[:, None] * num_clusters
        counts = np.bincount(drawn.ravel(), minlength=size * num_clusters)
        yield counts.reshape(size, num_clusters).astype(np.float64)


def _widening(num_clusters: int) -> float:
    if num_clusters < 2:
        return 1.0
    student = stdtrit(num_clusters - 1, (1 + LEVEL) / 2) / Z
    return float(student * math.sqrt(num_clusters / (num_clusters - 1)))


def _seed_noise(
    panel: Panel, seed_sd: float | None, freedom: int, resamples: int, rng: np.random.Generator
) -> Floats | float:
    """(B, R) Student's noise of the rows' means over their seeds, its variance shared by all rows."""
    if not seed_sd:
        return 0.0
    normal = rng.standard_normal((resamples, len(panel.values)))
    shared = np.sqrt(freedom / rng.chisquare(freedom, (resamples, 1)))
    return normal * shared * seed_sd / np.sqrt(panel.num_seeds_R)


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


def told_apart(panel: Panel, seed: int = 2) -> npt.NDArray[np.bool_]:
    """(R, R) which rows differ by more than chance makes the *largest* difference of all pairs, in one of 20 sweeps.

    Each pair's difference is divided by its standard error; the bound is the 95 % quantile of the largest of them
    under flipped signs. So it holds for the pair that was picked after looking: the best row and any other.
    """
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
    found = np.abs(means[:, None] - means[None, :]) * scale
    # On a tie with the bound chance is as good an explanation.
    return np.asarray(found > np.quantile(largest, LEVEL) + 1e-9)


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


def wilson(share: float, count: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of `count` independent queries."""
    z = Z
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return max(0.0, middle - half), min(1.0, middle + half)

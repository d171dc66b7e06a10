"""What a score or a difference between rows is worth: one model of chance. Intervals; p and groups: `comparisons`.

A row's score is the mean, over places and over seeds, of what its networks score on a query. Two things are chance:

- **Which queries were asked.** Frames of one drive are near copies of each other, so whole clusters are chance:
  (city, sequence, block of about ten consecutive frames). Seeds are averaged within a query first. Intervals leave out
  one cluster at a time (the jackknife over clusters), the same for every row, which makes differences paired. Clusters
  of unequal size tell less than their number: Student's quantile is taken at (sum of sizes)^2 / (sum of squared
  sizes) - 1 degrees of freedom. At 95 % they hold the truth in 0.94 to 1.00 of 1,000 sweeps, with 12 to 100
  clusters of equal to very unequal size and R@1 of 0.5 to 0.993; a bootstrap's percentiles over the same clusters do
  in 0.89 to 1.00, BCa in 0.85 to 0.99, a studentised bootstrap in 0.70 to 1.00 (`tests/benchmarks/error_rates.py`).
  Tests flip signs instead (`comparisons`).
- **Which seeds were trained.** One variance between seeds is taken for all rows of a protocol, pooled over the rows
  that have several seeds, so that three seeds of eight rows give sixteen degrees of freedom and not two; a row whose
  own variance is larger has its own. The part of it that single queries explain (a network of another seed misses
  other queries) is taken away, since the clusters carry it already. It comes on top, with Student's tails. Where no row
  has two seeds, nothing is known of it (`seed_luck` is None): intervals then hold for these very networks on other
  queries, and p-values and groups, which would be read as if they spoke of settings, are not made.

Everything is seeded: the same results give the same leaderboard.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

LEVEL = 0.95
Z = 1.959963984540054
"""The normal quantile of (1 + LEVEL) / 2."""
SAME = 1e-15
"""A variance below it is none: what is left is rounding."""


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


@dataclass(frozen=True)
class SeedLuck:
    """What another seed changes, beyond what single queries explain.

    Attributes:
        sd: the standard deviation between networks that differ in their seed alone, pooled over rows.
        freedom: its degrees of freedom.
        variances_R: (R,) of each row's score, the mean over its seeds.
    """

    sd: float
    freedom: int
    variances_R: Floats


def seed_luck(panel: Panel) -> SeedLuck | None:
    """None where no row has two seeds. A row's own variance counts where it is larger than the pooled one."""
    own_R, freedom_R = np.array([_between_seeds(panel, values) for values in panel.values]).T
    freedom = int(freedom_R.sum())
    if not freedom:
        return None
    pooled = max(0.0, float((own_R * freedom_R).sum() / freedom))
    return SeedLuck(math.sqrt(pooled), freedom, np.maximum(own_R, pooled) / panel.num_seeds_R)


def _between_seeds(panel: Panel, values_SQ: Floats) -> tuple[float, int]:
    """A row's variance between seeds beyond what single queries explain (or below zero by luck); its freedom."""
    seeds, size = len(values_SQ), panel.num_clusters
    if seeds < 2:
        return 0.0, 0
    means = values_SQ.mean(axis=1)
    residual = values_SQ - values_SQ.mean(axis=0) - (means - means.mean())[:, None]
    sums = np.stack([np.bincount(panel.cluster, line, size) for line in residual])
    of_queries = (sums**2).sum() / panel.num_queries**2 * size / max(size - 1, 1)
    return float(((means - means.mean()) ** 2).sum() - of_queries) / (seeds - 1), seeds - 1


@dataclass(frozen=True)
class Chance:
    """How far other queries and other seeds would move the rows of a panel (`chance`).

    Attributes:
        moves_CR: (C, R) how far the score moves when one cluster is left out; their squares add up to its variance.
        freedom: Student's degrees of freedom of that variance: clusters less one, fewer where sizes differ.
        luck: None where no row has two seeds: intervals then hold for these very networks.
    """

    panel: Panel
    moves_CR: Floats
    freedom: float
    luck: SeedLuck | None

    def interval(self, row: int) -> tuple[float, float]:
        """The 95 % interval of a row's score, in [0, 1].

        Clopper and Pearson's, for as many independent queries as would make a share of this size vary as much as this
        one does, fewer by (normal / Student's quantile)^2 (Korn and Graubard 1998): near 0 and 1 symmetric intervals
        and Wilson's miss the truth too often. A score of zeros and ones never counts as more than its queries. A score
        that no cluster moves, or of zeros or ones alone, counts as its clusters: ten of ten is not certainty.
        """
        values = self.panel.values[row]
        share = float(values.mean())
        moves_C = self.moves_CR[:, row]
        if _still(moves_C) or share * (1 - share) < 1e-12:
            return clopper_pearson(share, self.panel.num_clusters)
        variance, freedom = self._variance(moves_C, (row,))
        count = share * (1 - share) / variance
        if np.isin(values, (0.0, 1.0)).all():
            count = min(count, self.panel.num_queries)
        return clopper_pearson(share, count * (Z / _student(freedom)) ** 2)

    def difference(self, row: int, baseline: int, at_least: float = 0.0) -> tuple[float, float] | None:
        """The 95 % interval of a row's difference to the baseline; None with fewer than two clusters.

        Where no cluster moves it, no cluster of C differs from the others: by the rule of three (Hanley and
        Lippman-Hand 1983) up to 3/C of all clusters may, and each moves the difference by one at most.

        Args:
            at_least: half the interval where the two rows were picked after looking (`AllPairs.half`).
        """
        panel = self.panel
        if panel.num_clusters < 2:
            return None
        value = float(panel.values[row].mean() - panel.values[baseline].mean())
        moves_C = self.moves_CR[:, row] - self.moves_CR[:, baseline]
        variance, freedom = self._variance(moves_C, (row, baseline))
        half = _student(freedom) * math.sqrt(variance)
        half = max(half, at_least, 3 / panel.num_clusters if _still(moves_C) else 0.0)
        return max(-1.0, value - half), min(1.0, value + half)

    def luck_bound(self, pairs: Sequence[tuple[int, int]], sd: float, freedom: int, num_pairs: int) -> float:
        """What queries and seeds together make of the difference of equal rows that have one seed each, at most.

        It holds for all of `num_pairs` (Bonferroni) at 95 %; of some of them, the one that queries move most.

        Args:
            sd: the standard deviation of a score between seeds, from other rows, and its degrees of freedom.
        """
        from scipy.special import stdtrit

        of_seeds, tail, largest = 2 * sd**2, (1 - LEVEL) / 2 / max(1, num_pairs), 0.0
        for row, baseline in pairs:
            of_queries = float(((self.moves_CR[:, row] - self.moves_CR[:, baseline]) ** 2).sum())
            total = of_queries + of_seeds
            if total >= SAME:
                shared = total**2 / (of_queries**2 / self.freedom + of_seeds**2 / freedom)
                largest = max(largest, float(stdtrit(shared, 1 - tail)) * math.sqrt(total))
        return min(1.0, largest)

    def _variance(self, moves_C: Floats, rows: tuple[int, ...]) -> tuple[float, float]:
        """The variance of queries and of the rows' seeds together; its freedom is Satterthwaite's (1946)."""
        of_queries = float((moves_C**2).sum())
        of_seeds = 0.0 if self.luck is None else float(sum(self.luck.variances_R[row] for row in set(rows)))
        total = of_queries + of_seeds
        if total < SAME or self.luck is None:
            return total, self.freedom
        return total, total**2 / (of_queries**2 / self.freedom + of_seeds**2 / self.luck.freedom)


def _still(moves_C: Floats) -> bool:
    """Whether no cluster moves a score: what seeds add says nothing of queries that nobody asked."""
    return float((moves_C**2).sum()) < SAME


def chance(panel: Panel) -> Chance:
    """Leaves out each cluster in turn, the same for all rows."""
    size, counts_C, sums_CR = panel.num_clusters, panel.counts_C, panel.sums_CR
    luck = seed_luck(panel)
    if size < 2:
        return Chance(panel, np.zeros_like(sums_CR), 1.0, luck)
    without_CR = (sums_CR.sum(axis=0) - sums_CR) / (panel.num_queries - counts_C)[:, None]
    moves_CR = (panel.means_R - without_CR) * math.sqrt((size - 1) / size)
    freedom = panel.num_queries**2 / float((counts_C**2).sum()) - 1
    return Chance(panel, moves_CR, max(1.0, freedom), luck)


def _student(freedom: float) -> float:
    from scipy.special import stdtrit  # by those alone who ask: it takes a while to load, and scipy.stats a second

    return float(stdtrit(freedom, (1 + LEVEL) / 2))


def clopper_pearson(share: float, count: float) -> tuple[float, float]:
    """Clopper and Pearson's 95 % interval of a share of `count` independent queries, which need not be whole."""
    from scipy.special import betaincinv

    found, missed, tail = share * count, (1 - share) * count, (1 - LEVEL) / 2
    low = float(betaincinv(found, missed + 1, tail)) if found > 1e-12 else 0.0
    return low, float(betaincinv(found + 1, missed, 1 - tail)) if missed > 1e-12 else 1.0


def wilson(share: float, count: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of `count` independent queries."""
    z = Z
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return max(0.0, middle - half), min(1.0, middle + half)

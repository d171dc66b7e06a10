"""From contributions of each query under each network to effects with intervals. Analytic: nothing is resampled.

Three things are chance, and their variances add up (`errors`):

- **Which queries were asked.** Seeds are averaged within a query; neighbouring queries err together, so a cluster's sum
  is one observation (Liang and Zeger, Longitudinal data analysis using generalized linear models), with C - 1 degrees
  of freedom.
- **Which networks were trained.** How a player's mean varies over seeds, less what single queries explain, which the
  clusters carry already. Two or three seeds say little of one player, so it is pooled over players, and never less
  than the player's own. Luck that players share has a degree of freedom a seed, and not one a player: the level and
  the players' deviations from it count apart; the level counts as large as it may well be (`_at_worst`).
- **Which orders were drawn**, where not all subsets were probed: Student's, over draws.

Degrees of freedom are Satterthwaite's (An approximate distribution of estimates of variance components). With one seed
nothing is known of the networks' luck: intervals then hold for this very network only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import chdtri

from vprdist.game.draws import Floats, Whole
from vprdist.game.estimate import estimate, quantiles

SAME = 1e-18
"""A variance below it is none: what is left is rounding."""


@dataclass(frozen=True)
class Probed:
    """What the players contributed under one kind of arm: their own masks, or one placebo.

    Attributes:
        contributions: (…, S, n, Q) of each seed's network, player (or pair of players) and query.
        rows: (…, R, n) one row a draw, averaged over queries and seeds (`sampled.drawn_rows`); None where all subsets
            were probed.
    """

    contributions: Floats
    rows: Floats | None = None

    def __sub__(self, other: Probed) -> Probed:
        """What one kind contributes beyond another: on the same queries, networks and orders, whose luck cancels."""
        rows = None if self.rows is None or other.rows is None else self.rows - other.rows
        return Probed(self.contributions - other.contributions, rows)


@dataclass(frozen=True)
class Effects:
    """(…, n) each: values, their intervals and standard errors (NaN where nothing tells them).

    Attributes:
        seed_sd: the standard deviation over seeds as it is seen, queries' luck included; None with one seed.
        holds_beyond_these_networks: whether intervals hold the luck of training too. With one seed they do not.
    """

    values: Floats
    low: Floats
    high: Floats
    errors: Floats
    seed_sd: Floats | None
    num_seeds: int
    num_clusters: int

    @property
    def holds_beyond_these_networks(self) -> bool:
        return self.num_seeds > 1

    @property
    def signs(self) -> Floats:
        """(…, n): +1 where the whole interval is above zero, -1 where it is below, 0 elsewhere; NaN where untold."""
        signs = np.where(self.low > 0, 1.0, np.where(self.high < 0, -1.0, 0.0))
        return np.where(np.isnan(self.low), np.nan, signs)

    @property
    def largest(self) -> Floats:
        """(…, n): the largest absolute value that the interval holds; NaN where there is none."""
        return np.maximum(np.abs(self.low), np.abs(self.high))


@dataclass(frozen=True)
class ClusterSums:
    """(…, S, n, C) contributions summed over each cluster's queries, and (C,) how many queries those are."""

    sums: Floats
    counts: Floats

    @property
    def num_clusters(self) -> int:
        return len(self.counts)

    @property
    def means(self) -> Floats:
        """(…, S, n) over queries."""
        return np.asarray(self.sums.sum(axis=-1) / self.counts.sum(), np.float64)

    def spread(self, sums: Floats) -> Floats:
        """(…) variance of a mean over queries, from (…, C) sums, when other clusters are asked."""
        few = self.num_clusters / max(self.num_clusters - 1, 1)
        return np.asarray((self._share_off(sums) ** 2).sum(axis=-1) * few, np.float64)

    def skew(self, sums: Floats) -> Floats:
        """(…) third central moment of the same mean."""
        return np.asarray((self._share_off(sums) ** 3).sum(axis=-1), np.float64)

    def _share_off(self, sums: Floats) -> Floats:
        """(…, C) by how much each cluster moves the mean."""
        total = self.counts.sum()
        return np.asarray((sums - sums.sum(axis=-1, keepdims=True) / total * self.counts) / total, np.float64)


def cluster_sums(contributions: Floats, cluster: Whole) -> ClusterSums:
    """Sums over clusters.

    Args:
        contributions: (…, Q), at least one query.
        cluster: (Q,) the code of each query's cluster (see `store.clusters.clusters`); gaps do no harm.
    """
    _, codes, counts = np.unique(cluster, return_inverse=True, return_counts=True)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    ordered = contributions[..., np.argsort(codes, kind="stable")]
    return ClusterSums(np.add.reduceat(ordered, starts, axis=-1), counts.astype(np.float64))


def effects(probed: Probed, cluster: Whole, *, confidence: float, num_claims: int | None = None) -> Effects:
    """The mean effect of each player, or pair of players.

    Args:
        cluster: (Q,) codes.
        confidence: that `num_claims` such intervals all hold their true values (Bonferroni).
        num_claims: None: all players of `probed`. For parts of the queries, whose intervals stand alone: 1.
    """
    sums = cluster_sums(probed.contributions, cluster)
    claims = num_claims or probed.contributions.shape[-2]
    return effects_of_sums(sums, probed.rows, confidence=confidence, num_claims=claims)


def row_effects(rows: Floats, *, confidence: float) -> Effects:
    """The effects of players, or pairs, from independent rows (R, n): a row a seed, or a draw with a seed of its own.

    What varies between rows is all that is known of chance: these hold for the queries at hand. One row tells nothing.
    """
    found = estimate(rows)
    half = found.half_widths(confidence, rows.shape[-1])
    seed_sd = rows.std(axis=-2, ddof=1) if len(rows) > 1 else None
    return Effects(found.values, found.values - half, found.values + half, found.errors, seed_sd, len(rows), 0)


def effects_of_sums(sums: ClusterSums, rows: Floats | None, *, confidence: float, num_claims: int) -> Effects:
    """As `effects`, from sums over clusters."""
    num_seeds, num_clusters = sums.sums.shape[-3], sums.num_clusters
    means = sums.means
    values = means.mean(axis=-2)
    seed_sd = means.std(axis=-2, ddof=1) if num_seeds > 1 else None
    if num_clusters < 2:
        unknown = np.full_like(values, np.nan)
        return Effects(values, unknown, unknown, unknown, seed_sd, num_seeds, num_clusters)
    variance, freedom = _combined(sums, rows)
    student = quantiles(confidence, freedom, num_claims)
    half = student * np.sqrt(variance)
    # No cluster differs from the others: by the rule of three (Hanley and Lippman-Hand 1983) up to ln(1/error)/C of all
    # clusters may, and each moves the mean by one at most.
    half = np.where(variance < SAME, math.log(num_claims / (1 - confidence)) / num_clusters, half)
    below, above = _tails(sums.skew(sums.sums.mean(axis=-3)), variance, student, half)
    return Effects(values, values - below, values + above, np.sqrt(variance), seed_sd, num_seeds, num_clusters)


def _tails(skew: Floats, variance: Floats, student: Floats, half: Floats) -> tuple[Floats, Floats]:
    """(…, n) how far the interval reaches below and above: further on the side of the long tail.

    Where few places tell, those that were asked may be half of what there is, though the places are all alike. Events
    of one size u = skew / variance are counted, and the far end is that of the score interval of a Poisson count
    (in general Hall, On the removal of skewness by transformation). The near end stays, which is cautious.
    """
    size = np.divide(skew, variance, out=np.zeros_like(variance), where=variance >= SAME)
    far = np.sqrt(half**2 + (student**2 * size / 2) ** 2) + student**2 * np.abs(size) / 2
    return np.where(size < 0, far, half), np.where(size > 0, far, half)


def _combined(sums: ClusterSums, rows: Floats | None) -> tuple[Floats, Floats]:
    """(…, n) the variance of each effect, and its degrees of freedom."""
    num_seeds = sums.sums.shape[-3]
    variance = sums.spread(sums.sums.mean(axis=-3))
    doubt = variance**2 / (sums.num_clusters - 1)
    if num_seeds > 1:
        luck, gross, freedom = _networks_luck(sums)
        variance = variance + luck / num_seeds
        doubt = doubt + (gross / num_seeds) ** 2 / freedom[..., None]
    if rows is not None and rows.shape[-2] > 1:
        of_orders = estimate(rows).errors ** 2
        variance = variance + of_orders
        doubt = doubt + of_orders**2 / (rows.shape[-2] - 1)
    return variance, np.divide(variance**2, doubt, out=np.ones_like(variance), where=doubt > 0)


def _at_worst(freedom: int) -> float:
    """How many times larger than seen a variance of so few degrees of freedom may well be; it is larger in one of four.

    Where the luck that players share came out small, its variance is taken too small and, were it counted as seen, its
    freedom too large at once: with two networks 95 % intervals then held in 91 of 100 worlds.
    """
    return float(freedom / chdtri(freedom, 0.75))


def _networks_luck(sums: ClusterSums) -> tuple[Floats, Floats, Floats]:
    """(…, n) the variance between networks beyond what single queries explain, the same before that is taken away, and
    (…) the degrees of freedom of the latter.

    Where every player's luck is its own, freedom comes near n (S - 1); where all luck is shared, it is S - 1.
    """
    num_seeds, num_players = sums.sums.shape[-3:-1]
    off = sums.means - sums.means.mean(axis=-2, keepdims=True)  # (…, S, n)
    residual = sums.sums - sums.sums.mean(axis=-3, keepdims=True)
    of_queries = sums.spread(residual).sum(axis=-2) / (num_seeds - 1)
    seen = (off**2).sum(axis=-2) / (num_seeds - 1)
    # E[seen^2] is (1 + 2/(S-1)) E[seen]^2.
    square = (seen**2).mean(axis=-1, keepdims=True) / (1 + 2 / (num_seeds - 1))
    pooled = np.sqrt(square) - np.sqrt((of_queries**2).mean(axis=-1, keepdims=True))
    own = seen - of_queries
    luck = np.maximum(0.0, np.maximum(own, np.maximum(pooled, own.mean(axis=-1, keepdims=True))))
    level = (off.mean(axis=-1) ** 2).sum(axis=-1) / (num_seeds - 1)
    rest = (off**2).sum(axis=(-1, -2)) / (num_players * (num_seeds - 1)) - level
    level = level * _at_worst(num_seeds - 1)
    doubt = (level**2 + rest**2 / max(num_players - 1, 1)) / (num_seeds - 1)
    freedom = np.divide((level + rest) ** 2, doubt, out=np.full_like(level, num_seeds - 1), where=doubt > 0)
    few = np.divide(seen.mean(axis=-1) ** 2, square[..., 0], out=np.ones_like(level), where=square[..., 0] > 0)
    freedom = np.minimum(freedom, np.clip(few * num_players, 1, num_players) * (num_seeds - 1))
    return luck, luck + of_queries, freedom

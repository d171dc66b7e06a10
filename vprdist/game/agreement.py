"""Does one network, probed under many arms, rank these as networks do that were trained on each arm alone?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from vprdist.game.draws import Floats, Whole
from vprdist.game.inference import ClusterSums, cluster_sums

FEWEST_ARMS = 3
RESAMPLES, FEWEST_RESAMPLES = 1000, 200
MOST_COMPARED = 100_000_000
"""Pairs of arms times resamples, above which fewer resamples are made: some seconds."""
CHUNK = 4_000_000
"""Pairs of arms times resamples that are compared at once: bounds the memory."""
TIE = 1e-9
"""Values closer than this are equal: what is left is rounding."""


@dataclass(frozen=True)
class Tau:
    """Kendall's tau-b over `count` arms and its interval; None where it has no meaning."""

    count: int
    value: float | None
    low: float | None = None
    high: float | None = None


def tau_b(first: Floats, second: Floats) -> Floats:
    """(…) Kendall's tau-b of values (…, K); NaN where a side is constant.

    Kendall, The treatment of ties in ranking problems.
    """
    one, other = _orders(first), _orders(second)
    agreed = (one * other).sum(axis=-1, dtype=np.float64)
    compared = np.abs(one).sum(axis=-1, dtype=np.float64) * np.abs(other).sum(axis=-1, dtype=np.float64)
    return np.where(compared > 0, agreed / np.sqrt(np.maximum(compared, 1.0)), np.nan)


def agreement(
    probed_KQ: NDArray[np.floating[Any]], alone_KQ: NDArray[np.floating[Any]], cluster: Whole, *,
    confidence: float = 0.95, resamples: int | None = None, seed: int = 0,
) -> Tau:  # fmt: skip
    """Tau-b of K arms' values, with an interval by resampled clusters of queries (for these very networks).

    Resampling adds noise to values that have it already, so resampled rankings agree less than the found ones. The
    interval holds both the plain percentiles and those that are corrected for it (BC: Efron, Nonparametric standard
    errors and confidence intervals): plain ones miss much agreement, corrected ones little.

    Args:
        probed_KQ, alone_KQ: values of each arm and query from the one network, and from networks trained on the arm
            alone; averaged over seeds.
        cluster: (Q,) codes.
        resamples: None: 1000, fewer for many arms.
    """
    num_arms = len(probed_KQ)
    if num_arms < FEWEST_ARMS:
        return Tau(num_arms, None)
    both = np.concatenate([probed_KQ, alone_KQ]).astype(np.float64)
    sums = cluster_sums(both, cluster)
    value = float(tau_b(sums.means[:num_arms], sums.means[num_arms:]))
    if np.isnan(value):
        return Tau(num_arms, None)
    pairs = num_arms * (num_arms - 1) // 2
    count = resamples or max(FEWEST_RESAMPLES, min(RESAMPLES, MOST_COMPARED // pairs))
    drawn = _resampled(sums, num_arms, count, max(1, CHUNK // pairs), np.random.default_rng(seed))
    known = drawn[~np.isnan(drawn)]
    if sums.num_clusters < 2 or len(known) < count / 2:
        return Tau(num_arms, value)
    low, high = np.quantile(known, _levels(known, value, confidence))
    return Tau(num_arms, value, min(float(low), value), max(float(high), value))


def _orders(values: Floats) -> NDArray[np.int8]:
    """(…, K(K-1)/2) sign of the difference of each pair of values."""
    first, second = np.triu_indices(values.shape[-1], 1)
    gaps = values[..., first] - values[..., second]
    return np.where(np.abs(gaps) < TIE, 0, np.sign(gaps)).astype(np.int8)


def _resampled(sums: ClusterSums, num_arms: int, resamples: int, chunk: int, rng: np.random.Generator) -> Floats:
    """(B,) tau-b when other clusters are asked, the same for all arms."""
    even = np.full(sums.num_clusters, 1 / sums.num_clusters)
    parts = []
    for start in range(0, resamples, chunk):
        weights = rng.multinomial(sums.num_clusters, even, min(chunk, resamples - start)).astype(np.float64)
        means = weights @ sums.sums.T / (weights @ sums.counts)[:, None]
        parts.append(tau_b(means[:, :num_arms], means[:, num_arms:]))
    return np.concatenate(parts)


def _levels(drawn: Floats, value: float, confidence: float) -> Floats:
    """(2,) the outer ones of plain and of bias-corrected percentiles; ties with the value count half."""
    below = ((drawn < value - TIE).mean() + (drawn < value + TIE).mean()) / 2
    shift = ndtri(np.clip(below, 1 / (2 * len(drawn)), 1 - 1 / (2 * len(drawn))))
    tail = ndtri((1 + confidence) / 2)
    return np.asarray(ndtr([min(2 * shift, 0.0) - tail, max(2 * shift, 0.0) + tail]), np.float64)

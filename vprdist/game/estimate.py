"""From contributions to values with intervals, and what may be claimed of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vprdist.game.draws import Floats


@dataclass(frozen=True)
class Estimate:
    """Means over independent draws: (…, n) values, their standard errors (NaN after one draw), and how many draws."""

    values: Floats
    errors: Floats
    num_draws: int

    def half_widths(self, confidence: float, num_claims: int = 1) -> Floats:
        """(…, n) half of Student's interval.

        Args:
            confidence: that all of `num_claims` such intervals hold their true value together (Bonferroni).
        """
        return quantile(confidence, self.num_draws - 1, num_claims) * self.errors

    def claims(self, confidence: float) -> Floats:
        """(…, n): +1 where a player adds something, -1 where it takes away, 0 where nothing is claimed.

        In a world without any effect a claim is made in at most 1 - confidence of all cases, whichever player it is of.
        """
        clear = np.abs(self.values) > self.half_widths(confidence, self.values.shape[-1])
        return np.where(clear, np.sign(self.values), 0.0)


def estimate(contributions: Floats) -> Estimate:
    """The estimate from contributions (…, R, n), one row an independent draw (or seed)."""
    num_draws = contributions.shape[-2]
    mean = contributions.mean(axis=-2)
    if num_draws < 2:
        return Estimate(mean, np.full_like(mean, np.nan), num_draws)
    return Estimate(mean, contributions.std(axis=-2, ddof=1) / np.sqrt(num_draws), num_draws)


def quantile(confidence: float, freedom: int, num_claims: int = 1) -> float:
    """Student's two-sided quantile; NaN where there is no degree of freedom."""
    return float(quantiles(confidence, np.array(freedom, np.float64), num_claims))


def quantiles(confidence: float, freedom: Floats, num_claims: int = 1) -> Floats:
    """As `quantile`, for each of several degrees of freedom, which need not be whole."""
    from scipy.special import stdtrit  # by those alone who ask: it takes a while to load

    level = 1 - (1 - confidence) / (2 * num_claims)
    return np.where(freedom > 0, stdtrit(np.where(freedom > 0, freedom, 1.0), level), np.nan)

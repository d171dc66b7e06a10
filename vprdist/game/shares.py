"""How much of what scores vary each axis explains: a game whose players are axes, and whose value is variance.

What the axes of a set S explain is the variance that a least squares fit of their values takes up, interactions of two
axes of S included (`game.axes.terms`). Shapley's value of an axis is then its share: of what two axes explain only
together (an interaction), and of what either explains alone as well (rows that are not crossed), each has half
(Lindeman, Merenda and Gold, Introduction to bivariate and multivariate analysis; Owen, Sobol' indices and Shapley
value). Where every value meets every other, it is the functional analysis of variance. All that is linear in the
values of subsets is here a quadratic form of the scores, one matrix an axis.

Chance makes any axis explain something. What other queries and other seeds make it explain in the mean is taken away,
so that an axis that does nothing has a share of zero in the mean, and may come out below. Intervals are Student's, by
the variance of a quadratic form of normal errors, with clusters of queries and the luck of seeds as errors. At 95 %
they hold the true share in 0.92 to 0.97 of 300 worlds with 40 clusters of queries, one to three seeds, crossed or not,
in 0.91 with 12 clusters, and where it is zero in 0.98 and more (`tests/benchmarks/importance_rates.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import chdtri

from vprdist.game.axes import Terms
from vprdist.game.draws import Floats, Whole, draw_orders
from vprdist.game.estimate import quantiles
from vprdist.game.exact import Weights, shapley_weights
from vprdist.game.sampled import drawn_weights

MOST_EXACT, DRAWS = 8, 60
"""Above so many axes, Shapley's values are those of so many drawn orders."""
SAME = 1e-15
"""A variance below it is none: what is left is rounding."""


@dataclass(frozen=True)
class Luck:
    """What another seed changes.

    Attributes:
        variance: between seeds of one row, beyond what single queries explain.
        seen: the same before that is taken away; freedom: its degrees of freedom, 0 where nothing tells it.
        of_seeds: whether it was seen between seeds. Otherwise it is what rows of one seed differ by and no axis
            explains, in which seeds have their part.
    """

    variance: float
    seen: float
    freedom: int
    of_seeds: bool = True

    @property
    def at_worst(self) -> float:
        """The variance as large as it may well be, seen in few degrees of freedom; it is larger in one of four."""
        if not self.freedom:
            return self.variance
        return self.variance + self.seen * max(0.0, self.freedom / float(chdtri(self.freedom, 0.75)) - 1)


@dataclass(frozen=True)
class Scores:
    """What was measured.

    Attributes:
        values_T: the score of each trial; row_T: its row.
        parts_CR: each cluster's part of each row's mean, which these add up to.
        moves_CR: how far each row's mean moves when a cluster of queries is left out; their squares add up to its
            variance (`report.statistics`).
        clusters_freedom: Student's degrees of freedom of that.
        luck: None where no row has two seeds.
    """

    values_T: Floats
    row_T: Whole
    parts_CR: Floats
    moves_CR: Floats
    clusters_freedom: float
    luck: Luck | None

    @property
    def weights_R(self) -> Floats:
        """(R,) trials of each row."""
        return np.bincount(self.row_T).astype(np.float64)

    @property
    def means_R(self) -> Floats:
        return np.asarray(np.bincount(self.row_T, self.values_T) / self.weights_R, np.float64)

    @property
    def score_R(self) -> Floats:
        """(R,) means off the mean of all trials, times the root of how many trials they are of."""
        return np.asarray(np.sqrt(self.weights_R) * (self.means_R - self.values_T.mean()), np.float64)


@dataclass(frozen=True)
class Told:
    """A number and its interval; NaN where nothing tells one."""

    value: float
    low: float = np.nan
    high: float = np.nan


@dataclass(frozen=True)
class Shares:
    """Shares of the variance of trials' scores, as it is seen on these queries; together they are one.

    Attributes:
        axes: each axis' own, over all queries; one that does nothing may come out below zero.
        luck: what another seed changes.
        queries: what other queries would change.
        rest: what rows differ by and neither axes nor two of them together explain. Zero where one seed a row was
            trained: nobody can tell it from luck.
        sd: the standard deviation of a trial's score.
        by: the luck that the others are judged by.
    """

    axes: tuple[Told, ...]
    luck: float
    queries: float
    rest: float
    sd: float
    by: Luck


def shares(found: Terms, num_axes: int, scores: Scores, confidence: float = 0.95) -> Shares:
    """The shares of axes whose columns `game.axes.terms` makes."""
    root, num_trials = np.sqrt(scores.weights_R), len(scores.values_T)
    forms = _shapley_forms(found, num_axes, root)
    together = forms.sum(axis=0)
    left = np.eye(len(root)) - np.outer(root, root) / num_trials - together
    score_R, moves_CR = scores.score_R, scores.moves_CR * root

    def explained(form: Floats) -> float:
        """By rows' true scores and luck: without what the queries that were asked explain by chance."""
        return float(score_R @ form @ score_R - (moves_CR @ form * moves_CR).sum())

    freedom = round(float(np.trace(left)))
    luck = scores.luck or _unexplained(explained(left), float(score_R @ left @ score_R), freedom)
    of_axes = np.array([explained(form) - luck.variance * float(np.trace(form)) for form in forms])
    rest = max(0.0, explained(left) - luck.variance * freedom) if luck.of_seeds else 0.0
    by_queries = float((moves_CR @ (together + left) * moves_CR).sum())
    total = float(of_axes.sum()) + rest + luck.variance * num_trials + by_queries
    if total < SAME * num_trials:
        return Shares(tuple(Told(0.0) for _ in forms), 0.0, 0.0, 0.0, 0.0, luck)
    whole = together + left if luck.of_seeds else together
    errors = _Errors(score_R, moves_CR, luck, scores.clusters_freedom)
    told = []
    for form, share in zip(forms, (of_axes / total).tolist(), strict=True):
        by_luck = float(np.trace(form)) + share * (num_trials - float(np.trace(whole)))
        half = errors.half(form - share * whole, by_luck, confidence) / total
        told.append(Told(share, share - half, share + half))
    sd = float(np.sqrt(total / num_trials))
    return Shares(tuple(told), luck.variance * num_trials / total, by_queries / total, rest / total, sd, luck)


def _unexplained(true: float, seen: float, freedom: int) -> Luck:
    """What no axis explains, as luck."""
    if not freedom:
        return Luck(0.0, 0.0, 0, of_seeds=False)
    return Luck(max(0.0, true / freedom), max(0.0, seen / freedom), freedom, of_seeds=False)


@dataclass(frozen=True)
class _Errors:
    """What is chance in the scores of rows, each times the root of its trials."""

    score_R: Floats
    moves_CR: Floats
    luck: Luck
    clusters_freedom: float

    def half(self, form: Floats, by_luck: float, confidence: float) -> float:
        """Half the interval of a quadratic form of true scores.

        Args:
            by_luck: how much the variance of seeds, as it was found, takes from the form.
        """
        tilted, luck = form @ self.score_R, self.luck.at_worst
        of_queries = 4 * float(((self.moves_CR @ tilted) ** 2).sum())
        of_luck = 4 * luck * float(tilted @ tilted)
        spread = form @ (self.moves_CR.T @ self.moves_CR + luck * np.eye(len(form)))
        pure = 2 * float((spread * spread.T).sum())
        # The scores have their errors in them: what these add to the first part in the mean is twice the second.
        variance = max(of_queries + of_luck - pure, pure)
        if self.luck.freedom:
            variance += by_luck**2 * 2 * self.luck.seen**2 / self.luck.freedom
        freedom = satterthwaite((of_queries, self.clusters_freedom), (of_luck, self.luck.freedom))
        return float(quantiles(confidence, np.array(freedom))) * float(np.sqrt(variance))


def satterthwaite(*parts: tuple[float, float]) -> float:
    """The degrees of freedom of a sum of variances, each with its own (Satterthwaite 1946)."""
    total = sum(variance for variance, _ in parts)
    doubt = sum(variance**2 / freedom for variance, freedom in parts if freedom > 0 and variance > 0)
    return total**2 / doubt if doubt > 0 else max(freedom for _, freedom in parts)


def _shapley_forms(found: Terms, num_axes: int, root_R: Floats) -> Floats:
    """(A, R, R): the quadratic form of each axis' Shapley value."""
    weights = _weights(num_axes)
    forms = np.zeros((num_axes, len(root_R), len(root_R)))
    for subset, column in zip(weights.subsets.tolist(), weights.matrix.T, strict=True):
        basis = explaining(found, {place for place in range(num_axes) if subset >> place & 1}, root_R)
        forms += column[:, None, None] * (basis @ basis.T)
    return forms


def _weights(num_axes: int) -> Weights:
    if num_axes <= MOST_EXACT:
        return shapley_weights(num_axes)
    return drawn_weights(draw_orders(num_axes, DRAWS, 0))


def explaining(found: Terms, places: set[int], root_R: Floats) -> Floats:
    """(R, c) an orthonormal basis of what some axes explain, of rows that count by the square of `root_R`."""
    columns = [each for among, each in found.items() if among <= places]
    if not columns:
        return np.zeros((len(root_R), 0))
    weighted = root_R[:, None] * np.concatenate([np.ones((len(root_R), 1)), *columns], axis=1)
    return np.asarray(np.linalg.qr(weighted)[0][:, 1:], np.float64)

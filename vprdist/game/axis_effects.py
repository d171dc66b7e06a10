"""Which axes change scores at all, and what each of their values adds: `game.shares` says how much of it all that is.

An axis that varies together with others has a share of what these do, and must not be told for it. So it is asked
what it explains beyond the others, its interactions included. Chance makes as much of it as other queries and other
seeds do: the sign of each cluster's part is flipped (the wild cluster bootstrap: Cameron, Gelbach, Miller 2008), and
seeds' luck is added with Student's tails, as between two rows in `report.comparisons`.

Trials whose values are permuted would not do: rows whose networks are right at other places, though at as many, differ
from each other on any queries by more than their seeds differ. In worlds without an effect, with three seeds a row,
permuted trials told 33 of 100 axes at 5 %; flipped clusters tell 4.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vprdist.game.axes import Axis, Terms, coded
from vprdist.game.draws import Floats
from vprdist.game.estimate import quantiles
from vprdist.game.shares import Luck, Scores, Told, explaining, satterthwaite

RESAMPLES = 5000
SAME = 1e-12


def chance_p(
    found: Terms, num_axes: int, scores: Scores, luck: Luck, resamples: int = RESAMPLES, seed: int = 3
) -> list[float | None]:
    """For each axis how often chance explains as much beyond the other axes; never 0. None: nobody can tell.

    Args:
        luck: that of `Shares.by`.
    """
    if not luck.freedom or len(scores.parts_CR) < 2:
        return [None] * num_axes
    root, every = np.sqrt(scores.weights_R), set(range(num_axes))
    parts_CR = (scores.parts_CR - scores.parts_CR.mean(axis=1, keepdims=True)) * root
    full = explaining(found, every, root)
    rng = np.random.default_rng(seed)
    signs = rng.integers(0, 2, (resamples, len(parts_CR))) * 2.0 - 1.0
    scale = np.sqrt(luck.variance * luck.freedom / rng.chisquare(luck.freedom, (resamples, 1)))
    out: list[float | None] = []
    for place in range(num_axes):
        own = _beyond(full, explaining(found, every - {place}, root))
        seen = float(((scores.score_R @ own) ** 2).sum())
        drawn = signs @ (parts_CR @ own) + scale * rng.standard_normal((resamples, own.shape[1]))
        # Ties count as large: all signs alike give the very scores back, but for rounding.
        larger = int(((drawn**2).sum(axis=1) >= seen - SAME).sum())
        out.append((1 + larger) / (1 + resamples))
    return out


def _beyond(full: Floats, others: Floats) -> Floats:
    """(R, c) an orthonormal basis of what all axes explain and the others do not."""
    sides, sizes, _ = np.linalg.svd(full - others @ (others.T @ full), full_matrices=False)
    return np.asarray(sides[:, sizes > 0.5], np.float64)  # sizes are zero or one but for rounding


def value_effects(axes: Sequence[Axis], scores: Scores, luck: Luck, confidence: float = 0.95) -> list[list[Told]]:
    """For each axis what each of its values adds to the mean over its values, at equal values of all other axes.

    By the least squares fit of all axes without interactions: over matched trials where these are crossed.
    """
    weights = scores.weights_R
    root = np.sqrt(weights)
    columns = [coded(each, weights) for each in axes]
    every = root[:, None] * np.concatenate([np.ones((len(root), 1)), *columns], axis=1)
    solved, start, out = np.linalg.pinv(every)[1:] * root, 0, []
    for each, own in zip(axes, columns, strict=True):
        of_values = np.array([own[np.flatnonzero(each.codes == code)[0]] for code in range(len(each.values))])
        wanted = (of_values - of_values.mean(axis=0)) @ solved[start : start + own.shape[1]]
        start += own.shape[1]
        out.append([_linear(line, scores, luck, confidence) for line in wanted])
    return out


def _linear(line_R: Floats, scores: Scores, luck: Luck, confidence: float) -> Told:
    """A weighted sum of rows' means."""
    value = float(line_R @ scores.means_R)
    of_queries = float(((scores.moves_CR @ line_R) ** 2).sum())
    of_luck = luck.variance * float((line_R**2 / scores.weights_R).sum())
    freedom = satterthwaite((of_queries, scores.clusters_freedom), (of_luck, luck.freedom))
    half = float(quantiles(confidence, np.array(freedom))) * float(np.sqrt(of_queries + of_luck))
    return Told(value, value - half, value + half)

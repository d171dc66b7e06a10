"""When a ranking is settled, and how often one may look without fooling oneself."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vprdist.game.draws import Floats
from vprdist.game.estimate import estimate, quantile
from vprdist.spec.subsets import FIRST_LOOK


def looks(max_draws: int) -> list[int]:
    """After how many draws the ranking is looked at: 8, 12, 18, …, and when there are no more."""
    found: list[int] = []
    count = FIRST_LOOK
    while count < max_draws:
        found.append(count)
        count += count // 2
    return [*found, max_draws]


def confidence_of_look(confidence: float, look: int) -> float:
    """The confidence that look number `look` (from 1 on) works with, so that all looks together keep `confidence`.

    The k-th look spends 1/(k(k+1)) of the error; these shares sum to one, however often is looked.
    """
    return 1 - (1 - confidence) / (look * (look + 1))


def settled(contributions: Floats, *, confidence: float, tie: float) -> NDArray[np.bool_]:
    """(…): whether neighbours in the ranking are told apart, or known to be as good as equal.

    Any two players may turn out to be neighbours: the intervals of all pairs' differences hold together (Bonferroni),
    and each difference is taken within its draw, where both met the same network's luck.

    Args:
        contributions: (…, R, n), one row a draw.
        confidence: of this look (see `confidence_of_look`).
        tie: a difference below it is none.
    """
    num_players = contributions.shape[-1]
    ranking = np.argsort(-contributions.mean(axis=-2), axis=-1)
    ranked = np.take_along_axis(contributions, ranking[..., None, :], axis=-1)
    gaps = estimate(ranked[..., :-1] - ranked[..., 1:])
    half = quantile(confidence, gaps.num_draws - 1, num_players * (num_players - 1) // 2) * gaps.errors
    decided = (gaps.values > half) | (gaps.values + half < tie)
    return np.asarray(decided.all(axis=-1), np.bool_)

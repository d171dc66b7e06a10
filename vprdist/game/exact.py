"""What players contribute as weighted sums of the values of subsets: one matrix, for every query and every seed.

All ways of asking what a class adds are linear in the values of subsets. Where the value of every subset is known,
Shapley's value has no luck of orders. One trained network that is evaluated under all 2^n masks makes that affordable
up to some ten players; for more see `sampled`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vprdist.game.draws import Floats, Whole

CHUNK = 2048
"""Queries that are weighed at once: bounds the memory at CHUNK x subsets doubles."""


@dataclass(frozen=True)
class Weights:
    """(K,) subsets whose values are needed, and (M, K) their weights: a row for each player, or each pair of them."""

    subsets: Whole
    matrix: Floats

    def of(self, values_KQ: NDArray[np.floating[Any]]) -> Floats:
        """(M, Q) each query's contributions, in double precision.

        Args:
            values_KQ: (K, Q) values of `subsets`, in their order; of the empty one the value of nobody.
        """
        out = np.empty((len(self.matrix), values_KQ.shape[1]))
        for start in range(0, values_KQ.shape[1], CHUNK):
            part = slice(start, start + CHUNK)
            out[:, part] = self.matrix @ values_KQ[:, part].astype(np.float64)
        return out


def shapley_weights(num_players: int) -> Weights:
    """Shapley's value from all 2^n subsets: what a player adds, every size of what it joins equally often."""
    there = _members(num_players)
    others = there.sum(axis=1)[:, None] - there  # (2^n, n) how many more there are
    weight = np.array([1 / (num_players * math.comb(num_players - 1, size)) for size in range(num_players)])
    return Weights(_all(num_players), ((2 * there - 1) * weight[others]).T)


def leave_one_out_weights(num_players: int) -> Weights:
    """Everybody less everybody but one, from the n + 1 subsets of `SubsetSpec.taken`."""
    everybody = (1 << num_players) - 1
    alone = np.int64(1) << np.arange(num_players)
    return Weights(np.array([everybody, *(everybody - alone)]), _against_first(num_players, -1.0))


def add_one_in_weights(num_players: int) -> Weights:
    """One player alone less nobody, from the n + 1 subsets of `SubsetSpec.taken`."""
    return Weights(np.array([0, *(np.int64(1) << np.arange(num_players))]), _against_first(num_players, 1.0))


def interaction_weights(num_players: int) -> Weights:
    """The Shapley interaction index of the pairs of `pairs`, from all 2^n subsets (see `interactions`)."""
    there = _members(num_players)
    first, second = pairs(num_players)
    others = there.sum(axis=1)[:, None] - there[:, first] - there[:, second]  # (2^n, pairs)
    weight = np.array([1 / ((num_players - 1) * math.comb(num_players - 2, s)) for s in range(num_players - 1)])
    sign = np.where(there[:, first] == there[:, second], 1.0, -1.0)
    return Weights(_all(num_players), (sign * weight[others]).T)


def pairs(num_players: int) -> tuple[Whole, Whole]:
    """The n(n-1)/2 pairs of players: (0, 1), (0, 2), …, (n-2, n-1)."""
    first, second = np.triu_indices(num_players, 1)
    return first.astype(np.int64), second.astype(np.int64)


def _all(num_players: int) -> Whole:
    return np.arange(1 << num_players, dtype=np.int64)


def _members(num_players: int) -> Whole:
    """(2^n, n) one where the player is in the subset."""
    return np.asarray(_all(num_players)[:, None] >> np.arange(num_players) & 1, np.int64)


def _against_first(num_players: int, sign: float) -> Floats:
    """(n, n+1) each of the later subsets less the first, times a sign."""
    return sign * np.concatenate([-np.ones((num_players, 1)), np.eye(num_players)], axis=1)

"""Draws: the players join in a random order, and in its reverse, under one seed.

Draws have seeds of their own, so that they are independent of each other: an interval over draws covers the luck of
the order and that of training. The reverse of an order is in the same draw since errors of the two cancel (antithetic
sampling; Mitchell et al., Sampling Permutations for Shapley Value Estimation), and since both share the trial of all
players.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Whole = NDArray[np.int64]
Floats = NDArray[np.float64]


def draw_orders(num_players: int, num_draws: int, seed: int) -> Whole:
    """(R, n): in which order the players join. Row r depends on `seed` and r alone."""
    rows = [np.random.default_rng([seed, row]).permutation(num_players) for row in range(num_draws)]
    return np.array(rows, np.int64).reshape(num_draws, num_players)


def forward_subsets(orders: Whole) -> Whole:
    """(…, n+1): who has joined after k steps of an order, k from 0 (nobody) to n (all)."""
    joined = np.cumsum(np.int64(1) << orders, axis=-1)
    return np.concatenate([np.zeros((*orders.shape[:-1], 1), np.int64), joined], axis=-1)


def backward_subsets(orders: Whole) -> Whole:
    """(…, n+1): who is still there after the first k of an order left. From its end on: the reverse order's joining."""
    everybody = (1 << orders.shape[-1]) - 1
    return np.asarray(everybody - forward_subsets(orders), np.int64)


def subsets_of_draw(order: Whole) -> list[int]:
    """The subsets that one draw asks for, each once, the empty one left out: 2n - 1 of them, all players first."""
    both = [*backward_subsets(order)[:-1].tolist(), *forward_subsets(order)[1:-1].tolist()]
    return list(dict.fromkeys(int(subset) for subset in both))

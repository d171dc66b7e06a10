"""Simulated games, thousands at once, with true values and noise like that of trained networks."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from vprdist.game.contributions import contributions
from vprdist.game.draws import backward_subsets, draw_orders, forward_subsets


@dataclass(frozen=True)
class Played:
    """Draws of one game, repeated: orders (R, n), and (times, R, n+1) values of both directions."""

    orders: np.ndarray
    forward: np.ndarray
    backward: np.ndarray

    @property
    def contributions(self) -> np.ndarray:
        return contributions(self.orders, self.forward, self.backward)

    def first(self, draws: int) -> np.ndarray:
        """The contributions as they are known after so many draws."""
        return contributions(self.orders[:, :draws], self.forward[:, :draws], self.backward[:, :draws])


def play(table: np.ndarray, *, times: int, draws: int, noise: float = 0.0, shared: float = 0.0, seed: int = 0):
    """Play a game of (2^n,) values `times` times over.

    Each trial's value has noise of its own; `shared` is the spread that all trials of one draw's seed have in common.
    A subset that both directions ask for (nobody, all) is one trial: it has one value. Nobody has no noise.
    """
    rng = np.random.default_rng(seed)
    num_players = int(math.log2(len(table)))
    orders = np.stack([draw_orders(num_players, draws, int(s)) for s in rng.integers(0, 2**31, times)])
    forward, backward = forward_subsets(orders), backward_subsets(orders)
    own = noise * rng.standard_normal((2, *forward.shape))
    own[1, ..., 0] = own[0, ..., -1]
    own[0, ..., 0] = own[1, ..., -1] = 0
    luck = shared * rng.standard_normal((times, draws, 1))
    values = []
    for subsets, extra in ((forward, own[0]), (backward, own[1])):
        values.append(table[subsets] + extra + luck * (subsets > 0))
    return Played(orders, *values)


def all_subsets(num_players: int) -> np.ndarray:
    """(2^n, n) bool."""
    return (np.arange(2**num_players)[:, None] >> np.arange(num_players) & 1).astype(bool)


def additive(worth: list[float]) -> np.ndarray:
    return all_subsets(len(worth)) @ np.array(worth)


def saturating(worth: list[float]) -> np.ndarray:
    """Each player recognises a share of the places, independently: one of them is enough."""
    return 1 - np.where(all_subsets(len(worth)), 1 - np.array(worth), 1.0).prod(axis=1)


def threshold(num_players: int, enough: int, worth: float) -> np.ndarray:
    """Nothing until so many are there."""
    return worth * (all_subsets(num_players).sum(axis=1) >= enough)


def best_decides(worth: list[float]) -> np.ndarray:
    """The best player that is there does it all."""
    return np.where(all_subsets(len(worth)), np.array(worth), 0.0).max(axis=1)


def wild(num_players: int, seed: int) -> np.ndarray:
    """No structure at all."""
    table = np.random.default_rng(seed).normal(size=2**num_players)
    table[0] = 0.0
    return table


def shapley(table: np.ndarray) -> np.ndarray:
    """By sizes of subsets, for more players than orders can be counted of."""
    subsets = all_subsets(int(math.log2(len(table))))
    num_players = subsets.shape[1]
    sizes = subsets.sum(axis=1)
    out = np.zeros(num_players)
    for player in range(num_players):
        without = np.flatnonzero(~subsets[:, player])
        weight = [1 / (num_players * math.comb(num_players - 1, size)) for size in sizes[without]]
        out[player] = (np.array(weight) * (table[without | 1 << player] - table[without])).sum()
    return out


def slow_shapley(table: np.ndarray) -> np.ndarray:
    """The definition: the mean over every order."""
    num_players = int(math.log2(len(table)))
    total = np.zeros(num_players)
    for order in itertools.permutations(range(num_players)):
        there = 0
        for player in order:
            total[player] += table[there | 1 << player] - table[there]
            there |= 1 << player
    return total / math.factorial(num_players)


def slow_interactions(table: np.ndarray) -> np.ndarray:
    """The definition: over sizes, over subsets of that size, the second difference."""
    num_players = int(math.log2(len(table)))
    out = np.zeros((num_players, num_players))
    for i, j in itertools.permutations(range(num_players), 2):
        others = [k for k in range(num_players) if k not in (i, j)]
        for size in range(num_players - 1):
            several = [sum(1 << k for k in some) for some in itertools.combinations(others, size)]
            second = [table[s | 1 << i | 1 << j] - table[s | 1 << i] - table[s | 1 << j] + table[s] for s in several]
            out[i, j] += np.mean(second) / (num_players - 1)
    return out

"""Agreement with `shapiq`, an independent library of Shapley values: 200 random games, to 1e-10 of a game's scale.

Muschalik et al., shapiq: Shapley interactions for machine learning. It is an extra of `dev` alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest

from tests.game import games
from vprdist.game.contributions import contributions
from vprdist.game.draws import backward_subsets, draw_orders, forward_subsets
from vprdist.game.exact import interaction_weights, pairs, shapley_weights
from vprdist.game.interactions import interactions
from vprdist.game.sampled import drawn_interaction_weights, drawn_weights

shapiq = pytest.importorskip("shapiq", reason="shapiq is not installed (pip install -e '.[dev]')")

GAMES = 200
MOST_PLAYERS = 8
WITHIN = 1e-10
"""As a share of the largest value of a game: what is left is rounding."""


def plain(rng: np.random.Generator, num_players: int) -> np.ndarray:
    """No structure, and never monotone."""
    return rng.normal(size=2**num_players)


def tied(rng: np.random.Generator, num_players: int) -> np.ndarray:
    """Few different values, most of them shared."""
    return rng.integers(0, 3, 2**num_players) / 2


def with_a_dummy(rng: np.random.Generator, num_players: int) -> np.ndarray:
    """One player adds nothing, another always the same."""
    table = rng.normal(size=2**num_players)
    subsets = np.arange(2**num_players)
    null, dummy = rng.permutation(num_players)[:2]
    rest = subsets & ~(1 << null | 1 << dummy)
    return table[rest] + 0.7 * (subsets >> dummy & 1)


def recalls(rng: np.random.Generator, num_players: int) -> np.ndarray:
    """Shares of queries, which grow with every class that is shown."""
    return games.saturating(rng.uniform(0, 0.5, num_players).tolist())


def constant(rng: np.random.Generator, num_players: int) -> np.ndarray:
    """Everybody is worth what nobody is: all ties."""
    return np.full(2**num_players, rng.normal())


KINDS: tuple[Callable[[np.random.Generator, int], np.ndarray], ...] = (plain, tied, with_a_dummy, recalls, constant)
SCALES = (1.0, 1e9, 1e-9)


def made(number: int) -> np.ndarray:
    """(2^n,) game number so and so: all kinds, scales and 2 to 8 players meet."""
    rng = np.random.default_rng([16, number])
    num_players = 2 + number % (MOST_PLAYERS - 1)
    return KINDS[number % len(KINDS)](rng, num_players) * SCALES[number % len(SCALES)]


def of_shapiq(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) Shapley values and (n(n-1)/2,) Shapley interaction indices as the library finds them."""
    num_players = int(math.log2(len(table)))
    bits = 1 << np.arange(num_players)
    exact = shapiq.ExactComputer(game=lambda rows: table[np.asarray(rows, bool) @ bits], n_players=num_players)
    values, indices = exact("SV", order=1), exact("SII", order=2)
    of_pairs = zip(*(each.tolist() for each in pairs(num_players)), strict=True)
    return np.array([values[(i,)] for i in range(num_players)]), np.array([indices[pair] for pair in of_pairs])


def along(table: np.ndarray, orders: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return orders, table[forward_subsets(orders)], table[backward_subsets(orders)]


@pytest.mark.parametrize("start", range(0, GAMES, 50))
def test_exact_values_and_interactions_are_those_of_shapiq(start: int) -> None:
    for number in range(start, start + 50):
        table = made(number)
        num_players = int(math.log2(len(table)))
        values, indices = of_shapiq(table)
        scale = np.abs(table).max()
        found = shapley_weights(num_players).of(table[:, None])[:, 0]
        of_pairs = interaction_weights(num_players).of(table[:, None])[:, 0]
        assert np.abs(found - values).max() <= WITHIN * scale, number
        assert np.abs(of_pairs - indices).max() <= WITHIN * scale, number


@pytest.mark.parametrize("number", [0, 1, 2, 7, 8, 9, 14, 15])
def test_all_orders_once_are_as_good_as_all_subsets(number: int) -> None:
    """Two to four players: every order is drawn, so that nothing is left to luck."""
    table = made(number)
    num_players = int(math.log2(len(table)))
    orders = np.array(list(itertools.permutations(range(num_players))))
    values, indices = of_shapiq(table)
    scale = np.abs(table).max()
    assert (
        np.abs(drawn_weights(orders).of(table[drawn_weights(orders).subsets][:, None])[:, 0] - values).max()
        <= (
            1e-9 if num_players < 4 else 1e-2  # the jackknife leaves orders out, and its fit is then not balanced
        )
        * scale
    )
    weights = drawn_interaction_weights(orders)
    assert np.abs(weights.of(table[weights.subsets][:, None])[:, 0] - indices).max() <= 1e-9 * scale


@pytest.mark.parametrize("number", [7, 8, 9, 21])
def test_the_expectation_of_one_drawn_order_is_the_index(number: int) -> None:
    """Every order is as likely as any other: the mean over them is the expectation, to rounding."""
    table = made(number)
    num_players = int(math.log2(len(table)))
    orders = np.array(list(itertools.permutations(range(num_players))))[:, None]
    one_each = np.array([interactions(*along(table, order))[0] for order in orders])
    _, indices = of_shapiq(table)
    assert np.abs(one_each.mean(axis=0)[pairs(num_players)] - indices).max() <= 1e-9 * np.abs(table).max()


@pytest.mark.parametrize("number", [3, 8, 10, 12])
def test_drawn_values_are_centred_on_those_of_shapiq(number: int) -> None:
    """Means over 3000 searches of 12 draws: the fit's bias (of order one over draws) is a tenth of its spread at most.

    The fit is least squares over a drawn design, and so unbiased for many draws alone; interactions are for one.
    """
    table = made(number)
    num_players, times, draws = int(math.log2(len(table))), 3000, 12
    values, indices = of_shapiq(table)
    seeds = np.random.default_rng(number).integers(0, 2**31, times).tolist()
    orders = np.stack([draw_orders(num_players, draws, seed) for seed in seeds])
    found = contributions(*along(table, orders)).mean(axis=1)
    of_pairs = interactions(*along(table, orders)).mean(axis=1)[(slice(None), *pairs(num_players))]
    rounding = 1e-9 * np.abs(table).max()
    spread = found.std(axis=0)
    assert (np.abs(found.mean(axis=0) - values) <= 0.1 * spread + 4.5 * spread / math.sqrt(times) + rounding).all()
    assert (np.abs(of_pairs.mean(axis=0) - indices) <= 4.5 * of_pairs.std(axis=0) / math.sqrt(times) + rounding).all()

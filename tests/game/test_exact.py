"""Weights of subsets against definitions that are walked by loops."""

from __future__ import annotations

import numpy as np
import pytest

from tests.game import games
from vprdist.game.contributions import contributions
from vprdist.game.draws import backward_subsets, draw_orders, forward_subsets
from vprdist.game.exact import (
    add_one_in_weights,
    interaction_weights,
    leave_one_out_weights,
    pairs,
    shapley_weights,
)
from vprdist.game.sampled import (
    drawn_interaction_rows,
    drawn_interaction_weights,
    drawn_rows,
    drawn_subsets,
    drawn_weights,
)
from vprdist.spec.subsets import SubsetSpec


def random_values(num_players: int, queries: int, seed: int = 0) -> np.ndarray:
    """(2^n, Q) found or not."""
    return np.random.default_rng(seed).integers(0, 2, (2**num_players, queries)).astype(np.float32)


@pytest.mark.parametrize("num_players", [2, 3, 4])
def test_shapley_is_the_mean_over_every_order_for_each_query(num_players):
    values = random_values(num_players, 30)
    values[0] = 0.3
    found = shapley_weights(num_players).of(values)
    assert found.dtype == np.float64
    for query in range(30):
        assert found[:, query] == pytest.approx(games.slow_shapley(values[:, query]), abs=1e-6)


@pytest.mark.parametrize("num_players", [2, 3, 4])
def test_interactions_are_the_index_by_its_definition(num_players):
    values = random_values(num_players, 10)
    found = interaction_weights(num_players).of(values)
    for query in range(10):
        assert found[:, query] == pytest.approx(games.slow_interactions(values[:, query])[pairs(num_players)], abs=1e-6)


def test_pairs_are_in_the_order_of_players():
    assert list(zip(*pairs(4), strict=True)) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]


@pytest.mark.parametrize("num_players", [2, 3, 4, 19])
def test_one_taken_out_or_in_is_a_plain_difference(num_players):
    values, everybody = {}, (1 << num_players) - 1

    def value(subset: int) -> float:
        return values.setdefault(subset, float(np.random.default_rng(subset).random()))

    out, into = leave_one_out_weights(num_players), add_one_in_weights(num_players)
    found_out = out.of(np.array([[value(int(subset))] for subset in out.subsets]))[:, 0]
    found_in = into.of(np.array([[value(int(subset))] for subset in into.subsets]))[:, 0]
    for player in range(num_players):
        assert found_out[player] == pytest.approx(value(everybody) - value(everybody ^ 1 << player))
        assert found_in[player] == pytest.approx(value(1 << player) - value(0))


def test_subsets_come_in_the_order_of_take():
    for take, weights in (("leave_one_out", leave_one_out_weights), ("add_one_in", add_one_in_weights)):
        spec = SubsetSpec(classes=("building", "pole", "road"), take=take)
        assert weights(3).subsets.tolist() == spec.taken()


def test_ten_players_and_many_queries_are_weighed_in_chunks():
    values = random_values(10, 5000)
    weights = shapley_weights(10)
    assert weights.of(values) == pytest.approx(weights.matrix @ values.astype(np.float64))
    assert weights.of(values)[:, 4999] == pytest.approx(games.shapley(values[:, 4999].astype(np.float64)))


def test_drawn_weights_are_the_fit_of_each_query_alone():
    orders, values = draw_orders(4, 5, seed=1), random_values(4, 7).astype(np.float64)
    weights = drawn_weights(orders)
    assert weights.subsets.tolist() == drawn_subsets(orders).tolist()
    found = weights.of(values[weights.subsets])
    for query in range(7):
        alone = values[:, query]
        rows = contributions(orders, alone[forward_subsets(orders)], alone[backward_subsets(orders)])
        assert found[:, query] == pytest.approx(rows.mean(axis=0))


@pytest.mark.parametrize("num_players", [3, 10, 19])
def test_rows_are_what_the_weights_make_of_the_mean_query(num_players):
    orders = draw_orders(num_players, 6, seed=2)
    weights, of_pairs = drawn_weights(orders), drawn_interaction_weights(orders)
    values = np.random.default_rng(0).random((len(weights.subsets), 40)).astype(np.float32)
    means = values.mean(axis=1, dtype=np.float64)
    rows, pair_rows = drawn_rows(orders, means), drawn_interaction_rows(orders, means)
    assert rows.shape == (6, num_players) and pair_rows.shape == (6, num_players * (num_players - 1) // 2)
    assert rows.mean(axis=0) == pytest.approx(weights.of(values).mean(axis=1))
    assert pair_rows.mean(axis=0) == pytest.approx(of_pairs.of(values).mean(axis=1))


def test_draws_agree_with_all_subsets_where_players_add_up():
    worth = np.random.default_rng(3).normal(size=(6, 50))
    values = games.all_subsets(6) @ worth
    weights = drawn_weights(draw_orders(6, 4, seed=0))
    assert weights.of(values[weights.subsets]) == pytest.approx(worth)
    assert shapley_weights(6).of(values) == pytest.approx(worth)
    assert interaction_weights(6).of(values) == pytest.approx(np.zeros((15, 50)), abs=1e-12)


def test_many_draws_come_near_to_all_subsets():
    orders, values = draw_orders(4, 4000, seed=5), games.wild(4, 2)
    for drawn, rows_of, exact in (
        (drawn_weights, drawn_rows, shapley_weights),
        (drawn_interaction_weights, drawn_interaction_rows, interaction_weights),
    ):
        weights = drawn(orders[:400])
        rows = rows_of(orders, values[drawn_subsets(orders)])
        error = rows.std(axis=0) / np.sqrt(len(rows))
        assert (np.abs(rows.mean(axis=0) - exact(4).matrix @ values) <= 4.5 * error + 1e-12).all()
        assert weights.matrix.shape[1] == len(weights.subsets)

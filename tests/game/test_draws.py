"""Draws, contributions and interactions against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from tests.game import games
from vprdist.game.contributions import contributions
from vprdist.game.draws import backward_subsets, draw_orders, forward_subsets, subsets_of_draw
from vprdist.game.interactions import interactions


def test_a_draw_depends_on_its_number_and_seed_alone():
    few, many = draw_orders(6, 3, seed=5), draw_orders(6, 9, seed=5)
    assert (many[:3] == few).all()
    assert (np.sort(many, axis=1) == np.arange(6)).all()
    assert len({tuple(row) for row in many.tolist()}) > 5
    assert (draw_orders(6, 9, seed=6) != many).any()


def test_a_draw_asks_for_both_directions_once():
    order = np.array([2, 0, 1])
    assert forward_subsets(order).tolist() == [0b000, 0b100, 0b101, 0b111]
    assert backward_subsets(order).tolist() == [0b111, 0b011, 0b010, 0b000]
    assert subsets_of_draw(order) == [0b111, 0b011, 0b010, 0b100, 0b101]
    for num_players in (2, 3, 7):
        for row in draw_orders(num_players, 5, seed=1):
            assert len(subsets_of_draw(row)) == 2 * num_players - 1
            assert 0 not in subsets_of_draw(row)


def slow_effects(table: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """Least squares over every single joining, one column a player, one a place; of mean v(all) - v(nobody) over n."""
    num_players = orders.shape[1]
    rows, added = [], []
    for order in [*orders.tolist(), *orders[:, ::-1].tolist()]:
        there = 0
        for place, player in enumerate(order):
            rows.append(np.eye(2 * num_players)[player] + np.eye(2 * num_players)[num_players + place])
            added.append(table[there | 1 << player] - table[there])
            there |= 1 << player
    effects = np.linalg.lstsq(np.array(rows), np.array(added), rcond=None)[0][:num_players]
    return effects - effects.mean() + (table[-1] - table[0]) / num_players


@pytest.mark.parametrize("num_players", [2, 3, 5])
def test_contributions_are_the_jackknife_of_a_fit_of_players_and_places(num_players):
    table, orders = games.wild(num_players, seed=3), draw_orders(num_players, 6, seed=4)
    found = contributions(orders, table[forward_subsets(orders)], table[backward_subsets(orders)])
    whole = slow_effects(table, orders)
    for row in range(6):
        without = slow_effects(table, np.delete(orders, row, axis=0))
        assert found[row] == pytest.approx(6 * whole - 5 * without)
    assert found.sum(axis=1) == pytest.approx([table[-1] - table[0]] * 6), "nothing is lost between nobody and all"


def test_many_games_at_once_are_each_as_one():
    played = games.play(games.wild(4, 0), times=3, draws=5, noise=0.1)
    each = [contributions(*one) for one in zip(played.orders, played.forward, played.backward, strict=True)]
    assert played.contributions == pytest.approx(np.array(each))


def test_what_nobody_is_worth_is_shared_by_all():
    orders, table = draw_orders(5, 4, seed=0), games.wild(5, 1)
    other = table.copy()
    other[0] += 1.0
    low, high = (contributions(orders, t[forward_subsets(orders)], t[backward_subsets(orders)]) for t in (table, other))
    assert low - high == pytest.approx(np.full((4, 5), 0.2))


@pytest.mark.parametrize("seed", range(3))
def test_the_mean_over_many_draws_is_shapleys_value(seed):
    table = games.wild(4, seed)
    exact = games.slow_shapley(table)
    assert games.shapley(table) == pytest.approx(exact)
    found = games.play(table, times=1, draws=8000, seed=seed).contributions
    error = found.std(axis=1)[0] / np.sqrt(8000)
    assert (np.abs(found.mean(axis=1)[0] - exact) < 4.5 * error).all()


def test_few_draws_do_not_mislead():
    """The bias of a fit to eight draws is small beside its spread."""
    table = games.wild(4, 0)
    found = games.play(table, times=4000, draws=8).contributions.mean(axis=1)
    assert (np.abs(found.mean(axis=0) - games.shapley(table)) < 0.1 * found.std(axis=0)).all()


@pytest.mark.parametrize("seed", range(3))
def test_the_mean_of_interactions_is_the_shapley_interaction_index(seed):
    table = games.wild(4, seed)
    played = games.play(table, times=1, draws=8000, seed=seed)
    found = interactions(played.orders, played.forward, played.backward)[0]
    error = found.std(axis=0) / np.sqrt(8000)
    assert (np.abs(found.mean(axis=0) - games.slow_interactions(table)) <= 4.5 * error).all()


def test_where_nothing_interacts_interactions_are_zero():
    played = games.play(games.additive([0.3, 0.2, -0.1, 0.0]), times=1, draws=5)
    assert np.abs(interactions(played.orders, played.forward, played.backward)).max() < 1e-12

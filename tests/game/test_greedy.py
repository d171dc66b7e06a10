"""Greedy selection, the value of nobody, and what queries can show."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from tests.game import games
from vprdist.evaluation.metrics import average, per_query
from vprdist.game.chance import chance
from vprdist.game.greedy import greedy_step
from vprdist.game.queries import fewest


def run_greedy(table: np.ndarray) -> tuple[tuple[int, ...], list[int]]:
    """Play until nothing is wanted; which subsets were asked for, in order."""
    known: dict[int, float] = {}
    while (step := greedy_step(int(np.log2(len(table))), known.get)).wanted:
        assert not set(step.wanted) & set(known), "nothing is asked for twice"
        known |= {subset: float(table[subset]) for subset in step.wanted}
    return step.taken, list(known)


@pytest.mark.parametrize("seed", range(20))
def test_greedy_takes_the_best_at_each_step(seed):
    table = games.wild(5, seed)
    taken, asked = run_greedy(table)
    chosen, best, expected = 0, -np.inf, []
    while chosen != 31:
        gains = {player: table[chosen | 1 << player] for player in range(5) if not chosen >> player & 1}
        player = max(gains, key=gains.__getitem__)
        if gains[player] <= best:
            break
        chosen, best = chosen | 1 << player, gains[player]
        expected.append(player)
    assert list(taken) == expected
    assert len(asked) <= 5 + 4 + 3 + 2 + 1


def test_greedy_goes_to_the_end_where_everybody_helps():
    taken, asked = run_greedy(games.additive([0.1, 0.3, 0.2]))
    assert taken == (1, 2, 0)
    assert len(asked) == 3 + 2 + 1


def test_of_equals_the_first_is_taken_and_failures_are_passed_over():
    assert run_greedy(np.array([0, 0.5, 0.5, 0.5]))[0] == (0,), "the second adds nothing"
    values = {0b01: float("nan"), 0b10: 0.2, 0b11: 0.4}
    assert greedy_step(2, values.get).taken == (1, 0)
    assert greedy_step(2, {0b01: float("nan"), 0b10: float("nan")}.get) == greedy_step(2, lambda _: float("nan"))
    assert greedy_step(2, lambda _: float("nan")).taken == ()


@pytest.mark.parametrize("metric", ["recall@1", "recall@5", "map@1", "map@5", "map@20"])
def test_chance_is_the_mean_over_all_orders_of_the_gallery(metric):
    gallery, counts = 6, [1, 2, 4]
    orders = [np.array(order) for order in itertools.permutations(range(gallery))]
    for count in counts:
        right = [np.arange(count)] * len(orders)
        assert chance(metric, [count], gallery)[0] == pytest.approx(average(per_query(orders, right))[metric])
    assert chance(metric, counts, gallery) == [chance(metric, [count], gallery)[0] for count in counts]


def test_what_queries_can_show():
    assert fewest(0.95) == 6, "2 * 0.5^6 = 0.031, 2 * 0.5^5 = 0.063"
    for confidence in (0.9, 0.95, 0.99):
        need = fewest(confidence)
        errors = [stats.binomtest(n, n, 0.5).pvalue for n in (need - 1, need)]
        assert errors[1] <= 1 - confidence + 1e-12 < errors[0]

"""Kendall's tau-b beside scipy's, and its interval."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.stats import kendalltau

from vprdist.game.agreement import agreement, tau_b


def test_tau_is_scipys_with_and_without_ties():
    rng = np.random.default_rng(0)
    for levels in (2, 3, 5, 1000):
        first, second = rng.integers(0, levels, (2, 40, 9)).astype(float) / 7
        slow = [kendalltau(*each).statistic for each in zip(first, second, strict=True)]
        assert tau_b(first, second) == pytest.approx(np.array(slow), nan_ok=True)


def test_rounding_is_a_tie():
    values = np.array([0.3, 0.1 + 0.2, 0.5, 0.7])
    assert tau_b(values, np.array([0.3, 0.3, 0.5, 0.7])) == pytest.approx(1.0)


def test_nothing_is_said_of_two_arms_or_of_a_constant_side():
    values, cluster = np.random.default_rng(0).random((4, 30)), np.arange(30)
    assert agreement(values[:2], values[:2], cluster).value is None
    constant = agreement(values, np.full((4, 30), 0.5), cluster)
    assert (constant.count, constant.value, constant.low, constant.high) == (4, None, None, None)
    alone = agreement(values, values, np.zeros(30, np.int64))
    assert alone.value == 1.0 and alone.low is None, "one cluster has no interval"


def test_equal_sides_agree_whatever_is_drawn():
    values = np.random.default_rng(0).random((6, 100)).astype(np.float32)
    found = agreement(values, values, np.arange(100) // 5)
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)


def test_the_same_seed_gives_the_same_interval_and_the_value_is_in_it():
    rng = np.random.default_rng(1)
    values, other = rng.random((2, 8, 200))
    cluster = np.arange(200) // 10
    found = agreement(values, other, cluster)
    assert found == agreement(values, other, cluster)
    assert found.low <= found.value <= found.high
    assert found.low < found.high


def test_intervals_hold_where_arms_are_not_nearly_equal():
    rng, held = np.random.default_rng(2), 0
    true = np.arange(8) * 0.1
    other = true[[1, 0, 3, 2, 5, 4, 7, 6]]
    exact = float(tau_b(true, other))
    for _ in range(100):
        noise = rng.standard_normal((1, 60))
        sides = [side[:, None] + 0.5 * rng.standard_normal((8, 60)) + noise for side in (true, other)]
        found = agreement(*sides, np.arange(60), resamples=300)
        held += found.low - 1e-9 <= exact <= found.high + 1e-9
    assert held >= 93


def test_thirty_two_arms_take_a_moment():
    values = np.random.default_rng(0).random((32, 5000)).astype(np.float32)
    start = time.process_time()
    agreement(values, values[::-1], np.arange(5000) // 10)
    assert time.process_time() - start < 2


def test_many_arms_are_compared_in_bounded_memory():
    values = np.random.default_rng(0).random((128, 300)).astype(np.float32)
    found = agreement(values, values + 0.1 * values[::-1], np.arange(300), resamples=600)
    assert found.count == 128 and found.low < found.value <= found.high

"""Axes: what varies, what varies together, and the columns that stand for it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.game.designs import axes_of, crossed
from vprdist.game.axes import ABSENT, Axis, axis, coded, rank, terms, thirds, told_apart

X = ABSENT


def ones(codes: np.ndarray) -> np.ndarray:
    return np.ones(len(codes))


def titles(codes: np.ndarray) -> list[str]:
    return [each.title for each in told_apart(axes_of(codes), ones(codes))]


def test_an_axis_has_each_value_once_and_none_where_a_row_ignores_it() -> None:
    found = axis("input.mask_fill", ["black", None, "blur", "black"])
    assert found.values == ("black", "blur") and found.codes.tolist() == [0, ABSENT, 1, 0]
    assert found.there.tolist() == [True, False, True, True]


@pytest.mark.parametrize(
    ("numbers", "names"),
    [
        ([1, 2, 3, 4, 5, 6], ["1 to 2", "1 to 2", "3 to 4", "3 to 4", "5 to 6", "5 to 6"]),
        ([6, 5, 4, None, 3, 2, 1], ["5 to 6", "5 to 6", "3 to 4", None, "3 to 4", "1 to 2", "1 to 2"]),
        ([1, 1, 1, 1, 1, 9], ["1", "1", "1", "1", "1", "9"]),
        ([1e-4, 1e-3, 1e-2], ["0.0001", "0.001", "0.01"]),
        ([7, 7, 7], ["7", "7", "7"]),
    ],
)
def test_numbers_are_cut_in_thirds_by_rank_and_equal_ones_stay_together(numbers, names) -> None:
    assert thirds(numbers) == names


@pytest.mark.parametrize("seed", range(20))
def test_thirds_keep_order_and_need_no_scale(seed: int) -> None:
    rng = np.random.default_rng(seed)
    numbers = rng.integers(1, 9, 17).tolist()
    found = thirds(numbers)
    assert thirds([each * 2 for each in numbers]) == [
        " to ".join(f"{float(end) * 2:g}" for end in name.split(" to ")) for name in found if name
    ]
    groups = {name: [n for n, g in zip(numbers, found, strict=True) if g == name] for name in set(found)}
    ordered = sorted(groups.values())
    assert all(max(low) < min(high) for low, high in itertools.pairwise(ordered))
    assert 1 <= len(groups) <= 3


def test_columns_are_of_mean_zero_over_the_rows_that_have_the_axis() -> None:
    (each,) = axes_of(np.array([[0], [1], [X], [2], [2], [X]]))
    weights = np.array([3.0, 1, 5, 2, 1, 1])
    columns = coded(each, weights)
    assert columns.shape == (6, 2)
    assert not columns[[2, 5]].any()
    assert weights @ columns == pytest.approx(np.zeros(2))
    assert rank([columns]) == 2


def test_axes_that_vary_together_are_one() -> None:
    both = np.array([[0, 1, 0], [1, 0, 0], [0, 1, 1], [1, 0, 1]])
    assert titles(both) == ["a + b", "c"]
    (one, _) = told_apart(axes_of(both), ones(both))
    assert one.values == ("v0, v1", "v1, v0") and one.codes.tolist() == [0, 1, 0, 1]


def test_an_axis_that_follows_from_another_is_one_with_it() -> None:
    """Each value of b has one of a: what a changes is among what b does."""
    nested = np.array([[0, 0, 0], [0, 1, 0], [1, 2, 0], [1, 3, 0], [0, 0, 1], [0, 1, 1], [1, 2, 1], [1, 3, 1]])
    assert titles(nested) == ["a + b", "c"]


def test_an_axis_that_follows_from_two_others_is_one_with_them() -> None:
    half = crossed(2, 2)
    assert titles(np.column_stack([half, half[:, 0]])) == ["a + c", "b"]
    three = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1]])  # c is a + b: three rows tell two effects
    assert titles(three) == ["a + b + c"]


def test_what_one_value_of_an_axis_brings_along_is_told_apart_from_it() -> None:
    """Forms are there of masks alone: whether there is a mask, and which form it has, are two things."""
    forms = np.array([[0, X], [1, 0], [1, 1], [1, 2]])
    assert titles(forms) == ["a", "b"]


def test_axes_of_one_value_are_none() -> None:
    assert titles(np.array([[0, 0], [0, 1]])) == ["b"]
    assert titles(np.array([[0, X], [1, 0]])) == ["a"], "a form that every masked row has"
    assert titles(np.array([[0, 0]])) == []


def test_all_axes_of_too_few_rows_are_one() -> None:
    assert titles(np.array([[0, 0, 0], [1, 1, 1]])) == ["a + b + c"]


@pytest.mark.parametrize("seed", range(30))
def test_what_is_told_apart_has_columns_that_say_different_things(seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.integers(X, 3, (rng.integers(2, 14), rng.integers(1, 5)))
    weights = rng.integers(1, 4, len(codes)).astype(float)
    found = told_apart(axes_of(codes), weights)
    columns = [coded(each, weights) for each in found]
    assert rank(columns) == sum(len(each.values) - 1 for each in found)
    names = [name for each in found for name in each.names]
    varied = [each.title for each in axes_of(codes) if len(each.values) > 1]
    assert sorted(names) == varied, "no axis is lost"


def test_two_axes_interact_where_all_values_met_and_trials_are_enough() -> None:
    codes = crossed(2, 3, 2)
    axes = axes_of(codes)

    def pairs(trials: int, some: list[Axis] = axes) -> set[tuple[int, ...]]:
        return {tuple(sorted(each)) for each in terms(some, ones(some[0].codes), trials) if len(each) == 2}

    assert pairs(36) == {(0, 1), (0, 2), (1, 2)}
    assert pairs(12) == {(0, 2)}, "1 + 4 + 1 coefficients"
    assert pairs(11) == set()
    assert pairs(100, axes_of(codes[:-1])) == {(0, 1), (0, 2), (1, 2)}
    short = codes[(codes[:, 0] != 1) | (codes[:, 1] != 2)]
    assert pairs(100, axes_of(short)) == {(0, 2), (1, 2)}, "a 1 never met b 2"


def test_an_interaction_that_is_an_axis_is_the_axis() -> None:
    """Half a factorial: c is the product of a and b."""
    half = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0], [1, 1, 1]])
    assert {len(each) for each in terms(axes_of(half), np.ones(4), 40)} == {1}

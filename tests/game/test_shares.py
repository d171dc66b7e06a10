"""Shares of axes against definitions that are walked by loops, and in worlds whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from tests.game.designs import World, axes_of, crossed, plain_scores, shapley_of
from vprdist.game import shares as room
from vprdist.game.axes import ABSENT, terms, told_apart
from vprdist.game.axis_effects import chance_p, value_effects
from vprdist.game.shares import Luck, Scores, Shares, shares
from vprdist.report.importance import scores_of


def found_in(codes: np.ndarray, scores: Scores) -> Shares:
    axes = told_apart(axes_of(codes), scores.weights_R)
    assert len(axes) == codes.shape[1]
    return shares(terms(axes, scores.weights_R, len(scores.values_T)), len(axes), scores)


def slow_explained(codes: np.ndarray, values: np.ndarray, places: frozenset[int], pairs: set[frozenset[int]]) -> float:
    """The sum of squares that indicators of values, and of pairs of values, explain, trial by trial."""
    columns = [np.ones(len(values))]
    for place in places:
        columns += [(codes[:, place] == value).astype(float) for value in set(codes[:, place])]
    for one, other in (sorted(pair) for pair in pairs if pair <= places):
        columns += [
            (codes[:, one] == first).astype(float) * (codes[:, other] == second)
            for first in set(codes[:, one])
            for second in set(codes[:, other])
        ]
    fitted = np.stack(columns, axis=1) @ np.linalg.lstsq(np.stack(columns, axis=1), values, rcond=None)[0]
    return float(((fitted - values.mean()) ** 2).sum())


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("rows", [12, 9])
def test_a_share_is_the_shapley_value_of_what_least_squares_explains(rows: int, seeds: int) -> None:
    """Balanced and not, with and without seeds: less luck's mean part."""
    codes = crossed(2, 3, 2)[np.sort(np.random.default_rng(5).permutation(12)[:rows])]
    values = np.random.default_rng(rows).normal(size=(rows, seeds)) + (codes @ np.array([1.0, 0.5, 0.0]))[:, None]
    scores = plain_scores(values.ravel().tolist(), np.repeat(np.arange(rows), seeds).tolist())
    axes = axes_of(codes)
    fitted = terms(axes, scores.weights_R, rows * seeds)
    pairs = {each for each in fitted if len(each) == 2}
    found = shares(fitted, 3, scores)
    at_trials = codes[scores.row_T]
    worth = shapley_of(lambda places: slow_explained(at_trials, scores.values_T, places, pairs), 3)
    cost = shapley_of(lambda places: float(sum(fitted[t].shape[1] for t in fitted if t <= places)), 3)
    every = slow_explained(at_trials, scores.values_T, frozenset(range(3)), pairs)
    cells = sum(seeds * float((v.mean() - scores.values_T.mean()) ** 2) for v in values)
    inside = float(((values - values.mean(axis=1, keepdims=True)) ** 2).sum())
    freedom = rows - 1 - sum(each.shape[1] for each in fitted.values())
    luck = inside / (rows * (seeds - 1)) if seeds > 1 else (cells - every) / freedom
    rest = max(0.0, cells - every - luck * freedom) if seeds > 1 else 0.0
    own = np.array(worth) - luck * np.array(cost)
    total = own.sum() + rest + luck * rows * seeds
    assert [each.value for each in found.axes] == pytest.approx((own / total).tolist())
    assert found.queries == 0
    assert (found.luck, found.rest) == pytest.approx((luck * rows * seeds / total, rest / total))
    assert found.sd == pytest.approx(np.sqrt(total / (rows * seeds)))
    assert sum(each.value for each in found.axes) + found.luck + found.rest == pytest.approx(1.0)


def test_without_luck_a_crossed_design_is_plain_analysis_of_variance() -> None:
    codes = crossed(2, 4)
    values = 0.3 * codes[:, 0] + np.array([0.0, 0.1, 0.1, 0.4])[codes[:, 1]]
    scores = plain_scores(np.repeat(values, 2).tolist(), np.repeat(np.arange(8), 2).tolist())
    found = found_in(codes, scores)
    parts = [np.var([values[codes[:, a] == v].mean() for v in set(codes[:, a])]) for a in (0, 1)]
    assert [each.value for each in found.axes] == pytest.approx([part / np.var(values) for part in parts])


def test_axes_that_matter_only_together_have_half_each() -> None:
    codes = crossed(2, 2, 2)
    values = ((codes[:, 0] + codes[:, 1]) % 2).astype(float)
    found = found_in(codes, plain_scores(np.repeat(values, 2).tolist(), np.repeat(np.arange(8), 2).tolist()))
    assert [each.value for each in found.axes] == pytest.approx([0.5, 0.5, 0.0], abs=1e-9)


def test_a_form_that_only_masks_have_takes_nothing_from_having_a_mask() -> None:
    x = ABSENT
    codes = np.array([[0, x], [1, 0], [1, 1], [1, 2]] * 2)
    values = [0.2, 0.5, 0.5, 0.5] * 2
    found = found_in(codes, plain_scores(np.repeat(values, 2).tolist(), np.repeat(np.arange(8), 2).tolist()))
    assert [each.value for each in found.axes] == pytest.approx([1.0, 0.0], abs=1e-9)


def test_equal_scores_have_no_shares_and_nothing_is_told() -> None:
    codes = crossed(2, 2)
    scores = plain_scores([0.5] * 8, np.repeat(np.arange(4), 2).tolist())
    found = found_in(codes, scores)
    assert [each.value for each in found.axes] == [0.0, 0.0] and found.sd == 0.0
    assert chance_p(terms(axes_of(codes), scores.weights_R, 8), 2, scores, found.by) == [1.0, 1.0]


def test_where_axes_explain_all_and_seeds_are_missing_nobody_can_tell() -> None:
    codes = crossed(2, 2)[:3]
    scores = plain_scores([0.1, 0.4, 0.3])
    found = found_in(codes, scores)
    assert found.by == Luck(0.0, 0.0, 0, of_seeds=False)
    assert chance_p(terms(axes_of(codes), scores.weights_R, 3), 2, scores, found.by) == [None, None]


def test_a_value_adds_its_least_squares_difference_at_equal_values_of_the_others() -> None:
    codes = np.delete(crossed(2, 3), 1, axis=0)
    effects = (np.array([0.0, 0.3]), np.array([0.1, 0.5, 0.0]))
    values = effects[0][codes[:, 0]] + effects[1][codes[:, 1]]
    found = value_effects(axes_of(codes), plain_scores(values.tolist()), Luck(0.0, 0.0, 0, of_seeds=False))
    for of_axis, true in zip(found, effects, strict=True):
        assert [each.value for each in of_axis] == pytest.approx((true - true.mean()).tolist())


def test_many_axes_are_valued_by_drawn_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = crossed(2, 2, 2, 2)
    values = codes @ np.array([0.4, 0.2, 0.1, 0.0])
    scores = plain_scores(np.repeat(values, 2).tolist(), np.repeat(np.arange(16), 2).tolist())
    exact = found_in(codes, scores)
    monkeypatch.setattr(room, "MOST_EXACT", 3)
    drawn = found_in(codes, scores)
    assert [e.value for e in drawn.axes] == pytest.approx([e.value for e in exact.axes], abs=1e-6)


def world_rates(world: World, codes: np.ndarray, times: int) -> tuple[np.ndarray, np.ndarray]:
    """(times, A) whether p is at most 0.05, and the shares, in so many worlds."""
    axes, rng = axes_of(codes), np.random.default_rng(1)
    told, values = [], []
    for number in range(times):
        scores = scores_of(world.panel(rng))
        fitted = terms(axes, scores.weights_R, len(scores.values_T))
        found = shares(fitted, len(axes), scores)
        p = chance_p(fitted, len(axes), scores, found.by, resamples=199, seed=number)
        told.append([each is not None and each <= 0.05 for each in p])
        values.append([each.value for each in found.axes])
    return np.array(told), np.array(values)


@pytest.mark.parametrize(
    ("codes", "seeds"), [(crossed(2, 3), 3), (np.delete(crossed(2, 3, 2), [1, 4, 5, 10], axis=0), 2)],
    ids=["balanced", "unbalanced"],
)  # fmt: skip
def test_in_worlds_without_an_effect_axes_are_told_at_the_stated_rate(codes: np.ndarray, seeds: int) -> None:
    """500 worlds whose rows are right at other places though at as many, with luck of seeds."""
    world = World(np.zeros(len(codes)), np.full(len(codes), seeds), luck_sd=0.1, clusters=25, mean_size=4)
    told, values = world_rates(world, codes, 500)
    most = 0.05 + 2.6 * np.sqrt(0.05 * 0.95 / 500)
    assert (told.mean(axis=0) <= most).all(), told.mean(axis=0)
    assert told.mean() > 0.01, "p is not merely large"
    # A ratio: where an axis comes out below zero, the whole is small too.
    assert (np.abs(values.mean(axis=0)) < 0.15).all(), values.mean(axis=0)


def test_an_axis_that_varies_with_one_that_matters_is_not_told_for_it() -> None:
    """b has its second value mostly where a has it: its share is large, and it does nothing."""
    codes = np.array([[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 1, 0], [1, 1, 0], [1, 1, 1], [1, 1, 2], [1, 0, 0]])
    world = World(0.6 * codes[:, 0], np.full(8, 3), luck_sd=0.05, clusters=25, mean_size=4)
    told, values = world_rates(world, codes, 300)
    assert values.mean(axis=0)[1] > 0.08
    assert told[:, 0].mean() > 0.95
    assert told[:, 1].mean() <= 0.05 + 2.6 * np.sqrt(0.05 * 0.95 / 300)


def test_planted_shares_are_found_and_their_intervals_hold_them() -> None:
    codes = crossed(2, 3, 2)
    world = World(codes @ np.array([0.4, 0.2, 0.0]), np.full(12, 3), luck_sd=0.1)
    means, luck = world.truth()
    exact = plain_scores(np.repeat(means, 3).tolist(), np.repeat(np.arange(12), 3).tolist())
    without, rng = found_in(codes, exact), np.random.default_rng(2)
    every = [found_in(codes, scores_of(world.panel(rng))) for _ in range(150)]
    total = without.sd**2 + luck + np.mean([each.queries * each.sd**2 for each in every])
    truth = np.array([each.value for each in without.axes]) * without.sd**2 / total
    held = [[t.low <= true <= t.high for t, true in zip(each.axes, truth, strict=True)] for each in every]
    values = [[t.value for t in each.axes] for each in every]
    assert np.mean(values, axis=0) == pytest.approx(truth, abs=0.03)
    assert (np.mean(held, axis=0) >= 0.89).all(), np.mean(held, axis=0)

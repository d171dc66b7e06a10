"""Searches of subsets as pure rules: played to their end on simulated games, killed anywhere, with failures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.game import games
from vprdist.files import canonical_json
from vprdist.game.state import Game, draw_until_settled, greedy_state, taken_contributions
from vprdist.search.methods.shapley import max_draws
from vprdist.search.subset_rule import SubsetRule
from vprdist.spec.subsets import SubsetSpec
from vprdist.spec.sweep import SweepSpec
from vprdist.spec.sweep_file import read_sweep

PLAYERS = ("building", "pole", "sky", "car")
WORTH = [0.2, 0.1, 0.0, -0.1]
SWEEP = """
trial: {input: {mode: masked}}
search:
  searcher: shapley
  num_trials: 140
  subsets: {classes: [building, pole, sky, car], tie: 0.03}
seeds: [5]
"""


class World:
    """Trials that are run: a value for each classes, mode and seed, with noise of its own."""

    def __init__(self, table: np.ndarray, noise: float = 0.01) -> None:
        self.table, self.noise = table, noise
        self.values: dict[str, float] = {}
        self.points: list[dict[str, Any]] = []

    def value_of(self, point: dict[str, Any]) -> float | None:
        return self.values.get(canonical_json(point))

    def run(self, point: dict[str, Any], failed: bool = False) -> None:
        key = canonical_json(point)
        assert key not in self.values, "a trial is run twice"
        subset = sum(1 << PLAYERS.index(name) for name in point.get("input.classes", []))
        luck = np.random.default_rng([point["seed"], subset]).standard_normal()
        self.values[key] = math.nan if failed else float(self.table[subset] + self.noise * luck)
        self.points.append(point)


def read(tmp_path: Path, *words: str) -> SweepSpec:
    (tmp_path / "mine.yaml").write_text(SWEEP)
    return read_sweep(tmp_path / "mine.yaml", words)


def finish(rule: SubsetRule, world: World, at_once: int = 1000) -> None:
    """Run what is wanted, so many at a time, until nothing is."""
    while wanted := [point for point in rule.wanted(world.value_of) if world.value_of(point) is None]:
        for point in wanted[:at_once]:
            world.run(point)


def game_of(world: World, **more: Any) -> Game:
    subsets = SubsetSpec(classes=PLAYERS, **more)
    return Game(subsets=subsets, setting={}, nobody=0.0, value_of=world.value_of)


def test_a_search_settles_the_ranking_and_stops(tmp_path):
    sweep, world = read(tmp_path), World(games.additive(WORTH))
    finish(SubsetRule(sweep), world)
    assert len(world.points) == 8 * 7, "the first look is enough for effects this large"
    assert {point["seed"] for point in world.points} == set(range(5, 13)), "each draw has a seed of its own"
    state = draw_until_settled(game_of(world, tie=0.03), order_seed=0, first_seed=5, max_draws=20)
    assert state.is_settled
    assert not state.wanted
    assert np.argsort(-state.contributions.mean(axis=0)).tolist() == [0, 1, 2, 3]
    assert state.contributions.mean(axis=0) == pytest.approx(WORTH, abs=0.02)


def test_a_ranking_that_cannot_be_settled_ends_with_the_trials_it_may_take(tmp_path):
    sweep, world = read(tmp_path, "search.subsets.tie=0.0001"), World(np.zeros(16), noise=0.05)
    finish(SubsetRule(sweep), world)
    assert max_draws(sweep) == 20
    assert len(world.points) == 20 * 7 == sweep.num_trials
    state = draw_until_settled(game_of(world, tie=0.0001), order_seed=0, first_seed=5, max_draws=20)
    assert not state.is_settled
    assert len(state.orders) == 20


def test_equal_classes_are_ties_and_the_search_stops(tmp_path):
    world = World(np.zeros(16), noise=0.005)
    finish(SubsetRule(read(tmp_path)), world)
    assert len(world.points) == 8 * 7


@pytest.mark.parametrize("searcher", ["shapley", "greedy"])
@pytest.mark.parametrize("at_once", [1, 3])
def test_a_search_that_was_killed_anywhere_asks_for_the_same_trials(tmp_path, searcher, at_once):
    words = [f"search.searcher={searcher}", "search.num_trials=140"]
    words += ["search.subsets={classes: [building, pole, sky, car]}"] if searcher == "greedy" else []
    sweep = read(tmp_path, *words)
    whole, halting = World(games.wild(4, 3) / 10), World(games.wild(4, 3) / 10)
    finish(SubsetRule(sweep), whole)
    finish(SubsetRule(sweep), halting, at_once)  # a rule knows nothing but the values: each round is a restart
    assert {canonical_json(p) for p in halting.points} == {canonical_json(p) for p in whole.points}


def test_every_setting_has_a_game_of_its_own_with_the_same_draws(tmp_path):
    sweep = read(tmp_path, "search.grid={network.unfreeze: [0-2, all]}", "search.num_trials=285")
    assert max_draws(sweep) == 20
    world = World(games.additive(WORTH))
    finish(SubsetRule(sweep), world)
    both = [[p for p in world.points if p["network.unfreeze"] == name] for name in ("0-2", "all")]
    assert len(both[0]) == 56
    assert [{**p, "network.unfreeze": "all"} for p in both[0]] == both[1]


def test_where_the_picture_stays_nobody_is_a_trial_of_mode_rgb(tmp_path):
    sweep = read(tmp_path, "trial.input.mode=rgb+mask")
    world = World(games.additive(WORTH))
    finish(SubsetRule(sweep), world)
    plain = [point for point in world.points if point.get("input.mode") == "rgb"]
    assert len(plain) == 8
    assert all("input.classes" not in point for point in plain)
    assert len(world.points) == 8 * 8


def test_a_draw_with_a_failed_trial_is_left_out_and_said(tmp_path):
    sweep, world = read(tmp_path), World(games.additive(WORTH))
    rule = SubsetRule(sweep)
    first = rule.wanted(world.value_of)
    for number, point in enumerate(first):
        world.run(point, failed=number == 10)
    state = draw_until_settled(game_of(world, tie=0.03), order_seed=0, first_seed=5, max_draws=20)
    assert state.failed == 1
    assert len(state.orders) == 7
    assert not np.isnan(state.contributions).any()


def test_what_nobody_is_worth_changes_no_ranking():
    """The searcher asks before anybody computed it."""
    world = World(games.wild(4, 1))
    low = game_of(world)
    for point in draw_until_settled(low, order_seed=0, first_seed=0, max_draws=8).wanted:
        world.run(point)
    high = Game(subsets=low.subsets, setting={}, nobody=0.4, value_of=world.value_of)
    found = [draw_until_settled(game, order_seed=0, first_seed=0, max_draws=8).contributions for game in (low, high)]
    assert found[0].mean(axis=0) - found[1].mean(axis=0) == pytest.approx([0.1] * 4), "a quarter of it for each of four"


def test_greedy_takes_the_mean_over_seeds_and_leaves_failures_out():
    world = World(games.additive(WORTH), noise=0.0)
    game, seeds = game_of(world), (0, 1)
    _, wanted = greedy_state(game, seeds)
    assert [(p["input.classes"], p["seed"]) for p in wanted] == [([n], s) for n in PLAYERS for s in seeds]
    for point in wanted:
        world.run(point, failed=point["input.classes"] == ["building"] and point["seed"] == 0)
    step, wanted = greedy_state(game, seeds)
    assert step.taken == (0,), "the seed that is left counts"
    assert {len(p["input.classes"]) for p in wanted} == {2}


@pytest.mark.parametrize("take", ["leave_one_out", "add_one_in"])
def test_taken_contributions_are_differences_within_a_seed(take):
    world = World(games.additive(WORTH), noise=0.02)
    game, seeds = game_of(world, take=take), (0, 1, 2)
    for subset in game.subsets.taken():
        for seed in seeds:
            if subset:
                world.run(game.point(subset, seed), failed=subset == 1 and seed == 1)
    found = taken_contributions(game, seeds)
    failed = take == "add_one_in"
    assert len(found) == (2 if failed else 3), "a seed of which a trial failed is left out"
    for row, seed in zip(found, (0, 2) if failed else seeds, strict=True):
        for player in range(4):
            if take == "leave_one_out":
                expected = game.value(15, seed) - game.value(15 ^ 1 << player, seed)
            else:
                expected = game.value(1 << player, seed) - 0.0
            assert row[player] == pytest.approx(expected)

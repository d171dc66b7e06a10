"""One network for all subsets: which arm a step shows, that its pictures pass through it, what changes nothing."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.making import (
    CPU,
    TwoRanks,
    check_same_weights,
    losses,
    make_cache,
    make_trial,
    run_here,
    weights_of,
)
from vprdist.data.graph import city_graph
from vprdist.data.layouts.msls import read_city
from vprdist.data.pairs import PairSampler
from vprdist.data.places import Side
from vprdist.distributed.ranks import Ranks
from vprdist.errors import Stopped
from vprdist.network.inputs import PlaceReader
from vprdist.network.model import build_network
from vprdist.semantics.placebo import layout, other_classes, other_image, scatter
from vprdist.spec.arms import Arm, ArmsSpec
from vprdist.spec.result import ResultRow
from vprdist.spec.trial import RunSpec, TrialSpec
from vprdist.spec.vocabulary import CLASSES
from vprdist.training.arms import arm_of_step
from vprdist.training.batches import PairImages
from vprdist.training.loop import Trainer
from vprdist.training.steps import RankParts, Steps

PLAYERS = (("building", "wall"), ("pole",), ("sky",), ("vegetation", "terrain"))
PLACEBOS = ("random", "image", "classes")
STEPS = 6000


def arm_trial(
    root: Path, cache: Path, mode: str = "masked", placebos: tuple[str, ...] = PLACEBOS, **train: object
) -> TrialSpec:
    """A trial as `make_trial` makes it, trained under arms of four players."""
    plain = make_trial(root, cache, mode)
    arms = ArmsSpec(players=PLAYERS, placebos=placebos)
    shown = plain.input.model_copy(update={"classes": arms.class_names, "mask_reduce": "sum"})
    changed = plain.train.model_copy(update={"arms": arms, **train})
    return TrialSpec.model_validate(plain.model_copy(update={"input": shown, "train": changed}))


def drawn(mode: str, placebos: tuple[str, ...] = PLACEBOS, seed: int = 0, count: int = STEPS) -> list[Arm]:
    arms = ArmsSpec(players=PLAYERS, placebos=placebos)
    values = {"mode": mode, "mask_reduce": "sum", "classes": arms.class_names}
    trial = TrialSpec.model_validate({"input": values, "train": {"arms": arms}, "seed": seed}, strict=False)
    found = [arm_of_step(trial, step) for step in range(count)]
    return [arm for arm in found if arm is not None]


def players_in(arm: Arm) -> frozenset[int]:
    return frozenset(i for i, names in enumerate(PLAYERS) if set(names) <= set(arm.classes))


def assert_even(found: Counter, words: int) -> None:
    """Chi-square, below what chance exceeds once in a hundred thousand times."""
    from scipy.stats import chi2

    assert len(found) == words, found
    expected = sum(found.values()) / words
    assert sum((count - expected) ** 2 for count in found.values()) / expected < chi2.ppf(1 - 1e-5, words - 1), found


@pytest.mark.parametrize(("mode", "sizes"), [("masked", (1, 2, 3, 4)), ("rgb+mask", (0, 1, 2, 3, 4))])
def test_sizes_come_equally_often_and_every_subset_of_a_size(mode: str, sizes: tuple[int, ...]) -> None:
    arms = drawn(mode)
    shown = [players_in(arm) for arm in arms]
    for arm, players in zip(arms, shown, strict=True):
        assert arm.classes == tuple(n for n in CLASSES if any(n in PLAYERS[i] for i in players)), "whole players"
    assert {len(players) for players in shown} == set(sizes)
    assert_even(Counter(len(players) for players in shown), len(sizes))
    for size in (1, 2, 3):
        every = [frozenset(some) for some in itertools.combinations(range(4), size)]
        found = Counter(players for players in shown if len(players) == size)
        assert set(found) == set(every)
        assert_even(found, len(every))


@pytest.mark.parametrize("placebos", [(), ("image",), PLACEBOS])
def test_half_of_the_steps_show_the_subsets_own_mask_and_placebos_share_the_rest(placebos: tuple[str, ...]) -> None:
    found = Counter(arm.placebo for arm in drawn("masked", placebos))
    if not placebos:
        assert set(found) == {"none"}
        return
    assert_even(Counter({"real": found["none"], "placebo": STEPS - found["none"]}), 2)
    del found["none"]
    assert set(found) == set(placebos)
    if len(placebos) > 1:
        assert_even(found, len(placebos))


def test_the_placebo_says_nothing_of_the_subset() -> None:
    arms = drawn("masked")
    by_size = [Counter(arm.placebo == "none" for arm in arms if len(players_in(arm)) == size) for size in (1, 2, 3, 4)]
    for found in by_size:
        assert_even(found, 2)


def test_an_arm_depends_on_seed_and_step_alone() -> None:
    arms = drawn("masked", count=200)
    assert arms == drawn("masked", count=200)
    assert arms[50:60] == drawn("masked", count=60)[50:]
    other = drawn("masked", seed=1, count=200)
    assert sum(one == two for one, two in zip(arms, other, strict=True)) < 60, "another seed, other arms"
    assert sum(one == two for one, two in itertools.pairwise(arms)) < 60, "another step, another arm"


def test_a_trial_without_arms_shows_its_own_mask() -> None:
    assert arm_of_step(TrialSpec(), 3) is None


def by_hand(trial: TrialSpec, stored: np.ndarray, side: Side, row: int, arm: Arm) -> np.ndarray:
    """(h, w) the mask of a picture under an arm, from the activations of its side as they were imported."""
    where = (trial.seed, side.city, side.side, str(side.keys[row]))
    classes = other_classes(arm.classes, trial.seed) if arm.placebo == "classes" else arm.classes
    of = other_image(len(side), row, *where) if arm.placebo == "image" else row
    total = stored[of, [CLASSES.index(name) for name in classes]].astype(np.int64).sum(axis=0)
    mask = np.minimum(total, 255).reshape(stored.shape[2:]) if classes else np.zeros(stored.shape[2:], np.int64)
    return scatter(mask, layout(*mask.shape, *where)) if arm.placebo == "random" else mask


@pytest.mark.parametrize("mode", ["masked", "rgb+mask"])
def test_the_pictures_of_a_step_are_shown_through_its_arm(small_tree: Path, tmp_path: Path, mode: str) -> None:
    trial = arm_trial(small_tree, make_cache(small_tree, tmp_path), mode, steps=24)
    city = read_city(small_tree, "ada")
    graph = city_graph(city, trial.data)
    steps = Steps(PairSampler([graph], trial.seed, trial.train.chunk_queries), trial.train)
    images = PairImages(PlaceReader(trial, (32, 40)), [city.sides])
    stored = {side.side: np.load(tmp_path / "npz" / f"ada_{side.side}.npz")["activations"] for side in city.sides}
    seen = set()
    for step, part in enumerate(RankParts(trial, steps, range(steps.count), CPU, [graph])):
        arm = arm_of_step(trial, step)
        assert part.arm == arm is not None
        seen.add((arm.placebo, bool(arm.classes)))
        batch = images[part]
        for side, rows, shown in (
            (city.query, part.pairs.query, batch.query), (city.database, part.pairs.database, batch.partner)
        ):  # fmt: skip
            expected = [by_hand(trial, stored[side.side], side, int(row), arm) for row in rows]
            assert np.array_equal(shown.extra[:, 0].numpy(), np.stack(expected)), arm
    assert {kind for kind, _ in seen} == {"none", *PLACEBOS}
    assert (False in {some for _, some in seen}) == (mode == "rgb+mask"), "nobody is an arm where the picture stays"


def test_a_resumed_step_has_its_arm(small_tree: Path, tmp_path: Path) -> None:
    trial = arm_trial(small_tree, make_cache(small_tree, tmp_path), steps=9)
    graph = city_graph(read_city(small_tree, "ada"), trial.data)
    steps = Steps(PairSampler([graph], trial.seed, trial.train.chunk_queries), trial.train)
    whole = [part.arm for part in RankParts(trial, steps, range(steps.count), CPU, [graph])]
    assert [part.arm for part in RankParts(trial, steps, range(5, steps.count), CPU, [graph])] == whole[5:]
    second = Ranks(1, 2, torch.device("cpu"))
    assert [part.arm for part in RankParts(trial, steps, range(steps.count), second, [graph])] == whole, (
        "ranks show the same arm"
    )


def test_a_resumed_run_under_arms_equals_an_uninterrupted_one(small_tree: Path, tmp_path: Path) -> None:
    trial = arm_trial(small_tree, make_cache(small_tree, tmp_path))
    whole = run_here(trial, tmp_path / "whole")
    assert whole.trial.train.arms == trial.train.arms
    for stop_at in (2, 2):
        cities, rows = [read_city(small_tree, "ada")], []
        cut = Trainer(
            trial, build_network(trial, None), cities, [city_graph(city, trial.data) for city in cities],
            PlaceReader(trial, (32, 40)), CPU, tmp_path / "cut", rows.append,
            lambda rows=rows, stop_at=stop_at: len(rows) >= stop_at,
        )  # fmt: skip
        with pytest.raises(Stopped):
            cut.run()
    resumed = run_here(trial, tmp_path / "cut")
    assert (resumed.metrics, resumed.final_loss) == (whole.metrics, whole.final_loss)
    check_same_weights(tmp_path / "whole", tmp_path / "cut", trial)


def test_workers_change_nothing_and_placebos_do(small_tree: Path, tmp_path: Path) -> None:
    trial = arm_trial(small_tree, make_cache(small_tree, tmp_path), steps=4)
    plain = run_here(trial, tmp_path / "plain")
    other = run_here(trial.model_copy(update={"run": RunSpec(log_steps=1, workers=2)}), tmp_path / "workers")
    assert losses(tmp_path / "workers") == losses(tmp_path / "plain")
    assert other.metrics == plain.metrics
    own = arm_trial(small_tree, tmp_path / "cache", placebos=(), steps=4)
    run_here(own, tmp_path / "own")
    assert losses(tmp_path / "own") != losses(tmp_path / "plain"), "steps really see their arms"


@pytest.mark.slow
def test_two_gloo_ranks_under_arms_equal_one(small_tree: Path, tmp_path: Path, two_ranks: TwoRanks) -> None:
    trial = arm_trial(small_tree, make_cache(small_tree, tmp_path), "rgb+mask", micro_pairs=1, steps=3)
    run_here(trial, tmp_path / "one")
    two_ranks.run((trial, tmp_path / "two"))
    assert ResultRow.model_validate_json((tmp_path / "two" / "result.json").read_text()).num_ranks == 2
    found, expected = losses(tmp_path / "two"), losses(tmp_path / "one")
    assert np.allclose([found[s] for s in expected], list(expected.values()), rtol=1e-4)
    still = build_network(trial, None).state_dict()
    mine, theirs = weights_of(tmp_path / "one", trial), weights_of(tmp_path / "two", trial)
    for name in mine:
        one_way, other_way = ((after[name] - still[name]).float() for after in (mine, theirs))
        assert torch.allclose(one_way, other_way, atol=0.2 * float(one_way.abs().max()) + 1e-6), name

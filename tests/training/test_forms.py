"""Trials under each form of the mask: what their readers give, what they train on, that a resumed one is exact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.making import CPU, losses, make_cache, make_trial, run_here, weights_of
from tests.training.test_arms import arm_trial
from tests.worlds import write_activations
from vprdist.data.graph import city_graph
from vprdist.data.layouts.msls import read_city
from vprdist.data.pairs import PairSampler
from vprdist.data.places import Side
from vprdist.network.inputs import PlaceReader
from vprdist.network.model import build_network
from vprdist.semantics.arms import masks_of
from vprdist.semantics.cache import open_cache
from vprdist.semantics.importing import import_cache
from vprdist.semantics.placebo import moved, other_image
from vprdist.spec.arms import Arm
from vprdist.spec.trial import TrialSpec
from vprdist.spec.vocabulary import CLASSES
from vprdist.training.arms import arm_of_step
from vprdist.training.batches import PairImages
from vprdist.training.steps import RankParts, Steps

BUILT = Arm(("building", "wall", "pole"))


def formed(root: Path, cache: Path, **form: object) -> TrialSpec:
    plain = make_trial(root, cache, "masked", steps=4)
    given = plain.input.model_copy(update={"mask_reduce": "sum", "classes": CLASSES, **form})
    return TrialSpec.model_validate(plain.model_copy(update={"input": given}))


def cache_of(root: Path, tmp_path: Path, change: Callable[[np.ndarray], np.ndarray]) -> Path:
    """A cache of the small tree whose activations are changed first."""
    write_activations(root, ("ada", "bob"), tmp_path / "npz")
    for path in (tmp_path / "npz").glob("*.npz"):
        content = dict(np.load(path))
        np.savez(path, **(content | {"activations": change(content["activations"])}))
    import_cache(tmp_path / "npz", root, tmp_path / "cache")
    return tmp_path / "cache"


def one_hot(activations: np.ndarray) -> np.ndarray:
    """Each pixel is of its likeliest class alone."""
    likeliest = activations.argmax(axis=1)[:, None]
    return np.where(np.arange(19)[None, :, None, None] == likeliest, 255, 0).astype(np.uint8)


def stored(tmp_path: Path, side: Side) -> np.ndarray:
    return np.load(tmp_path / "npz" / f"{side.city}_{side.side}.npz")["activations"]


@pytest.mark.parametrize("placebo", ["none", "random", "image"])
def test_at_the_features_masks_are_plain_sums_of_maps_and_so_are_placebos(
    small_tree: Path, tmp_path: Path, placebo: str
) -> None:
    cache = cache_of(small_tree, tmp_path, lambda given: 5 * given)
    trial = formed(small_tree, cache, mask_at="features")
    side = read_city(small_tree, "ada").query
    reader, masks = PlaceReader(trial, (32, 40)), masks_of(trial.input, trial.seed, open_cache(cache))
    activations = stored(tmp_path, side)
    assert (activations.sum(axis=1) > 255).any(), "there is something that a clipped sum would lose"
    for row in range(len(side)):
        where = (trial.seed, side.city, side.side, str(side.keys[row]))
        maps = activations[other_image(len(side), row, *where) if placebo == "image" else row]
        if placebo == "random":
            maps = moved(maps, *where)
        assert np.array_equal(masks.maps(side, row, placebo), maps)  # type: ignore[arg-type]
        for classes in (CLASSES, BUILT.classes):
            total = maps[[CLASSES.index(name) for name in classes]].astype(int).sum(axis=0)
            _, extra = reader.read_arms(side, row, [Arm(classes, placebo)])  # type: ignore[arg-type]
            assert extra is not None and np.array_equal(extra[0], total)


def test_a_step_shows_an_outline_where_its_arm_is_one(small_tree: Path, tmp_path: Path) -> None:
    trial = arm_trial(small_tree, make_cache(small_tree, tmp_path), placebos=("random", "outline"), steps=16)
    city = read_city(small_tree, "ada")
    graph = city_graph(city, trial.data)
    steps = Steps(PairSampler([graph], trial.seed, trial.train.chunk_queries), trial.train)
    images, seen = PairImages(PlaceReader(trial, (32, 40)), [city.sides]), set()
    network = build_network(trial, None).eval()
    for step, part in enumerate(RankParts(trial, steps, range(steps.count), CPU, [graph])):
        arm, batch = arm_of_step(trial, step), images[part]
        assert arm is not None and batch.query.outline == batch.partner.outline == (arm.placebo == "outline")
        assert batch.query.part(slice(0, 1)).to(CPU.device).outline == batch.query.outline
        found = network(batch.query.image, batch.query.extra, batch.query.outline)
        hidden = network(255 - batch.query.image, batch.query.extra, batch.query.outline)
        assert torch.equal(found, hidden) == (arm.placebo == "outline"), "the pictures are nowhere to be seen"
        seen.add(arm.placebo)
    assert seen == {"none", "random", "outline"}


@pytest.mark.parametrize(
    "form", [{"mask_fill": "noise"}, {"mask_fill": "blur", "placebo": "outline"}, {"mask_at": "features"}], ids=str
)
def test_a_trial_of_a_form_trains_and_its_form_is_what_it_trained_under(
    small_tree: Path, tmp_path: Path, form: dict[str, object]
) -> None:
    cache = make_cache(small_tree, tmp_path)
    some = {"classes": BUILT.classes}
    row = run_here(formed(small_tree, cache, **some, **form), tmp_path / "form")
    run_here(formed(small_tree, cache, **some), tmp_path / "black")
    assert row.trial.input.form == (form.get("mask_fill") or "features")
    assert losses(tmp_path / "form") != losses(tmp_path / "black")
    again = run_here(formed(small_tree, cache, **some, **form), tmp_path / "again")
    assert (again.metrics, losses(tmp_path / "again")) == (row.metrics, losses(tmp_path / "form"))


def test_a_mask_of_everything_at_the_features_trains_the_network_that_rgb_does(
    small_tree: Path, tmp_path: Path
) -> None:
    """One-hot maps sum to one everywhere: with all classes every place has a weight of one."""
    trial = formed(small_tree, cache_of(small_tree, tmp_path, one_hot), mask_at="features")
    rgb = make_trial(small_tree, None, "rgb", steps=4)
    assert run_here(trial, tmp_path / "all").metrics == run_here(rgb, tmp_path / "rgb").metrics
    assert losses(tmp_path / "all") == losses(tmp_path / "rgb"), "to the bit"
    mine, theirs = weights_of(tmp_path / "all", trial), weights_of(tmp_path / "rgb", rgb)
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs) and mine.keys() == theirs.keys()

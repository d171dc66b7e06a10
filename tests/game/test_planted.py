"""Attribution against a planted truth: small rendered cities, pictures under `sum` masks, plain descriptors.

One world a draw: the intervals hold the luck of the world, of its queries, and of the order.
"""

from __future__ import annotations

import numpy as np
import pytest

from vprdist.demo import render, visits
from vprdist.game.contributions import contributions
from vprdist.game.draws import backward_subsets, draw_orders, forward_subsets
from vprdist.game.estimate import Estimate, estimate
from vprdist.spec.demo import DemoSpec, PlantedSpec
from vprdist.spec.vocabulary import CLASSES

PLAYERS = ("building", "road", "vegetation", "car")
BLOCK = 8
"""Pixels of a descriptor's cell, in each direction."""


def pictures(spec: DemoSpec, side: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """RGB (N, H, W, 3) in [0, 1], the players' activations (N, players, H, W), and (street, place) of each picture."""
    found = [(d, p, render.render(spec, d, p)) for d in visits.visits(spec, "elm", side) for p in visits.poses(spec, d)]
    rgb = np.stack([picture.rgb for *_, picture in found]) / np.float32(255)
    cover = np.stack([picture.cover[[CLASSES.index(name) for name in PLAYERS]] for *_, picture in found])
    return rgb, cover, np.array([(drive.street, pose.place) for drive, pose, _ in found])


def describe(rgb: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(N, D): colours under the mask about their mean, in cells."""
    weight = mask[..., None]
    area = np.maximum(weight.sum(axis=(1, 2), keepdims=True), 1e-6)
    centred = (rgb - (rgb * weight).sum(axis=(1, 2), keepdims=True) / area) * weight
    count, height, width, _ = centred.shape
    cells = centred.reshape(count, height // BLOCK, BLOCK, width // BLOCK, BLOCK, 3).mean(axis=(2, 4))
    return cells.reshape(count, -1)


def recalls(planted: PlantedSpec, seed: int) -> np.ndarray:
    """(2^players,) recall@1 of every subset in a world of its own; of the empty one, chance."""
    spec = DemoSpec(
        seed=seed, height=48, width=64, supersample=1, train=(), validate_cities=("elm",), streets=3, places=8,
        query_visits=2, strays=0, pano_share=0.0, planted=planted,
    )  # fmt: skip
    asked, gallery = pictures(spec, "query"), pictures(spec, "database")
    apart = np.abs(asked[2][:, None] - gallery[2][None])
    right = (apart[..., 0] == 0) & (apart[..., 1] <= 2)
    out = [right.mean()]
    for subset in range(1, 2 ** len(PLAYERS)):
        there = [i for i in range(len(PLAYERS)) if subset >> i & 1]
        query, database = (describe(rgb, cover[:, there].sum(axis=1)) for rgb, cover, _ in (asked, gallery))
        middle = database.mean(axis=0)
        units = [(rows - middle) / np.maximum(np.linalg.norm(rows - middle, axis=1, keepdims=True), 1e-9)
                 for rows in (query, database)]  # fmt: skip
        nearest = (units[0] @ units[1].T).argmax(axis=1)
        out.append(right[np.arange(len(right)), nearest].mean())
    return np.array(out)


def attribute(planted: PlantedSpec, worlds: int) -> Estimate:
    """The estimate from so many draws."""
    tables = np.array([recalls(planted, seed) for seed in range(worlds)])
    orders = draw_orders(len(PLAYERS), worlds, seed=0)
    each = np.arange(worlds)[:, None]
    rows = contributions(orders, tables[each, forward_subsets(orders)], tables[each, backward_subsets(orders)])
    return estimate(rows)


@pytest.mark.slow
def test_planted_effects_are_found_with_their_signs_and_in_their_order():
    planted = PlantedSpec(carry={"building": 1.0, "road": 1.0}, mislead=("vegetation",), noise=("car",))
    found = attribute(planted, worlds=12)
    assert found.claims(0.95)[:3].tolist() == [1, 1, -1]
    assert found.claims(0.95)[3] < 1, "noise never helps"
    assert np.argsort(-found.values).tolist() == [0, 1, 3, 2]


@pytest.mark.slow
def test_in_a_world_without_effects_none_is_found():
    found = attribute(PlantedSpec(noise=PLAYERS), worlds=8)
    assert found.claims(0.95).tolist() == [0, 0, 0, 0]

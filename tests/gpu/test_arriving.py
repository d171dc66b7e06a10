"""Pictures on their way to a GPU: what is described is what the network says of them, and nobody waits on the way."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.training.making import make_cache, make_trial
from vprdist.data.layouts.msls import read_city
from vprdist.distributed.ranks import Ranks
from vprdist.evaluation import descriptors
from vprdist.evaluation.descriptors import describe, describe_arms
from vprdist.network.inputs import PlaceReader
from vprdist.network.model import build_network, set_mode
from vprdist.spec.arms import Arm

GPU = Ranks(0, 1, torch.device("cuda", 0))


def world(small_tree, cache=None, mode="rgb"):
    trial = make_trial(small_tree, cache, mode)
    network = build_network(trial, None).to(GPU.device)
    set_mode(network, "frozen", training=False)
    city = read_city(small_tree, "bob")
    return network, PlaceReader(trial, (32, 40)), [(side, np.arange(len(side))) for side in city.sides]


@pytest.mark.parametrize("workers", [0, 2])
def test_descriptors_are_those_of_batches_one_after_the_other(small_tree, monkeypatch, workers):
    monkeypatch.setattr(descriptors, "BATCH_IMAGES", 2)  # more batches than are ever on their way
    network, reader, wanted = world(small_tree)
    found = describe(network, reader, wanted, GPU, workers).values_ND
    pictures = [reader.read(side, row)[0] for side, rows in wanted for row in rows.tolist()]
    assert len(pictures) > 8
    with torch.inference_mode():
        for begin in range(0, len(pictures), 2):
            images = torch.stack([picture.permute(1, 2, 0) for picture in pictures[begin : begin + 2]])
            slow = network(images.permute(0, 3, 1, 2).to(GPU.device)).cpu().numpy()
            assert np.array_equal(found[begin : begin + 2], slow), begin


def test_masks_arrive_as_well(small_tree, tmp_path, monkeypatch):
    monkeypatch.setattr(descriptors, "BATCH_IMAGES", 2)
    network, reader, wanted = world(small_tree, make_cache(small_tree, tmp_path), "masked")
    arms = [Arm(("pole",)), Arm(("road", "building"))]
    ahead = describe_arms(network, reader, wanted, arms, GPU)
    for arm, found in zip(arms, ahead, strict=True):
        (alone,) = describe_arms(network, reader, wanted, [arm], GPU, workers=1)
        assert np.array_equal(found.values_ND, alone.values_ND)


def test_a_descriptor_that_is_not_finite_is_found_however_late_it_comes(small_tree, monkeypatch):
    monkeypatch.setattr(descriptors, "BATCH_IMAGES", 2)
    network, reader, wanted = world(small_tree)
    next(iter(network.units.values())).weight.data.fill_(float("nan"))
    with pytest.raises(Exception, match="descriptors must be finite"):
        describe(network, reader, wanted, GPU)

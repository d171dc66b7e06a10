"""Sums of classes, and a form of the mask at the features, on a GPU: what the CPU finds."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.evaluation.test_arms import arm_trial
from tests.training.making import make_cache
from vprdist.data.layouts.msls import read_city
from vprdist.evaluation.retrieve import retrieve
from vprdist.network.inputs import PlaceReader
from vprdist.network.model import build_network, set_mode
from vprdist.probes.pooled import Pooled, neighbours_on, width_of
from vprdist.probes.sums import Sums, make_sums
from vprdist.spec.arms import Arm
from vprdist.spec.trial import TrialSpec

ARMS = [Arm(("building",)), Arm(("building", "pole"), "random"), Arm(("sky",), "image"), Arm(())]


def trial_at_features(root: Path, folder: Path) -> TrialSpec:
    trial = arm_trial(root, make_cache(root, folder))
    shown = trial.input.model_copy(update={"mask_at": "features"})
    return TrialSpec.model_validate(trial.model_copy(update={"input": shown}))


def test_descriptors_from_sums_made_on_a_gpu_are_those_of_the_cpu(small_tree, tmp_path):
    trial = trial_at_features(small_tree, tmp_path)
    network = build_network(trial, None)
    set_mode(network, trial.train.batch_norm, training=False)
    reader, side = PlaceReader(trial, trial.train.image_size), read_city(small_tree, "bob").query
    found = {}
    for device in ("cpu", "cuda"):
        here = copy.deepcopy(network).to(device)
        width = width_of(here, reader.image_size)
        sums = Sums(
            tmp_path / device, [(side, np.arange(len(side)))], reader.classes, width, ("none", "random", "image")
        )
        make_sums(sums, here, reader, 0, turn=0, device=device, check=lambda: None)
        found[device] = [each.values_ND.copy() for each in Pooled(here, sums, trial.seed).descriptors(ARMS)]
    for arm, here, there in zip(ARMS, found["cpu"], found["cuda"], strict=True):
        assert np.abs(here - there).max() < 1e-3, arm  # convolutions of a GPU round otherwise


def test_masks_at_the_features_weigh_on_a_gpu_as_on_a_cpu_and_ones_are_rgb_to_the_bit(small_tree, tmp_path):
    trial = trial_at_features(small_tree, tmp_path)
    network = build_network(trial, None)
    set_mode(network, trial.train.batch_norm, training=False)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (3, 3, 32, 40), generator=generator, dtype=torch.uint8)
    masks = torch.randint(0, 200, (3, 1, 16, 20), generator=generator, dtype=torch.int16)
    with torch.inference_mode():
        here = network(images, masks)
        on_gpu = network.cuda()
        images, masks = images.cuda(), masks.cuda()
        assert (on_gpu(images, masks).cpu() - here).abs().max() < 1e-3
        ones = torch.full_like(masks, network.stem.full)
        features = on_gpu.features(images, ones).last
        plain = torch.nn.functional.normalize(on_gpu.pool(features, token=None, weights=None), dim=1)
        assert torch.equal(on_gpu(images, ones), plain)


@pytest.mark.parametrize("ties", [False, True])
def test_what_a_gpu_proposes_is_ranked_as_ever(ties):
    rng = np.random.default_rng(0)
    gallery = rng.standard_normal((2000, 16)).astype(np.float32)
    gallery = gallery[rng.integers(0, 40, 2000)] if ties else gallery
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    query = gallery[:1500] + 0.01 * rng.standard_normal((1500, 16)).astype(np.float32)
    near = neighbours_on(torch.device("cuda"))
    assert np.array_equal(retrieve(query, gallery, 20, neighbours=near), retrieve(query, gallery, 20))

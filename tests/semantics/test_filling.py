"""Masked pictures of pages are what the stem of a job shows, in every form."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch

from vprdist.network.fill import filled as filled_by_torch
from vprdist.network.stem import IMAGENET_MEAN
from vprdist.semantics.filling import MEAN, filled
from vprdist.spec.doors import BackboneName
from vprdist.spec.vocabulary import MaskFill


@pytest.mark.parametrize("size", [(48, 64), (33, 47), (5, 90), (1, 1)])
@pytest.mark.parametrize("outline", [False, True])
@pytest.mark.parametrize("fill", get_args(MaskFill))
def test_a_page_fills_as_a_network_does(fill, outline, size):
    rng = np.random.default_rng(sum(size))
    pixels = rng.integers(0, 256, (*size, 3), np.uint8)
    mask = rng.random((*size, 1)).astype(np.float32)
    mask[: size[0] // 2] = rng.integers(0, 2)
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    mean = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
    wanted = filled_by_torch(
        image / 255, image, torch.from_numpy(mask).permute(2, 0, 1)[None], fill, mean, outline
    )  # fmt: skip
    found = filled(pixels, mask, fill, outline)
    assert found.shape == pixels.shape and np.abs(found - 255 * wanted[0].permute(1, 2, 0).numpy()).max() < 1e-2
    assert MEAN == IMAGENET_MEAN


def test_mean_is_the_networks_own_colour():
    pixels, none = np.full((4, 4, 3), 7, np.uint8), np.zeros((4, 4, 1), np.float32)
    assert np.allclose(filled(pixels, none, "mean", mean=(0.5, 0.25, 1)), [127.5, 63.75, 255])
    assert np.allclose(filled(pixels, none, "mean", mean=None), np.array(MEAN) * 255), (
        "shown, and said to be not its own"
    )
    assert BackboneName.of("resnet18").mean == MEAN
    assert BackboneName.of("onnx", file="net.onnx", mean=[0.5, 0.25, 1.0]).mean == (0.5, 0.25, 1.0)
    assert BackboneName.of("timm", model="vit_base_patch16_224").mean is None, "timm's configuration says it"


def test_the_picture_itself_is_left_as_it_was():
    pixels = np.full((4, 4, 3), 7, np.uint8)
    for fill in get_args(MaskFill):
        assert (filled(pixels, np.ones((4, 4, 1), np.float32), fill) == 7).all()
    assert (pixels == 7).all()

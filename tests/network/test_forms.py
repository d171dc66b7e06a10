"""The forms of a mask: what stands where it is zero, its outline alone, and its weights on the features."""

from __future__ import annotations

import itertools
from typing import get_args

import numpy as np
import pytest
import torch

from vprdist.network.fill import BLUR_CELLS, blurred, noise
from vprdist.network.model import PlaceNetwork, build_network
from vprdist.network.stem import InputStem
from vprdist.semantics.masks import FULL
from vprdist.semantics.resize import resize_area
from vprdist.spec.input import InputSpec
from vprdist.spec.network import NetworkSpec
from vprdist.spec.trial import Digests, TrialSpec
from vprdist.spec.vocabulary import MaskFill

FILLS: tuple[MaskFill, ...] = get_args(MaskFill)
RNG = np.random.default_rng(5)
IMAGES = torch.from_numpy(RNG.integers(0, 256, (3, 3, 48, 64), np.uint8))
LEVELS = torch.from_numpy(RNG.integers(0, 256, (3, 1, 12, 16), np.uint8))


def network(**given: object) -> PlaceNetwork:
    trial = TrialSpec(
        input=InputSpec(**given),  # type: ignore[arg-type]
        network=NetworkSpec(backbone="resnet18", weights="none"),
    )
    digests = Digests(dataset="d", cache="c", weights="none")
    return build_network(trial.resolved(digests), None).eval()


@pytest.mark.parametrize("fill", FILLS)
def test_a_mask_of_ones_shows_the_picture_to_the_bit(fill: MaskFill) -> None:
    ones = torch.full_like(LEVELS, FULL)
    assert torch.equal(InputStem("masked", fill=fill)(IMAGES, ones), InputStem("rgb")(IMAGES, None))


def test_black_is_the_picture_times_the_mask_to_the_bit() -> None:
    stem = InputStem("masked")
    mask = stem.placed(LEVELS, (48, 64))
    assert torch.equal(stem(IMAGES, LEVELS), (IMAGES.float() / 255 * mask - stem.mean) / stem.std)


def _slow_fill(image_3HW: np.ndarray, fill: MaskFill) -> np.ndarray:
    """(3, H, W) float64, or what a fill is, pixel for pixel."""
    out = np.zeros(image_3HW.shape)
    _, height, width = image_3HW.shape
    for channel in range(3):
        if fill == "mean":
            out[channel] = (0.485, 0.456, 0.406)[channel]
        if fill == "picture_mean":
            out[channel] = sum(int(v) for v in image_3HW[channel].ravel()) / (255 * height * width)
    if fill == "noise":
        flat, word = [int(v) for v in image_3HW.ravel()], 0xFFFFFFFF

        def mixed(value: int) -> int:
            for _ in range(2):
                value = ((value ^ (value >> 16)) * 0x45D9F3B) & word
            return value ^ (value >> 16)

        key = sum(value * (mixed(place) & 0xFFFF) for place, value in enumerate(flat)) & word
        found = [(mixed(mixed(key) ^ place) & 0xFF) / 255 for place in range(len(flat))]
        out = np.array(found).reshape(image_3HW.shape)
    return out


@pytest.mark.parametrize("fill", [fill for fill in FILLS if fill != "blur"])
@pytest.mark.parametrize("outline", [False, True])
def test_what_is_hidden_is_filled_as_a_slow_loop_fills_it(fill: MaskFill, outline: bool) -> None:
    stem = InputStem("masked", fill=fill)
    mask = stem.placed(LEVELS, (48, 64)).numpy().astype(np.float64)
    found = stem.shown(IMAGES, LEVELS, outline).numpy()
    for number, image_3HW in enumerate(IMAGES.numpy()):
        inside = np.ones(image_3HW.shape) if outline else image_3HW / 255
        wanted = inside * mask[number] + _slow_fill(image_3HW, fill) * (1 - mask[number])
        np.testing.assert_allclose(found[number], wanted, atol=2e-7)


def test_a_blur_is_the_means_of_the_parts_of_a_picture_and_lines_between_their_centres() -> None:
    image = IMAGES[:1].double() / 255
    found = blurred(image)[0].numpy()
    rows, columns = BLUR_CELLS, round(BLUR_CELLS * 64 / 48)
    means = np.zeros((3, rows, columns))
    for row, column in itertools.product(range(rows), range(columns)):
        top, bottom = row * 48 // rows, -(-(row + 1) * 48 // rows)
        left, right = column * 64 // columns, -(-(column + 1) * 64 // columns)
        means[:, row, column] = image[0, :, top:bottom, left:right].mean(dim=(1, 2))
    for y, x in ((0, 0), (20, 33), (47, 63), (5, 60)):
        at = [
            np.clip((pixel + 0.5) * count / length - 0.5, 0, count - 1)
            for pixel, count, length in ((y, rows, 48), (x, columns, 64))
        ]
        value = np.zeros(3)
        for row, column in itertools.product(range(rows), range(columns)):
            value += max(0, 1 - abs(at[0] - row)) * max(0, 1 - abs(at[1] - column)) * means[:, row, column]
        np.testing.assert_allclose(found[:, y, x], value, atol=1e-12)


def test_noise_is_the_pictures_own_even_and_without_a_pattern() -> None:
    again, other = noise(IMAGES.clone()), noise(IMAGES.flip(3))
    assert torch.equal(noise(IMAGES.contiguous(memory_format=torch.channels_last)), again), "whatever the layout"
    assert torch.equal(noise(IMAGES[1:2]), again[1:2]), "whatever stands beside it in the batch"
    assert (again[0] == again[1]).float().mean() < 0.01 and (again == other).float().mean() < 0.01
    large = noise(torch.zeros(1, 3, 240, 320, dtype=torch.uint8)).numpy()
    counts = np.bincount(large.ravel(), minlength=256)
    assert ((counts - large.size / 256) ** 2 / (large.size / 256)).sum() < 350, "chi2 of 255: 350 has p of 1e-4"
    assert abs(np.corrcoef(large[..., 1:].ravel(), large[..., :-1].ravel())[0, 1]) < 0.01


def test_an_outline_shows_nothing_of_the_picture_inside() -> None:
    changed = IMAGES.clone()
    changed[:, :, :24] = 255 - changed[:, :, :24]
    half = torch.zeros(3, 1, 48, 64, dtype=torch.uint8)
    half[:, :, :24] = FULL
    stem = InputStem("masked", fill="black", outline=True)
    assert torch.equal(stem(IMAGES, half), stem(changed, half)), "the trial's own word"
    assert not torch.equal(stem(IMAGES, half, False), stem(changed, half, False)), "a step's arm has the last word"


@pytest.mark.parametrize("grid", ["cells", "corners"])
def test_weights_are_the_exact_means_of_the_mask_over_each_place_of_the_features(grid: str) -> None:
    stem = InputStem("masked", grid=grid, fill=None)  # type: ignore[arg-type]
    for size in ((3, 4), (5, 7), (12, 16), (13, 30), (1, 1)):
        found = stem.weights(LEVELS, size)
        assert found.shape == (3, 1, *size) and found.dtype == torch.float32
        assert torch.equal(stem.weights(torch.full_like(LEVELS, FULL), size), torch.ones(3, 1, *size)), "to the bit"
        for number, levels in enumerate(LEVELS.numpy()):
            # Both answer with means of areas; that of the resizing is rounded to a byte.
            wanted = resize_area(levels, size, grid)  # type: ignore[arg-type]
            np.testing.assert_allclose(255 * found[number], wanted, atol=0.5 + 1e-4)
    if grid == "cells":
        slow = LEVELS.numpy().reshape(3, 1, 3, 4, 4, 4).mean(axis=(3, 5)) / 255
        np.testing.assert_allclose(stem.weights(LEVELS, (3, 4)), slow, rtol=1e-7)


def test_at_the_features_a_mask_of_ones_describes_as_rgb_does_to_the_bit() -> None:
    ones = torch.full((3, 1, 12, 16), 10 * FULL, dtype=torch.int16)
    with torch.no_grad():
        found = network(mode="masked", mask_at="features", mask_reduce="mean")(IMAGES, ones)
        assert torch.equal(found, network()(IMAGES))
        assert not torch.equal(found, network(mode="masked", mask_at="features")(IMAGES, LEVELS.short()))


def test_at_the_features_the_weights_of_a_mask_have_no_scale() -> None:
    with torch.no_grad():
        mean = network(mode="masked", mask_at="features", mask_reduce="mean")(IMAGES, LEVELS.short())
        total = network(mode="masked", mask_at="features", mask_reduce="sum")(IMAGES, LEVELS.short())
    torch.testing.assert_close(mean, total, rtol=0, atol=1e-6)


def test_at_the_features_an_empty_mask_gives_one_descriptor_and_a_gradient_that_is_finite() -> None:
    net = network(mode="masked", mask_at="features").train()
    levels = LEVELS.short()
    levels[:2] = 0
    found = net(IMAGES, levels)
    assert torch.equal(found[0], found[1]) and torch.isfinite(found).all()
    assert not torch.equal(found[0], found[2])
    found.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)


def test_at_the_features_only_what_the_mask_shows_counts() -> None:
    """Features of a first half that no receptive field of the second reaches: 1x1 convolutions alone."""
    net = network(mode="masked", mask_at="features")
    levels = torch.zeros(3, 1, 12, 16, dtype=torch.int16)
    levels[..., :8] = 10 * FULL
    grown = torch.rand(3, 512, 6, 8)
    other = grown.clone()
    other[..., 4:] += 1
    weights = net.stem.weights(levels, (6, 8))
    assert torch.equal(net.pool(grown, weights=weights), net.pool(other, weights=weights))
    assert not torch.equal(net.pool(grown), net.pool(other))

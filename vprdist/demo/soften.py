"""Soft activations: what a good segmenter would answer for a picture whose true labels are known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vprdist.demo.looks import Floats

CONFUSIONS = ((0, 1), (2, 3), (3, 4), (8, 9), (13, 14), (14, 15), (15, 16), (11, 12), (17, 18), (5, 2), (6, 7))
"""Pairs of trainIds that segmenters take for each other."""


def activations(cover: Floats, divisor: int, seed: int) -> NDArray[np.uint8]:
    """(19, H, W) shares of classes give (19, H/divisor, W/divisor) uint8 whose 19 values sum to about 255.

    The shares are averaged, blurred as a network's upsampled logits are, leaked between classes that look alike,
    and shaken by smooth noise, so that borders wander and small things are sometimes missed.
    """
    classes, height, width = cover.shape
    h, w = height // divisor, width // divisor
    coarse = np.zeros((classes, h, w), np.float32)
    for k in range(divisor * divisor):
        coarse += cover[:, k // divisor :: divisor, k % divisor :: divisor]
    coarse /= divisor * divisor
    rng = np.random.default_rng(seed + 1)
    sigma = 0.55 * h / 48
    present = np.flatnonzero(coarse.any((1, 2)))
    soft = np.zeros((classes, h, w), np.float32)
    for c in present:
        soft[c] = ndimage.gaussian_filter(coarse[c], sigma, mode="nearest")
    leak = soft * np.float32(0.97)
    for a, b in CONFUSIONS:
        leak[a] += np.float32(0.03) * soft[b]
        leak[b] += np.float32(0.03) * soft[a]
    logits = np.log(leak + np.float32(0.002))
    kinds = np.flatnonzero(leak.any((1, 2)))
    shaken = ndimage.gaussian_filter(rng.standard_normal((len(kinds), h, w), np.float32), (0, 2 * sigma, 2 * sigma))
    logits[kinds] += shaken * np.float32(0.55 / max(float(shaken.std()), 1e-6))
    strength = np.exp(1.25 * (logits - logits.max(0)))
    likely = strength / strength.sum(0)
    result: NDArray[np.uint8] = (likely * 255 + 0.5).astype(np.uint8)
    return result

"""Activations and masks at another size, from where their points lie on the picture (`spec.vocabulary.Grid`)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from vprdist.semantics.masks import Activations, Mask
from vprdist.spec.vocabulary import Grid

Weights = npt.NDArray[np.float64]


def resize_area(activations_CHW: Activations, size: tuple[int, int], grid: Grid = "cells") -> Activations:
    """The means over equal parts of the picture: the answer always lies as `cells`.

    Points that lie as `cells` are constant over their part of the picture. Between `corners` activations change
    linearly, from one edge of the picture to the other. All sums are whole numbers and only the last step rounds (half
    up), so the bytes are the same on every machine. Averaging keeps what activations are: those of a pixel still sum to
    about 255.

    Args:
        activations_CHW: (C, H, W) uint8.
        size: wanted (h, w); larger than the input works too.
        grid: how the input lies.

    Returns:
        (C, h, w) uint8.
    """
    if grid == "cells" and activations_CHW.shape[-2:] == size:
        return activations_CHW
    sums, area = activations_CHW.astype(np.int64), 1
    for axis, wanted in enumerate(size, start=1):
        sums, length = _sum_areas(sums, axis, wanted, grid)
        area *= length
    means: Activations = ((sums + area // 2) // area).astype(np.uint8)
    return means


def placed(activations_CHW: Activations, size: tuple[int, int], grid: Grid) -> Activations:
    """Activations at the pixels of their picture: bilinear where they grow, by area where they shrink.

    Args:
        activations_CHW: (C, h, w) uint8.
        size: (H, W) of the picture.
        grid: how they lie.

    Returns:
        (C, H, W) uint8.
    """
    height, width = activations_CHW.shape[1:]
    if size[0] <= height and size[1] <= width:
        return resize_area(activations_CHW, size, grid)
    if grid == "corners":
        rows, columns = pixel_weights(height, size[0], grid), pixel_weights(width, size[1], grid)
        found: Activations = np.floor(rows @ activations_CHW @ columns.T + 0.5).astype(np.uint8)
        return found
    planes = [Image.fromarray(plane).resize(size[::-1], Image.Resampling.BILINEAR) for plane in activations_CHW]
    return np.stack([np.asarray(plane) for plane in planes])


def placed_mask(mask_hw: Mask, size: tuple[int, int], grid: Grid) -> Mask:
    """A mask at the pixels of its picture, (H, W) float32; as `placed`, and nothing is rounded."""
    height, width = mask_hw.shape
    found = pixel_weights(height, size[0], grid) @ mask_hw @ pixel_weights(width, size[1], grid).T
    return found.astype(np.float32)


def pixel_weights(count: int, pixels: int, grid: Grid) -> Weights:
    """(pixels, count): how much each of the points of an axis counts at each of its pixels; rows sum to 1."""
    if pixels <= count:
        return area_weights(count, pixels, grid)
    if grid == "corners":
        at = np.linspace(0, count - 1, pixels)
    else:  # before the first and behind the last centre their values go on
        at = ((np.arange(pixels) + 0.5) * count / pixels - 0.5).clip(0, count - 1)
    return np.maximum(0.0, 1.0 - np.abs(at[:, None] - np.arange(count)))


def area_weights(count: int, parts: int, grid: Grid) -> Weights:
    """(parts, count): how much each of the points of an axis counts in the mean over each equal part of it."""
    sums, length = _sum_areas(np.eye(count, dtype=np.int64), 0, parts, grid)
    weights: Weights = sums / length
    return weights


def point_shares(size: tuple[int, int], grid: Grid) -> Weights:
    """(h, w): the share of the picture that each point stands for; they sum to 1."""
    shares: Weights = np.outer(area_weights(size[0], 1, grid), area_weights(size[1], 1, grid))
    return shares


def _sum_areas(values: npt.NDArray[np.int64], axis: int, wanted: int, grid: Grid) -> tuple[npt.NDArray[np.int64], int]:
    """Integrals over the `wanted` equal parts of an axis, and the length of a part, both in the same unit."""
    values = np.moveaxis(values, axis, 0)
    if grid == "corners" and len(values) > 1:
        running, length = _running_line(values, wanted), 2 * wanted * (len(values) - 1)
    else:
        running, length = _running_steps(values, wanted), len(values)
    return np.moveaxis(np.diff(running, axis=0), 0, axis), length


def _running_steps(values: npt.NDArray[np.int64], wanted: int) -> npt.NDArray[np.int64]:
    """The integral of a step for each value, up to the edges of the parts, in units of 1/wanted of a step."""
    count = len(values)
    whole = np.zeros((count + 1, *values.shape[1:]), np.int64)
    np.cumsum(values, axis=0, out=whole[1:])
    step, share = np.divmod(np.arange(wanted + 1) * count, wanted)
    # At a fractional edge: the whole steps before it, and its share of the one it cuts.
    cut = values[np.minimum(step, count - 1)] * _column(share, values)
    running: npt.NDArray[np.int64] = wanted * whole[step] + cut
    return running


def _running_line(values: npt.NDArray[np.int64], wanted: int) -> npt.NDArray[np.int64]:
    """The same of the line through the values. Knots lie `wanted` apart, edges count - 1; doubled, all is whole."""
    knots = len(values) - 1
    whole = np.zeros((knots + 1, *values.shape[1:]), np.int64)
    np.cumsum(wanted * (values[:-1] + values[1:]), axis=0, out=whole[1:])
    knot, beyond = np.divmod(np.arange(wanted + 1) * knots, wanted)
    slope = values[np.minimum(knot + 1, knots)] - values[knot]
    beyond = _column(beyond, values)
    running: npt.NDArray[np.int64] = wanted * (whole[knot] + 2 * beyond * values[knot]) + beyond**2 * slope
    return running


def _column(numbers: npt.NDArray[np.int64], like: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return numbers.reshape(-1, *[1] * (like.ndim - 1))

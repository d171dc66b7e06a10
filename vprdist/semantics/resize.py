"""Changing the size of activations by exact area averaging: the same bytes on every machine."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vprdist.semantics.masks import Activations


def resize_area(activations_CHW: Activations, size: tuple[int, int]) -> Activations:
    """Each output pixel is the mean of the input area that it covers, partial pixels by their share.

    All sums are whole numbers and only the last step rounds (half up), so the result depends on no library's
    order of summation. Averaging keeps what activations are: those of a pixel still sum to about 255.

    Args:
        activations_CHW: (C, H, W) uint8.
        size: wanted (h, w); larger than the input works too, and repeats pixels.

    Returns:
        (C, h, w) uint8.
    """
    num_rows, num_columns = activations_CHW.shape[-2:]
    if (num_rows, num_columns) == size:
        return activations_CHW
    sums = _sum_areas(_sum_areas(activations_CHW.astype(np.int64), 1, size[0]), 2, size[1])
    area = num_rows * num_columns
    means: Activations = ((sums + area // 2) // area).astype(np.uint8)
    return means


def _sum_areas(values: npt.NDArray[np.int64], axis: int, wanted: int) -> npt.NDArray[np.int64]:
    """Sums over the `wanted` equal parts of an axis, in units of 1/wanted of an input cell."""
    values = np.moveaxis(values, axis, 0)
    count = len(values)
    running = np.zeros((count + 1, *values.shape[1:]), np.int64)
    np.cumsum(values, axis=0, out=running[1:])
    cell, share = np.divmod(np.arange(wanted + 1) * count, wanted)
    # The running sum at a fractional edge: whole cells before it, and its share of the cell it cuts.
    cut = values[np.minimum(cell, count - 1)] * share.reshape(-1, *[1] * (values.ndim - 1))
    return np.moveaxis(np.diff(wanted * running[cell] + cut, axis=0), 0, axis)

"""Masks of chosen classes: the reductions of the paper and of our class searches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from vprdist.spec.vocabulary import MaskReduce

Activations: TypeAlias = npt.NDArray[np.uint8]
Mask: TypeAlias = npt.NDArray[np.float32]
Levels: TypeAlias = npt.NDArray[Any]

REDUCTIONS = get_args(MaskReduce)
NARROW_PIXELS = 12_000
"""Fewer pixels are added in 16 bits in any case: then a call costs more than its work, and bytes take more calls."""
NEAR_BYTES = 2**20
"""So many bytes stay in a core's own cache: there a second pass costs less than what it saves of waiting for memory."""

FULL = 255
"""The stored value of probability 1: activations are softmax x 255, rounded."""


def reduce_mask(activations_CHW: Activations | Sequence[Activations], how: MaskReduce, peak: int | None = None) -> Mask:
    """The mask of C chosen classes, from their activations.

    The 19 activations of a pixel sum to about 255 (rounding of each makes it 250 to 258 on real data), so

    - `mean` (the paper): sum / (255 C). Ten classes never exceed 26 of 255: the mask darkens every picture to
      about a tenth, by an amount that changes with the number of classes.
    - `sum`: sum / 255, clipped to 1: the probability that the pixel is of any chosen class; comparable
      between subsets, hence the default of every class search.
    - `max`: the likeliest chosen class, max / 255.

    Args:
        activations_CHW: (C, h, w) uint8, C >= 1, or C arrays of (h, w).
        how: the reduction.
        peak: what the sum of a pixel's C activations is known not to exceed; a low one makes it faster.

    Returns:
        (h, w) float32 in [0, 1].

    Raises:
        ValueError: no class, another dtype, or an unknown reduction: faults of the caller, not of a user.
    """
    return as_mask(reduce_levels(activations_CHW, how, peak), len(activations_CHW), how)


def as_mask(levels_hw: Levels, num_classes: int, how: MaskReduce) -> Mask:
    """Levels of so many classes as a mask, float32 in [0, 1]."""
    mask: Mask = levels_hw.astype(np.float32)
    mask /= np.float32(full_level(num_classes, how))
    return mask


def reduce_levels(
    activations_CHW: Activations | Sequence[Activations],
    how: MaskReduce,
    peak: int | None = None,
    num_classes: int | None = None,
) -> Levels:
    """The mask in whole numbers: `reduce_mask` is these as float32, divided by `full_level`.

    Both steps are exact or correctly rounded wherever they are done, so a device that divides gets the same bits.

    Args and errors as `reduce_mask`.

    Args:
        num_classes: of how many it is, where the activations are those of a pixel that are stored, and not a class
            each (`cache.top_k`); None: of as many as there are.

    Returns:
        (h, w): uint8 for `sum` and `max`, int16 for the `mean` of up to 128 classes (int32 beyond).
    """
    stack: Activations = np.asarray(activations_CHW)
    if stack.ndim != 3 or not len(stack) or stack.dtype != np.uint8:
        raise ValueError(f"a mask is made of (C, h, w) uint8 with C >= 1, not {stack.dtype} {stack.shape}")
    if how == "max":
        likeliest: Levels = np.maximum.reduce(stack, axis=0)
        return likeliest
    if how not in REDUCTIONS:
        raise ValueError(f"a mask is reduced by mean, sum or max, not {how!r}")
    num_pixels = stack.shape[1] * stack.shape[2]
    # Signed, since torch can do little with uint16; of one kind for all images, whichever way is taken.
    wide = np.int16 if (num_classes or len(stack)) <= 128 else np.int32
    if peak is not None and peak * (len(stack) - 1) < 256 * len(stack) and num_pixels >= NARROW_PIXELS:
        return _sum_of_bytes(stack, how, peak).astype(np.uint8 if how == "sum" else wide, copy=False)
    if stack.nbytes <= NEAR_BYTES:
        # Planes that lie far apart are awaited in less time by a plain copy than by a sum that widens.
        stack = np.ascontiguousarray(stack)
    # One pass that adds narrow numbers is what makes this fast.
    total: Levels = np.add.reduce(stack, axis=0, dtype=wide)
    return total if how == "mean" else np.minimum(total, FULL).astype(np.uint8)


def _sum_of_bytes(stack: Activations, how: MaskReduce, peak: int) -> Levels:
    """The sum of C classes that is at most `peak`, below 256 C / (C - 1), in bytes: numpy widens slowly.

    A byte drops 256 from a sum T that reaches it. Not dropped, T is at least the classes' bitwise or. Dropped,
    T - 256 is less than T / C by the bound, hence less than the largest class, and than the or. So comparing the two
    tells, exactly.
    """
    if peak < 256 or len(stack) == 1:
        sure: Levels = np.add.reduce(stack, axis=0, dtype=np.uint8)
        return sure if how == "sum" else sure.astype(np.int16)
    either = _either(stack)
    low: Levels = np.add.reduce(stack, axis=0, dtype=np.uint8)
    dropped = np.greater(either, low).view(np.uint8)
    if how == "sum":
        low |= np.negative(dropped, out=dropped)  # 255 where clipped
        return low
    # Each widened for itself: numpy adds numbers of one kind several times as fast as those of two.
    total: Levels = dropped.astype(np.int16)
    total <<= 8
    total |= low.astype(np.int16)
    return total


def _either(stack: Activations) -> Activations:
    """The bitwise or of at least two classes. Two at a time first, so that memory is asked for both at once."""
    half = len(stack) // 2
    if stack.nbytes > NEAR_BYTES:
        far: Activations = np.bitwise_or.reduce(stack, axis=0)
        return far
    pairs = np.bitwise_or(stack[:half], stack[half : 2 * half])
    either: Activations = np.bitwise_or.reduce(pairs, axis=0) if half > 1 else pairs[0]
    if len(stack) % 2:
        either |= stack[-1]
    return either


def full_level(num_classes: int, how: MaskReduce) -> int:
    """The level at which a mask of so many classes is 1."""
    return FULL * num_classes if how == "mean" else FULL

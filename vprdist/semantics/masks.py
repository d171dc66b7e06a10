"""Masks of chosen classes: the reductions of the paper and of our class searches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from vprdist.spec.vocabulary import MaskReduce

Activations: TypeAlias = npt.NDArray[np.uint8]
Mask: TypeAlias = npt.NDArray[np.float32]

FULL = 255
"""The stored value of probability 1: activations are softmax x 255, rounded."""


def reduce_mask(activations_CHW: Activations | Sequence[Activations], how: MaskReduce) -> Mask:
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

    Returns:
        (h, w) float32 in [0, 1].

    Raises:
        ValueError: no class, another dtype, or an unknown reduction: faults of the caller, not of a user.
    """
    stack: Activations = np.asarray(activations_CHW)
    if stack.ndim != 3 or not len(stack) or stack.dtype != np.uint8:
        raise ValueError(f"a mask is made of (C, h, w) uint8 with C >= 1, not {stack.dtype} {stack.shape}")
    if how == "max":
        return _share(stack.max(axis=0), FULL)
    if how not in get_args(MaskReduce):
        raise ValueError(f"a mask is reduced by mean, sum or max, not {how!r}")
    # 16 bits hold 257 classes at 255; adding narrow numbers is what makes this fast.
    total = stack.sum(axis=0, dtype=np.uint16 if len(stack) <= 257 else np.uint32)
    if how == "mean":
        return _share(total, FULL * len(stack))
    np.minimum(total, FULL, out=total)
    return _share(total, FULL)


def _share(total: npt.NDArray[Any], full: int) -> Mask:
    share: Mask = np.divide(total, np.float32(full), dtype=np.float32)
    return share

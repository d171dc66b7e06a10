"""Storage `top_k`: the largest activations of each pixel as planes of bytes, and exactly what was dropped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vprdist.semantics.cache.form import BYTE
from vprdist.semantics.masks import Activations

BITS = 10
"""A class index has at most so many: a table has 1024 classes."""
HEAD = 4
"""Numbers of a `dropped` record before those of the classes."""


class Dropped(NamedTuple):
    """What an image, or several, lost.

    Attributes:
        whole: the sum of all activations before any was dropped.
        dropped: the sum of those dropped.
        largest: the largest one dropped.
        at_a_pixel: the largest sum that one pixel lost.
        by_class: (C,) the dropped sum of each class.
    """

    whole: int
    dropped: int
    largest: int
    at_a_pixel: int
    by_class: npt.NDArray[np.uint64]

    @property
    def share(self) -> float:
        """The dropped part of all activations, in [0, 1]."""
        return self.dropped / self.whole if self.whole else 0.0

    @property
    def words(self) -> str:
        """How much it is, exactly, for people."""
        return (
            f"{100 * self.share:.3g} % of the activations dropped ({self.dropped} of {self.whole}), at most "
            f"{self.at_a_pixel} of 255 at a pixel, the largest {self.largest}"
        )


def pack(activations_CHW: Activations, top_k: int) -> tuple[Activations, npt.NDArray[np.uint64]]:
    """The planes of an image, (P, H, W) uint8, and its `dropped` record, (4 + C,); see `cache.format`.

    Every activation and its class make one whole number that orders them, so that no tie is left to a sort.
    """
    num_classes = len(activations_CHW)
    most = (1 << BITS) - 1
    ranked_CHW = (
        activations_CHW.astype(np.int32) << BITS | (most - np.arange(num_classes, dtype=np.int32))[:, None, None]
    )
    if top_k < num_classes:
        ranked_CHW = np.partition(ranked_CHW, num_classes - top_k, axis=0)[num_classes - top_k :]
    ranked_kHW = np.sort(ranked_CHW, axis=0)[::-1]
    values_kHW, classes_kHW = (ranked_kHW >> BITS).astype(np.uint8), most - (ranked_kHW & most)
    planes = [values_kHW, (classes_kHW % BYTE).astype(np.uint8)]
    if num_classes > BYTE:
        planes.append((classes_kHW // BYTE).astype(np.uint8))
    lost_CHW = activations_CHW.copy()
    np.put_along_axis(lost_CHW, classes_kHW, 0, axis=0)
    by_class = lost_CHW.sum(axis=(1, 2), dtype=np.uint64)
    record = np.zeros(HEAD + num_classes, np.uint64)
    record[0], record[1] = activations_CHW.sum(dtype=np.uint64), by_class.sum()
    record[2], record[3] = lost_CHW.max(), lost_CHW.sum(axis=0, dtype=np.uint64).max()
    record[HEAD:] = by_class
    return np.concatenate(planes), record


def unpack(planes_PHW: Activations, top_k: int, num_classes: int) -> Activations:
    """(C, H, W) uint8: the stored activations at their classes, 0 elsewhere.

    Raises:
        ValueError: a class index beyond the table.
    """
    classes_kHW = planes_PHW[top_k : 2 * top_k].astype(np.intp)
    if num_classes > BYTE:
        classes_kHW += BYTE * planes_PHW[2 * top_k :].astype(np.intp)
    if classes_kHW.max() >= num_classes:
        raise ValueError(f"a class index must be below {num_classes}; it is {int(classes_kHW.max())}")
    found = np.zeros((num_classes, *planes_PHW.shape[1:]), np.uint8)
    np.put_along_axis(found, classes_kHW, planes_PHW[:top_k], axis=0)
    return found


def chosen(planes_PHW: Activations, top_k: int, wanted_C: Activations) -> Activations:
    """(k, H, W) uint8: the stored activations where they are of a wanted class, 0 elsewhere.

    The sum or the largest over k is that over the wanted classes, without a plane for each of them.

    Args:
        wanted_C: see `selector`.
    """
    values, low = planes_PHW[:top_k], planes_PHW[top_k : 2 * top_k]
    indices = low if len(wanted_C) <= BYTE else low + BYTE * planes_PHW[2 * top_k :].astype(np.uint16)
    found: Activations = np.bitwise_and(values, wanted_C[indices])
    return found


def selector(channels: Sequence[int], num_classes: int) -> Activations:
    """255 at the wanted classes and 0 at others, long enough for any index that bytes can say."""
    found = np.zeros(BYTE if num_classes <= BYTE else BYTE * BYTE, np.uint8)
    found[list(channels)] = BYTE - 1
    return found


def dropped_of(records_NR: npt.NDArray[np.uint64]) -> Dropped:
    """What the images of these records lost together."""
    whole, dropped = (int(total) for total in records_NR[:, :2].sum(axis=0))
    largest, at_a_pixel = (int(most) for most in records_NR[:, 2:HEAD].max(axis=0))
    return Dropped(whole, dropped, largest, at_a_pixel, records_NR[:, HEAD:].sum(axis=0))

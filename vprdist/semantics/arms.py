"""The masks of a trial's pictures under its arms, placebos included: for the jobs that use them and the pages that show
them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vprdist.data.places import Side
from vprdist.errors import CacheError
from vprdist.semantics.cache import Cache
from vprdist.semantics.masks import FULL, Activations, Levels, Mask, as_mask, full_level
from vprdist.semantics.placebo import layout, moved, other_classes, other_image, scatter
from vprdist.spec.arms import Arm
from vprdist.spec.input import InputSpec
from vprdist.spec.vocabulary import MaskReduce, Placebo

PLACEBO_WORDS: dict[Placebo, str] = {
    "random": "placebo: random blobs", "image": "placebo: another picture's mask",
    "classes": "placebo: as many other classes", "outline": "placebo: its outline, filled with white",
}  # fmt: skip
FEW = 3
"""So many classes are named; of more, how many."""


@dataclass(frozen=True)
class ArmMasks:
    """How a trial makes masks.

    Attributes:
        seed: the trial's, which decides the placebos.
        at_features: masks weigh the pooling. A sum is not clipped then: it stays the sum of its classes' maps.
    """

    cache: Cache
    reduce: MaskReduce
    seed: int
    at_features: bool = False

    def levels(self, side: Side, row: int, arms: Sequence[Arm]) -> list[Levels]:
        """The masks of a picture under some arms, (h, w) each in whole numbers; see `masks.reduce_levels`.

        Raises:
            CacheError: the cache lacks it, or there is no other picture for a placebo.
        """
        key, size, placebos = str(side.keys[row]), self.cache.size, {arm.placebo for arm in arms}
        source = {"image": self._other_key(side, row)} if "image" in placebos else {}
        scattered = "random" in placebos and not self.at_features
        places = layout(*size, self.seed, side.city, side.side, key) if scattered else None
        masks = []
        for arm in arms:
            classes = arm.classes
            if arm.placebo == "classes":
                classes = other_classes(classes, self.seed, self.cache.classes)
            if not classes:
                masks.append(np.zeros(size, np.uint8))
                continue
            levels = self.cache.levels(side.city, side.side, source.get(arm.placebo, key), classes, self._adding)
            if arm.placebo == "random":
                levels = self._moved(levels, side, key) if places is None else scatter(levels, places)
            masks.append(levels)
        return masks

    def maps(self, side: Side, row: int, placebo: Placebo = "none") -> Activations:
        """(C, h, w) uint8, the maps of all classes whose sums are the masks at the features, under one kind of arm.

        Under `classes` they are the real ones: the classes are others. Errors as `levels`.
        """
        key = str(side.keys[row])
        source = self._other_key(side, row) if placebo == "image" else key
        found = self.cache.activations(side.city, side.side, source)
        return self._moved(found, side, key) if placebo == "random" else found

    @property
    def _adding(self) -> MaskReduce:
        """How levels are read: the mean's are the plain sums."""
        return "mean" if self.at_features and self.reduce == "sum" else self.reduce

    def _moved(self, levels: Levels, side: Side, key: str) -> Levels:
        return moved(levels, self.seed, side.city, side.side, key)

    def mask(self, side: Side, row: int, arm: Arm) -> Mask:
        """The mask of a picture, (h, w) float32 in [0, 1]. Errors as `levels`."""
        return as_mask(self.levels(side, row, [arm])[0], len(arm.classes), self.reduce)

    def _other_key(self, side: Side, row: int) -> str:
        return str(side.keys[other_row(side, row, self.seed)])


def other_row(side: Side, row: int, seed: int) -> int:
    """The picture of a side whose mask, or activations, stand in the place of another's (placebo `image`).

    Raises:
        CacheError: there is no other.
    """
    if len(side) < 2:
        fault = "the placebo mask of another image needs a second image"
        raise CacheError(f"{side.city}/{side.side}", fault, len(side), "Choose another placebo.")
    return other_image(len(side), row, seed, side.city, side.side, str(side.keys[row]))


def stretch_of(arm: Arm, reduce: MaskReduce) -> int:
    """By how much a mask may be stretched so that what it shows can be seen, without any of it being cut.

    The mean of C classes is at most 1/C where a pixel's activations sum to 1: C times as bright it is their sum.
    """
    return full_level(len(arm.classes), reduce) // FULL if arm.classes else 1


def arm_words(arm: Arm, reduce: MaskReduce) -> str:
    """What a mask is made of: reduction, classes, placebo."""
    names = ", ".join(arm.classes) if len(arm.classes) <= FEW else f"{len(arm.classes)} classes"
    placebo = PLACEBO_WORDS.get(arm.placebo)
    return f"{reduce} of {names}" + (f"; {placebo}" if placebo else "")


def masks_of(trial_input: InputSpec, seed: int, cache: Cache) -> ArmMasks:
    """How a trial with masks makes them."""
    assert trial_input.mask_reduce is not None, "modes with a mask have a reduction"
    return ArmMasks(cache, trial_input.mask_reduce, seed, trial_input.at_features)

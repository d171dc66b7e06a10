"""The colours in which classes are drawn."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vprdist.spec.vocabulary import CLASSES

PALETTE = np.array(
    [
        (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153), (250, 170, 30),
        (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142),
        (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
    ],
    np.uint8,
)  # fmt: skip
"""The Cityscapes colours in trainId order."""
GOLDEN = 0.618033988749895
"""Hues a golden section apart are told apart, however many there are."""


def palette_of(classes: Sequence[str]) -> npt.NDArray[np.uint8]:
    """(C, 3) a colour for each class: Cityscapes' where a class has one's name, else one of its place in the list."""
    known = {name: tuple(map(int, colour)) for name, colour in zip(CLASSES, PALETTE, strict=True)}
    return np.array([known.get(name.lower()) or _colour(place) for place, name in enumerate(classes)], np.uint8)


def _colour(place: int) -> tuple[int, ...]:
    light, full = (0.95, 0.7, 0.5)[place % 3], (0.55, 0.85)[place % 2]
    return tuple(round(255 * part) for part in colorsys.hsv_to_rgb(place * GOLDEN % 1, full, light))

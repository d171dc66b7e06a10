"""Augmentations of a training picture and of what lies on it; from the trial's seed, the step and the place in it.

First the geometry, of all operations together, which moves the mask with the picture; then the colours, of the picture
alone. RandAugment's shears, shifts and rotations are part of the first. What a rotated picture does not fill is black,
and no class: a mask shows nothing of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from vprdist.spec.augment import STRONGEST, AugmentSpec
from vprdist.spec.vocabulary import Grid
from vprdist.training.moving import Matrix, crop, flip, moved, rotation, shear, shift

STREAM = 0xA093
"""Keeps these random numbers apart from those of the pairs and of the arms, which have the same seed."""
TRIES = 10
"""So often a crop is drawn that must fit into the picture; then the picture stays whole."""


def contrasted(image_3HW: Tensor, factor: float) -> Tensor:
    """torchvision's `adjust_contrast`, with a mean of whole numbers: however many threads take it, it is the same."""
    grey = functional.rgb_to_grayscale(image_3HW)
    mean = int(grey.sum(dtype=torch.int64)) / grey.numel()
    found: Tensor = (image_3HW * factor + mean * (1 - factor)).clamp_(0, 255).to(torch.uint8)
    return found


GEOMETRY: Mapping[str, Callable[[float, float], Matrix]] = {
    "shear_x": lambda share, aspect: shear(0.3 * share, 0, aspect),
    "shear_y": lambda share, aspect: shear(0, 0.3 * share, aspect),
    "shift_x": lambda share, _: shift(150 / 331 * share, 0),
    "shift_y": lambda share, _: shift(0, 150 / 331 * share),
    "rotate": lambda share, aspect: rotation(30 * share, aspect),
}
"""What moves pixels, by a share of its greatest strength in [-1, 1], and the picture's width by height."""
COLOURS: Mapping[str, Callable[[Tensor, float], Tensor]] = {
    "brightness": lambda image, share: functional.adjust_brightness(image, 1 + 0.9 * share),
    "colour": lambda image, share: functional.adjust_saturation(image, 1 + 0.9 * share),
    "contrast": lambda image, share: contrasted(image, 1 + 0.9 * share),
    "sharpness": lambda image, share: functional.adjust_sharpness(image, 1 + 0.9 * share),
    "posterize": lambda image, share: functional.posterize(image, round(8 - 4 * abs(share))),
    "solarize": lambda image, share: functional.solarize(image, 255 * (1 - abs(share))),
    "auto_contrast": lambda image, _: functional.autocontrast(image),
    "equalize": lambda image, _: functional.equalize(image),
}
"""What changes colours, by a share of its greatest strength in [-1, 1]; as torchvision's RandAugment does."""
OPERATIONS = ("none", *GEOMETRY, *COLOURS)
"""RandAugment's, each as likely."""


@dataclass(frozen=True)
class Drawn:
    """What happens to one picture.

    Attributes:
        matrix: where its pixels and its mask come from, see `moving`; None: from where they were.
        colours: names of operations, and their shares of the greatest strength, in order.
    """

    matrix: Matrix | None
    colours: tuple[tuple[str, float], ...]

    def picture(self, image_3HW: Tensor) -> Tensor:
        """The changed picture, uint8; what it is given is left as it is."""
        image = image_3HW if self.matrix is None else moved(image_3HW, self.matrix)
        for name, share in self.colours:
            image = COLOURS[name](image, share)
        return image

    def added(self, extra_Chw: Tensor, grid: Grid) -> Tensor:
        """Levels of a mask, or activations, where the changed picture shows what they are of."""
        return extra_Chw if self.matrix is None else moved(extra_Chw, self.matrix, grid)


def draw(spec: AugmentSpec, aspect: float, seed: Sequence[int]) -> Drawn:
    """What happens to a picture, from the numbers of `seed` alone.

    Args:
        aspect: the picture's width by height, in pixels.
        seed: of the trial; the step; 0 for a query, from 1 on for its partners; the query's place in the step.
    """
    rng = np.random.default_rng([STREAM, *seed])
    part = _part(spec, rng)
    matrices = [] if part is None else [crop(*part)]
    matrices += [flip()] if rng.random() < spec.flip else []
    colours = []
    for name in rng.choice(OPERATIONS, spec.num_ops).tolist():
        share = spec.magnitude / STRONGEST * (1 if rng.random() < 0.5 else -1)
        if name in GEOMETRY:
            matrices.append(GEOMETRY[name](share, aspect))
        elif name in COLOURS:
            colours.append((name, share))
    # The first operation is nearest to the old picture: its matrix is used last.
    return Drawn(reduce(np.matmul, matrices) if matrices else None, tuple(colours))


def _part(spec: AugmentSpec, rng: np.random.Generator) -> tuple[float, float, float, float] | None:
    """Left, top, width and height of a crop, as shares of the picture; None: it stays whole."""
    narrowest, widest = map(math.log, spec.crop_ratio)
    for _ in range(TRIES):
        area, ratio = rng.uniform(*spec.crop_scale), math.exp(rng.uniform(narrowest, widest))
        width, height = math.sqrt(area * ratio), math.sqrt(area / ratio)
        if max(width, height) <= 1:
            whole = width == height == 1
            return None if whole else (rng.uniform(0, 1 - width), rng.uniform(0, 1 - height), width, height)
    return None

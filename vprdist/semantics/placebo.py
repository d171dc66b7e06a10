"""Placebo masks: what a mask does besides showing its classes, so that a class can be said to help.

A mask may help or hurt only because it darkens pixels, or because any pattern would. A class helps when its mask beats
its placebos, which keep one thing of the real mask each and lose the classes:

- `random`: the very values of the real mask, laid out anew in random blobs. Its sum, and so the light that it lets
  through, is that of the real mask; nearly so on a grid of corners, whose outer points stand for less of the picture.
- `image`: the real mask of another picture of the same side, drawn once for each picture. It looks like a street, at
  the wrong place.
- `classes`: the mask of as many other classes, drawn once a seed. Where too few are left (the ten static classes leave
  nine), some of the chosen ones fill up the number.
- `outline`: the real mask, and white in the place of the picture in it (`network.fill`): what the mask's shape tells
  alone, for it tells where the classes are. Only where a mask hides pixels: features that are the same everywhere pool
  to one and the same descriptor.

At the features every mask is a sum of its classes' maps, and so are its placebos, of which all subsets then follow as
well: `random` there is the real mask moved round its picture and mirrored, by amounts drawn once for each picture
(`moved`), which keeps its sum and its blobs.

All are decided by the trial's seed, city, side and key: the same in every epoch, rank and process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vprdist.semantics.masks import Levels
from vprdist.spec.base import Names
from vprdist.spec.vocabulary import CLASSES

Places = npt.NDArray[np.intp]

BLOBS = 5
"""Knots of the random field along the shorter side of a mask: blobs as large as houses and trees are in pictures."""


def other_classes(chosen: Sequence[str], seed: int, table: Names = CLASSES) -> Names:
    """As many classes, in the table's order: others where there are enough, filled up with chosen ones where not.

    Raises:
        ValueError: all classes are chosen; a spec refuses that.
    """
    others = [name for name in table if name not in chosen]
    if not others:
        raise ValueError(f"with all {len(table)} classes there are no others to draw")
    rng = _rng("classes", seed, ",".join(sorted(chosen)))
    drawn = {others[i] for i in rng.permutation(len(others))[: len(chosen)]}
    known = [name for name in table if name in chosen]
    drawn |= {known[i] for i in rng.permutation(len(known))[: len(chosen) - len(drawn)]}
    return tuple(name for name in table if name in drawn)


def other_image(num_images: int, row: int, seed: int, city: str, side: str, key: str) -> int:
    """The row of another image of the same side; every other one is as likely.

    Raises:
        ValueError: there is no other.
    """
    if num_images < 2:
        raise ValueError(f"{city}/{side} has one image: there is no other to take the mask of")
    step = 1 + int(_rng("image", seed, city, side, key).integers(num_images - 1))
    return (row + step) % num_images


def layout(height: int, width: int, seed: int, city: str, side: str, key: str) -> Places:
    """(h w,) a picture's pixels in the order of its random mask: from where a smooth random field is lowest on."""
    field = _smooth_field(height, width, _rng("random", seed, city, side, key))
    return np.argsort(field, axis=None, kind="stable")


def scatter(mask_hw: Levels, places: Places) -> Levels:
    """The values of a mask in random places: the brightest go where the field of `layout` is highest.

    Args:
        mask_hw: (h, w), in whole numbers or floats.
        places: its picture's layout.

    Returns:
        (h, w), the same values as often as before.
    """
    out = np.empty(mask_hw.size, mask_hw.dtype)
    out[places] = np.sort(mask_hw, axis=None, kind="stable")
    return out.reshape(mask_hw.shape)


def moved(maps_CHW: Levels, seed: int, city: str, side: str, key: str) -> Levels:
    """Maps of a picture moved round it, and mirrored half of the time: (…, h, w), linear in the maps.

    They move by at least a quarter of each axis, either way round: no class stays where it was.
    """
    rng, steps = _rng("moved", seed, city, side, key), []
    for length in maps_CHW.shape[-2:]:
        least = -(-length // 4)
        steps.append(int(rng.integers(least, max(least, length - least) + 1)))
    mirrored = maps_CHW[..., ::-1] if rng.integers(2) else maps_CHW
    return np.roll(mirrored, steps, axis=(-2, -1))


def _smooth_field(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """White noise at a few knots, interpolated linearly."""
    knots = tuple(max(2, round(BLOBS * length / min(height, width))) for length in (height, width))
    field: np.ndarray = _weights(height, knots[0]) @ rng.standard_normal(knots) @ _weights(width, knots[1]).T
    return field


def _weights(length: int, knots: int) -> np.ndarray:
    """(length, knots): how much each knot counts at each pixel of an axis."""
    at = np.linspace(0, knots - 1, length)[:, None]
    weights: np.ndarray = np.maximum(0.0, 1.0 - np.abs(at - np.arange(knots)))
    return weights


def _rng(*words: object) -> np.random.Generator:
    digest = hashlib.sha256("\0".join(map(str, words)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16]))

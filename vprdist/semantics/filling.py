"""What a masked picture shows under each form of the mask, in numpy: for pages, which are written without torch.

The same as `network.fill` has it for networks, to a rounding; a test holds them together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vprdist.semantics.masks import Mask
from vprdist.semantics.resize import pixel_weights
from vprdist.spec.input import InputSpec
from vprdist.spec.vocabulary import FORM_WORDS, MaskFill

Pixels = npt.NDArray[np.uint8]
Shown = npt.NDArray[np.float32]
MEAN = (0.485, 0.456, 0.406)
"""ImageNet's mean colour, in [0, 1]: a network's pictures are normalised by it, unless its backbone says another."""
UNTOLD = "a network's own mean colour is not known here: ImageNet's is shown"
"""What is said where fill `mean` is shown of a backbone whose colour only its class tells (`BackboneName.mean`)."""
BLUR_CELLS, WORD = 8, 0xFFFFFFFF


def filled(
    pixels_HW3: Pixels, mask_HW1: Mask, fill: MaskFill, outline: bool = False, mean: Sequence[float] | None = MEAN
) -> Shown:
    """(H, W, 3) in 0 … 255: the picture where the mask is one, the fill where it is zero.

    Args:
        outline: white in the place of the picture.
        mean: the colour of fill `mean`, in [0, 1]; None: it is not known, and ImageNet's is shown.
    """
    inside = np.float32(255) if outline else pixels_HW3.astype(np.float32)
    shown: Shown = np.broadcast_to(inside * mask_HW1, pixels_HW3.shape).astype(np.float32)
    if fill == "black":
        return shown
    return np.asarray(shown + fill_of(pixels_HW3, fill, mean or MEAN) * (1 - mask_HW1), np.float32)


def fill_of(pixels_HW3: Pixels, fill: MaskFill, mean: Sequence[float] = MEAN) -> Shown:
    """What stands where the mask is zero, (H, W, 3) or (1, 1, 3) in 0 … 255."""
    if fill == "mean":
        return np.array([[mean]], np.float32) * 255
    if fill == "picture_mean":
        return np.asarray(pixels_HW3.mean(axis=(0, 1), keepdims=True, dtype=np.float64), np.float32)
    if fill == "blur":
        return _blurred(pixels_HW3)
    return _noise(pixels_HW3) if fill == "noise" else np.zeros((1, 1, 3), np.float32)


def filled_words(given: InputSpec) -> str:
    """What a form adds to the words for a masked picture: `, filled with mean colour`; empty where it is black."""
    return "" if given.form in ("black", "features") else f", filled with {FORM_WORDS[given.form]}"


def _blurred(pixels_HW3: Pixels) -> Shown:
    """The means over parts of the picture, interpolated linearly between the parts' centres."""
    height, width = pixels_HW3.shape[:2]
    sizes = [min(size, max(1, round(BLUR_CELLS * size / min(height, width)))) for size in (height, width)]
    rows, columns = (
        pixel_weights(parts, size, "cells") @ _part_means(size, parts)
        for parts, size in zip(sizes, (height, width), strict=True)
    )
    planes = [rows @ plane @ columns.T for plane in pixels_HW3.transpose(2, 0, 1).astype(np.float64)]
    return np.stack(planes, axis=2).astype(np.float32)


def _part_means(size: int, parts: int) -> npt.NDArray[np.float64]:
    """(parts, size) weights of means over parts that reach to whole pixels on either side, as pooling has them."""
    out = np.zeros((parts, size))
    for part in range(parts):
        begin, end = part * size // parts, -(-(part + 1) * size // parts)
        out[part, begin:end] = 1 / (end - begin)
    return out


def _noise(pixels_HW3: Pixels) -> Shown:
    """A hash of the picture and of the place in it, channel by channel."""
    bytes_N = pixels_HW3.transpose(2, 0, 1).reshape(-1).astype(np.int64)
    place_N = np.arange(len(bytes_N), dtype=np.int64)
    key = np.array((bytes_N * (_mixed(place_N) & 0xFFFF)).sum() & WORD)
    found = (_mixed(_mixed(key) ^ place_N) & 0xFF).reshape(3, *pixels_HW3.shape[:2])
    return found.transpose(1, 2, 0).astype(np.float32)


def _mixed(words: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """A hash of 32 bits of each word."""
    words = ((words ^ (words >> 16)) * 0x45D9F3B) & WORD
    words = ((words ^ (words >> 16)) * 0x45D9F3B) & WORD
    return words ^ (words >> 16)

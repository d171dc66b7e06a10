"""What a masked picture shows: the picture where its mask is one, and a fill where it is zero.

No fill is neutral: a network answers to the colour and to the outline of what was taken out (missingness bias,
arXiv 2204.08945, 2211.14646). What holds of a class holds under a form of the mask, and so the fill is a choice:

- `black`: the picture times the mask (the paper).
- `mean`: the mean colour by which the network's pictures are normalised (ImageNet's, unless the backbone says another),
  which is zero to the network.
- `picture_mean`: the mean colour of this very picture.
- `blur`: this picture without what is finer than an eighth of its shorter side.
- `noise`: independent bytes, drawn from the picture's own, so that a picture has the same ones in every epoch, on every
  rank and device.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vprdist.spec.vocabulary import MaskFill

BLUR_CELLS = 8
"""Parts along the shorter side of a picture whose means are what is left of it in a blur."""
WORD = 0xFFFFFFFF


def filled(
    image_B3HW: Tensor, bytes_B3HW: Tensor, mask_B1HW: Tensor, fill: MaskFill, mean_131: Tensor, outline: bool = False
) -> Tensor:
    """(B, 3, H, W) in [0, 1], what is shown of pictures under a mask.

    A mask of ones shows the picture to the bit, whatever the fill.

    Args:
        image_B3HW: the pictures in [0, 1].
        bytes_B3HW: the same as uint8.
        mask_B1HW: in [0, 1].
        mean_131: the colour of fill `mean`.
        outline: the placebo, white in the place of the picture: the mask's shape is seen, the fill round it as ever,
            and nothing that lies inside.
    """
    inside = torch.ones_like(image_B3HW) if outline else image_B3HW
    if fill == "black":
        return inside * mask_B1HW
    return inside * mask_B1HW + _fill(image_B3HW, bytes_B3HW, fill, mean_131) * (1 - mask_B1HW)


def _fill(image_B3HW: Tensor, bytes_B3HW: Tensor, fill: MaskFill, mean_131: Tensor) -> Tensor:
    if fill == "mean":
        return mean_131
    if fill == "picture_mean":
        height, width = image_B3HW.shape[2:]
        # Whole numbers: the sum is the same in whatever order a device takes it.
        total_B3 = bytes_B3HW.sum(dim=(2, 3), dtype=torch.int64)
        return (total_B3.double() / (255 * height * width)).to(image_B3HW.dtype)[:, :, None, None]
    if fill == "blur":
        return blurred(image_B3HW)
    return noise(bytes_B3HW).to(image_B3HW.dtype) / 255


def blurred(image_B3HW: Tensor) -> Tensor:
    """The means over parts of the picture, interpolated linearly between the parts' centres."""
    height, width = image_B3HW.shape[2:]
    short = min(height, width)
    parts = (max(1, round(BLUR_CELLS * height / short)), max(1, round(BLUR_CELLS * width / short)))
    means = nn.functional.adaptive_avg_pool2d(image_B3HW, (min(parts[0], height), min(parts[1], width)))
    return nn.functional.interpolate(means, (height, width), mode="bilinear", align_corners=False)


def noise(bytes_B3HW: Tensor) -> Tensor:
    """(B, 3, H, W) int64 in 0 … 255, each as likely: a hash of the picture and of the place in it.

    All is done in whole numbers that no product of takes out of 63 bits, so that every device has the same.
    """
    flat_BN = bytes_B3HW.flatten(1).to(torch.int64)
    place_N = torch.arange(flat_BN.shape[1], device=flat_BN.device)
    key_B1 = (flat_BN * (_mixed(place_N) & 0xFFFF)).sum(dim=1, keepdim=True) & WORD
    return (_mixed(_mixed(key_B1) ^ place_N) & 0xFF).view(bytes_B3HW.shape)


def _mixed(words: Tensor) -> Tensor:
    """A hash of 32 bits of each word: every bit of the answer hangs on every bit of it."""
    words = ((words ^ (words >> 16)) * 0x45D9F3B) & WORD
    words = ((words ^ (words >> 16)) * 0x45D9F3B) & WORD
    return words ^ (words >> 16)

"""What enters the network: RGB, a mask and activations become one tensor; conv1 is changed where channels are added."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vprdist.network.areas import area_means, cells_of
from vprdist.network.fill import filled
from vprdist.semantics.masks import FULL
from vprdist.spec.vocabulary import ConvInit, Grid, InputMode, MaskFill

DOUBLES = 2**24
"""Numbers of masks that are averaged at once."""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class InputStem(nn.Module):
    """Compose the network's input (paper, section III).

    `masked`: the mask in [0, 1] hides parts of RGB in [0, 1] before ImageNet normalisation, as its form says
    (`network.fill`); at the features it hides nothing here. `rgb+mask`, `rgb+semantics`: mask or activations follow the
    normalised RGB as channels in [0, 1].

    Args:
        full: the whole number that stands for 1 in what the mode adds (`masks.full_level`).
        grid: how the points of what the mode adds lie on the picture.
        fill: what stands where the mask is zero; None: the mask is one of the features.
        outline: the mask's outline is shown in its place, wherever no other is asked for.
        mean, std: of RGB in [0, 1]: what the backbone's pictures are normalised by.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, mode: InputMode, full: int = FULL, grid: Grid = "cells", fill: MaskFill | None = "black",
        outline: bool = False, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD,
    ) -> None:  # fmt: skip
        super().__init__()
        self.mode, self.full, self.grid, self.fill, self.outline = mode, full, grid, fill, outline
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    @property
    def at_features(self) -> bool:
        """Whether the mask weighs the pooling, and the picture stays as it is."""
        return self.mode == "masked" and self.fill is None

    def forward(self, image_B3HW: Tensor, extra_BChw: Tensor | None, outline: bool | None = None) -> Tensor:
        """(B, 3 + added, H, W) float.

        Args:
            image_B3HW: uint8 RGB.
            extra_BChw: levels of a mask (one channel), or activations, at any resolution; None for `rgb`.
            outline: whether the mask's outline is shown in its place; None: as the trial says.
        """
        image = self.shown(image_B3HW, extra_BChw, outline)
        normalised = (image - self.mean) / self.std
        if self.mode in ("rgb", "masked"):
            return normalised
        assert extra_BChw is not None, "every mode but rgb has a mask or activations"
        return torch.cat([normalised, self.placed(extra_BChw, (image.shape[2], image.shape[3]))], dim=1)

    def shown(self, image_B3HW: Tensor, extra_BChw: Tensor | None, outline: bool | None = None) -> Tensor:
        """What is seen of the pictures, (B, 3, H, W) in [0, 1]. Args as `forward`."""
        image = image_B3HW.to(self.mean.dtype) / 255
        if self.mode != "masked" or self.fill is None:
            return image
        assert extra_BChw is not None, "mode masked has a mask"
        mask = self.placed(extra_BChw, (image.shape[2], image.shape[3]))
        return filled(image, image_B3HW, mask, self.fill, self.mean, self.outline if outline is None else outline)

    def weights(self, extra_BChw: Tensor, size: tuple[int, int]) -> Tensor:
        """How much each place of features of a size counts, (B, 1, h, w) float32: the mask's exact means over it.

        In float64 up to the last step: a mask of ones has a weight of 1 everywhere, to the bit.
        """
        height, width = extra_BChw.shape[2:]
        maps_Mhw, parts = extra_BChw.flatten(0, 1), list[Tensor]()
        step = max(1, DOUBLES // (height * width))
        for begin in range(0, len(maps_Mhw), step):  # of many classes' maps, a few are there as doubles
            doubles = maps_Mhw[begin : begin + step].double() / self.full
            parts.append(area_means(doubles, size, self.grid).float())
        return torch.cat(parts).reshape(*extra_BChw.shape[:2], *size)

    def placed(self, extra_BChw: Tensor, size: tuple[int, int]) -> Tensor:
        """What the mode adds, in [0, 1] at the pixels of pictures of a size, (B, C, H, W) float."""
        extra = self.shares(extra_BChw)
        if extra.shape[-2:] == size:
            return extra
        return nn.functional.interpolate(extra, size, mode="bilinear", align_corners=self.grid == "corners")

    def cells(self, extra_BChw: Tensor) -> Tensor:
        """What the mode adds, in [0, 1] at its own size, as cells, whatever its grid: (B, C, h, w) float."""
        return cells_of(extra_BChw, self.full, self.grid, self.mean.dtype)

    def shares(self, extra_BChw: Tensor) -> Tensor:
        """What the mode adds, in [0, 1] at its own size, (B, C, h, w) float."""
        return extra_BChw.to(self.mean.dtype) / self.full


def widen(conv: nn.Conv2d, channels: int, init: ConvInit) -> None:
    """Give a first convolution more input channels, in place.

    random: every filter is drawn anew (the paper, which lost its pretrained conv1 so). inflate: the RGB filters are
    kept and the new channels start at zero, so that the network starts as the RGB network.
    """
    old = conv.weight.data
    fresh = torch.empty(old.shape[0], channels, *old.shape[2:], dtype=old.dtype)
    nn.init.kaiming_normal_(fresh, mode="fan_out", nonlinearity="relu")
    if init == "inflate":
        fresh.zero_()
        fresh[:, : old.shape[1]] = old
    conv.weight = nn.Parameter(fresh)
    conv.in_channels = channels

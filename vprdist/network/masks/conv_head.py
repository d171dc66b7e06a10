"""A small convolutional head on the picture and its activations: a mask that need not follow classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vprdist.network.areas import area_means
from vprdist.network.masks.base import SHOWN, Mask, gauged


class ConvHead(Mask):
    """Three 3x3 convolutions, 3 + K → width → width → 1, σ (methods.md, A8). The lightest place of a picture has 1.

    The last layer begins at zero with bias 4. RGB comes to the size of the activations by exact area means, around 0.

    Args:
        width: channels between the convolutions.
    """

    def __init__(self, classes: Sequence[str], chosen: Sequence[str], width: int = 16) -> None:
        super().__init__()
        self.first = nn.Conv2d(3 + len(classes), width, kernel_size=3, padding=1)
        self.second = nn.Conv2d(width, width, kernel_size=3, padding=1)
        self.last = nn.Conv2d(width, 1, kernel_size=3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.constant_(self.last.bias, SHOWN)  # type: ignore[arg-type]

    def forward(self, activations_BKhw: Tensor, **more: Any) -> Tensor:
        size = (activations_BKhw.shape[2], activations_BKhw.shape[3])
        image_B3hw = area_means(more["image"], size, "cells")
        hidden = torch.relu(self.first(torch.cat([image_B3hw - 0.5, activations_BKhw], dim=1)))
        return gauged(self.last(torch.relu(self.second(hidden))), dim=(2, 3))

"""The mask branch of the residual attention network, for networks that are trained already."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vprdist.network.attention.base import Attention, Start, reduced


class ResidualAttention(Attention):
    """A factor for each channel and place, from an hourglass (Wang et al., CVPR 2017, arXiv 1704.06904, eq. 6).

    Adapted: the trunk is the backbone's own unit, out = F + γ M F with γ = 0 at the start (identity) or 1 (published:
    (1 + M) F); the units before and behind the module fall away. M is the authors' soft mask: a 3x3 maximum of stride 2
    and a pre-activation bottleneck (width C/4) a level, two at the lowest; upwards, each level is resized bilinearly,
    the level above passed through a bottleneck of its own (skip) is added, and a bottleneck follows; at the size of F,
    BatchNorm, ReLU, 1x1, BatchNorm, ReLU, 1x1, σ.

    Args:
        levels: how often the map is halved. The paper has 3, 2 and 1 behind stages 1, 2 and 3.
    """

    logits = ("out.5",)

    def __init__(self, channels: int, levels: int = 1, start: Start = "identity") -> None:
        super().__init__()
        self.down = nn.ModuleList(Bottleneck(channels) for _ in range(levels))
        self.lowest = Bottleneck(channels)
        self.skip = nn.ModuleList(Bottleneck(channels) for _ in range(levels - 1))
        self.up = nn.ModuleList(Bottleneck(channels) for _ in range(levels - 1))
        self.out = nn.Sequential(*_activated(channels, channels), *_activated(channels, channels))
        self.gamma = nn.Parameter(torch.tensor(1.0 if start == "published" else 0.0))

    def forward(self, features_BChw: Tensor, **more: Any) -> Tensor:
        seen = features_BChw
        levels: list[Tensor] = []
        for down in self.down:
            seen = down(_halved(seen))
            levels.append(seen)
        seen = self.lowest(seen)
        above = levels[:-1]
        for level, skip, up in zip(above[::-1], list(self.skip)[::-1], list(self.up)[::-1], strict=True):
            seen = up(_resized(seen, level) + skip(level))
        mask_BChw: Tensor = self.out(_resized(seen, features_BChw)).sigmoid()
        return features_BChw + self.gamma * mask_BChw * features_BChw


class Bottleneck(nn.Module):
    """x + f(x): 1x1 to C/4, 3x3, 1x1 to C, each behind BatchNorm and ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        width = reduced(channels, 4)
        pairs = ((channels, width, 1), (width, width, 3), (width, channels, 1))
        self.layers = nn.Sequential(*(each for pair in pairs for each in _activated(*pair)))

    def forward(self, features_BChw: Tensor) -> Tensor:
        out: Tensor = features_BChw + self.layers(features_BChw)
        return out


def _activated(inputs: int, outputs: int, size: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False)
    return [nn.BatchNorm2d(inputs), nn.ReLU(), convolution]


def _halved(features_BChw: Tensor) -> Tensor:
    """The largest of 3x3 places at every second one; windows may reach over the lower and the right border."""
    height, width = features_BChw.shape[2:]
    if min(height, width) < 2:  # a window needs two places
        added = (0, max(0, 2 - width), 0, max(0, 2 - height))
        features_BChw = nn.functional.pad(features_BChw, added, mode="replicate")
    return nn.functional.max_pool2d(features_BChw, 3, stride=2, ceil_mode=True)


def _resized(features_BChw: Tensor, like_BChw: Tensor) -> Tensor:
    size = (like_BChw.shape[2], like_BChw.shape[3])
    return nn.functional.interpolate(features_BChw, size, mode="bilinear", align_corners=True)

"""Attention on features without semantics: the control of a mask that is learnt."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from vprdist.network.attention.base import Answer, Attention
from vprdist.network.masks.base import SHOWN, gauged

KERNELS: tuple[tuple[int, int], ...] = ((3, 32), (5, 32), (7, 20))
"""Sizes of the parallel convolutions, and how many channels each has."""


class Spatial(Attention):
    """A factor a place, from three parallel convolutions of the features (methods.md, A3, with three changes).

    F·A with A = σ(z) / max σ(z) over the places of a picture; z is a 1x1 convolution that begins at zero with bias 4,
    so that A is 1 at the start and pretrained weights are kept. It is computed from features of length 1 at each
    place, and multiplied into the features as they are: nothing divides it out again (order (a)). Without BatchNorm,
    whose statistics of a few pictures would make ranks and micro-batches matter; borders repeat instead of being
    reflected, which a map of three places cannot be.

    Args:
        budget, budget_weight: λ (mean(A) - budget)² of each picture is added to the loss: A cannot stay all ones.
    """

    logits = ("mix",)

    def __init__(self, channels: int, budget: float = 0.5, budget_weight: float = 0.0) -> None:
        super().__init__()
        self.budget, self.budget_weight = budget, budget_weight
        self.convolutions = nn.ModuleList(
            nn.Conv2d(channels, width, size, padding=size // 2, padding_mode="replicate") for size, width in KERNELS
        )
        self.mix = nn.Conv2d(sum(width for _, width in KERNELS), 1, kernel_size=1)
        nn.init.zeros_(self.mix.weight)
        nn.init.constant_(self.mix.bias, SHOWN)  # type: ignore[arg-type]

    def forward(self, features_BChw: Tensor, **more: Any) -> Answer:
        factor = self.factor(features_BChw)
        if not self.budget_weight:
            return features_BChw * factor
        apart_B = factor.mean(dim=(1, 2, 3)) - self.budget
        return features_BChw * factor, {"attention_budget": self.budget_weight * apart_B.square()}

    def factor(self, features_BChw: Tensor) -> Tensor:
        """(B, 1, h, w) in (0, 1], the largest of a picture 1."""
        # Features of unit mean square are what convolutions are initialised for.
        unit_BChw = nn.functional.normalize(features_BChw, dim=1) * math.sqrt(features_BChw.shape[1])
        seen = torch.cat([torch.relu(each(unit_BChw)) for each in self.convolutions], dim=1)
        return gauged(self.mix(seen), dim=(2, 3))

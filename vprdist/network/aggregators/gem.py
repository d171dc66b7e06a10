"""Generalized mean pooling."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vprdist.network.aggregators.base import Aggregator


class GeM(Aggregator):
    """Generalized mean pooling, (B, C, h, w) -> (B, C), with a learnable exponent (Radenović et al. 2018, eq. 3)."""

    def __init__(self, channels: int, p: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.dimensions = channels
        self.p, self.eps = nn.Parameter(torch.full((1,), p)), eps

    def forward(self, features_BChw: Tensor, **more: Any) -> Tensor:
        return features_BChw.clamp(min=self.eps).pow(self.p).mean(dim=(2, 3)).pow(1 / self.p)

"""Pooling of feature maps to one descriptor."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GeM(nn.Module):
    """Generalized mean pooling, (B, C, H, W) -> (B, C), with a learnable exponent (Radenović et al. 2018, eq. 3)."""

    def __init__(self, p: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.p, self.eps = nn.Parameter(torch.full((1,), p)), eps

    def forward(self, features_BCHW: Tensor) -> Tensor:
        return features_BCHW.clamp(min=self.eps).pow(self.p).mean(dim=(2, 3)).pow(1 / self.p)

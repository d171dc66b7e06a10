"""Squeeze and excitation."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torchvision.ops import SqueezeExcitation

from vprdist.network.attention.base import Attention, Start, reduced


class _Doubled(nn.Module):
    """2σ: nothing is changed where the logit is zero."""

    def forward(self, logits: Tensor) -> Tensor:
        return 2 * logits.sigmoid()


class SqueezeExcite(Attention):
    """Which channels (Hu et al., CVPR 2018, arXiv 1709.01507, eq. 2-4): F σ(W2 ReLU(W1 mean(F))), by torchvision.

    Adapted: it stands behind a unit, and not in every residual block. Begun as identity, the factor is 2σ and W2 is
    zero; as published, features are some half of what they were.

    Args:
        reduction: r, C over the width between the two layers.
    """

    logits = ("gate.fc2",)

    def __init__(self, channels: int, reduction: int = 16, start: Start = "identity") -> None:
        super().__init__()
        factor: type[nn.Module] = _Doubled if start == "identity" else nn.Sigmoid
        self.gate = SqueezeExcitation(channels, reduced(channels, reduction), scale_activation=factor)
        if start == "identity":
            nn.init.zeros_(self.gate.fc2.weight)
            nn.init.zeros_(self.gate.fc2.bias)

    def forward(self, features_BChw: Tensor, **more: Any) -> Tensor:
        out: Tensor = self.gate(features_BChw)
        return out

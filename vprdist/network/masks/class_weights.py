"""A number for each class: how much of it is shown, in every picture alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vprdist.network.masks.base import HIDDEN, SHOWN, Mask, gauged, weighed


class ClassWeights(Mask):
    """m = Σ_k g_k a_k / Σ_k a_k with g = σ(w) / max σ(w) (methods.md, A8): K numbers, all that is learnt."""

    def __init__(self, classes: Sequence[str], chosen: Sequence[str]) -> None:
        super().__init__()
        self.weights_K = nn.Parameter(torch.tensor([SHOWN if name in chosen else HIDDEN for name in classes]))

    def forward(self, activations_BKhw: Tensor, **more: Any) -> Tensor:
        return weighed(self.gates(activations_BKhw), activations_BKhw)

    def gates(self, activations_BKhw: Tensor) -> Tensor:
        return gauged(self.weights_K, dim=0).expand(len(activations_BKhw), -1)

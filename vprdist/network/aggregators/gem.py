"""Generalized mean pooling."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vprdist.network.aggregators.base import LEAST_WEIGHT, Aggregator, places_of, shares_of, summed


class GeM(Aggregator):
    """Generalized mean pooling, (B, C, h, w) -> (B, C), with a learnable exponent (Radenović et al. 2018, eq. 3).

    With weights w it is (Σ w f^p / Σ w)^(1/p), and with equal ones, to the bit, what it is without. Where no place
    counts every channel is `eps`, as under a picture without features.
    """

    def __init__(self, channels: int, p: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.dimensions = channels
        self.p, self.eps = nn.Parameter(torch.full((1,), p)), eps

    def forward(self, features_BChw: Tensor, weights: Tensor | None = None, **more: Any) -> Tensor:
        raised_BChw = self._raised(features_BChw)
        if weights is None:
            return raised_BChw.mean(dim=(2, 3)).pow(1 / self.p)
        shares_B1hw, seen_B1 = shares_of(weights)
        return self._root((raised_BChw * shares_B1hw).mean(dim=(2, 3)), seen_B1)

    def sums_of(self, features_BChw: Tensor, maps_BKhw: Tensor) -> Tensor:
        """(B, K, C + 1): Σ a f^p of each channel, and Σ a."""
        return summed(maps_BKhw, places_of(self._raised(features_BChw)))

    def from_sums(self, sums_BM: Tensor) -> Tensor:
        """Without autograd: by logarithms, which take a quarter of the time of a power."""
        total_B1, seen_B1 = sums_BM[:, -1:], sums_BM[:, -1:] >= LEAST_WEIGHT
        mean_BC = sums_BM[:, :-1] / total_B1.clamp(min=LEAST_WEIGHT)
        with torch.no_grad():
            root_BC = mean_BC.log_().mul_(1 / self.p).exp_()
            return root_BC if bool(seen_B1.all()) else torch.where(seen_B1, root_BC, self.eps)

    def _raised(self, features_BChw: Tensor) -> Tensor:
        return features_BChw.clamp(min=self.eps).pow(self.p)

    def _root(self, mean_BC: Tensor, seen_B1: Tensor) -> Tensor:
        """The p-th root. A root of 0 has no gradient: where nothing counts, another number takes its place before."""
        return torch.where(seen_B1, torch.where(seen_B1, mean_BC, 1.0).pow(1 / self.p), self.eps)

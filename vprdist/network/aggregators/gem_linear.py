"""Generalized mean pooling and a linear map."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from vprdist.network.aggregators.gem import GeM
from vprdist.spec.doors.aggregator import Length


class GeMLinear(GeM):
    """GeM and a learnt linear map, (B, C, h, w) -> (B, out_channels), as CosPlace's head (Berton et al. 2022).

    With length `pooled` the descriptor is W g / |g| + b for what GeM pools, g. With `places` it is published: the
    features of each place are divided by their own length before, so that attention, a factor of them, cancels.

    Weights of places, and sums, are GeM's: the map comes after them.
    """

    def __init__(self, channels: int, out_channels: int = 512, p: float = 3.0, length: Length = "pooled") -> None:
        super().__init__(channels, p)
        self.linear = nn.Linear(channels, out_channels)
        self.dimensions, self.length = out_channels, length

    def forward(self, features_BChw: Tensor, weights: Tensor | None = None, **more: Any) -> Tensor:
        return self._mapped(super().forward(self._scaled(features_BChw), weights=weights))

    def sums_of(self, features_BChw: Tensor, maps_BKhw: Tensor) -> Tensor:
        return super().sums_of(self._scaled(features_BChw), maps_BKhw)

    def from_sums(self, sums_BM: Tensor) -> Tensor:
        return self._mapped(super().from_sums(sums_BM))

    def _scaled(self, features_BChw: Tensor) -> Tensor:
        return F.normalize(features_BChw, dim=1) if self.length == "places" else features_BChw

    def _mapped(self, pooled_BC: Tensor) -> Tensor:
        mapped: Tensor = self.linear(F.normalize(pooled_BC, dim=1) if self.length == "pooled" else pooled_BC)
        return mapped

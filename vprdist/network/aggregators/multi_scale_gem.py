"""Generalized mean pooling of several scales."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vprdist.network.aggregators.base import Aggregator
from vprdist.network.aggregators.gem import GeM


class MultiScaleGeM(Aggregator):
    """The features of several units, each pooled by one GeM, side by side: S x (B, C_s, h_s, w_s) -> (B, Σ C_s).

    SegVPR's pooling (Paolicelli et al. 2022; `net/pooling.py` of the authors): d = [gem(F̂_1) … gem(F̂_S)] with one
    learnt exponent, where F̂ = F / |F| at each place. The network divides by |F| (`normalises: before`), so that
    attention to places comes after. Adapted: the whole descriptor is of length 1, as every other here.
    """

    def __init__(
        self, channels: int | Sequence[int], at: Sequence[str] = (), p: float = 3.0, eps: float = 1e-6
    ) -> None:
        super().__init__()
        self.widths = (channels,) if isinstance(channels, int) else tuple(channels)
        self.dimensions = sum(self.widths)
        self.gem = GeM(self.dimensions, p, eps)

    def forward(self, features_BChw: Any, weights: Any = None, **more: Any) -> Tensor:
        """(B, Σ C_s) descriptors.

        Args:
            features_BChw: of each scale, (B, C_s, h_s, w_s), of unit length at each place; one scale may stand alone.
            weights: of each scale, (B, 1, h_s, w_s), how much each place counts, or None.
        """
        features = _scales(features_BChw)
        weighed = [None] * len(features) if weights is None else _scales(weights)
        return torch.cat([self.gem(one, weights=each) for one, each in zip(features, weighed, strict=True)], dim=1)

    def sums_of(self, features_BChw: Any, maps_BKhw: Any) -> Tensor:
        """(B, K, Σ (C_s + 1)): scale after scale Σ a f^p of each channel, and Σ a."""
        both = zip(_scales(features_BChw), _scales(maps_BKhw), strict=True)
        return torch.cat([self.gem.sums_of(one, each) for one, each in both], dim=2)

    def from_sums(self, sums_BM: Tensor) -> Tensor:
        parts = sums_BM.split([width + 1 for width in self.widths], dim=1)
        return torch.cat([self.gem.from_sums(part) for part in parts], dim=1)


def _scales(maps: Any) -> tuple[Tensor, ...]:
    return (maps,) if isinstance(maps, Tensor) else tuple(maps)

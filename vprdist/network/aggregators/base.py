"""What an aggregator is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

LEAST_WEIGHT = 1e-12
"""Less than this in all places together is nothing, and no weight is divided by less.

Nothing is added to each weight instead: an empty mask would then weigh all places alike, as no mask does, and a mask of
a rare class, empty on most pictures, would look like a good one.
"""


class Aggregator(nn.Module):
    """Features to one descriptor, (B, C, h, w) float32 -> (B, D) float32, which the network normalises afterwards.

    A subclass is made with `channels` (C) and its own parameters, and says in `dimensions` what D is. It need not
    inherit from here: any torch module that does so will do. In the body of the class it may state, as plain values:

    - `weighs = True`: `forward` honours `weights`, so that masks can be applied to features.
    - `sums = True`: what it pools is a sum over places, which `sums_of` and `from_sums` tell apart, so that the
      descriptors under all masks follow from one pass over the pictures.
    """

    dimensions: int

    def forward(self, features_BChw: Tensor, **more: Any) -> Tensor:
        """(B, D) descriptors.

        Args:
            features_BChw: of the backbone's last unit, float32.
            more: what an aggregator may use and may ignore: `token` (B, C), a backbone's class token or None;
                `weights` (B, 1, h, w), how much each place counts, or None.
        """
        raise NotImplementedError

    def sums_of(self, features_BChw: Tensor, maps_BKhw: Tensor) -> Tensor:
        """(B, K, M): for each of some maps the sums over all places that a descriptor is made of.

        They are linear in the map: the sums of a weighted sum of maps are the weighted sum of theirs.
        """
        raise NotImplementedError

    def from_sums(self, sums_BM: Tensor) -> Tensor:
        """(B, D): the descriptors that `forward` gives with the map as `weights`, from the map's sums."""
        raise NotImplementedError


def shares_of(weights_B1hw: Tensor) -> tuple[Tensor, Tensor]:
    """Weights as multiples of their mean, (B, 1, h, w), and whether there are any, (B, 1).

    Ones stay exactly 1 on every device: they are counted without rounding. No weight at all becomes 0.
    """
    total_B1 = weights_B1hw.sum(dim=(2, 3))
    mean_B1 = total_B1.clamp(min=LEAST_WEIGHT) / (weights_B1hw.shape[2] * weights_B1hw.shape[3])
    return weights_B1hw / mean_B1[:, :, None, None], total_B1 >= LEAST_WEIGHT


def places_of(features_BChw: Tensor) -> Tensor:
    """(B, h w, C) of features, without a copy where channels lie last in memory."""
    return features_BChw.permute(0, 2, 3, 1).flatten(1, 2)


def summed(maps_BKhw: Tensor, values_BNC: Tensor) -> Tensor:
    """(B, K, C + 1): the sums of some values over all places, weighted by each map, and the sums of the maps."""
    maps_BKN = maps_BKhw.flatten(2).to(values_BNC.dtype)
    return torch.cat([maps_BKN @ values_BNC, maps_BKN.sum(dim=2, keepdim=True)], dim=2)

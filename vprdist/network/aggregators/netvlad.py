"""NetVLAD."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vprdist.network.aggregators.base import LEAST_WEIGHT, Aggregator, places_of, shares_of, summed

SHARPNESS = 100.0
"""At the start, how much nearer centres are preferred (α, Arandjelović et al. 2016, section 3.1)."""


class NetVLAD(Aggregator):
    """Residuals to learnt centres, (B, C, h, w) -> (B, clusters * C) (Arandjelović et al. 2016, eq. 1 and 4).

    Features of unit length x are assigned softly, a_k = softmax_k(w_k x + b_k), and V_k = Σ a_k (x - c_k) is normalised
    cluster by cluster, then as a whole. Weights of places are factors of their assignments. Where no place counts all
    numbers are equal: of length 1, as every other descriptor, and not 0, which would lie nearer to all others than they
    do to each other.

    Centres start as random directions, and assignments as eq. 3 has them for these: w = 2 α c, b = -α |c|². The
    authors' start from clusters of the training pictures' features is not made yet.
    """

    def __init__(self, channels: int, clusters: int = 64) -> None:
        super().__init__()
        self.dimensions = clusters * channels
        centres_KC = F.normalize(torch.rand(clusters, channels), dim=1)
        self.centres = nn.Parameter(centres_KC)
        self.assignment = nn.Conv2d(channels, clusters, kernel_size=1)
        with torch.no_grad():
            self.assignment.weight.copy_(2 * SHARPNESS * centres_KC[:, :, None, None])
            self.assignment.bias.copy_(-SHARPNESS * centres_KC.square().sum(dim=1))  # type: ignore[union-attr]

    def forward(self, features_BChw: Tensor, weights: Tensor | None = None, **more: Any) -> Tensor:
        x_BChw = F.normalize(features_BChw, dim=1)
        assigned_BKhw = self._assigned(x_BChw)
        if weights is None:
            return self._normalised(self._residuals(assigned_BKhw, x_BChw) / x_BChw[0, 0].numel())
        shares_B1hw, seen_B1 = shares_of(weights)
        return self._seen(self._residuals(assigned_BKhw * shares_B1hw, x_BChw) / x_BChw[0, 0].numel(), seen_B1)

    def sums_of(self, features_BChw: Tensor, maps_BKhw: Tensor) -> Tensor:
        """(B, K, clusters * C + 1): Σ a a_k (x - c_k) of each cluster, and Σ a."""
        x_BChw = F.normalize(features_BChw, dim=1)
        assigned_BKhw = self._assigned(x_BChw)
        sums = [self._residuals(assigned_BKhw * each, x_BChw) for each in maps_BKhw.float().split(1, dim=1)]
        total_BK = maps_BKhw.float().sum(dim=(2, 3))
        return torch.cat([torch.stack(sums, dim=1).flatten(2), total_BK[:, :, None]], dim=2)

    def from_sums(self, sums_BM: Tensor) -> Tensor:
        total_B1 = sums_BM[:, -1:]
        mean_BD = sums_BM[:, :-1] / total_B1.clamp(min=LEAST_WEIGHT)
        return self._seen(mean_BD.unflatten(1, self.centres.shape), total_B1 >= LEAST_WEIGHT)

    def _assigned(self, x_BChw: Tensor) -> Tensor:
        """(B, clusters, h, w) float64, of sum 1: scores reach 2 α, of which float32 keeps 1e-5."""
        layer = self.assignment
        scores = F.conv2d(x_BChw.double(), layer.weight.double(), layer.bias.double())  # type: ignore[union-attr]
        return scores.softmax(dim=1)

    def _residuals(self, assigned_BKhw: Tensor, x_BChw: Tensor) -> Tensor:
        """(B, clusters, C) float32: Σ a_k (x - c_k), without a residual of each place and cluster.

        It is what is left of two sums that nearly cancel, hence in float64.
        """
        found_BKM = summed(assigned_BKhw, places_of(x_BChw).double())
        return (found_BKM[:, :, :-1] - found_BKM[:, :, -1:] * self.centres).float()

    def _normalised(self, residual_BKC: Tensor) -> Tensor:
        """(B, D), from the mean of all places: whether it is too small for a direction depends on no number of them."""
        return F.normalize(F.normalize(residual_BKC, dim=2).flatten(1), dim=1)

    def _seen(self, residual_BKC: Tensor, seen_B1: Tensor) -> Tensor:
        """Normalised; where nothing counts, one constant direction."""
        return torch.where(seen_B1, self._normalised(residual_BKC), self.dimensions**-0.5)

"""NetVLAD."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vprdist.network.aggregators.base import LEAST_WEIGHT, Aggregator, Samples, places_of, shares_of, summed
from vprdist.network.clusters import ROWS, Advanced, centres_of, silent

SHARPNESS = 100.0
"""How much nearer centres are preferred where they start at random (α, Arandjelović et al. 2016, section 3.1)."""
LEAST_GAP = 1e-6
"""Features that no centre is nearer to than another would ask for an infinite α."""


class NetVLAD(Aggregator):
    """Residuals to learnt centres, (B, C, h, w) -> (B, clusters * C) (Arandjelović et al. 2016, eq. 1 and 4).

    Features of unit length x are assigned softly, a_k = softmax_k(w_k x + b_k), and V_k = Σ a_k (x - c_k) is normalised
    cluster by cluster, then as a whole. Weights of places are factors of their assignments. Where no place counts all
    numbers are equal: of length 1, as every other descriptor, and not 0, which would lie nearer to all others than they
    do to each other.

    Centres start as random directions, or as the clusters of training pictures' features of unit length; α is then
    such that the nearest centre has, on average of logarithms, 100 times the share of the second.

    - Form 1: w = α c / |c| and no offsets; α = -ln 0.01 / mean difference of the two largest cosines.
    - Form 2 (eq. 3): w = 2 α c, b = -α |c|²; α = -ln 0.01 / mean difference of the two smallest squared distances.

    Args:
        start: `clusters` asks for `start_from`; until then, and with `random`, centres are random directions.
        form: of the assignments at the start; after it they are free, those of form 1 without offsets.
    """

    def __init__(self, channels: int, clusters: int = 64, start: str = "random", form: int = 2) -> None:
        super().__init__()
        self.dimensions, self.form, self.starts = clusters * channels, form, start == "clusters"
        centres_KC = F.normalize(torch.rand(clusters, channels), dim=1)
        self.centres = nn.Parameter(centres_KC.clone())
        self.assignment = nn.Conv2d(channels, clusters, kernel_size=1, bias=form == 2)
        self._place(centres_KC, SHARPNESS if form == 2 else 2 * SHARPNESS)  # one function of unit centres

    @torch.no_grad()
    def start_from(self, samples: Samples, advanced: Advanced = silent) -> None:
        """Centres are clusters of all features."""
        x_NC = F.normalize(samples.features_NC, dim=1)
        centres_KC = centres_of(x_NC, len(self.centres), samples.seed, advanced)
        self._place(centres_KC, self._sharpness(x_NC, centres_KC))

    def _sharpness(self, x_NC: Tensor, centres_KC: Tensor) -> float:
        """α for these features of unit length."""
        if len(centres_KC) == 1:
            return SHARPNESS  # of no effect: a single centre takes all
        if self.form == 1:
            scores, offsets = F.normalize(centres_KC, dim=1), centres_KC.new_zeros(len(centres_KC))
        else:
            scores, offsets = 2 * centres_KC, centres_KC.square().sum(dim=1)  # |x|² has no part in differences
        total = 0.0
        for part_NC in x_NC.split(ROWS):
            first_two = (part_NC.double() @ scores.T - offsets).topk(2, dim=1).values
            total += float((first_two[:, 0] - first_two[:, 1]).sum())
        return -math.log(0.01) / max(total / len(x_NC), LEAST_GAP)

    @torch.no_grad()
    def _place(self, centres_KC: Tensor, alpha: float) -> None:
        """Centres, and assignments as the form has them for these."""
        self.centres.copy_(centres_KC)
        if self.assignment.bias is None:
            weight_KC = alpha * F.normalize(centres_KC, dim=1)
        else:
            weight_KC = 2 * alpha * centres_KC
            self.assignment.bias.copy_(-alpha * centres_KC.square().sum(dim=1))
        self.assignment.weight.copy_(weight_KC[:, :, None, None])

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
        return self._scores(x_BChw.double()).softmax(dim=1)

    def _scores(self, x_BChw: Tensor) -> Tensor:
        """(B, clusters, h, w) of float64 features: w x + b."""
        bias = self.assignment.bias
        return F.conv2d(x_BChw, self.assignment.weight.double(), None if bias is None else bias.double())

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

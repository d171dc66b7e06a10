"""SALAD: places assigned to clusters by optimal transport."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vprdist.network.aggregators.base import LEAST_WEIGHT, Aggregator, check_clusters, places_of, shares_of


class SALAD(Aggregator):
    """Sums of features by optimal transport, (B, C, h, w) -> (B, clusters * out_channels) (Izquierdo, Civera 2024).

    Two maps of each place answer with its features f and its scores; P is what Sinkhorn's algorithm assigns of n places
    to m clusters of mass 1 and a dustbin of n - m, whose score is learnt; V_m = Σ_i P_im f_i, each of length one
    (their section 3). A backbone's class token is mapped likewise, and stands before them; without one it is left out.

    Weights of places are factors of their assignments, which are those of the whole picture: what no weight shows still
    competes for the clusters, as receptive fields tell of it. So sums stay linear in the weights. Where no place counts
    all numbers are equal.

    A score that is the same at every place cancels where its row is brought to its mass: the dustbin's, and the last
    biases of the others, change nothing and learn nothing, as in the authors' code. Their dropout is left out: what a
    rank drew would depend on how many there are.
    """

    def __init__(
        self, channels: int, token: int | None = None, clusters: int = 64, out_channels: int = 128,
        token_channels: int = 256, hidden: int = 512, iterations: int = 3,
    ) -> None:  # fmt: skip
        super().__init__()
        self.clusters, self.iterations = clusters, iterations
        self.features, self.scores = _map(channels, hidden, out_channels), _map(channels, hidden, clusters)
        self.token = None if token is None else _map(token, hidden, token_channels)
        self.dustbin = nn.Parameter(torch.ones(1))
        self.dimensions = clusters * out_channels + (0 if token is None else token_channels)

    def forward(
        self, features_BChw: Tensor, token: Tensor | None = None, weights: Tensor | None = None, **more: Any
    ) -> Tensor:
        """
        Raises:
            UserError: there are no more places than clusters.
        """
        assigned_BMN, values_BNL = self._assigned(features_BChw)
        num = values_BNL.shape[1]
        if weights is None:
            return self._joined(_lengths_one(assigned_BMN @ values_BNL / num), token)
        shares_B1hw, seen_B1 = shares_of(weights)
        found_BML = (assigned_BMN * shares_B1hw.flatten(2)) @ values_BNL / num
        return self._joined(self._seen(found_BML, seen_B1), token)

    def sums_of(self, features_BChw: Tensor, maps_BKhw: Tensor) -> Tensor:
        """(B, K, clusters * out_channels + 1): Σ a P_m f of each cluster, and Σ a."""
        assigned_BMN, values_BNL = self._assigned(features_BChw)
        maps = maps_BKhw.float().flatten(2)
        sums = [(assigned_BMN * each_B1N) @ values_BNL for each_B1N in maps.split(1, dim=1)]
        return torch.cat([torch.stack(sums, dim=1).flatten(2), maps.sum(dim=2, keepdim=True)], dim=2)

    def from_sums(self, sums_BM: Tensor) -> Tensor:
        """Without the class token, which no mask at the features lets through."""
        total_B1 = sums_BM[:, -1:]
        mean_BD = sums_BM[:, :-1] / total_B1.clamp(min=LEAST_WEIGHT)
        return self._seen(mean_BD.unflatten(1, (self.clusters, -1)), total_B1 >= LEAST_WEIGHT)

    def _assigned(self, features_BChw: Tensor) -> tuple[Tensor, Tensor]:
        """What clusters are assigned of each place, (B, clusters, n), and the places' features (B, n, out_channels)."""
        places_BNC = places_of(features_BChw)
        check_clusters(self.clusters, places_BNC.shape[1])
        scores_BMN = self.scores(places_BNC).transpose(1, 2)
        rest_B1N = self.dustbin.expand(len(scores_BMN), 1, scores_BMN.shape[2])
        plan_BMN = transported(torch.cat([scores_BMN, rest_B1N], dim=1), self.iterations)
        return plan_BMN[:, :-1], self.features(places_BNC)

    def _joined(self, found_BD: Tensor, token: Tensor | None) -> Tensor:
        if self.token is None or token is None:
            return found_BD
        return torch.cat([F.normalize(self.token(token), dim=1), found_BD], dim=1)

    def _seen(self, sums_BML: Tensor, seen_B1: Tensor) -> Tensor:
        """Each is of length one; where nothing counts, one constant direction."""
        return torch.where(seen_B1, _lengths_one(sums_BML), self.dimensions**-0.5)


def transported(scores_BMN: Tensor, iterations: int) -> Tensor:
    """The plan (B, m + 1, n) that moves n places of mass 1 to m clusters of mass 1 and a last one that takes the rest.

    Sinkhorn's algorithm on logarithms (Cuturi 2013): rows, then columns, are brought to their masses, in turn.
    """
    clusters, places = scores_BMN.shape[1] - 1, scores_BMN.shape[2]
    mass_M1 = scores_BMN.new_zeros(clusters + 1, 1)
    mass_M1[-1] = math.log(places - clusters)
    for _ in range(iterations):
        scores_BMN = scores_BMN + mass_M1 - scores_BMN.logsumexp(dim=2, keepdim=True)
        scores_BMN = scores_BMN - scores_BMN.logsumexp(dim=1, keepdim=True)
    return scores_BMN.exp()


def _map(inside: int, hidden: int, outside: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inside, hidden), nn.ReLU(), nn.Linear(hidden, outside))


def _lengths_one(sums_BML: Tensor) -> Tensor:
    """(B, m L): each cluster's sum divided by its length."""
    return F.normalize(sums_BML, dim=2).flatten(1)

"""The triplet loss: a query is to be nearer to its positive than to a negative, by a margin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from vprdist.data.kinds import POSITIVE_SIMILARITY
from vprdist.training.losses.base import BatchLoss
from vprdist.training.losses.distance import all_distances

Negatives = Literal["own", "hardest", "all"]


class TripletLoss(BatchLoss):
    """The mean over triplets of max(0, d(q,p) + m - d(q,n)), distances of unit vectors that are not squared.

    Arandjelovic et al., "NetVLAD" (2016), eq. 7, as its public PyTorch code and SegVPR have it: distances in the place
    of squared ones, the mean in the place of the sum. A positive p is a partner that was drawn for the query q and
    overlaps it by half (similarity 0.5 and more), a negative n one of similarity 0; those in between are neither.

    Args:
        margin: m.
        negatives: `own`: those that were drawn for the query; `all`: those of the batch; `hardest`: of these the one
            whose triplet costs most, so that each positive makes one triplet.
    """

    wants = "all"
    draws = (1.0, 0.0, 0.0)
    labels = "fov"

    def __init__(self, margin: float, negatives: Negatives) -> None:
        self.margin, self.negatives = margin, negatives

    def __call__(
        self, query_ND: Tensor, partner_MD: Tensor, similarity_NM: Tensor
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The loss, and how many triplets there are and how many cost something."""
        distance_NM = all_distances(query_ND, partner_MD)
        far = drawn_for(distance_NM) if self.negatives == "own" else distance_NM
        excess_NRK = drawn_for(distance_NM).unsqueeze(2) - far.unsqueeze(1) + self.margin
        return mean_of_triplets(excess_NRK, similarity_NM, self.negatives)


def drawn_for(each_NM: Tensor) -> Tensor:
    """(N, R) of N rows: the part of each row that is of its own R = M / N partners, which stand side by side."""
    own_RN: Tensor = each_NM.unflatten(1, (len(each_NM), -1)).diagonal(dim1=0, dim2=1)
    return own_RN.T


def mean_of_triplets(
    excess_NRK: Tensor, similarity_NM: Tensor, negatives: Negatives
) -> tuple[Tensor, Mapping[str, Tensor]]:
    """The mean of max(0, excess) over those triplets that are ones; 0, which gradients flow through, where none is.

    Args:
        excess_NRK: of query i, its partner k of the R that were drawn for it, and a partner that may be a negative: one
            of these R where negatives are `own`, else one of the batch.
        similarity_NM: graded, in [0, 1].
    """
    own_NR = drawn_for(similarity_NM)
    others = own_NR if negatives == "own" else similarity_NM
    is_triplet = (own_NR >= POSITIVE_SIMILARITY).unsqueeze(2) & (others == 0).unsqueeze(1)
    if negatives == "hardest":
        excess_NRK = excess_NRK.masked_fill(~is_triplet, -torch.inf).amax(dim=2, keepdim=True)
        is_triplet = is_triplet.any(dim=2, keepdim=True)
    losses = excess_NRK.clamp(min=0) * is_triplet
    count = is_triplet.sum()
    return losses.sum() / count.clamp(min=1), {"triplets": count, "active_triplets": (losses.detach() > 0).sum()}

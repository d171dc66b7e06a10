"""The sharpened triplet loss of de-attention: the positive is to be far from the negative too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from vprdist.training.losses.base import BatchLoss
from vprdist.training.losses.distance import all_distances
from vprdist.training.losses.triplet import Negatives, drawn_for, mean_of_triplets


class SharpenedTripletLoss(BatchLoss):
    """The mean over triplets of a loss that also knows d(p,n), the distance of positive and negative.

    Version 1: max(0, d(q,p) + m - d(q,n) + m_pn - d(p,n)). Version 2: max(0, m_pn - d(p,n)), of which the query is no
    part, as its authors' code has it (deepguider/deattention_with_stml_for_vpr, `utils/custom_loss.py`; Pattern
    Recognition 2023). Positives and negatives are those of `TripletLoss`.

    Args:
        margin, margin_pn: m and m_pn.
        negatives: see `TripletLoss`.
    """

    wants = "all"
    draws = (1.0, 0.0, 0.0)
    labels = "fov"

    def __init__(self, margin: float, margin_pn: float, version: Literal[1, 2], negatives: Negatives) -> None:
        self.margin, self.margin_pn, self.version, self.negatives = margin, margin_pn, version, negatives

    def __call__(
        self, query_ND: Tensor, partner_MD: Tensor, similarity_NM: Tensor
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The loss, and how many triplets there are and how many cost something."""
        partner_NRD = partner_MD.unflatten(0, (len(query_ND), -1))
        if self.negatives == "own":
            apart_NRK = all_distances(partner_NRD, partner_NRD)
        else:
            apart_NRK = all_distances(partner_MD, partner_MD).unflatten(0, partner_NRD.shape[:2])
        excess_NRK = self.margin_pn - apart_NRK
        if self.version == 1:
            distance_NM = all_distances(query_ND, partner_MD)
            far = drawn_for(distance_NM) if self.negatives == "own" else distance_NM
            excess_NRK = drawn_for(distance_NM).unsqueeze(2) + self.margin - far.unsqueeze(1) + excess_NRK
        return mean_of_triplets(excess_NRK, similarity_NM, self.negatives)

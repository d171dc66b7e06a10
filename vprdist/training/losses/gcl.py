"""The Generalized Contrastive Loss (Leyva-Vallina et al., "Data-efficient large scale place recognition", eq. 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GeneralizedContrastiveLoss(nn.Module):
    """s·½·d² + (1−s)·½·max(0, m−d)² for each pair, d the Euclidean distance, s the graded similarity in [0, 1].

    Binary s gives the contrastive loss. As the reference does, 1e-6 is added to each difference before the norm
    (torch's PairwiseDistance), which keeps the gradient finite where two descriptors are equal.
    """

    def __init__(self, margin: float) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, query_BD: Tensor, partner_BD: Tensor, similarity_B: Tensor) -> Tensor:
        """(B,) losses."""
        distance = nn.functional.pairwise_distance(query_BD, partner_BD, p=2, eps=1e-6)
        pull = similarity_B * distance.square()
        push = (1 - similarity_B) * torch.clamp(self.margin - distance, min=0).square()
        return (pull + push) / 2

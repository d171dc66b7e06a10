"""The Generalized Contrastive Loss (Leyva-Vallina et al., "Data-efficient large scale place recognition", eq. 3)."""

from __future__ import annotations

import torch
from torch import Tensor

from vprdist.training.losses.base import PairLoss


class GeneralizedContrastiveLoss(PairLoss):
    """s·½·d² + (1-s)·½·max(0, m-d)² for each pair: d the distance of its descriptors, s its graded similarity."""

    def __init__(self, margin: float) -> None:
        self.margin = margin

    def __call__(self, distance: Tensor, similarity: Tensor) -> Tensor:
        """Losses, of any one shape."""
        pull = similarity * distance.square()
        push = (1 - similarity) * torch.clamp(self.margin - distance, min=0).square()
        return (pull + push) / 2

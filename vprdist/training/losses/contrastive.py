"""The contrastive loss (Hadsell et al. 2006, eq. 4): a pair shows one place, or it does not."""

from __future__ import annotations

from torch import Tensor

from vprdist.data.kinds import POSITIVE_SIMILARITY
from vprdist.training.losses.base import PairLoss
from vprdist.training.losses.gcl import GeneralizedContrastiveLoss


class ContrastiveLoss(PairLoss):
    """½·d² for a positive pair, ½·max(0, m-d)² for any other.

    A pair is positive as the official labels `sim` say; where labels are computed, when its similarity is 0.5 or more.
    """

    draws = (0.5, 0.0, 0.5)
    labels = "sim"

    def __init__(self, margin: float) -> None:
        self._graded = GeneralizedContrastiveLoss(margin)

    def __call__(self, distance: Tensor, similarity: Tensor) -> Tensor:
        """Losses, of any one shape."""
        return self._graded(distance, (similarity >= POSITIVE_SIMILARITY).to(distance.dtype))

"""Losses, one a file. To add one: its file here, an entry in `build_loss`, its word in `TrainSpec.loss`."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from vprdist.spec.trial import TrainSpec
from vprdist.training.losses.gcl import GeneralizedContrastiveLoss

PairLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(query_BD, partner_BD, similarity_B) -> (B,) losses."""


def build_loss(spec: TrainSpec) -> PairLoss:
    """The loss that the recipe names."""
    return {"gcl": GeneralizedContrastiveLoss}[spec.loss](spec.margin)

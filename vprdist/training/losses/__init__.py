"""Losses, one a file.

To add one: its file here, an entry in `LOSSES`, its word in `spec.vocabulary.Loss`, how often it draws which partner in
`data.kinds.SHARES_OF`, which official labels it takes in `data.official.DATASETS`.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from vprdist.spec.trial import TrainSpec
from vprdist.spec.vocabulary import Loss
from vprdist.training.losses.contrastive import ContrastiveLoss
from vprdist.training.losses.gcl import GeneralizedContrastiveLoss

PairLoss = Callable[[Tensor, Tensor], Tensor]
"""(distance, graded similarity), of one shape -> losses of that shape."""


LOSSES: dict[Loss, Callable[[float], PairLoss]] = {
    "gcl": GeneralizedContrastiveLoss,
    "contrastive": ContrastiveLoss,
}
"""Each is made from its margin."""


def build_loss(spec: TrainSpec) -> PairLoss:
    """The loss that the recipe names."""
    return LOSSES[spec.loss](spec.margin)

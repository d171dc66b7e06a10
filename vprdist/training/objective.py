"""From the descriptors of a step to the number that is minimised."""

from __future__ import annotations

from torch import Tensor

from vprdist.training.losses import PairLoss
from vprdist.training.losses.distance import all_distances, pair_distance


def drawn_pairs(query_BD: Tensor, partner_BD: Tensor, similarity_B: Tensor, loss: PairLoss) -> tuple[Tensor, Tensor]:
    """The sum of the losses of B pairs, each query with its own partner, and how many of them are null."""
    losses = loss(pair_distance(query_BD, partner_BD), similarity_B)
    return losses.sum(), (losses.detach() == 0).sum()


def every_pair(query_ND: Tensor, partner_ND: Tensor, similarity_NN: Tensor, loss: PairLoss) -> tuple[Tensor, Tensor]:
    """A mean of the losses of every query with every partner, and the share of null losses.

    Nearly all pairs of a batch show different places, most of them far apart already: a plain mean would be a mean of
    zeros. So it is the mean over pairs that overlap, plus the mean over pairs that do not and whose loss is not null.
    """
    losses = loss(all_distances(query_ND, partner_ND), similarity_NN)
    null = losses.detach() == 0
    overlap = similarity_NN > 0
    pull = (losses * overlap).sum() / overlap.sum().clamp(min=1)
    push = (losses * ~overlap).sum() / (~overlap & ~null).sum().clamp(min=1)
    return pull + push, null.float().mean()

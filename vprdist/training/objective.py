"""From the descriptors of a step to the number that is minimised."""

from __future__ import annotations

import torch
from torch import Tensor

from vprdist.errors import OwnCodeError
from vprdist.training.losses.base import BatchLoss, PairLoss
from vprdist.training.losses.distance import all_distances, pair_distance


def drawn_pairs(query_BD: Tensor, partner_PD: Tensor, similarity: Tensor, loss: PairLoss) -> tuple[Tensor, Tensor]:
    """The sum of the losses of all pairs of B queries with their own partners, and how many of them are null.

    Args:
        partner_PD: K for each query, behind each other.
        similarity: (B,) or (B, K).
    """
    num = len(partner_PD) // max(1, len(query_BD))
    losses = loss(pair_distance(query_BD.repeat_interleave(num, dim=0), partner_PD), similarity.flatten())
    return losses.sum(), (losses.detach() == 0).sum()


def every_pair(query_ND: Tensor, partner_MD: Tensor, similarity_NM: Tensor, loss: PairLoss) -> tuple[Tensor, Tensor]:
    """A mean of the losses of every query with every partner, and the share of null losses.

    Nearly all pairs of a batch show different places, most of them far apart already: a plain mean would be a mean of
    zeros. So it is the mean over pairs that overlap, plus the mean over pairs that do not and whose loss is not null.
    """
    losses = loss(all_distances(query_ND, partner_MD), similarity_NM)
    null = losses.detach() == 0
    overlap = similarity_NM > 0
    pull = (losses * overlap).sum() / overlap.sum().clamp(min=1)
    push = (losses * ~overlap).sum() / (~overlap & ~null).sum().clamp(min=1)
    return pull + push, null.float().mean()


def whole_batch(
    query_ND: Tensor, partner_MD: Tensor, similarity_NM: Tensor, loss: BatchLoss, name: str
) -> tuple[Tensor, dict[str, Tensor]]:
    """What a loss says of a whole batch, and what it has to log.

    Args:
        name: of the loss, for messages.

    Raises:
        OwnCodeError: it answers with something else than a scalar that a gradient can be taken of.
    """
    told = loss(query_ND, partner_MD, similarity_NM)
    value, more = told if isinstance(told, tuple) else (told, {})
    fault = "a loss must answer with one number, a tensor that gradients flow through"
    if not isinstance(value, Tensor) or value.ndim or not value.is_floating_point():
        found = f"a tensor of shape {tuple(value.shape)}, {value.dtype}" if isinstance(value, Tensor) else repr(value)
        raise OwnCodeError(name, fault, found, "Take the mean or the sum of it.")
    if query_ND.requires_grad and not value.requires_grad:
        raise OwnCodeError(name, fault, "no gradient", "Compute it from the descriptors, without detach or item.")
    logged = {key: torch.as_tensor(each, device=value.device).detach().float() for key, each in more.items()}
    if wrong := next((key for key, each in logged.items() if each.ndim), None):
        fault = f"what a loss logs must be numbers: {wrong}"
        raise OwnCodeError(name, fault, f"a tensor of shape {tuple(logged[wrong].shape)}", "Take its mean.")
    return value, {f"loss/{key}": each for key, each in logged.items()}

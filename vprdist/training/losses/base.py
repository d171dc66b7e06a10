"""What a loss is: of single pairs, or of a whole batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import Tensor

Told = Tensor | tuple[Tensor, Mapping[str, Tensor]]
"""The scalar that is minimised; and, where there is more to see, further scalars by name, for the log."""


class Loss:
    """What every loss may state, as plain values in the body of its class: they are read before torch loads.

    Attributes:
        wants: `pairs` makes it a `PairLoss`, `all` a `BatchLoss`.
        draws: how often a query's partner is a positive (similarity of 0.5 and more), a soft negative (below), a hard
            negative (0); their sum is 1.
        labels: the dataset of the official label files that it learns from, `fov` (graded) or `sim` (0 or 1).
    """

    wants: ClassVar[Literal["pairs", "all"]] = "all"
    draws: ClassVar[tuple[float, float, float]] = (0.5, 0.25, 0.25)
    labels: ClassVar[Literal["fov", "sim"]] = "fov"


class PairLoss(Loss):
    """A loss of each pair by itself. Its mean is taken over drawn pairs, or over all (`train.pairs`)."""

    wants = "pairs"

    def __call__(self, distance: Tensor, similarity: Tensor) -> Tensor:
        """Losses, of any one shape.

        Args:
            distance: Euclidean, between descriptors of unit length.
            similarity: graded, in [0, 1], of the same shape.
        """
        raise NotImplementedError


class BatchLoss(Loss):
    """A loss of a whole batch: of every query with every partner, over all ranks."""

    def __call__(self, query_ND: Tensor, partner_MD: Tensor, similarity_NM: Tensor) -> Told:
        """A scalar, with or without more for the log.

        Args:
            query_ND: descriptors of the batch's N queries, of unit length, float32. Those of other ranks carry no
                gradient: each rank computes the whole loss, and the gradient of its own.
            partner_MD: of their partners, M a whole multiple of N: partner j was drawn for query j // (M // N).
            similarity_NM: graded, in [0, 1]: of query i with partner j; 0 between cities.
        """
        raise NotImplementedError

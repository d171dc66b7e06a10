"""Distances between descriptors, which losses are made of."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def pair_distance(query_BD: Tensor, partner_BD: Tensor) -> Tensor:
    """(B,) Euclidean distances of pairs.

    As in the reference (torch's PairwiseDistance), 1e-6 is added to each difference before the norm, which keeps the
    gradient finite where two descriptors are equal.
    """
    return nn.functional.pairwise_distance(query_BD, partner_BD, p=2, eps=1e-6)


def all_distances(query_QD: Tensor, partner_PD: Tensor) -> Tensor:
    """(Q, P) Euclidean distances of every query with every partner; the gradient of a distance of 0 is 0."""
    return torch.cdist(query_QD, partner_PD, compute_mode="donot_use_mm_for_euclid_dist")

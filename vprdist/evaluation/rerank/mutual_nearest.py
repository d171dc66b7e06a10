"""Re-ranking by mutual nearest local features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from vprdist.evaluation.rerank.base import LocalFeatures, Reranker

WHOLE = 2.0**48
"""Cosines of float16 features are whole multiples of its inverse."""


class MutualNearest(Reranker):
    """Images are ordered by how many local features are each other's nearest.

    With the local features q_u of the query and d_v of an image, unit vectors, and c_uv = q_u · d_v:

        M = {(u, v): v = argmax_v' c_uv'  and  u = argmax_u' c_u'v}
        score = |M|  (`count`),  or the sum of c_uv over M  (`cosines`)

    The first of equally near features of the map, row by row, is the nearest. Nothing here is rounded: the features
    are float16, their cosines exact in float64, and their sum is one of whole numbers.

    Source: Lu et al., Towards Seamless Adaptation of Pre-trained Models for Visual Place Recognition (SelaVPR), ICLR
    2024, section 3.3, which counts. Adapted: the features are those of the network's own map, not of an up-sampling
    head that was trained for them.

    Args:
        score: what a pair of M earns: one, or its cosine.
    """

    def __init__(self, score: Literal["count", "cosines"] = "count") -> None:
        self.score = score

    def scores(self, query: LocalFeatures, candidates: Sequence[LocalFeatures]) -> Tensor:
        """(len(candidates),) float64; 0 where either has no feature that counts."""
        asked = query.features_NC.double()
        return torch.stack([self._score(asked, each.features_NC.double()) for each in candidates])

    def _score(self, query_NC: Tensor, other_MC: Tensor) -> Tensor:
        if not len(query_NC) or not len(other_MC):
            return query_NC.new_zeros(())
        cosines_NM = query_NC @ other_MC.T
        nearest_N, back_M = cosines_NM.argmax(dim=1), cosines_NM.argmax(dim=0)
        here = torch.arange(len(query_NC), device=query_NC.device)
        mutual_N = back_M[nearest_N] == here
        if self.score == "count":
            return mutual_N.sum().double()
        earned_N = cosines_NM[here, nearest_N] * mutual_N
        return (earned_N * WHOLE).long().sum().double() / WHOLE

"""Attention of every place to every other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vprdist.network.attention.base import Attention, reduced


class NonLocal(Attention):
    """What other places have (Wang et al., CVPR 2018, eq. 2-6, in SAGAN's form: Zhang et al., ICML 2019, eq. 1-3).

    out = F + γ V softmax(Q K), with Q and K 1x1 convolutions to C/r, V one to C, and the softmax over the places that
    are looked at. γ is 0 at the start, as published: nothing is changed. Adapted: V keeps all channels, as in DANet's
    position attention (Fu et al., CVPR 2019, eq. 1-2), and no weight has its spectral norm.

    Args:
        reduction: r.
    """

    logits = ("query", "key", "value")

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        width = reduced(channels, reduction)
        self.query, self.key = nn.Conv2d(channels, width, 1), nn.Conv2d(channels, width, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, features_BChw: Tensor, **more: Any) -> Tensor:
        query, key, value = (
            each(features_BChw).flatten(2).transpose(1, 2).unsqueeze(1) for each in (self.query, self.key, self.value)
        )
        seen_BnC = nn.functional.scaled_dot_product_attention(query, key, value, scale=1.0).squeeze(1)
        return features_BChw + self.gamma * seen_BnC.transpose(1, 2).reshape(features_BChw.shape)

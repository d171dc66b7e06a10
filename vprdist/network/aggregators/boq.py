"""Bag of queries."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vprdist.network.aggregators.base import Aggregator, places_of

HEAD_CHANNELS = 64
"""Channels of one head of attention."""


class Block(nn.Module):
    """One encoder layer over the places and learnt queries that attend to what it answers.

    (B, n, C) -> the places as encoded, (B, n, C), and what the queries found, (B, queries, C).
    """

    def __init__(self, width: int, queries: int) -> None:
        super().__init__()
        heads = width // HEAD_CHANNELS
        self.encoder = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.0, batch_first=True)
        self.queries = nn.Parameter(torch.randn(1, queries, width))
        self.among = nn.MultiheadAttention(width, heads, batch_first=True)
        self.across = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm_among, self.norm_across = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, places_BNC: Tensor) -> tuple[Tensor, Tensor]:
        encoded_BNC = self.encoder(places_BNC)
        # No picture changes what the queries are among themselves: once for the whole batch.
        asked_1QC = self.norm_among(self.queries + self.among(*[self.queries] * 3, need_weights=False)[0])
        asked_BQC = asked_1QC.expand(len(places_BNC), -1, -1)
        found_BQC, _ = self.across(asked_BQC, encoded_BNC, encoded_BNC, need_weights=False)
        return encoded_BNC, self.norm_across(found_BQC)


class BoQ(Aggregator):
    """Learnt queries that attend to the places, (B, C, h, w) -> (B, out_channels * rows) (Ali-bey 2024, section 3).

    A 3x3 convolution brings C channels to `out_channels`; each block encodes what the one before it answered; a
    linear map turns the queries of all blocks into `rows` numbers of each channel. The encoder mixes all places before
    they are pooled, so that none can be left out exactly: it takes no weights.
    """

    def __init__(
        self, channels: int, out_channels: int = 512, queries: int = 64, depth: int = 2, rows: int = 32
    ) -> None:
        super().__init__()
        self.dimensions = out_channels * rows
        self.project = nn.Conv2d(channels, out_channels, kernel_size=3, padding=1)
        self.norm = nn.LayerNorm(out_channels)
        self.blocks = nn.ModuleList(Block(out_channels, queries) for _ in range(depth))
        self.row_map = nn.Linear(depth * queries, rows)

    def forward(self, features_BChw: Tensor, **more: Any) -> Tensor:
        places_BNC, found = self.norm(places_of(self.project(features_BChw))), []
        for block in self.blocks:
            places_BNC, found_BQC = block(places_BNC)
            found.append(found_BQC)
        out_BCR: Tensor = self.row_map(torch.cat(found, dim=1).transpose(1, 2))
        return out_BCR.flatten(1)

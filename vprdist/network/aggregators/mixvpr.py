"""MixVPR."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from vprdist.errors import UserError
from vprdist.network.aggregators.base import Aggregator

SPREAD = 0.02
"""Standard deviation of a block's weights at the start, as the authors' code has it."""


class Mixer(nn.Module):
    """x + W2 ReLU(W1 LN(x)) over the places of each channel, (B, C, n) -> (B, C, n) (eq. 2)."""

    def __init__(self, places: int, ratio: int) -> None:
        super().__init__()
        self.mix = nn.Sequential(
            nn.LayerNorm(places), nn.Linear(places, ratio * places), nn.ReLU(), nn.Linear(ratio * places, places)
        )
        for layer in self.mix:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=SPREAD)
                nn.init.zeros_(layer.bias)

    def forward(self, rows_BCN: Tensor) -> Tensor:
        mixed: Tensor = rows_BCN + self.mix(rows_BCN)
        return mixed


class MixVPR(Aggregator):
    """Channels as rows of places that are mixed, (B, C, h, w) -> (B, out_channels * rows) (Ali-bey 2023, eq. 1-5).

    After the blocks, one linear map turns C channels into `out_channels`, another n = h w places into `rows` numbers.
    The maps know each place by its position: the aggregator is bound to one size of features, and a place cannot be
    left out, so that it takes no weights.
    """

    def __init__(
        self, channels: int, places: tuple[int, int], out_channels: int = 1024, rows: int = 4, depth: int = 4,
        ratio: int = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        self.places, num = places, places[0] * places[1]
        self.dimensions = out_channels * rows
        self.blocks = nn.Sequential(*(Mixer(num, ratio) for _ in range(depth)))
        self.channel_map, self.row_map = nn.Linear(channels, out_channels), nn.Linear(num, rows)

    def forward(self, features_BChw: Tensor, **more: Any) -> Tensor:
        """
        Raises:
            UserError: features of another size than those that it was made for.
        """
        height, width = features_BChw.shape[2:]
        if (height, width) != self.places:
            fault = "mixvpr must be given features of the size that it was made for, {}x{}".format(*self.places)
            remedy = "Show it pictures of the size that it was trained on."
            raise UserError("trial.evaluate.image_size", fault, f"{height}x{width}", remedy)
        rows_BCN = self.blocks(features_BChw.flatten(2))
        mapped_BND = self.channel_map(rows_BCN.transpose(1, 2))
        out_BDR: Tensor = self.row_map(mapped_BND.transpose(1, 2))
        return out_BDR.flatten(1)

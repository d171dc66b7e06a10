"""What stands in an aggregator's place where a network answers with descriptors itself."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from vprdist.network.aggregators.base import Aggregator


class AsAnswered(Aggregator):
    """Leaves descriptors as the network answered them, (B, D) -> (B, D)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dimensions = channels

    def forward(self, features_BChw: Tensor, **more: Any) -> Tensor:
        return features_BChw

"""What an aggregator is."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class Aggregator(nn.Module):
    """Features to one descriptor, (B, C, h, w) float32 -> (B, D) float32, which the network normalises afterwards.

    A subclass is made with `channels` (C) and its own parameters, and says in `dimensions` what D is. It need not
    inherit from here: any torch module that does so will do.
    """

    dimensions: int

    def forward(self, features_BChw: Tensor, **more: Any) -> Tensor:
        """(B, D) descriptors.

        Args:
            features_BChw: of the backbone's last unit, float32.
            more: what an aggregator may use and may ignore: `token` (B, C), a backbone's class token or None;
                `weights` (B, 1, h, w), how much each place counts, or None.
        """
        raise NotImplementedError

"""What attention is."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from torch import Tensor, nn

Start = Literal["identity", "published"]
"""Where attention begins: it changes nothing, so that pretrained weights are kept; or as its authors begin."""


class Attention(nn.Module):
    """Features to features of the same shape, (B, C, h, w) -> (B, C, h, w), behind a unit of the backbone.

    A subclass is made once for each unit that it stands behind, with `channels` (C) and its own parameters. It need not
    inherit from here. It always trains, also behind frozen units.

    Its BatchNorm, where it has any, follows the trial: `batch_norm: frozen` keeps it at the statistics that it begins
    with, 0 and 1, so that it scales and shifts alone; `sync` takes those of all ranks' pictures; `reference` those of
    each side's.

    Attributes:
        logits: the layers that answer with its logits, by which the contract of attention measures whether it matters.
    """

    logits: ClassVar[tuple[str, ...]] = ()

    def forward(self, features_BChw: Tensor, **more: Any) -> Tensor:
        """(B, C, h, w) features.

        Args:
            more: what it may use and may ignore: `extra` (B, K, H, W), what the input mode adds (a mask, or activations
                of classes) in [0, 1] at its own size, as cells of the picture, or None where it adds nothing.
        """
        raise NotImplementedError


def reduced(channels: int, reduction: int) -> int:
    """The width of a bottleneck, at least one channel."""
    return max(1, channels // reduction)

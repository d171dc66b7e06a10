"""SegVPR's multi-scale attention, with a semantic head beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vprdist.network.attention.base import Answer, Attention
from vprdist.network.attention.labels import UNKNOWN, likeliest, mean_where
from vprdist.spec.vocabulary import CLASSES

KERNELS, WIDTH = (3, 5, 7), 64
"""Sizes of the parallel convolutions, and how many channels each has."""
DILATIONS = (6, 12, 18, 24)
STEADY = 1e-6


class SegVPR(Attention):
    """A factor of each place from convolutions of three sizes; what is taught beside it is segmentation.

    (Paolicelli, Tavera, Masone, Berton, Caputo: Learning Semantics for Visual Place Recognition through Multi-Scale
    Attention, ICIAP 2022; `net/network.py` and `net/deeplab.py` of the authors.)

        A = softplus(w * [r_3, r_5, r_7]),  r_k = relu(conv_k(F)) without padding, all at the size of r_3
        F_s <- A F_s at every scale s that is pooled, A resized to it
        loss += weight * CE(A↑ · Σ_d conv_d(F_last)↑, labels),  d = 6, 12, 18, 24, A detached, mean over labelled pixels

    Adapted: A is divided by its mean over the places of a picture, and w begins at zero, so that the network begins as
    it is without; labels are the likeliest classes of cached activations, at their size, so that the adversarial part,
    which brings labels from another world, falls away; a map with fewer places than a kernel is filled up by its
    border. In the authors' code features are divided by their length after A came in, which divides A out again: that
    is `order: published`.

    Args:
        channels: of the unit that A is made of.
        classes: the names of what is segmented.
        last_channels: of the backbone's last unit; None: as `channels`.
        weight: of the cross-entropy.
        order: for the network: whether A comes after the features' division by their length, or before it.
    """

    logits = ("mix",)
    answers = "factor"
    activations = "training"

    def __init__(
        self, channels: int, classes: Sequence[str] = CLASSES, last_channels: int | None = None, weight: float = 0.5,
        order: Literal["works", "published"] = "works",
    ) -> None:  # fmt: skip
        super().__init__()
        self.weight = weight
        self.convolutions = nn.ModuleList(nn.Conv2d(channels, WIDTH, size) for size in KERNELS)
        self.mix = nn.Conv2d(len(KERNELS) * WIDTH, 1, kernel_size=1)
        nn.init.zeros_(self.mix.weight)
        nn.init.zeros_(self.mix.bias)  # type: ignore[arg-type]
        self.taught = nn.ModuleList(
            nn.Conv2d(last_channels or channels, len(classes), 3, padding=each, dilation=each) for each in DILATIONS
        )
        for head in self.taught:
            nn.init.normal_(head.weight, 0.0, 0.01)  # type: ignore[arg-type]

    def forward(
        self, features_BChw: Tensor, last: Tensor | None = None, activations: Tensor | None = None, **more: Any
    ) -> Answer:
        factor = self.factor(features_BChw)
        if activations is None or last is None:
            return factor
        return factor, {"semantics": self.weight * self.cross_entropy(last, factor.detach(), likeliest(activations))}

    def factor(self, features_BChw: Tensor) -> Tensor:
        """(B, 1, h, w) above 0, of mean 1 over a picture."""
        smallest = self.map(features_BChw)
        factor = F.interpolate(smallest, features_BChw.shape[2:], mode="bilinear", align_corners=True)
        return factor / factor.mean(dim=(2, 3), keepdim=True).clamp(min=STEADY)

    def map(self, features_BChw: Tensor) -> Tensor:
        """A as the authors have it, (B, 1, h - 2, w - 2)."""
        seen: list[Tensor] = []
        for convolution, size in zip(self.convolutions, KERNELS, strict=True):
            found = torch.relu(convolution(_filled_up(features_BChw, size)))
            like = seen[0].shape[2:] if seen else found.shape[2:]
            seen.append(F.interpolate(found, like, mode="bilinear", align_corners=True))
        return F.softplus(self.mix(torch.cat(seen, dim=1)))

    def segmented(self, last_BChw: Tensor) -> Tensor:
        """(B, K, h, w) logits of the classes, from the backbone's last features."""
        return torch.stack([head(last_BChw) for head in self.taught]).sum(dim=0)

    def cross_entropy(self, last_BChw: Tensor, factor_B1hw: Tensor, labels_Bhw: Tensor) -> Tensor:
        """(B,) the mean over the labelled places of a picture."""
        size = labels_Bhw.shape[1:]
        logits, factor = (
            F.interpolate(each, size, mode="bilinear", align_corners=True)
            for each in (self.segmented(last_BChw), factor_B1hw)
        )
        losses = F.cross_entropy(logits * factor, labels_Bhw, ignore_index=UNKNOWN, reduction="none")
        return mean_where(losses, labels_Bhw != UNKNOWN)


def _filled_up(features_BChw: Tensor, size: int) -> Tensor:
    """Features with the border's values around them, so that a kernel of a size has a place on them."""
    tall, wide = (max(0, size - length) for length in features_BChw.shape[2:])
    if not (tall or wide):
        return features_BChw
    return F.pad(features_BChw, (wide // 2, wide - wide // 2, tall // 2, tall - tall // 2), mode="replicate")

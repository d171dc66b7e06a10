"""De-attention: places of classes that say nothing of where one is are to count less."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vprdist.network.areas import area_means
from vprdist.network.attention.base import Answer, Attention
from vprdist.network.attention.labels import UNKNOWN, likeliest, mean_where
from vprdist.spec.doors.attention import REJECTED
from vprdist.spec.vocabulary import CLASSES

KERNELS: tuple[tuple[int, int], ...] = ((3, 32), (5, 32), (7, 20))
"""Sizes of the parallel convolutions, and how many channels each has."""


class DeAttention(Attention):
    """A factor of each place, A from convolutions of three sizes, taught to be 0 where rejected classes are.

    (deepguider/deattention_with_stml_for_vpr, `networks/deattention_model.py`; the head is the contextual reweighting
    network of Kim, Dunn, Frahm, CVPR 2017.)

        A = σ(BN(relu(w * [g_3, g_5, g_7]))),  g_k = BN(relu(conv_k(F / |F|)))
        F <- F·A (`version` 1) or F + F·A (2)
        loss += weight * mean (A - T)²,  T the share of a place that is not of a rejected class

    Adapted: the last BatchNorm begins at zero, so that A = 0.5 everywhere, and the factor is 2 A, or (1 + A) / 1.5: a
    constant that changes no descriptor, by which the network begins as it is without. F / |F| is multiplied by the
    root of C, which BatchNorm divides out again where it has statistics of its own, and which gives convolutions the
    size that they are initialised for under `batch_norm: frozen`, where it only scales and shifts; w begins above zero,
    without which the last relu may let nothing through there, and no gradient either. T are exact means
    of the cached labels over each place (the authors': bicubic). Borders are repeated and not reflected, which a map
    of three places cannot be. In the authors' network NetVLAD divides features by their length after A came in, which
    divides A out again: that is `order: published`.

    Args:
        channels: of the unit that A is made of.
        classes: names of the activations that teach.
        last_channels: not used.
        rejected: the classes of which T is 0.
        version: how A comes in.
        weight: of the squared distance.
        order: for the network: whether A comes after the features' division by their length, or before it.
    """

    logits = ("last",)
    answers = "factor"
    activations = "training"

    def __init__(
        self, channels: int, classes: Sequence[str] = CLASSES, last_channels: int | None = None,
        rejected: Sequence[str] = REJECTED, version: int = 1, weight: float = 0.1,
        order: Literal["works", "published"] = "works",
    ) -> None:  # fmt: skip
        super().__init__()
        self.version, self.weight = version, weight
        self.rejected = [index for index, name in enumerate(classes) if name in set(rejected)]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(channels, width, size, padding=size // 2, padding_mode="replicate") for size, width in KERNELS
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _, width in KERNELS)
        self.mix = nn.Conv2d(sum(width for _, width in KERNELS), 1, kernel_size=1)
        self.last = nn.BatchNorm2d(1)
        nn.init.zeros_(self.last.weight)
        with torch.no_grad():
            for each in self.mix.parameters():
                each.abs_()

    def forward(self, features_BChw: Tensor, activations: Tensor | None = None, **more: Any) -> Answer:
        shown = self.map(features_BChw)
        factor = 2 * shown if self.version == 1 else (1 + shown) / 1.5
        if activations is None:
            return factor
        return factor, {"deattention": self.weight * self.apart(shown, likeliest(activations))}

    def map(self, features_BChw: Tensor) -> Tensor:
        """A, (B, 1, h, w) in (0, 1)."""
        unit = F.normalize(features_BChw, dim=1) * math.sqrt(features_BChw.shape[1])
        both = zip(self.convolutions, self.norms, strict=True)
        seen = torch.cat([norm(torch.relu(convolution(unit))) for convolution, norm in both], dim=1)
        return torch.sigmoid(self.last(torch.relu(self.mix(seen))))

    def apart(self, shown_B1hw: Tensor, labels_Bhw: Tensor) -> Tensor:
        """(B,) the mean squared distance to T; a place counts by its share that has a label."""
        known = labels_Bhw != UNKNOWN
        kept = known.clone()
        for index in self.rejected:
            kept &= labels_Bhw != index
        size = (shown_B1hw.shape[2], shown_B1hw.shape[3])
        shares = area_means(torch.stack([known, kept], dim=1).to(shown_B1hw.dtype), size, "cells")
        counts, target = shares[:, 0], shares[:, 1] / shares[:, 0].clamp(min=1e-6)
        return mean_where((shown_B1hw[:, 0] - target).square(), counts)

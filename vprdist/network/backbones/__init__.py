"""Backbones, one family a file. Each builds the eight units that `spec.vocabulary.BACKBONE_UNITS` names, in order.

To add one: name its units there, write its file beside the others, add it to `FAMILIES`.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Protocol

from torch import nn

from vprdist.network.backbones import efficientnet_lite, resnet
from vprdist.spec.vocabulary import BACKBONE_UNITS


class Family(Protocol):
    """What a backbone file offers."""

    def build(self, name: str) -> tuple[OrderedDict[str, nn.Module], int]:
        """Units by name, randomly initialised, and the number of channels of the last one."""

    def find_weights(self, name: str) -> Path:
        """The file of the ImageNet weights, fetched once where the family's library does that.

        Raises:
            WeightsError: they cannot be had here; the message says why and what to do.
        """

    def load_weights(self, units: OrderedDict[str, nn.Module], path: Path) -> None:
        """Fill the units from that file."""


FAMILIES: dict[str, Family] = {
    **{name: resnet for name in BACKBONE_UNITS if name.startswith("resnet")},
    "efficientnet_lite0": efficientnet_lite,
}

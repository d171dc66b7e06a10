"""torchvision's DenseNets as twelve units: the children of its `features`."""

from __future__ import annotations

import re

from vprdist.network.backbones.of_torchvision import OfTorchvision
from vprdist.spec.doors import DENSENET_UNITS

OLD = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.(?=[12]\.)")
"""The published files are older than torch's rule that no module's name has a dot."""


class DenseNet(OfTorchvision):
    """A DenseNet (Huang et al. 2017) up to its last BatchNorm, without the ReLU behind it, as the public GCL code ends.

    GCL's `last_layer` N trains the last 2N children: `unfreeze: 0-2N`.
    """

    units = DENSENET_UNITS

    def __init__(self, name: str) -> None:
        super().__init__(name)
        layers = self.built().features
        for unit in self.units:
            self.add_module(unit, getattr(layers, unit))
        self.channels = int(layers.norm5.num_features)

    def key_here(self, key: str) -> str | None:
        room, _, rest = key.partition(".")
        return OLD.sub(r"\1", rest) if room == "features" else None

"""torchvision's ResNets as eight units: conv1, bn1, relu, maxpool, layer1 … layer4 (the reference's children)."""

from __future__ import annotations

from vprdist.network.backbones.of_torchvision import OfTorchvision
from vprdist.spec.doors import RESNET_UNITS


class ResNet(OfTorchvision):
    """A ResNet (He et al. 2016) of some depth, or a ResNeXt (Xie et al. 2017), randomly initialised."""

    units = RESNET_UNITS

    def __init__(self, name: str) -> None:
        super().__init__(name)
        network = self.built()
        for unit in self.units:
            self.add_module(unit, getattr(network, unit))
        self.channels = int(network.fc.in_features)

    def key_here(self, key: str) -> str | None:
        return None if key.startswith("fc.") else key

"""torchvision's ResNets as eight units: conv1, bn1, relu, maxpool, layer1 … layer4 (the reference's children)."""

from __future__ import annotations

from vprdist.network.backbones.of_torchvision import OfTorchvision
from vprdist.spec.doors import RESNET_UNITS


class ResNet(OfTorchvision):
    """A ResNet (He et al. 2016) of some depth, or a ResNeXt (Xie et al. 2017), randomly initialised.

    Args:
        name: as torchvision calls it.
        end: the last unit, layer4, or layer3, of stride 16 and half as many channels.
    """

    units: tuple[str, ...] = RESNET_UNITS

    def __init__(self, name: str, end: str) -> None:
        super().__init__(name)
        self.units = RESNET_UNITS[: RESNET_UNITS.index(end) + 1]
        network = self.built()
        for unit in self.units:
            self.add_module(unit, getattr(network, unit))
        self.channels = int(network.fc.in_features) // 2 ** (len(RESNET_UNITS) - len(self.units))

    def key_here(self, key: str) -> str | None:
        return key if key.partition(".")[0] in self.units else None

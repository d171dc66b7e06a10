"""torchvision's VGG16 as six units: its first convolution, and its five blocks, each with the pooling behind it."""

from __future__ import annotations

from vprdist.network.backbones.of_torchvision import OfTorchvision
from vprdist.spec.doors import VGG_UNITS

BLOCKS = {
    "conv1_1": (0, 1),
    "conv1_2": (1, 5),
    "conv2": (5, 10),
    "conv3": (10, 17),
    "conv4": (17, 24),
    "conv5": (24, 31),
}
"""By unit, its layers among torchvision's `features`. A first unit that is one convolution can take more channels."""
LAST = {"pool5": 31, "conv5_3": 29}
"""By where the features end, the number of layers up to there."""


class VGG16(OfTorchvision):
    """VGG16 (Simonyan and Zisserman 2015), (B, 3+, H, W) -> (B, 512, h, w), randomly initialised.

    GCL takes `features` whole, of stride 32 (create_model, `last_layer` 2 of its code is `unfreeze: 0-2`). NetVLAD's
    public codes and de-attention end at conv5_3 without its ReLU and pooling, of stride 16, and de-attention trains
    from conv3_1 on (`unfreeze: 0-3`).

    Args:
        name: as torchvision calls it.
        end: pool5, or conv5_3.
    """

    units = VGG_UNITS

    def __init__(self, name: str, end: str) -> None:
        super().__init__(name)
        layers = self.built().features
        for unit, (begin, stop) in BLOCKS.items():
            # A slice keeps its layers' numbers, by which states are named.
            self.add_module(unit, layers[0] if unit == self.units[0] else layers[begin : min(stop, LAST[end])])
        self.channels = 512

    def key_here(self, key: str) -> str | None:
        room, _, rest = key.partition(".")
        return unit_key(rest) if room == "features" else None


def unit_key(key: str) -> str:
    """A tensor of `features` as its unit has it: 17.weight is conv4.17.weight; others are left alone."""
    number, _, name = key.partition(".")
    for unit, (begin, stop) in BLOCKS.items():
        if number.isdecimal() and begin <= int(number) < stop:
            return f"{unit}.{name}" if unit == VGG_UNITS[0] else f"{unit}.{key}"
    return key


def feature_key(key: str) -> str:
    """A tensor of a unit as `features` has it: the inverse of `unit_key`."""
    unit, _, rest = key.partition(".")
    return f"0.{rest}" if unit == VGG_UNITS[0] else rest

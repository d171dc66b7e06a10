"""The checkpoints of the public GCL release (Leyva-Vallina et al., CVPR 2023), read and written.

Their file is a dict with the network under `model_state_dict` (older ones: `state_dict`), beside step, optimizer and
scheduler. The network's keys are `backbone.N.…`, where N counts a ResNet's children from conv1 to layer4, and
`pool.p` of GeM; `module.` stands before all of them where nn.DataParallel was saved.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vprdist.errors import WeightsError
from vprdist.spec.doors import RESNET_UNITS, BackboneName

UNITS = RESNET_UNITS
"""What N counts: the units of every ResNet."""
PUBLIC_BACKBONES = ("resnet18", "resnet34", "resnet50", "resnet152")
"""The backbones of ours that the public code builds."""


def is_release(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict has the release's form."""
    return any(key.startswith("backbone.") for key in state)


def from_release(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The network of such a state, named as in `PlaceNetwork`; keys that ours has not are left as they are.

    Raises:
        WeightsError: one of the release's networks that vprdist does not have.
    """
    if (other := _other_network(state)) is not None:
        built_in = BackboneName.door.built_in
        known = ", ".join(name for name, each in built_in.items() if each.facts["units"] == UNITS)
        fault = f"the network must be one of the GCL release's ResNets ({known})"
        raise WeightsError(path, fault, other, "Name another of its checkpoints.")
    return {_ours(key): value for key, value in state.items()}


def to_release(state: Mapping[str, Tensor], step: int) -> dict[str, Any]:
    """A checkpoint in the release's form of a ResNet's `PlaceNetwork` state after so many steps."""
    theirs = {}
    for key, value in state.items():
        room, _, rest = key.partition(".")
        unit, _, name = rest.partition(".")
        theirs[f"backbone.{UNITS.index(unit)}.{name}" if room == "units" else key] = value
    return {"step": step, "model_state_dict": theirs}


def _ours(key: str) -> str:
    room, _, rest = key.partition(".")
    number, _, name = rest.partition(".")
    if room == "backbone" and number.isdecimal() and int(number) < len(UNITS):
        return f"units.{UNITS[int(number)]}.{name}"
    return key


def _other_network(state: Mapping[str, Tensor]) -> str | None:
    """The published networks that vprdist has no backbone for, by what no ResNet has."""
    if "backbone.28.weight" in state:
        return "VGG16"
    if "backbone.conv0.weight" in state:
        return "DenseNet"
    first = state.get("backbone.4.0.conv1.weight")
    return "ResNeXt101 32x8d" if first is not None and first.shape[:1] == (256,) else None

"""The checkpoints of the public GCL release (Leyva-Vallina et al., CVPR 2023), read and written.

Their file is a dict with the network under `model_state_dict` (older ones: `state_dict`), beside step, optimizer and
scheduler. The network's keys are `backbone.N.…`, where N counts a ResNet's children from conv1 to layer4 or the layers
of VGG's features, or `backbone.NAME.…` of a DenseNet's, and `pool.p` of GeM; `module.` stands before all of them where
nn.DataParallel was saved.

The public GCL code has no NetVLAD. Its networks are read as the code writes them that the field's NetVLAD is trained
with (Nanne/pytorch-NetVlad): `encoder.N.…`, or `backbone.N.…`, with `pool.centroids` and `pool.conv`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vprdist.network.backbones.vgg import feature_key, unit_key
from vprdist.spec.doors import DENSENET_UNITS, RESNET_UNITS

ROOMS = ("backbone", "encoder")
"""What their keys call the backbone."""
PUBLIC_NAMES: dict[str, str] = {
    **{name: name for name in ("resnet18", "resnet34", "resnet50", "resnet152")},
    "resnext101_32x8d": "resnext", "vgg16": "vgg16", "densenet121": "densenet121", "densenet161": "densenet161",
}  # fmt: skip
"""The backbones of ours that the public code builds, and what it calls them."""
NETVLAD = {
    "pool.centroids": "pool.centres",
    "pool.conv.weight": "pool.assignment.weight",
    "pool.conv.bias": "pool.assignment.bias",
}
"""NetVLAD's parameters there, and here."""


def is_release(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict has the release's form."""
    return any(key.partition(".")[0] in ROOMS for key in state)


def from_release(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The network of such a state, named as in `PlaceNetwork`; keys that ours has not are left as they are."""
    plain = {key.replace(".module.", ".", 1): value for key, value in state.items()}
    numbered = f"{_room(plain)}.28.weight" in plain  # no ResNet has so many children
    return {_ours(key, numbered): value for key, value in plain.items()}


def with_offsets(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state with offsets of NetVLAD's assignments where a network has some and the file's form has none: zeros."""
    offsets = NETVLAD["pool.conv.bias"]
    lacks = offsets in wanted and offsets not in state and NETVLAD["pool.conv.weight"] in state
    return {**state, **({offsets: torch.zeros(wanted[offsets].shape)} if lacks else {})}


def to_release(state: Mapping[str, Tensor], step: int) -> dict[str, Any]:
    """A checkpoint in the release's form of a `PlaceNetwork` state after so many steps."""
    inverse = {here: there for there, here in NETVLAD.items()}
    theirs = {}
    for key, value in state.items():
        room, _, rest = key.partition(".")
        theirs[f"{ROOMS[0]}.{_theirs(rest)}" if room == "units" else inverse.get(key, key)] = value
    return {"step": step, "model_state_dict": theirs}


def _room(state: Mapping[str, Tensor]) -> str:
    return next(room for key in state if (room := key.partition(".")[0]) in ROOMS)


def _ours(key: str, is_vgg: bool) -> str:
    room, _, rest = key.partition(".")
    if room not in ROOMS:
        return NETVLAD.get(key, key)
    child, _, name = rest.partition(".")
    if is_vgg:
        return f"units.{unit_key(rest)}"
    if child.isdecimal() and int(child) < len(RESNET_UNITS):
        return f"units.{RESNET_UNITS[int(child)]}.{name}"
    return f"units.{rest}" if child in DENSENET_UNITS else key


def _theirs(key: str) -> str:
    """What the release calls a tensor of a unit; of a ResNet's by its number."""
    unit, _, name = key.partition(".")
    if unit in RESNET_UNITS:
        return f"{RESNET_UNITS.index(unit)}.{name}"
    return key if unit in DENSENET_UNITS else feature_key(key)

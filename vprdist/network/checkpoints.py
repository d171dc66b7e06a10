"""Checkpoints that a trial may start from: of the public GCL release, or of a trial of vprdist's."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from vprdist.errors import WeightsError
from vprdist.network.backbones import FAMILIES
from vprdist.network.gcl_release import from_release, is_release
from vprdist.network.pooling import GeM
from vprdist.tensors import first_difference, is_state, load_tensors

FORMS = "initial weights must be a checkpoint of the GCL release (.pth) or of a trial (checkpoint/last.pt)"
REMEDY = "Name such a file; ImageNet weights are `network.weights: imagenet`."


def read_checkpoint(path: Path, backbone: str) -> dict[str, Tensor]:
    """The network of a checkpoint, named as in `PlaceNetwork`: `units.*` and `pool.p`, on the CPU.

    Raises:
        WeightsError: unreadable, no checkpoint, or another network's than this backbone with GeM and RGB input.
    """
    state = _read(path)
    if (found := first_difference(state, _network_state(backbone))) is not None:
        fault = f"the checkpoint must be that of {backbone} with three input channels and GeM"
        if (other := _backbone_of(state)) not in (None, backbone):
            raise WeightsError(path, fault, other, f"Set network.backbone: {other}, or name another checkpoint.")
        if found == "no pool.p":
            found = "no pool.p: the average or the maximum is pooled"
        raise WeightsError(path, fault, found, "Name another checkpoint.")
    p = float(state["pool.p"])
    if not 0 < p < float("inf"):
        raise WeightsError(path, "the p of GeM must be above zero and finite", p, "Name another checkpoint.")
    return state


def _read(path: Path) -> dict[str, Tensor]:
    """The state of the network in a file of either form."""
    loaded = load_tensors(path, FORMS, REMEDY)
    if isinstance(loaded, Mapping):
        if is_release(loaded):
            return from_release(loaded, path)
        if "trial_id" in loaded and is_state(loaded.get("network")):
            return dict(loaded["network"])
    found = sorted(map(str, loaded))[:5] if isinstance(loaded, Mapping) else type(loaded).__name__
    raise WeightsError(path, FORMS, found, REMEDY)


def _network_state(backbone: str) -> dict[str, Tensor]:
    """What the state of an RGB network has: names, shapes and types, without values."""
    with torch.device("meta"):
        units, _ = FAMILIES[backbone].build(backbone)
        return nn.ModuleDict({"units": nn.ModuleDict(units), "pool": GeM()}).state_dict()


def _backbone_of(state: Mapping[str, Tensor]) -> str | None:
    """The backbone whose units these are, whatever pools them."""
    units = {key: value for key, value in state.items() if key.startswith("units.")}
    for name in FAMILIES:
        with contextlib.suppress(WeightsError):  # a backbone whose package is not installed
            wanted = _network_state(name)
            if first_difference(units, {key: wanted[key] for key in wanted if key.startswith("units.")}) is None:
                return name
    return None

"""Checkpoints that a trial may start from: of the public GCL release, or of a trial of vprdist's."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from vprdist.errors import WeightsError
from vprdist.network.gcl_release import from_release, is_release, with_offsets
from vprdist.network.parts import Shown, build_parts
from vprdist.spec.doors import GEMS, BackboneName
from vprdist.spec.network import NetworkSpec
from vprdist.tensors import difference, find_state, load_tensors, no_state, not_finite

SHOWN = Shown((64, 64))
"""A picture by which the channels behind a unit are found; the state does not depend on it, but for aggregators that
ask for what they are shown."""
FORMS = "initial weights must be a checkpoint of the GCL release (.pth) or of a trial (checkpoint/last.pt)"
REMEDY = "Name such a file; ImageNet weights are `network.weights: imagenet`."


def read_checkpoint(path: Path, network: NetworkSpec, shown: Shown = SHOWN) -> dict[str, Tensor]:
    """The network of a checkpoint, named as in `PlaceNetwork`: `units.*`, `attention.*` and `pool.*`, on the CPU.

    What attention is taught through describes no picture, and depends on the classes of a cache: it is left out.

    Args:
        shown: by the trial that starts from it, where the aggregator asks (`spec.doors.AggregatorName`).

    Raises:
        WeightsError: unreadable, no checkpoint, or another network's than this one with RGB input.
    """
    wanted = _network_state(network, shown)
    state = {key: value for key, value in with_offsets(_read(path), wanted).items() if not _is_taught(key)}
    if (found := difference(state, wanted)) is not None:
        pooled = "GeM" if network.aggregator.name in GEMS else network.aggregator.title
        bound = " on pictures of {}x{}".format(*shown.size) if "places" in network.aggregator.fact("asks") else ""
        what = f"{network.backbone.title} with three input channels and {pooled}"
        fault = f"the checkpoint must be that of {what}{bound}"
        if (other := _backbone_of(state)) not in (None, network.backbone.name):
            raise WeightsError(path, fault, other, f"Set network.backbone: {other}, or name another checkpoint.")
        if found == "no pool.p":
            found = "no pool.p: the average or the maximum is pooled"
        if network.aggregator.name != "netvlad" and "pool.centres" in state:
            raise WeightsError(path, fault, "netvlad", "Set network.aggregator: netvlad, or name another checkpoint.")
        raise WeightsError(path, fault, found, "Name another checkpoint.")
    if (found := not_finite(state)) is not None:
        remedy = "Its training diverged: name another checkpoint, or start from `network.weights: imagenet`."
        raise WeightsError(path, "weights must be finite", found, remedy)
    if network.aggregator.name not in GEMS:
        return state
    p = float(state["pool.p"])
    if p <= 0:
        raise WeightsError(path, "the p of GeM must be above zero", p, "Name another checkpoint.")
    return state


def is_backbones_alone(path: Path, network: NetworkSpec) -> bool:
    """Whether a file holds the weights of a backbone from elsewhere alone, as its own library writes them.

    Raises:
        WeightsError: it cannot be read.
    """
    if not network.backbone.fact("elsewhere") or path.suffix == ".safetensors":
        return bool(network.backbone.fact("elsewhere"))
    state = find_state(load_tensors(path, FORMS, REMEDY))
    return state is not None and not any(key.startswith("units.") for key in state)


def _read(path: Path) -> dict[str, Tensor]:
    """The state of the network in a file of either form."""
    loaded = load_tensors(path, FORMS, REMEDY)
    state = find_state(loaded)
    if state is not None and is_release(state):
        return from_release(state)
    if state is not None and any(key.startswith("units.") for key in state):
        return state
    raise no_state(path, FORMS, loaded, REMEDY)


def _network_state(network: NetworkSpec, shown: Shown = SHOWN) -> dict[str, Tensor]:
    """What the state of an RGB network has: names, shapes and types; of built-in ones without values."""
    parts = (network.backbone, network.attention, network.aggregator)
    others = network.backbone.fact("elsewhere") or any(each.is_own for each in parts)
    with torch.device("cpu" if others else "meta"):
        backbone, attention, pool = build_parts(network, shown if network.aggregator.fact("asks") else SHOWN, ask=False)
        place = {"units": nn.ModuleDict(backbone.modules_by_unit()), "attention": attention, "pool": pool}
        state = nn.ModuleDict(place).state_dict()
    return {key: value for key, value in state.items() if not _is_taught(key)}


def taught_part(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The part of a network's state that attention is taught through."""
    return {key: value for key, value in state.items() if _is_taught(key)}


def _is_taught(key: str) -> bool:
    """Whether a tensor is of the sub-module `taught` of attention: see `attention.base`."""
    return key.startswith("attention.") and ".taught." in key


def _backbone_of(state: Mapping[str, Tensor]) -> str | None:
    """The backbone whose units these are, whatever pools them."""
    units = {key: value for key, value in state.items() if key.startswith("units.")}
    for name in (name for name, each in BackboneName.door.built_in.items() if not each.facts.get("elsewhere")):
        with contextlib.suppress(WeightsError):  # a backbone whose package is not installed
            wanted = _network_state(NetworkSpec(backbone=BackboneName.of(name), unfreeze="all"))
            if difference(units, {key: wanted[key] for key in wanted if key.startswith("units.")}) is None:
                return name
    return None

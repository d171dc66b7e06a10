"""The parts of a place network, by the choices of a trial: backbone, attention behind some units, aggregator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vprdist.errors import OwnCodeError
from vprdist.network.aggregators.as_answered import AsAnswered
from vprdist.network.backbones.base import Backbone
from vprdist.network.masks.learnt import LearntMask
from vprdist.spec.base import Names
from vprdist.spec.input import InputSpec
from vprdist.spec.network import NetworkSpec
from vprdist.spec.vocabulary import CLASSES, Grid

Size = tuple[int, int]


class Shown(NamedTuple):
    """What a network is built to be shown.

    Attributes:
        size: (height, width) of a picture.
        masked: a mask weighs the features: no class token reaches the aggregator.
        classes: those whose activations teach attention, where they do.
    """

    size: Size
    masked: bool = False
    classes: Names = CLASSES


def build_parts(spec: NetworkSpec, shown: Shown, ask: bool = True) -> tuple[Backbone, nn.ModuleDict, Any]:
    """The backbone, its attention by unit, and the aggregator, with random weights, in this order.

    Args:
        shown: by it the channels behind a unit are found, and what an aggregator asks for, where that is asked.
        ask: let a network from elsewhere answer, which tells what of.

    Raises:
        WeightsError: such a network cannot be had here, does not take these pictures, or answers with something else.
        OwnCodeError: a user's class that cannot be made, or is not what its kind must be.
    """
    backbone: Backbone = spec.backbone.make()
    if not isinstance(backbone, Backbone):
        raise unfit(spec.backbone.name, "must inherit from vprdist.network.backbones.base.Backbone", backbone)
    for name in spec.units:
        if name not in dict(backbone.named_children()):
            raise unfit(spec.backbone.name, f"has no sub-module {name!r}, which its units name", list(spec.units))
    outside = [name for name, _ in backbone.named_parameters() if name.partition(".")[0] not in spec.units]
    if outside:
        fault = "must not have a parameter outside of its units, which are all that is called"
        raise unfit(spec.backbone.name, fault, outside[0])
    if ask:
        backbone.measure(shown.size)
    wanted = [name for name in spec.units if name in {*spec.attended, *spec.scales}]
    channels = _channels_behind(backbone, wanted, shown.size) if wanted else {}
    known, attention = {"classes": shown.classes, "last_channels": backbone.channels}, nn.ModuleDict()
    for name in spec.attended:
        more = {each: known[each] for each in spec.attention.fact("asks")}
        attention[name] = _module(spec.attention.name, spec.attention.make(channels=channels[name], **more))
    if not spec.pools:
        return backbone, attention, AsAnswered(backbone.channels)
    asked = _asked(spec, backbone, shown)
    width = tuple(channels[name] for name in spec.scales) or backbone.channels
    pool = _module(spec.aggregator.name, spec.aggregator.make(channels=width, **asked))
    if not isinstance(getattr(pool, "dimensions", None), int):
        raise unfit(spec.aggregator.name, "must say its dimensions, a whole number", getattr(pool, "dimensions", None))
    return backbone, attention, pool


def build_mask(given: InputSpec, grid: Grid) -> LearntMask | None:
    """The mask that an input learns, at its start; None where it learns none.

    Args:
        grid: how the activations lie on the pictures.

    Raises:
        OwnCodeError: a user's class that cannot be made, or is no torch module.
    """
    training = given.learnt.training
    if not given.learns_mask or training is None:
        return None
    chosen = given.class_names if given.starts_from_classes else given.map_names
    made = _module(given.learnt.name, given.learnt.make(classes=given.map_names, chosen=chosen))
    return LearntMask(made, given.learnt.name, training, grid)


def _module(name: str, made: Any) -> nn.Module:
    if not isinstance(made, nn.Module):
        raise unfit(name, "must be a torch module", made)
    return made


def unfit(name: str, fault: str, found: Any) -> OwnCodeError:
    found = found if isinstance(found, (int, str, list, type(None))) else type(found).__name__
    return OwnCodeError(name, f"the class {fault}", found, "Mend the file, and run the sweep again.")


def _channels_behind(backbone: Backbone, names: Sequence[str], image_size: Size) -> dict[str, int]:
    """How many channels the features have behind some units."""
    if list(names) == list(backbone.modules_by_unit())[-1:]:
        return {names[0]: backbone.channels}
    found = _answers(backbone, image_size)
    return {name: int(found[name][0].shape[1]) for name in names}


def _asked(spec: NetworkSpec, backbone: Backbone, shown: Shown) -> dict[str, Any]:
    """What an aggregator asks to be made with: the features' (h, w), the channels of the class token or None."""
    asks = spec.aggregator.fact("asks")
    if not asks:
        return {}
    features, *token = _answers(backbone, shown.size)[spec.units[-1]]
    known = {
        "places": tuple(features.shape[2:]),
        "token": int(token[0].shape[1]) if token and not shown.masked else None,
    }
    return {name: known[name] for name in asks}


@torch.no_grad()
def _answers(backbone: Backbone, image_size: Size) -> dict[str, tuple[Tensor, ...]]:
    """What each unit answers a black picture with: features, and a class token behind them or not."""
    modes = {module: module.training for module in backbone.modules()}
    backbone.eval()
    answer: Any = torch.zeros(1, 3, *image_size)
    found = {}
    for name, unit in backbone.modules_by_unit().items():
        answer = unit(answer)
        found[name] = answer if isinstance(answer, tuple) else (answer,)
    for module, training in modes.items():
        module.training = training
    return found

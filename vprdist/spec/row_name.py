"""What the row of a trial is called: its values on the swept axes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic.fields import FieldInfo

from vprdist.spec.named import Named
from vprdist.spec.network import NetworkSpec
from vprdist.spec.own_code import is_own
from vprdist.spec.trial import TrialSpec
from vprdist.spec.vocabulary import FORM_WORDS

Players = Mapping[str, tuple[str, ...]]
"""Classes by the name of the group that they come and go in."""

FORM_AXES = ("input.mask_at", "input.mask_fill")


def row_name(
    trial: TrialSpec, axes: Sequence[str], players: Players | None = None,
    telling: Mapping[str, Collection[str]] = MappingProxyType({}),
) -> str:  # fmt: skip
    """A trial's values on the swept axes, without those that its mode ignores.

    Args:
        players: of a search of subsets: masks are then named by them.
        telling: by axis the parameters that tell values of the same choice apart.
    """
    words = (
        _form(trial, axis, axes) if axis in FORM_AXES else _value(trial, axis, players, telling.get(axis, ()))
        for axis in axes
    )
    return " ".join(filter(None, words))


def _value(trial: TrialSpec, axis: str, players: Players | None, telling: Collection[str]) -> str:
    if axis == "input.classes" and trial.input.uses_mask and players:
        shown = [name for name, classes in players.items() if set(classes) <= set(trial.input.class_names)]
        if {c for name in shown for c in players[name]} == set(trial.input.class_names):
            return _subset_name(shown, players)
    if axis == "network":
        return network_name(trial.network)
    chosen: Any = trial
    for part in axis.split("."):
        chosen = getattr(chosen, part, None)
    if isinstance(chosen, Named) and not chosen.is_own:
        if axis == "network.backbone" and chosen.fact("elsewhere"):
            return chosen.title
        return _with_parameters(chosen, telling)
    value: object = trial.to_json()
    if axis.startswith("data.demo.") and trial.data.made_as is not None:
        axis = axis.replace("demo", "made_as", 1)
    for part in axis.split("."):
        value = _below(value, part) if isinstance(value, dict) else None
    if value is None:
        return ""
    if axis == "input.class_table":
        return trial.input.table.name
    if axis == "train.arms":
        return "one network"
    if axis == "input.cache":
        return Path(str(value)).name
    if axis.startswith("params."):  # a number alone would not say of what
        return f"{axis.rpartition('.')[2]}={value_name(axis, value)}"
    if isinstance(value, dict):
        value = _own_name(value) if _is_own(value) else value.get("name", value)
    if isinstance(value, list):
        group = next((name for name, classes in trial.input.table.groups.items() if list(classes) == value), None)
        return group or "+".join(map(str, value))
    return str(value)


def _form(trial: TrialSpec, axis: str, axes: Sequence[str]) -> str:
    """The form of a mask in one word, whichever of its keys are axes: what fills it, or that it is at the features."""
    says = "input.mask_fill" if trial.input.hides and "input.mask_fill" in axes else "input.mask_at"
    return FORM_WORDS[trial.input.form] if trial.input.mode == "masked" and axis == says else ""


def network_name(network: NetworkSpec) -> str:
    """A network among others: its backbone, and what is not as usual beside it."""
    default = NetworkSpec()
    weights = "untrained" if network.weights == "none" else _file_name(network.weights)
    words = {
        network.backbone.title: True,
        _with_parameters(network.aggregator): network.pools and network.aggregator != default.aggregator,
        _with_parameters(network.attention): network.attention != default.attention,
        weights: network.weights != default.weights,
        network.unfreeze_name: network.backbone.fact("trains") and network.unfreeze != default.unfreeze,
    }
    return " ".join(word for word, shown in words.items() if shown)


def value_name(key: str, value: Any) -> str:
    """A value of an axis for a sentence: words, joined lists, and a network or a part of it by its name."""
    if key in ("network", "network.backbone") and isinstance(value, (dict, str)):
        given = value if key == "network" and isinstance(value, dict) else {"backbone": value}
        with contextlib.suppress(ValueError):  # a class of somebody's that is not there any more
            return network_name(NetworkSpec.model_validate_json(json.dumps(given)))
    if isinstance(value, dict) and isinstance(value.get("name"), str):
        return str(value["name"]).rpartition("/")[2]
    return "+".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _with_parameters(named: Named, only: Collection[str] | None = None) -> str:
    """A choice, and its parameters that are not as usual; those alone that are asked for."""
    chosen = {name: field for name, field in _parameters_of(named).items() if only is None or name in only}
    usual = {name: _as_json(field.default) for name, field in chosen.items()}
    words = [f"{name}={_short(value)}" for name, value in named.parameters.items() if value != usual.get(name, value)]
    return " ".join([named.title, *words])


def _short(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)


def _as_json(value: Any) -> Any:
    """A default as a choice's parameters have it."""
    return list(value) if isinstance(value, tuple) else value


def _parameters_of(named: Named) -> Mapping[str, FieldInfo]:
    return {} if named.is_own else named.door.built_in[named.name].parameters.model_fields


def _file_name(path: str) -> str:
    """A checkpoint's name; all trials call theirs alike, so that it is the trial's then."""
    parts = Path(path).parts
    return f"of {parts[-3][:8]}" if parts[-2:] == ("checkpoint", "last.pt") and len(parts) > 2 else parts[-1]


def _below(value: dict[str, Any], part: str) -> Any:
    """The parameters of a user's own class stand beside its name in sweep files, and below it in a trial."""
    return value["parameters"].get(part) if _is_own(value) and part not in value else value.get(part)


def _is_own(value: dict[str, Any]) -> bool:
    return isinstance(value.get("name"), str) and is_own(value["name"]) and isinstance(value.get("parameters"), dict)


def _own_name(value: dict[str, Any]) -> str:
    """File, class and parameters, without the folder: what a person told two rows apart by."""
    words = [f"{name}={each}" for name, each in value["parameters"].items()]
    return " ".join([value["name"].rpartition("/")[2], *words])


def _subset_name(shown: Sequence[str], players: Players) -> str:
    absent = [name for name in players if name not in shown]
    if not absent:
        return "everybody"
    return f"all but {absent[0]}" if len(absent) == 1 and len(shown) > 1 else "+".join(shown)

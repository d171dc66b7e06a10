"""What the row of a trial is called: its values on the swept axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vprdist.spec.own_code import is_own
from vprdist.spec.trial import TrialSpec
from vprdist.spec.vocabulary import CLASS_GROUPS, FORM_WORDS

Players = Mapping[str, tuple[str, ...]]
"""Classes by the name of the group that they come and go in."""

FORM_AXES = ("input.mask_at", "input.mask_fill")


def row_name(trial: TrialSpec, axes: Sequence[str], players: Players | None = None) -> str:
    """A trial's values on the swept axes, without those that its mode ignores.

    Args:
        players: of a search of subsets: masks are then named by them.
    """
    words = (_form(trial, axis, axes) if axis in FORM_AXES else _value(trial, axis, players or {}) for axis in axes)
    return " ".join(filter(None, words))


def _value(trial: TrialSpec, axis: str, players: Players) -> str:
    if axis == "input.classes" and trial.input.uses_mask and players:
        shown = [name for name, classes in players.items() if set(classes) <= set(trial.input.class_names)]
        if {c for name in shown for c in players[name]} == set(trial.input.class_names):
            return _subset_name(shown, players)
    value: object = trial.to_json()
    for part in axis.split("."):
        value = _below(value, part) if isinstance(value, dict) else None
    if value is None:
        return ""
    if axis == "train.arms":
        return "one network"
    if isinstance(value, dict):
        value = _own_name(value) if _is_own(value) else value.get("name", value)
    if isinstance(value, list):
        group = next((name for name, classes in CLASS_GROUPS.items() if list(classes) == value), None)
        return group or "+".join(map(str, value))
    return str(value)


def _form(trial: TrialSpec, axis: str, axes: Sequence[str]) -> str:
    """The form of a mask in one word, whichever of its keys are axes: what fills it, or that it is at the features."""
    says = "input.mask_fill" if trial.input.hides and "input.mask_fill" in axes else "input.mask_at"
    return FORM_WORDS[trial.input.form] if trial.input.mode == "masked" and axis == says else ""


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

"""What the row of a trial is called: its values on the swept axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vprdist.spec.trial import TrialSpec
from vprdist.spec.vocabulary import CLASS_GROUPS

Players = Mapping[str, tuple[str, ...]]
"""Classes by the name of the group that they come and go in."""


def row_name(trial: TrialSpec, axes: Sequence[str], players: Players | None = None) -> str:
    """A trial's values on the swept axes, without those that its mode ignores.

    Args:
        players: of a search of subsets: masks are then named by them.
    """
    return " ".join(filter(None, (_axis_value(trial, axis, players or {}) for axis in axes)))


def _axis_value(trial: TrialSpec, axis: str, players: Players) -> str:
    if axis == "input.classes" and trial.input.uses_mask and players:
        shown = [name for name, classes in players.items() if set(classes) <= set(trial.input.class_names)]
        if {c for name in shown for c in players[name]} == set(trial.input.class_names):
            return _subset_name(shown, players)
    value: object = trial.to_json()
    for part in axis.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if value is None:
        return ""
    if axis == "train.arms":
        return "one network"
    if isinstance(value, dict):
        value = value.get("name", value)
    if isinstance(value, list):
        group = next((name for name, classes in CLASS_GROUPS.items() if list(classes) == value), None)
        return group or "+".join(map(str, value))
    return str(value)


def _subset_name(shown: Sequence[str], players: Players) -> str:
    absent = [name for name in players if name not in shown]
    if not absent:
        return "everybody"
    return f"all but {absent[0]}" if len(absent) == 1 and len(shown) > 1 else "+".join(shown)

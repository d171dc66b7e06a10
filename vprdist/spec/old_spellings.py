"""Keys that had another place before choices were named: they still read, in files, on the command line and in folders.

What belongs to one loss or one aggregator stands beside its name now.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError

from vprdist.errors import RuleError
from vprdist.spec.base import Spec
from vprdist.spec.findings import finding_of

MOVED = {"train.margin": "train.loss.margin", "network.gem_p": "network.aggregator.p"}
"""By the dotted key of version 0.1 (below `trial`), the present one."""


def present_key(dotted: str) -> str:
    """The present spelling of a dotted key below `trial`."""
    return MOVED.get(dotted, dotted)


def present_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same with the present spelling of each dotted key: of an axis, a baseline, a proposed point."""
    return {present_key(dotted): value for dotted, value in values.items()}


def old_spelling(present: str) -> Any:
    """A field of an earlier version, which a model still reads: never set once the model is made, written or hashed.

    Args:
        present: the present key, below the same section.
    """
    return Field(default=None, exclude=True, json_schema_extra={"hashed": False, "old": present})


def move_parameter(spec: Spec, old: str, choice: str, parameter: str) -> None:
    """Give a choice the parameter that a file of an earlier version has beside it; called while the model is made.

    Raises:
        RuleError: the choice has no such parameter, or is given another one itself.
    """
    given, named = getattr(spec, old), getattr(spec, choice)
    if given is None:
        return
    try:
        moved = type(named).of(named.name, **{**named.parameters, parameter: given})
    except ValidationError as error:
        raise finding_of(error, type(named)).as_rule() from None
    plain = type(named).of(named.name).parameters.get(parameter)
    if named.parameters[parameter] not in (plain, given):
        fault = f"the old spelling of {choice}.{parameter} must not say something else than {choice} itself"
        raise RuleError(old, fault, given, f"Delete {old}.")
    # Frozen for everybody else; this is still the making.
    object.__setattr__(spec, choice, moved)
    object.__setattr__(spec, old, None)

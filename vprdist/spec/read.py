"""Values as a spec, and pydantic's findings as one message: file, line, dotted path, fault, value, remedy."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from vprdist.errors import SweepFileError
from vprdist.spec.findings import MOST, findings_of
from vprdist.spec.origin import Key as Key
from vprdist.spec.origin import Origin as Origin
from vprdist.spec.yaml_file import parse_value as parse_value
from vprdist.spec.yaml_file import parse_yaml as parse_yaml
from vprdist.spec.yaml_file import read_yaml as read_yaml

Model = TypeVar("Model", bound=BaseModel)


def expand_environment(value: Any, key: Key, origin: Origin, needed: bool = True) -> Any:
    """`${NAME}` replaced by the environment's value, everywhere below `value`.

    Args:
        needed: refuse a variable that is not set; else it stays as it is written.
    """
    if isinstance(value, dict):
        return {k: expand_environment(v, (*key, k), origin, needed) for k, v in value.items()}
    if isinstance(value, list):
        return [expand_environment(v, (*key, str(i)), origin, needed) for i, v in enumerate(value)]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        if (found := os.environ.get(match[1])) is not None:
            return found
        if not needed:
            return match[0]
        remedy = f"Set it (export {match[1]}=…) or override {'.'.join(key)}=… on the command line."
        raise SweepFileError(origin.where(key), f"the environment variable {match[1]} is not set", None, remedy)

    return re.sub(r"\$\{(\w+)\}", replace, value)


def validate(model: type[Model], value: Mapping[str, Any], origin: Origin, key: Key = ()) -> Model:
    """`value` as a spec.

    Raises:
        SweepFileError: the first finding, with where, fault, value and remedy; a line for each other one.
    """
    try:
        return _read(model, value)
    except ValidationError as error:
        raise _together(_errors(error, model, origin, key)) from None


def faults(model: type[Model], value: Mapping[str, Any], origin: Origin, key: Key = ()) -> list[SweepFileError]:
    """All that `validate` would find."""
    try:
        _read(model, value)
    except ValidationError as error:
        return _errors(error, model, origin, key)
    return []


def _read(model: type[Model], value: Mapping[str, Any]) -> Model:
    # Through JSON, so that a YAML list may fill a tuple while everything else stays strict.
    return model.model_validate_json(json.dumps(value), strict=True)


def _errors(error: ValidationError, model: type[Model], origin: Origin, key: Key) -> list[SweepFileError]:
    found = findings_of(error, model)
    return [SweepFileError(origin.where(key + each.key), each.fault, each.value, each.remedy) for each in found]


def _together(errors: list[SweepFileError]) -> SweepFileError:
    """Several errors as one; each is shown in a line of its own, the many counted."""
    first, *others = errors
    lines = [f"And {other}" for other in others[: MOST - 1]]
    if len(errors) > MOST:
        lines.append(f"And {len(errors) - MOST} more.")
    return SweepFileError(first.where, first.fault, first.value, "\n".join([first.remedy, *lines]))

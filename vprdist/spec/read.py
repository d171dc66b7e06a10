"""YAML with line numbers, and pydantic's findings as one message: file, line, dotted path, fault, value, remedy."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from vprdist.errors import RuleError, SweepFileError, nearest

Model = TypeVar("Model", bound=BaseModel)
Key = tuple[str, ...]


@dataclass
class Origin:
    """Where values came from: the file, a line for each key path, and overrides by their text."""

    path: Path
    lines: dict[Key, int] = field(default_factory=dict)
    overrides: dict[Key, str] = field(default_factory=dict)

    def where(self, key: Key) -> str:
        """`file:line: dotted.path`, `override: text`, for the nearest known ancestor of `key`."""
        dotted = ".".join(key)
        for depth in range(len(key), 0, -1):
            if key[:depth] in self.overrides:
                return f"override {self.overrides[key[:depth]]!r}: {dotted}"
            if key[:depth] in self.lines:
                return f"{self.path}:{self.lines[key[:depth]]}: {dotted}"
        return f"{self.path}: {dotted}" if dotted else str(self.path)

    def overridden(self, key: Key) -> bool:
        """Whether the value of a key, or of one above it, was given on the command line; of a choice, its name."""
        return any(key[: len(other)] == other or other == (*key, "name") for other in self.overrides)

    def alias(self, key: Key, other: Key) -> None:
        """`other` stands where `key` does: a present spelling where the file has the old one."""
        if key in self.lines:
            self.lines.setdefault(other, self.lines[key])
        if key in self.overrides:
            self.overrides.setdefault(other, self.overrides[key])


class _Loader(yaml.SafeLoader):
    """YAML 1.2 habits where 1.1 surprises: 1e-3 is a number, and only true/false are booleans."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, rule) for tag, rule in rules if tag not in ("tag:yaml.org,2002:float", "tag:yaml.org,2002:bool")]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$"),
    list("-+.0123456789"),
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(true|True|false|False)$"), list("tTfF"))


def read_yaml(path: Path) -> tuple[dict[str, Any], Origin]:
    """A YAML mapping and where its keys stand.

    Raises:
        SweepFileError: unreadable, not YAML, not a mapping, or a key written twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SweepFileError(path, "no such file", None, "Check the path; examples lie in sweeps/.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SweepFileError(path, "the file cannot be read as UTF-8 text", str(error)) from None
    origin = Origin(path)
    try:
        node = yaml.compose(text, Loader=_Loader)
        if not isinstance(node, yaml.MappingNode):
            raise SweepFileError(path, "the file must be a mapping of keys", None, "See sweeps/table1.yaml.")
        _note_lines(node, (), origin)
        value = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise SweepFileError(f"{path}{line}", "the file must be YAML", problem, "Mend the line.") from None
    return value, origin


def _note_lines(node: yaml.Node, key: Key, origin: Origin, above: tuple[int, ...] = ()) -> None:
    if id(node) in above:
        raise SweepFileError(f"{origin.path}:{node.start_mark.line + 1}", "a value cannot contain itself", None)
    above = (*above, id(node))
    if isinstance(node, yaml.MappingNode):
        for child_key, child in node.value:
            if child_key.tag != "tag:yaml.org,2002:str":
                where = f"{origin.path}:{child_key.start_mark.line + 1}"
                raise SweepFileError(where, "a key must be text", str(child_key.value), "Quote it, or delete it.")
            path = (*key, str(child_key.value))
            if path in origin.lines:
                raise SweepFileError(
                    f"{origin.path}:{child_key.start_mark.line + 1}: {'.'.join(path)}",
                    f"a key is written twice; the first stands in line {origin.lines[path]}",
                    None,
                    "Delete one of them.",
                )
            origin.lines[path] = child_key.start_mark.line + 1
            _note_lines(child, path, origin, above)
    elif isinstance(node, yaml.SequenceNode):
        for index, child in enumerate(node.value):
            origin.lines[(*key, str(index))] = child.start_mark.line + 1
            _note_lines(child, (*key, str(index)), origin, above)


def parse_value(text: str, where: str) -> Any:
    """The value of an override, read as YAML."""
    try:
        if (node := yaml.compose(text, Loader=_Loader)) is not None:
            _note_lines(node, (), Origin(Path(where)))
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError:
        raise SweepFileError(where, "the value must be YAML", text, "Quote it for the shell: 'key=[a, b]'.") from None


def expand_environment(value: Any, key: Key, origin: Origin) -> Any:
    """`${NAME}` replaced by the environment's value, everywhere below `value`."""
    if isinstance(value, dict):
        return {k: expand_environment(v, (*key, k), origin) for k, v in value.items()}
    if isinstance(value, list):
        return [expand_environment(v, (*key, str(i)), origin) for i, v in enumerate(value)]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        if (found := os.environ.get(match[1])) is None:
            remedy = f"Set it (export {match[1]}=…) or override {'.'.join(key)}=… on the command line."
            raise SweepFileError(origin.where(key), f"the environment variable {match[1]} is not set", None, remedy)
        return found

    return re.sub(r"\$\{(\w+)\}", replace, value)


def validate(model: type[Model], value: Mapping[str, Any], origin: Origin, key: Key = ()) -> Model:
    """`value` as a spec.

    Raises:
        SweepFileError: the first finding, with where, fault, value and remedy, and how many more there are.
    """
    try:
        # Through JSON, so that a YAML list may fill a tuple while everything else stays strict.
        return model.model_validate_json(json.dumps(value, default=str), strict=True)
    except ValidationError as error:
        found = finding_of(error, model)
        raise SweepFileError(origin.where(key + found.key), found.fault, found.value, found.remedy) from None


@dataclass(frozen=True)
class Finding:
    """What pydantic found, in our words; `key` is the path below the model."""

    key: Key
    fault: str
    value: Any
    remedy: str

    def as_rule(self) -> RuleError:
        """To be raised inside the validator of a model around this one."""
        return RuleError(".".join(self.key), self.fault, self.value, self.remedy)


def finding_of(error: ValidationError, model: type[BaseModel]) -> Finding:
    """The first finding, and how many more there are."""
    finding, more = error.errors()[0], error.error_count() - 1
    # pydantic puts the tried member of a union ("str", "tuple[str, ...]") into the path; a person wrote no such key.
    written = (str(part) for part in finding["loc"])
    found_key = tuple(p for p in written if "[" not in p and p not in ("str", "int", "float", "none"))
    value, remedy, kind = finding.get("input"), "", finding["type"]
    fault = finding["msg"][:1].lower() + finding["msg"][1:]
    own = finding.get("ctx", {}).get("error")
    if isinstance(own, RuleError):
        found_key = (*found_key, *filter(None, own.field.split(".")))
        fault, value, remedy = own.fault, own.value, own.remedy
    elif isinstance(own, ValueError):
        fault = str(own)  # without pydantic's "Value error, "
    elif kind == "extra_forbidden":
        fault, value = "unknown key", None
        remedy = nearest(found_key[-1], _names(model, found_key[:-1]))
    elif kind == "literal_error":
        fault = "no such word"
        remedy = nearest(str(value), re.findall(r"'([^']+)'", finding["ctx"]["expected"]))
    elif kind == "too_short":
        fault = "this must be a list of at least one value"
    elif kind.endswith("_type"):
        number = {"int_type": "whole number", "float_type": "number"}.get(kind)
        fault = f"this must be a {number}" if number else fault
    if more:
        remedy += f" ({more} more finding{'s' if more > 1 else ''} in this file.)"
    return Finding(found_key, fault, value, remedy.strip())


def _names(model: Any, path: Key) -> list[str]:
    """The valid keys of the section at `path` below `model`."""
    for part in path:
        names = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
        annotation = names.get(part)
        options = [annotation, *getattr(annotation, "__args__", ())]
        model = next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)
        if model is None:
            return []
    return [field.alias or name for name, field in model.model_fields.items()]

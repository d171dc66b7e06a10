"""What pydantic finds, in our words and at the keys that a person wrote."""

from __future__ import annotations

import re
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from vprdist.errors import RuleError, nearest
from vprdist.spec.base import file_fields
from vprdist.spec.origin import Key

WANTED: Mapping[str, str] = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "none_required": "null",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping of keys",
    "model_type": "a mapping of keys",
    "greater_than": "above {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "below {lt}",
    "less_than_equal": "at most {le}",
    "multiple_of": "a multiple of {multiple_of}",
    "too_short": "a list of at least",
    "too_long": "a list of at most",
    "string_too_short": "text of at least",
    "string_too_long": "text of at most",
    "string_pattern_mismatch": "text of the form {pattern}",
    "literal_error": "{expected}",
    "enum": "{expected}",
}
"""By pydantic's kind of error, what must stand there."""
COUNTED = {"too_short": "value", "too_long": "value", "string_too_short": "character", "string_too_long": "character"}
MISSING = "this key is missing"
NO_KEY = ("default_factory_not_called",)
"""Kinds that only follow from another finding."""
MOST = 5
"""Findings that are shown; the others are counted."""


@dataclass(frozen=True)
class Finding:
    """One finding; `key` is the path below the model."""

    key: Key
    fault: str
    value: Any
    remedy: str

    def as_rule(self) -> RuleError:
        """To be raised inside the validator of a model around this one."""
        return RuleError(".".join(self.key), self.fault, self.value, self.remedy)


@dataclass(frozen=True)
class _Raw:
    """One of pydantic's errors, its place read off the model.

    Attributes:
        key: as a person wrote it.
        choice: the key of the value that may be of several kinds, one of which was tried; None: of one kind.
        model: the section that it stands in.
    """

    error: Mapping[str, Any]
    key: Key
    choice: Key | None
    model: type[BaseModel]


def findings_of(error: ValidationError, model: type[BaseModel]) -> list[Finding]:
    """Every finding once, a value that may be of several kinds as one."""
    raw = [_placed(each, model) for each in error.errors() if each["type"] not in NO_KEY]
    raw = [each for each in raw if not _is_echo(each.error)]
    groups: dict[Key | int, list[_Raw]] = {}
    for number, each in enumerate(raw):
        groups.setdefault(number if each.choice is None else each.choice, []).append(each)
    found: list[Finding] = []
    for group in groups.values():
        deepest = max(len(each.key) for each in group)
        nearest_kind = [each for each in group if len(each.key) == deepest]
        if group[0].choice is not None and deepest == len(group[0].choice):
            found.append(_either(nearest_kind))
        else:  # a list was written where a list may stand: what is wrong is in it
            found += [_finding(each) for each in nearest_kind]
    once = {(each.key, each.fault): each for each in found}.values()
    return sorted(once, key=lambda each: each.fault == MISSING)  # it may be there, misspelt


def finding_of(error: ValidationError, model: type[BaseModel]) -> Finding:
    """The first finding."""
    return findings_of(error, model)[0]


def _is_echo(error: Mapping[str, Any]) -> bool:
    """A list that seems too short only because entries of it are wrong."""
    return error["type"] == "too_short" and bool(len(error["input"]) >= error["ctx"]["min_length"])


def _placed(error: Mapping[str, Any], model: type[BaseModel]) -> _Raw:
    """Follow the path of an error along the types of the fields.

    pydantic puts the tried member of a union ("str", "tuple[str, ...]") into it, which nobody wrote.
    """
    key: Key = ()
    choice: Key | None = None
    section: type[BaseModel] = model
    kind: Any = model
    for part in error["loc"]:
        kind = _plain(kind)
        members = _members(kind)
        if len(members) > 1:
            choice = key if choice is None else choice
            kind = _tried(members, str(part))
            continue
        key = (*key, str(part))
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            fields = {field.alias or name: field.annotation for name, field in kind.model_fields.items()}
            section, kind = kind, fields.get(str(part), Any)
        else:
            kind = _entry(kind)
    return _Raw(error, key, choice, section)


def _plain(kind: Any) -> Any:
    """Without what is annotated beside it, and without null."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    members = _members(kind)
    return _plain(members[0]) if len(members) == 1 and members[0] is not kind else kind


def _members(kind: Any) -> list[Any]:
    """The kinds that a value may be of, but for null."""
    if get_origin(kind) in (Union, types.UnionType):
        return [each for each in get_args(kind) if each is not type(None)]
    return [kind]


def _tried(members: Sequence[Any], tag: str) -> Any:
    """The member of a union that pydantic's tag names."""
    for member in map(_plain, members):
        name = getattr(get_origin(member) or member, "__name__", str(member)).lower()
        if re.search(rf"\b{re.escape(name)}\b", tag.lower()):
            return member
    return Any


def _entry(kind: Any) -> Any:
    """What an entry of a list, or a value of a mapping, is."""
    if get_origin(kind) is dict:
        return get_args(kind)[1]
    return get_args(kind)[0] if get_origin(kind) in (tuple, list) else Any


def _either(group: Sequence[_Raw]) -> Finding:
    """A value that is of none of the kinds that it may be of."""
    first = group[0]
    if len(group) == 1 or any(each.error["type"] not in WANTED for each in group):
        return _finding(first)
    value = first.error["input"]
    words = [word for each in group if each.error["type"] == "literal_error" for word in _words(each.error)]
    if isinstance(value, str) and words:
        return Finding(first.key, "no such word", value, nearest(value, words))
    wanted = " or ".join(dict.fromkeys(_wanted(each.error) for each in group))
    return Finding(first.key, f"this must be {wanted}", value, _remedy(first.error["type"], value))


def _finding(raw: _Raw) -> Finding:
    error, key = raw.error, raw.key
    kind, value, own = error["type"], error.get("input"), error.get("ctx", {}).get("error")
    if isinstance(own, RuleError):
        parts = tuple(filter(None, own.field.split(".")))
        # Where a word alone was written, nobody wrote `.name`.
        below = parts[:-1] if parts[-1:] == ("name",) and not isinstance(value, dict) else parts
        return Finding((*key, *below), own.fault, own.value, own.remedy)
    if isinstance(own, ValueError):
        return Finding(key, str(own), value, "")
    if kind == "extra_forbidden":
        return Finding(key, "unknown key", None, nearest(key[-1], file_fields(raw.model)))
    if kind == "missing":
        return Finding(key, MISSING, None, "Add it.")
    if kind in ("literal_error", "enum") and isinstance(value, str):
        return Finding(key, "no such word", value, nearest(value, _words(error)))
    if kind not in WANTED:
        return Finding(key, "this value cannot be read", value, "`vprdist keys` says what may stand here.")
    remedy = "It is null: delete it." if value is None and key[-1].isdecimal() else _remedy(kind, value)
    return Finding(key, f"this must be {_wanted(error)}", value, remedy)


def _words(error: Mapping[str, Any]) -> list[str]:
    """The words that a value may be."""
    return [word.strip("'") for word in re.split(r", | or ", error["ctx"]["expected"])]


def _wanted(error: Mapping[str, Any]) -> str:
    """What must stand there, with its bounds."""
    kind, bounds = error["type"], {name: _number(each) for name, each in error.get("ctx", {}).items()}
    if kind in ("literal_error", "enum"):
        return _listed(_words(error))
    text = WANTED[kind].format(**bounds)
    if kind in COUNTED:
        count = next(bounds[name] for name in ("min_length", "max_length") if name in bounds)
        return f"{text} {'one' if count == 1 else count} {COUNTED[kind]}{'' if count == 1 else 's'}"
    return text


def _listed(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last


def _number(value: Any) -> Any:
    """1, not 1.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _remedy(kind: str, value: Any) -> str:
    """How what was written becomes what was meant."""
    if value is None:
        return "It is null: delete the key for its default."
    if kind == "string_type" and isinstance(value, (bool, int, float)):
        return "Write text in quotes."
    if kind == "bool_type" and isinstance(value, str) and (word := value.lower()) in YES | NO:
        return f"Write {'true' if word in YES else 'false'}."
    if kind == "int_type" and isinstance(value, float) and value.is_integer():
        return f"Write {int(value)}."
    if kind in ("int_type", "float_type") and isinstance(value, str):
        return _number_remedy(value)
    if kind in ("tuple_type", "list_type") and isinstance(value, (str, int, float)) and not isinstance(value, bool):
        lines = str(value).splitlines()
        return f"Write [{value}]." if len(lines) == 1 else "Write a list: each line after a `- ` of its own."
    return ""


YES, NO = frozenset(("yes", "y", "on")), frozenset(("no", "n", "off"))
"""What other readers of YAML take for true and false."""


def _number_remedy(text: str) -> str:
    if re.fullmatch(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?", text):
        return f"Write {text.replace('_', '')}."
    return "Write one number." if re.fullmatch(r"[-+]?[0-9]+(:[0-9]+)+(\.[0-9]+)?", text) else ""

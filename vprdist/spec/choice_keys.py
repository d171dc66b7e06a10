"""The keys of a named choice: its name, the parameters of each built-in, and those of a user's own class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from vprdist.spec.base import file_fields, marks_of
from vprdist.spec.fragments import SECTION, TEXT, Fragment, any_of, plain
from vprdist.spec.key import Key, Names, unit_of
from vprdist.spec.named import Named
from vprdist.spec.own_code import FORMS

OWN: Fragment = {
    **TEXT,
    "pattern": r"^(.+\.py|[A-Za-z_]\w*(\.[A-Za-z_]\w*)*):[A-Za-z_]\w*$",
    "title": FORMS.replace(" or ", " | "),
}
"""The name of a class of a user's own; the reader knows the forms by `own_code.is_own`."""
MAPPING = "{name: …, parameters}"
YOURS = "your own"


@dataclass(frozen=True)
class Parameter:
    """A parameter of some built-ins, alike in all of them."""

    owners: Names
    schema: Fragment
    default: Any
    absent: str | None
    meaning: str
    unit: str


def choice_keys(path: Names, named: type[Named], axes: Names) -> Iterator[Key]:
    """The key of a choice, its meaning and default still to be said, and those below it."""
    found = _parameters(named)
    yield Key(path=path, schema=_schema(named, found), meaning="", axes=axes)
    name_schema = any_of({**TEXT, "enum": [*named.door.built_in]}, OWN, *_short(named))
    shown = "which one; where it says all, it may stand in the place of the mapping"
    yield Key(path=(*path, "name"), schema=name_schema, meaning=shown, absent="", axes=axes)
    for parameter, variants in found.items():
        yield _parameter_key((*path, parameter), variants, axes)
    yield own_parameter(path, axes)


def own_parameter(path: Names, axes: Names) -> Key:
    """The key that stands for the parameters of a user's own class."""
    meaning = "a parameter of a class of your own, by the name that it has there"
    return Key(path=(*path, "<parameter>"), schema={}, meaning=meaning, absent="", axes=axes)


def own_mapping(more: Mapping[str, Fragment]) -> Fragment:
    """A user's own class with any parameters.

    Args:
        more: keys that may stand beside them.
    """
    properties = {"name": OWN, **more}
    return {**SECTION, "title": MAPPING, "properties": properties, "required": ["name"], "additionalProperties": True}


def _parameter_key(path: Names, variants: list[Parameter], axes: Names) -> Key:
    """One key for a parameter that several built-ins have, with what each says of it."""
    first = variants[0]
    meaning = "; ".join(f"{', '.join(each.owners)}: {each.meaning}" for each in variants)
    default: dict[str, Any] = {"default": first.default, "absent": first.absent}
    if any((each.default, each.absent) != (first.default, first.absent) for each in variants):
        default = {"absent": ", ".join(f"{each.owners[0]}: {each.absent or each.default}" for each in variants)}
    schema = any_of(*[each.schema for each in variants])
    return Key(path=path, schema=schema, meaning=meaning, unit=first.unit, axes=axes, **default)


def _parameters(named: type[Named]) -> dict[str, list[Parameter]]:
    """By name, every parameter that a built-in has, or that may stand beside those of a user's own class."""
    found: dict[str, list[Parameter]] = {}
    owners = [(word, built_in.parameters) for word, built_in in named.door.built_in.items()]
    for owner, model in (*owners, (YOURS, named.door.beside)):
        for name, parameter in _of_model(owner, model).items():
            alike = found.setdefault(name, [])
            same = next((each for each in alike if _facts(each) == _facts(parameter)), None)
            if same is None:
                alike.append(parameter)
            else:
                alike[alike.index(same)] = Parameter((*same.owners, owner), *_facts(same))
    return found


def _facts(parameter: Parameter) -> tuple[Fragment, Any, str | None, str, str]:
    """All but whose it is."""
    return parameter.schema, parameter.default, parameter.absent, parameter.meaning, parameter.unit


def _of_model(owner: str, model: type[BaseModel]) -> dict[str, Parameter]:
    fragments = model.model_json_schema(by_alias=True).get("properties", {})
    out = {}
    for name, info in file_fields(model).items():
        schema = plain(fragments[name], marks_of(info))
        absent = "required" if info.is_required() else None
        default, unit = fragments[name].get("default"), unit_of(name, schema, marks_of(info))
        out[name] = Parameter((owner,), schema, default, absent, info.description or "", unit)
    return out


def _schema(named: type[Named], found: Mapping[str, list[Parameter]]) -> Fragment:
    """A word, or a mapping with the parameters that belong to it; without a name those of any built-in."""

    def fitting(owners: Names | None) -> dict[str, Fragment]:
        return {
            parameter: any_of(*[each.schema for each in variants if owners is None or set(owners) & set(each.owners)])
            for parameter, variants in found.items()
            if owners is None or any(set(owners) & set(each.owners) for each in variants)
        }

    def mapping(names: Names) -> Fragment:
        properties = {"name": {**TEXT, "enum": [*names]}, **fitting(names)}
        return {**closed, "properties": properties, "required": ["name", *needed(names[0])]}

    def needed(word: str) -> list[str]:
        return [name for name, info in named.door.built_in[word].parameters.model_fields.items() if info.is_required()]

    closed = {**SECTION, "title": MAPPING, "additionalProperties": False}
    words = tuple(named.door.built_in)
    alone = [word for word in words if not needed(word)]
    alike: dict[Names, list[str]] = {}
    for word in words:
        own = tuple(name for name, variants in found.items() if any(word in each.owners for each in variants))
        alike.setdefault(own, []).append(word)
    built_in = [mapping(tuple(group)) for group in alike.values()]
    nameless = [{**closed, "properties": fitting(None)}] if found and named.door.default else []
    return any_of(
        {**TEXT, "enum": alone}, OWN, *_short(named), *built_in, own_mapping(fitting((YOURS,))), *_short_mapping(named),
        *nameless,
    )  # fmt: skip


def _short(named: type[Named]) -> list[Fragment]:
    """`word:VALUE`, where a door has such words."""
    short = {word: built_in.short for word, built_in in named.door.built_in.items() if built_in.short}
    title = " | ".join(f"{word}:{name.upper()}" for word, name in short.items())
    return [{**TEXT, "pattern": f"^({'|'.join(short)}):.+$", "title": title}] if short else []


def _short_mapping(named: type[Named]) -> list[Fragment]:
    """The same with further parameters beside it."""
    return [
        {**SECTION, "title": MAPPING, "properties": {"name": name}, "required": ["name"], "additionalProperties": True}
        for name in _short(named)
    ]

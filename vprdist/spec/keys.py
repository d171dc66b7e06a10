"""Every key of a sweep file and of a profile, read off the models. `vprdist keys` shows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from vprdist.spec.base import file_fields, marks_of
from vprdist.spec.choice_keys import choice_keys, own_mapping, own_parameter
from vprdist.spec.fragments import NULL, SECTION, Fragment, any_of, listed, plain, searched
from vprdist.spec.key import Key, Names, unit_of
from vprdist.spec.named import Named
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.recipes import RECIPES
from vprdist.spec.scales import SCALES
from vprdist.spec.sweep import SweepSpec
from vprdist.spec.sweep_file import TOP_KEYS
from vprdist.spec.trial import TrialSpec

SCALES_MEANING = "by scale, built-in or your own: values that win over `trial` while `scale` names it"
"""The one section of a sweep file that no model holds: it is gone once it has been laid over `trial`."""
PROFILE_MEANING = "a file of slurm/profiles: the facts of one cluster, or of this machine"


def sweep_keys() -> tuple[Key, ...]:
    """The keys of a sweep file in the order of the models; a section comes before its keys."""
    fields, found = file_fields(SweepSpec), list[Key]()
    fragments = SweepSpec.model_json_schema()["properties"]
    for name in TOP_KEYS:
        found += _keys((name,), fields[name], fragments[name]) if name in fields else _scale_keys(name)
        if name == "search":
            found += _keys(("search", "grid"), SweepSpec.model_fields["grid"], fragments["grid"])
    return tuple(found)


def profile_keys() -> tuple[Key, ...]:
    """The keys of a profile, below `profile`."""
    top = Key(path=("profile",), schema=dict(SECTION), meaning=PROFILE_MEANING, absent="", is_section=True)
    return (top, *_below(ClusterProfile, ("profile",)))


def _below(model: type[BaseModel], path: Names) -> Iterator[Key]:
    """The keys of a section."""
    fragments = model.model_json_schema(by_alias=True)["properties"]
    for name, info in file_fields(model).items():
        yield from _keys((*path, name), info, fragments[name])


def _keys(path: Names, info: FieldInfo, fragment: Fragment) -> Iterator[Key]:
    """The key of a field, and those below it."""
    marks, model = marks_of(info), model_of(info.annotation)
    meaning, schema = info.description or _first_sentence(model), plain(fragment, marks)
    if model is not None and issubclass(model, Named):
        several = get_origin(info.annotation) is tuple
        yield from _choices(path, model, meaning) if several else _choice(path, info, model, meaning, _nullable(schema))
        return
    if "old" in marks:
        meaning = f"old spelling of {'.'.join(path[:-1])}.{marks['old']}"
        yield Key(path=path, schema={"deprecated": True, **schema}, meaning=meaning, axes=_axes(path))
        return
    if "key" in marks:
        yield Key(path=path, schema=dict(SECTION), meaning=meaning, absent="", axes=_axes(path), is_section=True)
        yield from _chosen(path, meaning, schema.get("additionalProperties", {}), marks, model)
    elif model is not None:
        absent, below = None if _nullable(schema) else "", list(_below(model, path))
        if marks.get("own"):
            word = next(key.schema for key in below if key.path[-1] == "name")
            schema = any_of(word, own_mapping({}), schema)
            below.append(own_parameter(path, _axes(path)))
        yield Key(path=path, schema=schema, meaning=meaning, absent=absent, axes=_axes(path), is_section=True)
        yield from below
    else:
        default = info.get_default(call_default_factory=True, validated_data={})
        default = fragment.get("default", None if info.is_required() else default)
        yield Key(
            path=path, schema=schema, meaning=meaning, unit=unit_of(path[-1], schema, marks), default=default,
            absent=marks.get("absent", "required") if info.is_required() else None,
            scales=_by_scale(path, default), axes=_axes(path),
        )  # fmt: skip


def _choice(path: Names, info: FieldInfo, model: type[Named], meaning: str, nullable: bool) -> Iterator[Key]:
    """The key of a named choice, and those of its parameters."""
    default = None if info.is_required() else info.get_default(call_default_factory=True)
    name = default.name if isinstance(default, Named) else None
    key, *below = choice_keys(path, model, _axes(path))
    schema = any_of(key.schema, NULL) if nullable else key.schema
    absent = "required" if info.is_required() else None
    yield replace(key, schema=schema, meaning=meaning, default=name, absent=absent, scales=_by_scale(path, name))
    yield from below


def _choices(path: Names, model: type[Named], meaning: str) -> Iterator[Key]:
    """The key of a list of named choices, empty where there is none; dotted keys do not lead into lists."""
    one = next(choice_keys(path, model, ()))
    yield Key(path=path, schema={"type": "array", "items": one.schema}, meaning=meaning, default=[])


def _chosen(
    above: Names, meaning: str, value: Fragment, marks: Mapping[str, Any], model: type[BaseModel] | None
) -> Iterator[Key]:
    """The key that people name themselves below a section, and those below it."""
    path, names = (*above, f"<{marks['key']}>"), tuple(marks.get("names", ()))
    if above == ("search", "space"):
        yield Key(path=path, schema=searched({}, ""), meaning=meaning, absent="")
    elif above == ("search", "grid"):
        yield Key(path=path, schema=listed({}), meaning=meaning, absent="")
    elif model is not None:
        shown = _first_sentence(model)
        yield Key(path=path, schema=value, meaning=shown, absent="", axes=_axes(path), names=names, is_section=True)
        yield from _below(model, path)
    else:
        yield Key(path=path, schema=value, meaning=meaning, absent="", axes=_axes(path), names=names)


def _scale_keys(name: str) -> Iterator[Key]:
    yield Key(path=(name,), schema=dict(SECTION), meaning=SCALES_MEANING, absent="", is_section=True)
    yield Key(path=(name, "<scale>"), schema=dict(SECTION), meaning="the same keys as `trial`", absent="")


def model_of(annotation: Any) -> type[BaseModel] | None:
    """The model that a field holds, by itself, as one of a choice, or as the values of a mapping."""
    options = [annotation, *getattr(annotation, "__args__", ())]
    return next((one for one in options if isinstance(one, type) and issubclass(one, BaseModel)), None)


def _first_sentence(model: type[BaseModel] | None) -> str:
    """A section's meaning is the first sentence of its model's docstring, where the field says none."""
    text = " ".join(((model.__doc__ if model else None) or "").split("\n\n")[0].split())
    text = text.split(". ")[0].rstrip(".")
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def _nullable(schema: Fragment) -> bool:
    return NULL in schema.get("anyOf", ())


def _axes(path: Names) -> Names:
    """A trial's keys, but those of sections that say how and not what: another value there is the same experiment."""
    if len(path) < 3 or path[0] != "trial":
        return ()
    says_what = marks_of(TrialSpec.model_fields[path[1]]).get("hashed", True)
    return ("grid", "space") if says_what else ()


def _by_scale(path: Names, default: Any) -> dict[str, Any]:
    """The values of the built-in scales that are not the default."""
    found = {}
    for scale, values in SCALES.items():
        recipe = RECIPES.get(values["train"].get("recipe"), {})
        value: Any = {"trial": {**values, "train": {**recipe, **values["train"]}}}
        for part in path:
            value = value.get(part, default) if isinstance(value, dict) else default
        if value != default:
            found[scale] = value
    return found

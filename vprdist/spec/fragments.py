"""Fragments of JSON Schema (draft 2020-12): pydantic's own with our words in them, and what they say in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias, get_args

from vprdist.spec.search import Range

Fragment: TypeAlias = dict[str, Any]

TEXT: Fragment = {"type": "string"}
NULL: Fragment = {"type": "null"}
SECTION: Fragment = {"type": "object"}
KEPT = ("type", "enum", "const", "pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minItems",
        "maxItems")  # fmt: skip
RANGES: tuple[str, ...] = get_args(Range.model_fields["kind"].annotation)
PLAIN = {"string": "text", "boolean": "true | false", "null": "null", "integer": "whole number", "number": "number"}


def plain(fragment: Mapping[str, Any], marks: Mapping[str, Any], inside: bool = False) -> Fragment:
    """A field's fragment as pydantic makes it, without its titles, with the words that `marks` knows of texts.

    Args:
        marks: what `spec.base.marked` says of the field.
        inside: the fragment is of an entry of a list.
    """
    if "$ref" in fragment:
        return dict(SECTION)
    if "anyOf" in fragment:
        options = [plain(option, marks, inside) for option in fragment["anyOf"]]
        return any_of(*options)
    out = {name: fragment[name] for name in KEPT if name in fragment}
    for name in ("items", "additionalProperties"):
        if name in fragment and fragment[name] is not False:
            out[name] = {} if fragment[name] is True else plain(fragment[name], marks, inside=True)
    if "prefixItems" in fragment:
        out["prefixItems"] = [plain(item, marks, inside=True) for item in fragment["prefixItems"]]
    if out == TEXT:
        words, other = (marks.get("entries"), None) if inside else (marks.get("words"), marks.get("other"))
        title = {"title": marks["entry"]} if inside and "entry" in marks else {}
        out = {**TEXT, "enum": [*words], **title} if words else out
        return any_of(out, {**TEXT, "title": other}) if other else out
    return out


def any_of(*options: Fragment) -> Fragment:
    """What is one of these; options that are such a choice themselves are taken apart."""
    flat = [one for option in options for one in (option["anyOf"] if set(option) == {"anyOf"} else [option])]
    return flat[0] if len(flat) == 1 else {"anyOf": flat}


def listed(value: Fragment) -> Fragment:
    """An axis of a grid: values, at least one."""
    return {"type": "array", "items": value, "minItems": 1}


def searched(value: Fragment, kind: str) -> Fragment:
    """An axis of a space: values, or a range of numbers.

    Args:
        kind: what the key holds, "number", "integer", another type, or "" where that is open.
    """
    bounds = [{"type": "number", "title": title} for title in ("low", "high")]
    numbers = {"type": "array", "prefixItems": bounds, "minItems": 2, "maxItems": 2}
    kinds = {"number": RANGES, "integer": ("randint",), "": RANGES}.get(kind, ())
    ranges = [{"type": "object", "properties": {name: numbers}, "required": [name], "additionalProperties": False}
              for name in kinds]  # fmt: skip
    return any_of(listed(value), *ranges)


def number_kind(fragment: Fragment) -> str:
    """ "number" or "integer" where the value may be one, else another word."""
    options = [option.get("type") for option in fragment.get("anyOf", [fragment])]
    return next((kind for kind in ("number", "integer") if kind in options), "none")


def words_of(fragment: Any) -> tuple[str, ...]:
    """The words that the value, or a part of it, may be, each once."""
    if isinstance(fragment, dict):
        own = [word for word in fragment.get("enum", ()) if isinstance(word, str)]
        own += [fragment["const"]] if isinstance(fragment.get("const"), str) else []
        below = [word for name, part in fragment.items() if name != "enum" for word in words_of(part)]
        return tuple(dict.fromkeys([*own, *below]))
    if isinstance(fragment, list):
        return tuple(dict.fromkeys(word for part in fragment for word in words_of(part)))
    return ()


def type_of(fragment: Any) -> str:
    """The type in words: `whole number ≥ 1 | null`, `rgb | masked`, `[class, …]`."""
    if not isinstance(fragment, dict) or not fragment:
        return "value"
    if "anyOf" in fragment:
        return " | ".join(dict.fromkeys(map(type_of, fragment["anyOf"])))
    if "title" in fragment:
        return str(fragment["title"])
    if "enum" in fragment:
        return " | ".join(map(str, fragment["enum"]))
    if "const" in fragment:
        return str(fragment["const"])
    kind = str(fragment.get("type"))
    if kind == "array":
        return _list_type(fragment)
    if kind == "object":
        return _mapping_type(fragment)
    return PLAIN[kind] + _bounds(fragment)


def _list_type(fragment: Fragment) -> str:
    if parts := fragment.get("prefixItems"):
        types = list(map(type_of, parts))
        if len(types) > 1 and len(set(types)) == 1:
            return f"{len(types)} × {types[0]}"
        return f"[{', '.join(types)}]"
    return f"[{type_of(fragment.get('items'))}, …]"


def _mapping_type(fragment: Fragment) -> str:
    if parts := fragment.get("properties"):
        return "{" + ", ".join(f"{name}: {type_of(part)}" for name, part in parts.items()) + "}"
    return f"{{key: {type_of(fragment['additionalProperties'])}}}" if "additionalProperties" in fragment else "section"


def _bounds(fragment: Fragment) -> str:
    low, high = fragment.get("minimum"), fragment.get("maximum")
    if low is not None and high is not None:
        return f" {low:g} to {high:g}" if high < 1e6 else f" ≥ {low:g}"
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    found = [f"{sign} {fragment[name]:g}" for name, sign in signs.items() if name in fragment]
    return " " + ", ".join(found) if found else ""

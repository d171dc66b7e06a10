"""JSON Schema (draft 2020-12) of a sweep file and of a profile, made of their keys: what editors complete from.

It refuses misspelt keys and words and wrong types at every level; what only holds between keys is the reader's to say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from vprdist.spec.fragments import SECTION, Fragment, any_of, listed, number_kind, searched
from vprdist.spec.key import Key, Names
from vprdist.spec.keys import profile_keys, sweep_keys
from vprdist.spec.scales import SCALES

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def sweep_schema() -> Fragment:
    """The schema of a sweep file.

    Sections below `trial` and `scales` may be partial, since they are laid over each other, and their keys dotted.
    """
    keys = sweep_keys()
    trial = [key for key in keys if key.path[0] == "trial"]
    axes = [key for key in trial if key.axes]
    defs = {_def_name(key.path): _described(key, _dotted_section(key, trial)) for key in trial}
    out = _section((), [key for key in keys if key.path[:1] != ("trial",) or len(key.path) == 1])
    top, search = out["properties"], out["properties"]["search"]["properties"]
    top["trial"] = _ref(("trial",))
    top["scales"] |= {
        "properties": {name: _ref(("trial",)) for name in SCALES},
        "additionalProperties": _ref(("trial",)),
    }
    search["grid"] |= _by_axis(axes, lambda key: listed(_ref(key.path)))
    # An axis may be a whole section: its values are laid over the trial's own.
    sections = [key for key in trial if len(key.path) == 2 and key.is_section]
    search["grid"]["properties"] |= {key.path[1]: listed(_ref(key.path)) for key in sections}
    search["grid"]["properties"]["trial"] = listed(_ref(("trial",)))
    search["space"] |= _by_axis(axes, lambda key: searched(_ref(key.path), number_kind(key.schema)))
    at_axes = {**SECTION, **_by_axis(axes, lambda key: _ref(key.path))}
    top["baseline"]["anyOf"] = [at_axes if one.get("type") == "object" else one for one in top["baseline"]["anyOf"]]
    return {"$schema": DRAFT, "title": "a sweep of vprdist", **out, "$defs": defs}


def profile_schema() -> Fragment:
    """The schema of a profile, a file of slurm/profiles."""
    keys = profile_keys()
    needed = [key.path[-1] for key in keys if key.absent == "required"]
    return {"$schema": DRAFT, "title": "a profile of vprdist", **_section(("profile",), keys), "required": needed}


def _section(path: Names, keys: Sequence[Key]) -> Fragment:
    """A section with its keys in it, and those below them; a name that people choose is free."""
    out: Fragment = {**SECTION, "properties": {}, "additionalProperties": False}
    for key in keys:
        if key.path[:-1] != path or not key.path:
            continue
        value = _described(key, _section(key.path, keys) if key.is_section else None)
        if key.path[-1].startswith("<"):
            out["additionalProperties"] = value
        else:
            out["properties"][key.path[-1]] = value
    return out


def _dotted_section(section: Key, keys: Sequence[Key]) -> Fragment | None:
    """A section of `trial`: the keys in it by name, those below them by patterns, which editors do not offer."""
    if not section.is_section:
        return None
    named: Fragment = {}
    patterns: Fragment = {}
    free: Fragment = {"additionalProperties": False}
    for key in keys:
        own = key.path[len(section.path) :]
        if not own or key.path[: len(section.path)] != section.path:
            continue
        if len(own) == 1 and own[0].startswith("<") and not key.names:
            free |= {"additionalProperties": _ref(key.path)}  # names that people choose
            continue
        if len(own) == 1:
            named |= {name: _ref(key.path) for name in (key.names or own)}
        else:
            patterns[_pattern(key, keys, len(section.path))] = _ref(key.path)
    if named:  # of a user's own class, which is another form of the section
        free = {"additionalProperties": False}
    return {**SECTION, "properties": named, "patternProperties": patterns, **free}


def _by_axis(axes: Sequence[Key], value: Callable[[Key], Fragment]) -> Fragment:
    """A mapping from axes, dotted keys of `trial`, to values."""
    plain = [key for key in axes if not any(part.startswith("<") for part in key.path)]
    chosen = [key for key in axes if key not in plain]
    return {
        "properties": {".".join(key.path[1:]): value(key) for key in plain},
        "patternProperties": {_pattern(key, axes, 1): value(key) for key in chosen},
        "additionalProperties": False,
    }


def _pattern(key: Key, keys: Sequence[Key], skip: int) -> str:
    """A regular expression of the dotted path of `key`, less its first `skip` names."""
    names = {other.path: other.names for other in keys if other.names}
    parts = [_part(part, names.get(key.path[:depth], ())) for depth, part in enumerate(key.path, 1)]
    return "^" + r"\.".join(parts[skip:]) + "$"


def _part(part: str, words: Names) -> str:
    """A regular expression of one name: itself, one of the words for it, or any."""
    if not part.startswith("<"):
        return _literally(part)
    return f"({'|'.join(map(_literally, words))})" if words else r"\w+"


def _literally(text: str) -> str:
    """Editors read patterns as ECMA-262 does, which knows fewer escapes than `re.escape` writes."""
    return re.sub(r"([][\\.^$*+?(){}|/])", r"\\\1", text)


def _described(key: Key, section: Fragment | None) -> Fragment:
    """A key's value with what editors show of it."""
    value = key.schema
    if section is not None:
        value = any_of(*[section if one == SECTION else one for one in value.get("anyOf", [value])])
    text = f"{key.meaning} ({key.unit})" if key.unit and key.unit not in key.meaning else key.meaning
    default: dict[str, Any] = {"default": key.default} if key.absent is None else {}
    return {"description": text, **default, **value}


def _def_name(path: Names) -> str:
    return ".".join(part.strip("<>") for part in path)


def _ref(path: Names) -> Fragment:
    return {"$ref": f"#/$defs/{_def_name(path)}"}

"""The values that all trials start from: scales, recipe, file and command line, laid over each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from vprdist.errors import SweepFileError, nearest, shown
from vprdist.spec.axes import mapping
from vprdist.spec.old_spellings import present_key
from vprdist.spec.read import Key, Origin, expand_environment, faults, parse_value
from vprdist.spec.scales import SCALES
from vprdist.spec.settle import SEGMENTER, settle
from vprdist.spec.trial import CHOICES, TrialSpec
from vprdist.spec.trial_values import put_value, recipe_values, with_own_segmenter
from vprdist.spec.yaml_loader import DEEPEST

TOP_KEYS = (
    "name", "scale", "scales", "trial", "search", "seeds", "objective", "direction", "baseline", "cluster", "budget",
    "track",
)  # fmt: skip
Leaf = tuple[Key, Key, Any]
"""The section that has it, its path below, its value; the section of what is built in is empty."""


@dataclass(frozen=True)
class TrialValues:
    """What every trial starts from.

    Attributes:
        values: of a trial, by section.
        own_train: keys of `train` that are not the scale's or the recipe's.
        written: by dotted key below `trial`, where a person wrote it.
    """

    values: dict[str, Any]
    own_train: tuple[str, ...]
    written: dict[str, Key] = field(default_factory=dict)


def override(raw: dict[str, Any], last_words: dict[str, Any], word: str, origin: Origin) -> None:
    """Lay one word of the command line over a file's values, in place.

    Args:
        raw: the file's values.
        last_words: those below `trial`, by dotted key: they win over the scale too.

    Raises:
        SweepFileError: it is not `dotted.key=value`, or its key cannot be.
    """
    dotted, equals, text = word.partition("=")
    if not equals or not dotted:
        raise SweepFileError(f"override {shown(word)}", "an override must be dotted.key=value", None, "See --help.")
    key: Key = tuple(dotted.split("."))
    if len(key) > DEEPEST:
        raise SweepFileError(f"override {shown(word)}", "no key has so many dots", len(key) - 1, "See `vprdist keys`.")
    if key[0] == "search" and key[1:2] in (("grid",), ("space",)) and len(key) > 2:
        key = (*key[:2], ".".join(key[2:]))  # the keys of a grid or space are dotted themselves
    if key[0] not in TOP_KEYS:
        raise SweepFileError(f"override {shown(word)}", "unknown key", None, nearest(key[0], TOP_KEYS))
    value = parse_value(text, f"override {shown(word)}")
    if key[0] == "trial" and len(key) > 1:
        # An override is the last word: it is kept apart, and laid over the scale.
        last_words.pop(".".join(key[1:]), None)
        last_words[".".join(key[1:])] = value
    else:
        section = raw
        for depth, part in enumerate(key[:-1], 1):
            if depth == 3 and key[0] == "scales":  # the keys of a scale may be written dotted, wholly or in part
                _delete(section, key[2:])
                key = (*key[:2], ".".join(key[2:]))
                break
            section = mapping(section.setdefault(part, {}), key[:depth], origin)
        section[key[-1]] = value
    origin.override(key, word)


def trial_values(raw: dict[str, Any], last_words: dict[str, Any], origin: Origin) -> TrialValues:
    """Built-in scale, its recipe, then `trial`, the file's own entry for the scale, overrides.

    Raises:
        SweepFileError: a key that cannot stand there; in an entry for another scale too.
    """
    scale, own = raw.get("scale", "demo"), raw.get("scales", {})
    known = sorted({*SCALES, *own})
    if scale not in known:
        raise SweepFileError(origin.where(("scale",)), "no such scale", scale, nearest(str(scale), known))
    for name in own:
        mapping(own[name], ("scales", name), origin)
        if name != scale:
            _check_other_scale(name, raw, origin)
    leaves = _layers(raw, scale, origin) + _leaves(last_words, ("trial",))
    found = _laid(leaves, origin)
    own_train = {dotted.split(".")[1] for dotted in found.written if dotted.startswith("train.")}
    return TrialValues(found.values, tuple(sorted(own_train)), found.written)


def _layers(raw: dict[str, Any], scale: str, origin: Origin) -> list[Leaf]:
    """All but the command line's."""
    # The size of a subset must not change how bright its pictures are.
    searched: dict[str, Any] = {"input": {"mask_reduce": "sum"}} if "subsets" in raw.get("search", {}) else {}
    layers: list[tuple[Key, Any]] = [
        ((), SCALES.get(scale, {})),
        ((), searched),
        (("trial",), raw.get("trial", {})),
        (("scales", scale), raw.get("scales", {}).get(scale, {})),
    ]
    found: list[Leaf] = []
    for section, values in layers:
        own = _leaves(values, section)
        keys = [key for _, key, _ in own]
        if len(set(keys)) < len(keys):
            twice = next(key for at, key in enumerate(keys) if key in keys[:at])
            where = origin.where(_written(section, twice, origin))
            raise SweepFileError(where, "a key is written twice, dotted and not", None, "Delete one of them.")
        found += own
    return found


def _laid(leaves: Sequence[Leaf], origin: Origin, needed: bool = True) -> TrialValues:
    """The values that leaves give, the last of each key; a recipe stands below what a person wrote.

    Args:
        needed: refuse a variable of the environment that is not set.
    """
    values: dict[str, Any] = {}
    written: dict[str, Key] = {}
    leaves = list(leaves)
    recipe = next((leaf for leaf in reversed(leaves) if leaf[1] == ("train", "recipe")), None)
    if recipe is not None and recipe[2] is not None:
        given = recipe_values(recipe[2], origin, _written(*recipe[:2], origin))
        built_in = sum(not section for section, _, _ in leaves)
        leaves[built_in:built_in] = [((), ("train", name), value) for name, value in given.items()]
    for section, key, value in leaves:
        where = _written(section, key, origin)
        if key[0] in ("seed", "digests") or key[:2] == ("data", "made_as"):
            remedy = "Use `seeds: [0, 1, 2]`." if key[0] == "seed" else "Delete it: vprdist finds it out."
            raise SweepFileError(origin.where(where), "this key cannot stand in a sweep file", None, remedy)
        now = tuple(present_key(".".join(key)).split("."))
        if section:
            origin.move(("trial", *now), where)
            written[".".join(now)] = where
        put_value(values, now, value, origin)
    values = dict(expand_environment(values, ("trial",), origin, needed))
    for key in CHOICES:
        above, choice = values.get(key[0]), key[1]
        if isinstance(above, dict) and choice in above:
            above[choice] = settle(".".join(key), above[choice], origin, ("trial", *key))
    if "job" in values:
        values["job"] = settle("job", values["job"], origin, ("trial", "job"))
    with_own_segmenter(values, Path.cwd() if origin.overridden(SEGMENTER) else origin.path.parent)
    return TrialValues(values, (), written)


def _written(section: Key, key: Key, origin: Origin) -> Key:
    """A leaf's key as a file has it, which may write parts of it dotted."""
    for depth in range(len(key)):
        dotted = (*section, *key[:depth], ".".join(key[depth:]))
        if dotted in origin.lines:
            return dotted
    return section + key


def _leaves(section: Any, written: Key, key: Key = ()) -> list[Leaf]:
    """Every leaf of a section; dotted keys are split, an empty mapping is a leaf, but for a whole section."""
    if not isinstance(section, dict) or (not section and key) or (key in CHOICES and "name" in section):
        return [] if section == {} and len(key) == 1 and key[0] in TrialSpec.model_fields else [(written, key, section)]
    found: list[Leaf] = []
    for name, value in section.items():
        found += _leaves(value, written, key + tuple(str(name).split(".")))
    return found


def _delete(section: dict[str, Any], key: Key) -> None:
    """Delete a key from a section in place, however it is dotted there."""
    for name in list(section):
        parts = tuple(name.split("."))
        if parts == key:
            del section[name]
        elif parts == key[: len(parts)] and isinstance(section[name], dict):
            _delete(section[name], key[len(parts) :])
            if not section[name]:
                del section[name]


def _check_other_scale(name: str, raw: dict[str, Any], origin: Origin) -> None:
    """Refuse what is wrong in an entry of `scales` that is not chosen; say where it can hardly be meant.

    What does not fit together for another reason than this entry is left to whoever chooses the scale.
    """
    near = get_close_matches(name, SCALES, n=1, cutoff=0.7)
    if name not in SCALES and near:
        origin.notes.append(f"{origin.where(('scales', name))}: only scale={name} reads it. Did you mean {near[0]!r}?")
    if given := [key for key in origin.overrides if key[:2] == ("scales", name)]:
        fault, remedy = (
            f"this does nothing: only scale {name} reads it",
            f"Add scale={name}, or write trial.… in its place.",
        )
        raise SweepFileError(origin.where(given[0]), fault, None, remedy)
    alone = Origin(origin.path, origin.lines)
    leaves = _layers({**raw, "scale": name}, name, alone)
    own = [alone.where(_written(section, key, alone)) for section, key, _ in leaves if section == ("scales", name)]
    try:
        errors = faults(TrialSpec, _laid(leaves, alone, needed=False).values, alone, ("trial",))
    except SweepFileError as error:
        errors = [error]
    for each in errors:
        is_elsewhere = each.fault in ("no such file", "no such module")  # a cluster's own
        is_unset = isinstance(each.value, str) and "${" in each.value
        if not is_elsewhere and not is_unset and any(each.where.startswith(where) for where in own):
            raise each

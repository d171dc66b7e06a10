"""A sweep file: what every trial starts from, what is tried, at which scale, with which seeds."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from vprdist.errors import SweepFileError, nearest
from vprdist.spec.base import Spec
from vprdist.spec.read import Key, Origin, expand_environment, parse_value, read_yaml, validate
from vprdist.spec.scales import SCALES
from vprdist.spec.trial import TrialSpec
from vprdist.spec.vocabulary import KS

OBJECTIVES = tuple(f"{metric}@{k}" for metric in ("recall", "map") for k in KS)
TOP_KEYS = ("name", "scale", "scales", "trial", "search", "seeds", "objective", "cluster")
Point = dict[str, Any]
"""One choice of the search: dotted trial key to value."""


class SweepSpec(Spec):
    """A sweep file after its scale and overrides were applied."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    scale: str
    trial: TrialSpec
    grid: dict[str, tuple[Any, ...]]
    seeds: tuple[Annotated[int, Field(ge=0, le=2**31 - 1)], ...] = Field(default=(0,), min_length=1)
    objective: str = "recall@1"
    cluster: str = "local"
    trials: tuple[TrialSpec, ...] = Field(description="one for each point of the grid and seed, digests not yet set")
    points: tuple[Point, ...] = Field(description="the point that each trial came from")

    @field_validator("objective")
    @classmethod
    def _objective(cls, value: str) -> str:
        if value not in OBJECTIVES:
            raise ValueError(f"the objective is one of {', '.join(OBJECTIVES)}")
        return value

    @field_validator("seeds")
    @classmethod
    def _seeds(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) != len(value):
            raise ValueError("a seed stands once")
        return value


def read_sweep(path: Path, overrides: Sequence[str] = ()) -> SweepSpec:
    """Read a sweep file; later wins: built-in scale, `trial`, the file's `scales` entry, overrides, grid point.

    Args:
        path: the sweep file.
        overrides: `dotted.key=value` words, the value read as YAML.

    Raises:
        SweepFileError: with file, line, dotted path, rule, value and remedy.
    """
    raw, origin = read_yaml(path)
    last_words: dict[str, Any] = {}
    for word in overrides:
        _override(raw, last_words, word, origin)
    for key in raw:
        if key not in TOP_KEYS:
            raise SweepFileError(origin.where((key,)), "unknown key", None, nearest(key, TOP_KEYS))
    for key in ("scales", "trial", "search"):
        _mapping(raw.get(key, {}), (key,), origin)
    trial = _trial_values(raw, last_words, origin)
    grid = _grid(raw, origin)
    base = validate(TrialSpec, trial, origin, ("trial",))
    head: dict[str, Any] = {str(key): raw[key] for key in ("name", "seeds", "objective", "cluster") if key in raw}
    head.setdefault("name", path.stem)
    shell: dict[str, Any] = {
        **head,
        "scale": str(raw.get("scale", "demo")),
        "trial": base.to_json(),
        "grid": {},
        "trials": [],
        "points": [],
    }
    sweep = validate(SweepSpec, shell, origin)
    points = _points(grid)
    every = [(point, seed) for point in points for seed in sweep.seeds]
    trials = tuple(_trial_at(trial, point, seed, origin) for point, seed in every)
    frozen_grid = {key: tuple(values) for key, values in grid.items()}
    return sweep.model_copy(
        update={"grid": frozen_grid, "trials": trials, "points": tuple(point for point, _ in every)}
    )


def _override(raw: dict[str, Any], last_words: dict[str, Any], word: str, origin: Origin) -> None:
    dotted, equals, text = word.partition("=")
    if not equals or not dotted:
        raise SweepFileError(f"override {word!r}", "an override is dotted.key=value", None, "See --help.")
    key: Key = tuple(dotted.split("."))
    if key[:2] == ("search", "grid") and len(key) > 2:
        key = ("search", "grid", ".".join(key[2:]))  # grid keys are dotted themselves
    if key[0] not in TOP_KEYS:
        raise SweepFileError(f"override {word!r}", "unknown key", None, nearest(key[0], TOP_KEYS))
    if key[0] == "trial" and len(key) > 1:
        # An override is the last word: it is kept apart, and laid over the scale.
        last_words[".".join(key[1:])] = parse_value(text, f"override {word!r}")
    else:
        section = raw
        for part in key[:-1]:
            section = section.setdefault(part, {})
            _mapping(section, key, origin)
        section[key[-1]] = parse_value(text, f"override {word!r}")
    origin.overrides[key] = word


def _mapping(value: Any, key: Key, origin: Origin) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SweepFileError(origin.where(key), "a mapping of keys is expected here", value, "See sweeps/table1.yaml.")
    return value


def _trial_values(raw: dict[str, Any], overrides: dict[str, Any], origin: Origin) -> dict[str, Any]:
    """Built-in scale, then `trial`, then the file's own entry for the scale, then overrides."""
    scale, own = raw.get("scale", "demo"), raw.get("scales", {})
    known = sorted({*SCALES, *map(str, own)})
    if scale not in known:
        raise SweepFileError(origin.where(("scale",)), "no such scale", scale, nearest(str(scale), known))
    values: dict[str, Any] = {}
    layers: list[tuple[Key, dict[str, Any]]] = [
        ((), SCALES.get(scale, {})),
        (("trial",), raw.get("trial", {})),
        (("scales", scale), _mapping(own.get(scale, {}), ("scales", scale), origin)),
        (("trial",), overrides),
    ]
    for prefix, layer in layers:
        for key, value in _leaves(layer, (), origin):
            if key in (("seed",), ("digests",)):
                remedy = "Use `seeds: [0, 1, 2]`." if key == ("seed",) else "Delete it: digests are computed."
                raise SweepFileError(origin.where(prefix + key), "this key is not for sweep files", None, remedy)
            _put(values, key, value, origin)
            shown = next((p for p in (prefix + key, (*prefix, ".".join(key))) if p in origin.lines), None)
            if shown:
                origin.lines[("trial", *key)] = origin.lines[shown]
    return dict(expand_environment(values, ("trial",), origin))


def _leaves(section: Any, key: Key, origin: Origin) -> list[tuple[Key, Any]]:
    """(path, value) of every leaf; dotted keys are split, an empty mapping is a leaf."""
    if not isinstance(section, dict) or (not section and key):
        return [(key, section)]
    found: list[tuple[Key, Any]] = []
    for name, value in section.items():
        found += _leaves(value, key + tuple(str(name).split(".")), origin)
    return found


def _put(values: dict[str, Any], key: Key, value: Any, origin: Origin) -> None:
    for depth, part in enumerate(key[:-1], 1):
        below = values.setdefault(part, {})
        if not isinstance(below, dict):
            if below is not None:
                raise SweepFileError(origin.where(("trial", *key)), f"{'.'.join(key[:depth])} has no keys below it")
            below = values[part] = {}
        values = below
    values[key[-1]] = value


def _grid(raw: dict[str, Any], origin: Origin) -> dict[str, list[Any]]:
    search = raw.get("search", {})
    for key in search:
        if key != "grid":
            raise SweepFileError(origin.where(("search", key)), "unknown key", None, nearest(key, ("grid",)))
    if "grid" in search and search["grid"] == {}:
        raise SweepFileError(
            origin.where(("search", "grid")), "a grid has at least one axis", {}, "Delete it, or add one."
        )
    grid: dict[str, list[Any]] = {}
    for dotted, values in _mapping(search.get("grid", {}), ("search", "grid"), origin).items():
        where = ("search", "grid", dotted)
        if not isinstance(values, list):
            raise SweepFileError(origin.where(where), "a grid axis is a list of values", values, "Write [a, b].")
        if not values:
            raise SweepFileError(
                origin.where(where),
                "a grid axis has at least one value",
                [],
                "Add values, or delete the axis.",
            )
        if dotted.split(".")[0] == "digests":
            raise SweepFileError(origin.where(where), "digests are computed, not tried", None, "Delete the axis.")
        if dotted == "seed":
            raise SweepFileError(origin.where(where), "seeds are no axis of the grid", None, "Use `seeds: [0, 1, 2]`.")
        grid[dotted] = expand_environment(values, where, origin)
    return grid


def _points(grid: dict[str, list[Any]]) -> list[Point]:
    """Every combination of the axes' values, the last axis fastest; one empty point where there is no axis."""
    points: list[Point] = [{}]
    for axis, values in grid.items():
        points = [{**point, axis: value} for point in points for value in values]
    return points


def _trial_at(trial: dict[str, Any], point: Point, seed: int, origin: Origin) -> TrialSpec:
    values = copy.deepcopy(trial)
    values["seed"] = seed
    lines, overrides = dict(origin.lines), dict(origin.overrides)
    for dotted, value in point.items():
        key = tuple(dotted.split("."))
        _put(values, key, value, origin)
        source = ("search", "grid", dotted)
        if source in overrides:
            overrides[("trial", *key)] = overrides[source]
        elif source in lines:
            lines[("trial", *key)] = lines[source]
            overrides.pop(("trial", *key), None)
    return validate(TrialSpec, values, Origin(origin.path, lines, overrides), ("trial",))

"""A sweep file: what every trial starts from, what is tried, at which scale, with which seeds."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from vprdist.errors import SweepFileError, nearest
from vprdist.spec.base import Spec
from vprdist.spec.read import Key, Origin, expand_environment, parse_value, read_yaml, validate
from vprdist.spec.recipes import RECIPES
from vprdist.spec.scales import SCALES
from vprdist.spec.search import Point, Range, SearchSpec
from vprdist.spec.subset_sweeps import check_subsets, subset_points
from vprdist.spec.trial import TrialSpec
from vprdist.spec.vocabulary import KS

OBJECTIVES = tuple(f"{metric}@{k}" for metric in ("recall", "map") for k in KS)
TOP_KEYS = ("name", "scale", "scales", "trial", "search", "seeds", "objective", "baseline", "cluster", "budget")
RANGES = ("uniform", "loguniform", "randint")


class Budget(Spec):
    """What a sweep may cost; `plan` and `sweep` refuse more. Null: no limit."""

    gpu_hours: float | None = Field(default=None, gt=0)
    trials: int | None = Field(default=None, ge=1)


class SweepSpec(Spec):
    """A sweep file after its scale and overrides were applied."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    scale: str
    trial: TrialSpec
    grid: dict[str, tuple[Any, ...]]
    search: SearchSpec = SearchSpec()
    seeds: tuple[Annotated[int, Field(ge=0, le=2**31 - 1)], ...] = Field(default=(0,), min_length=1)
    objective: str = "recall@1"
    baseline: Literal["first", "best"] | dict[str, Any] | None = Field(
        default=None,
        description="the row that others are compared with: the grid's first, the best, or for each row the one that "
        "has these values on some axes of the grid and its own on the others. Null: first of a grid, best of a search",
    )
    cluster: str = "local"
    budget: Budget = Budget()
    own_train: tuple[str, ...] = Field(default=(), description="keys of trial.train that win over a point's recipe")
    trials: tuple[TrialSpec, ...] = Field(
        description="one for each point of the grid and seed; of a space, each value alone, to be checked. No digests"
    )
    points: tuple[Point, ...] = Field(description="the point that each trial came from")

    @property
    def axes(self) -> tuple[str, ...]:
        """The dotted keys that are varied."""
        own = tuple(self.search.space or self.grid)
        return own if self.search.subsets is None else tuple(dict.fromkeys((*own, "input.mode", "input.classes")))

    @property
    def settings(self) -> tuple[Point, ...]:
        """The points of the grid alone: subsets are searched at each of them."""
        return tuple(_points({key: list(values) for key, values in self.grid.items()}))

    def nobody_runs(self, setting: Point) -> bool:
        """Whether the empty subset is a trial: without its mask, a network of mode rgb+mask is one of mode rgb.

        One of mode masked would see black, and all of its descriptors would be the same.
        """
        return bool(setting.get("input.mode", self.trial.input.mode) == "rgb+mask")

    @property
    def num_trials(self) -> int:
        """How many trials it will have."""
        return self.search.num_trials or len(self.trials)

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
    """Read a sweep file; later wins: built-in scale, recipe, `trial`, the file's `scales` entry, overrides, grid point.

    A recipe that a grid or space varies gives way to the keys that the file sets itself.

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
    trial, own_train = _trial_values(raw, last_words, origin)
    grid = _grid(raw, origin)
    base = validate(TrialSpec, trial, origin, ("trial",))
    head: dict[str, Any] = {
        str(key): raw[key] for key in ("name", "seeds", "objective", "baseline", "cluster", "budget") if key in raw
    }
    head.setdefault("name", path.stem)
    shell: dict[str, Any] = {
        **head,
        "scale": str(raw.get("scale", "demo")),
        "trial": base.to_json(),
        "grid": {},
        "own_train": own_train,
        "trials": [],
        "points": [],
    }
    sweep = validate(SweepSpec, shell, origin)
    search = _search(raw, origin)
    if search.space and grid:
        raise SweepFileError(origin.where(("search", "grid")), "a sweep has a grid or a space", None, "Delete one.")
    if search.searcher not in (None, "greedy") and len(sweep.seeds) > 1:
        remedy = "Search with one seed, then run the best points with several: a grid."
        if search.searcher == "shapley":
            remedy = "Name the first: each draw of an order has a seed of its own, counted from there."
        raise SweepFileError(origin.where(("seeds",)), "a searcher has one seed a point", list(sweep.seeds), remedy)
    baseline = _checked_baseline(sweep.baseline, grid, origin)
    frozen_grid = {key: tuple(values) for key, values in grid.items()}
    sweep = sweep.model_copy(update={"grid": frozen_grid, "search": search, "baseline": baseline})
    points = _alone(search) if search.space else _points(grid)
    if search.subsets is not None:
        points = subset_points(sweep, points, origin)
    every = [(point, seed) for point in points for seed in sweep.seeds]
    trials = tuple(_trial_at(trial, own_train, point, seed, origin) for point, seed in every)
    sweep = sweep.model_copy(update={"trials": trials, "points": tuple(p for p, _ in every)})
    if search.subsets is not None:
        return check_subsets(sweep, origin)
    return _scheduled(sweep, origin) if search.scheduler else sweep


def trial_at(sweep: SweepSpec, point: Point) -> TrialSpec:
    """The trial of one point of the sweep's space, its digests not yet set.

    Raises:
        SweepFileError: the values do not go together.
    """
    values = sweep.trial.to_json()
    del values["digests"]
    seed = point.get("seed", sweep.seeds[0])
    point = {axis: value for axis, value in point.items() if axis != "seed"}
    return _trial_at(values, sweep.own_train, point, seed, Origin(Path(f"{sweep.name} (proposed)")))


def _checked_baseline(
    baseline: str | dict[str, Any] | None, grid: dict[str, list[Any]], origin: Origin
) -> str | dict[str, Any] | None:
    """Its axes and values are the grid's own: the baseline is a row of the sweep.

    A grid that was changed on the command line may have lost the file's baseline; then it is the default.
    """
    if isinstance(baseline, dict):
        changed = {key[2] if len(key) > 2 else "" for key in origin.overrides if key[:2] == ("search", "grid")}
        named = any(key[0] == "baseline" for key in origin.overrides)
        lost = {axis for axis, value in baseline.items() if value not in grid.get(axis, ())}
        if lost and not named and ("" in changed or lost <= changed):
            return None
        if not baseline:
            remedy = "Name an axis and its value, or write first or best."
            raise SweepFileError(origin.where(("baseline",)), "a baseline has at least one axis", {}, remedy)
        for axis, value in baseline.items():
            where = origin.where(("baseline", axis))
            if axis not in grid:
                remedy = nearest(axis, grid) if grid else "Write first or best: there is no grid."
                raise SweepFileError(where, "an axis of the baseline is an axis of search.grid", axis, remedy)
            if value not in grid[axis]:
                raise SweepFileError(
                    where,
                    f"the baseline's value is one of the grid's on {axis}",
                    value,
                    nearest(str(value), map(str, grid[axis])),
                )
    if baseline == "first" and not grid:
        remedy = "Write best, or delete the key."
        raise SweepFileError(origin.where(("baseline",)), "only a grid has a first row", baseline, remedy)
    return baseline


def _alone(search: SearchSpec) -> list[Point]:
    """Each value of a space once, the other axes at their first: what is wrong by itself is found before the start."""
    first = {axis: domain.samples[0] for axis, domain in search.space.items()}
    points = [first]
    for axis, domain in search.space.items():
        points += [{**first, axis: value} for value in domain.samples[1:]]
    return points


def _search(raw: dict[str, Any], origin: Origin) -> SearchSpec:
    values = {key: value for key, value in raw.get("search", {}).items() if key != "grid"}
    known = ("grid", *(name for name in SearchSpec.model_fields if name != "max_steps"))
    for key in values:
        if key not in known:
            raise SweepFileError(origin.where(("search", key)), "unknown key", None, nearest(key, known))
    if "space" in values:
        space = _mapping(values["space"], ("search", "space"), origin)
        values["space"] = {str(axis): _domain(str(axis), domain, origin) for axis, domain in space.items()}
    return validate(SearchSpec, values, origin, ("search",))


def _domain(axis: str, domain: Any, origin: Origin) -> dict[str, Any]:
    where: Key = ("search", "space", axis)
    if axis.split(".")[0] in ("digests", "seed"):
        raise SweepFileError(origin.where(where), "this key is not for sweep files", None, "Delete the axis.")
    if isinstance(domain, list) and domain:
        return {"values": tuple(expand_environment(domain, where, origin))}
    if isinstance(domain, dict) and len(domain) == 1:
        kind, bounds = next(iter(domain.items()))
        if kind in RANGES and isinstance(bounds, list) and len(bounds) == 2:
            numbers = [isinstance(bound, (int, float)) and not isinstance(bound, bool) for bound in bounds]
            if all(numbers):
                values = {"kind": kind, "low": float(bounds[0]), "high": float(bounds[1])}
                return validate(Range, values, origin, where).model_dump()
    remedy = "Write [a, b, …], {uniform: [low, high]}, {loguniform: [low, high]} or {randint: [low, high]}."
    raise SweepFileError(origin.where(where), "an axis of a space is a list of values or a range", domain, remedy)


def _scheduled(sweep: SweepSpec, origin: Origin) -> SweepSpec:
    """A scheduler compares trials while they train: they must be evaluated on the way."""
    steps, longest = (of(trial.train.steps for trial in sweep.trials) for of in (min, max))
    if steps < 2:
        rule = "a scheduler needs trials that train for some steps"
        raise SweepFileError(origin.where(("search", "scheduler")), rule, steps, "Set trial.train.steps.")
    every = sweep.trial.run.evaluate_steps or max(1, steps // 4)
    grace = sweep.search.grace_steps or every
    if not every <= grace < steps:
        rule = f"it lies between the first evaluation, {every}, and the last step, {steps}"
        raise SweepFileError(origin.where(("search", "grace_steps")), rule, grace, "Change one of them.")

    def evaluated(trial: TrialSpec) -> TrialSpec:
        return trial.model_copy(update={"run": trial.run.model_copy(update={"evaluate_steps": every})})

    return sweep.model_copy(
        update={
            "search": sweep.search.model_copy(update={"grace_steps": grace, "max_steps": longest}),
            "trial": evaluated(sweep.trial),
            "trials": tuple(evaluated(trial) for trial in sweep.trials),
        }
    )


def _override(raw: dict[str, Any], last_words: dict[str, Any], word: str, origin: Origin) -> None:
    dotted, equals, text = word.partition("=")
    if not equals or not dotted:
        raise SweepFileError(f"override {word!r}", "an override is dotted.key=value", None, "See --help.")
    key: Key = tuple(dotted.split("."))
    if key[0] == "search" and key[1:2] in (("grid",), ("space",)) and len(key) > 2:
        key = (*key[:2], ".".join(key[2:]))  # the keys of a grid or space are dotted themselves
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


def _trial_values(
    raw: dict[str, Any], overrides: dict[str, Any], origin: Origin
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Built-in scale, its recipe, then `trial`, the file's own entry for the scale, overrides.

    Returns:
        The values, and the keys of `train` that are not the scale's or the recipe's.
    """
    scale, own = raw.get("scale", "demo"), raw.get("scales", {})
    known = sorted({*SCALES, *map(str, own)})
    if scale not in known:
        raise SweepFileError(origin.where(("scale",)), "no such scale", scale, nearest(str(scale), known))
    values: dict[str, Any] = {}
    # The size of a subset must not change how bright its pictures are.
    searched: dict[str, Any] = {"input": {"mask_reduce": "sum"}} if "subsets" in raw.get("search", {}) else {}
    layers: list[tuple[Key, dict[str, Any]]] = [
        ((), SCALES.get(scale, {})),
        ((), searched),
        (("trial",), raw.get("trial", {})),
        (("scales", scale), _mapping(own.get(scale, {}), ("scales", scale), origin)),
        (("trial",), overrides),
    ]
    leaves = [(prefix, key, value) for prefix, layer in layers for key, value in _leaves(layer, (), origin)]
    recipe = next((leaf for leaf in reversed(leaves) if leaf[1] == ("train", "recipe")), None)
    if recipe is not None and recipe[2] is not None:
        given = _recipe(recipe[2], origin, recipe[0] + recipe[1])
        built_in = sum(not prefix for prefix, _, _ in leaves)
        leaves[built_in:built_in] = [((), ("train", name), value) for name, value in given.items()]
    for prefix, key, value in leaves:
        if key in (("seed",), ("digests",)):
            remedy = "Use `seeds: [0, 1, 2]`." if key == ("seed",) else "Delete it: digests are computed."
            raise SweepFileError(origin.where(prefix + key), "this key is not for sweep files", None, remedy)
        _put(values, key, value, origin)
        shown = next((p for p in (prefix + key, (*prefix, ".".join(key))) if p in origin.lines), None)
        if shown:
            origin.lines[("trial", *key)] = origin.lines[shown]
    own = {key[1] for prefix, key, _ in leaves if prefix and len(key) == 2 and key[0] == "train"}
    return dict(expand_environment(values, ("trial",), origin)), tuple(sorted(own))


def _recipe(name: Any, origin: Origin, where: Key) -> dict[str, Any]:
    """The values of a recipe."""
    if name not in RECIPES:
        raise SweepFileError(origin.where(where), "no such recipe", name, nearest(str(name), RECIPES))
    return RECIPES[name]


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


def _trial_at(trial: dict[str, Any], own_train: Sequence[str], point: Point, seed: int, origin: Origin) -> TrialSpec:
    values = copy.deepcopy(trial)
    values["seed"] = seed
    if point.get("train.recipe") is not None:
        where = ("search", "grid", "train.recipe")
        for name, given in _recipe(point["train.recipe"], origin, where).items():
            if name not in own_train:
                _put(values, ("train", name), given, origin)
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

"""The reading of a sweep file: scales, recipes and overrides laid over each other, grid, space and baseline checked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vprdist.errors import SweepFileError, nearest
from vprdist.spec.base import file_fields
from vprdist.spec.old_spellings import present_key, present_keys
from vprdist.spec.own_code import settled
from vprdist.spec.read import Key, Origin, expand_environment, parse_value, read_yaml, validate
from vprdist.spec.scales import SCALES
from vprdist.spec.search import Point, Range, SearchSpec
from vprdist.spec.segmenter import written_segmenter
from vprdist.spec.subset_sweeps import check_subsets, subset_points
from vprdist.spec.sweep import (
    SweepSpec,
    grid_points,
    put_value,
    recipe_values,
    resolve_trial,
    with_own_segmenter,
)
from vprdist.spec.trial import CHOICES, TrialSpec

TOP_KEYS = ("name", "scale", "scales", "trial", "search", "seeds", "objective", "baseline", "cluster", "budget")
SEGMENTER: Key = ("trial", "input", "segmenter")
RANGES = ("uniform", "loguniform", "randint")


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
    if isinstance(shell.get("baseline"), dict):
        named = {key: _settled(key, each, origin, ("baseline", key)) for key, each in shell["baseline"].items()}
        shell["baseline"] = present_keys(named)
    sweep = validate(SweepSpec, shell, origin)
    search = _search(raw, origin)
    if search.space and grid:
        raise SweepFileError(
            origin.where(("search", "grid")), "a sweep cannot have both a grid and a space", None, "Delete one."
        )
    if len(sweep.seeds) > 1 and not search.method.several_seeds:
        fault, remedy = "a searcher must have one seed a point", search.method.seeds_remedy
        raise SweepFileError(origin.where(("seeds",)), fault, list(sweep.seeds), remedy)
    baseline = _checked_baseline(sweep.baseline, grid, origin)
    frozen_grid = {key: tuple(values) for key, values in grid.items()}
    sweep = sweep.model_copy(update={"grid": frozen_grid, "search": search, "baseline": baseline})
    points = _alone(search) if search.space else grid_points(grid)
    if search.subsets is not None:
        points = subset_points(sweep, points, origin)
    every = [(point, seed) for point in points for seed in sweep.seeds]
    trials = tuple(resolve_trial(trial, own_train, point, seed, origin) for point, seed in every)
    sweep = sweep.model_copy(update={"trials": trials, "points": tuple(p for p, _ in every)})
    if search.subsets is not None:
        return check_subsets(sweep, origin)
    return _scheduled(sweep, origin) if search.scheduler else sweep


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
            raise SweepFileError(origin.where(("baseline",)), "a baseline must have at least one axis", {}, remedy)
        for axis, value in baseline.items():
            where = origin.where(("baseline", axis))
            if axis not in grid:
                remedy = nearest(axis, grid) if grid else "Write first or best: there is no grid."
                raise SweepFileError(where, "no such axis of search.grid", axis, remedy)
            if value not in grid[axis]:
                raise SweepFileError(
                    where,
                    f"the baseline's value must be one of the grid's on {axis}",
                    value,
                    nearest(str(value), map(str, grid[axis])),
                )
    if baseline == "first" and not grid:
        remedy = "Write best, or delete the key."
        raise SweepFileError(origin.where(("baseline",)), "only a grid can have a first row", baseline, remedy)
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
    known = ("grid", *file_fields(SearchSpec))
    for key in values:
        if key not in known:
            raise SweepFileError(origin.where(("search", key)), "unknown key", None, nearest(key, known))
    if "space" in values:
        space = _mapping(values["space"], ("search", "space"), origin)
        space = {str(axis): _domain(str(axis), domain, origin) for axis, domain in space.items()}
        values["space"] = present_keys(space)
    if "searcher" in values:
        values["searcher"] = _absolute(values["searcher"], origin, ("search", "searcher"))
    return validate(SearchSpec, values, origin, ("search",))


def _domain(axis: str, domain: Any, origin: Origin) -> dict[str, Any]:
    where: Key = ("search", "space", axis)
    if axis.split(".")[0] in ("digests", "seed"):
        raise SweepFileError(origin.where(where), "this key cannot stand in a sweep file", None, "Delete the axis.")
    if isinstance(domain, list) and domain:
        values = expand_environment(domain, where, origin)
        return {"values": tuple(_settled(axis, each, origin, where) for each in values)}
    if isinstance(domain, dict) and len(domain) == 1:
        kind, bounds = next(iter(domain.items()))
        if kind in RANGES and isinstance(bounds, list) and len(bounds) == 2:
            numbers = [isinstance(bound, (int, float)) and not isinstance(bound, bool) for bound in bounds]
            if all(numbers):
                values = {"kind": kind, "low": float(bounds[0]), "high": float(bounds[1])}
                return validate(Range, values, origin, where).model_dump()
    remedy = "Write [a, b, …], {uniform: [low, high]}, {loguniform: [low, high]} or {randint: [low, high]}."
    raise SweepFileError(origin.where(where), "an axis of a space must be a list of values or a range", domain, remedy)


def _scheduled(sweep: SweepSpec, origin: Origin) -> SweepSpec:
    """A scheduler compares trials while they train: they must be evaluated on the way."""
    steps, longest = (of(trial.train.steps for trial in sweep.trials) for of in (min, max))
    if steps < 2:
        fault = "a scheduler needs trials that train for some steps"
        raise SweepFileError(origin.where(("search", "scheduler")), fault, steps, "Set trial.train.steps.")
    every = sweep.trial.run.evaluate_steps or max(1, steps // 4)
    grace = sweep.search.grace_steps or every
    if not every <= grace < steps:
        fault = f"this must lie between the first evaluation, {every}, and the last step, {steps}"
        raise SweepFileError(origin.where(("search", "grace_steps")), fault, grace, "Change one of them.")

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
        raise SweepFileError(f"override {word!r}", "an override must be dotted.key=value", None, "See --help.")
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
        raise SweepFileError(origin.where(key), "this must be a mapping of keys", value, "See sweeps/table1.yaml.")
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
        given = recipe_values(recipe[2], origin, recipe[0] + recipe[1])
        built_in = sum(not prefix for prefix, _, _ in leaves)
        leaves[built_in:built_in] = [((), ("train", name), value) for name, value in given.items()]
    for prefix, key, value in leaves:
        if key[0] in ("seed", "digests"):
            remedy = "Use `seeds: [0, 1, 2]`." if key[0] == "seed" else "Delete it: digests are computed."
            raise SweepFileError(origin.where(prefix + key), "this key cannot stand in a sweep file", None, remedy)
        shown = next((p for p in (prefix + key, (*prefix, ".".join(key))) if p in origin.lines), None)
        now = tuple(present_key(".".join(key)).split("."))
        if shown:
            origin.lines[("trial", *now)] = origin.lines[shown]
        if now != key:
            origin.alias(("trial", *key), ("trial", *now))
        put_value(values, now, value, origin)
    own = {
        present_key(".".join(key)).split(".")[1]
        for prefix, key, _ in leaves
        if prefix and key[0] == "train" and key[1:]
    }
    values = dict(expand_environment(values, ("trial",), origin))
    for key in CHOICES:
        section, choice = values.get(key[0]), key[1]
        if isinstance(section, dict) and choice in section:
            section[choice] = _settled(".".join(key), section[choice], origin, ("trial", *key))
    with_own_segmenter(values, Path.cwd() if origin.overridden(SEGMENTER) else origin.path.parent)
    return values, tuple(sorted(own))


def _settled(dotted: str, value: Any, origin: Origin, where: Key) -> Any:
    """A value of a trial's named choice with an absolute path; other values are left as they are."""
    key = tuple(dotted.removesuffix(".name").split("."))
    if key == SEGMENTER[1:] and key == tuple(dotted.split(".")):
        return written_segmenter(value, _folder(origin, where))
    return _absolute(value, origin, where) if key in CHOICES else value


def _absolute(choice: Any, origin: Origin, where: Key) -> Any:
    """A named choice with an absolute path."""
    folder = _folder(origin, where)
    if isinstance(choice, str):
        return settled(choice, folder)
    if isinstance(choice, dict) and isinstance(choice.get("name"), str):
        return {**choice, "name": settled(choice["name"], folder)}
    return choice


def _folder(origin: Origin, where: Key) -> Path:
    """From where a path counts: from the file that has it, or on the command line from the working folder."""
    return Path.cwd() if origin.overridden(where) else origin.path.parent


def _leaves(section: Any, key: Key, origin: Origin) -> list[tuple[Key, Any]]:
    """(path, value) of every leaf; dotted keys are split, an empty mapping is a leaf."""
    if not isinstance(section, dict) or (not section and key) or (key in CHOICES and "name" in section):
        return [(key, section)]
    found: list[tuple[Key, Any]] = []
    for name, value in section.items():
        found += _leaves(value, key + tuple(str(name).split(".")), origin)
    return found


def _grid(raw: dict[str, Any], origin: Origin) -> dict[str, list[Any]]:
    search = raw.get("search", {})
    if "grid" in search and search["grid"] == {}:
        raise SweepFileError(
            origin.where(("search", "grid")), "a grid must have at least one axis", {}, "Delete it, or add one."
        )
    grid: dict[str, list[Any]] = {}
    for dotted, values in _mapping(search.get("grid", {}), ("search", "grid"), origin).items():
        where = ("search", "grid", dotted)
        if not isinstance(values, list):
            raise SweepFileError(origin.where(where), "a grid axis must be a list of values", values, "Write [a, b].")
        if not values:
            raise SweepFileError(
                origin.where(where),
                "a grid axis must have at least one value",
                [],
                "Add values, or delete the axis.",
            )
        if dotted.split(".")[0] == "digests":
            raise SweepFileError(
                origin.where(where), "digests are computed, they cannot be tried", None, "Delete the axis."
            )
        if dotted == "seed":
            raise SweepFileError(
                origin.where(where), "seeds cannot be an axis of the grid", None, "Use `seeds: [0, 1, 2]`."
            )
        found = [_settled(dotted, value, origin, where) for value in expand_environment(values, where, origin)]
        origin.alias(where, ("search", "grid", present_key(dotted)))
        dotted = present_key(dotted)
        grid[dotted] = found
        if twice := [value for at, value in enumerate(grid[dotted]) if value in grid[dotted][:at]]:
            raise SweepFileError(origin.where(where), "a grid axis has a value twice", twice[0], "Delete one of them.")
    return grid

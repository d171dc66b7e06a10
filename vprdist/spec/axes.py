"""What a sweep file tries: the axes of its grid or space, by name and value, and the baseline among them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel

from vprdist.errors import SweepFileError, nearest
from vprdist.spec.base import Names, file_fields, marks_of
from vprdist.spec.class_table import CITYSCAPES
from vprdist.spec.named import Named
from vprdist.spec.old_spellings import present_key, present_keys
from vprdist.spec.probes import How
from vprdist.spec.read import Key, Origin, expand_environment, validate
from vprdist.spec.search import Point, Range, SearchSpec
from vprdist.spec.settle import settle, settle_choice
from vprdist.spec.trial import TrialSpec
from vprdist.spec.trial_values import WHOLE

RANGES = ("uniform", "loguniform", "randint")


def mapping(value: Any, key: Key, origin: Origin) -> dict[str, Any]:
    """The section at a key.

    Raises:
        SweepFileError: it is none.
    """
    if not isinstance(value, dict):
        raise SweepFileError(
            origin.where(key),
            "this must be a mapping of keys",
            value,
            "See sweeps/table1.yaml, which `vprdist init` writes.",
        )
    return value


def read_grid(raw: dict[str, Any], origin: Origin) -> dict[str, list[Any]]:
    """The axes of the grid and their values, by the present spelling of each key.

    Raises:
        SweepFileError: no such key, no values, or one twice.
    """
    search = raw.get("search", {})
    if "grid" in search and search["grid"] == {}:
        raise SweepFileError(
            origin.where(("search", "grid")), "a grid must have at least one axis", {}, "Delete it, or add one."
        )
    grid: dict[str, list[Any]] = {}
    for dotted, values in mapping(search.get("grid", {}), ("search", "grid"), origin).items():
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
        _check_axis(dotted, where, origin)
        if dotted == WHOLE:
            for place, value in enumerate(values):
                _check_whole(value, (*where, str(place)), origin)
        found = [settle(dotted, value, origin, where) for value in expand_environment(values, where, origin)]
        now = present_key(dotted)
        origin.move(("search", "grid", now), where)
        if now in grid:
            raise SweepFileError(origin.where(where), "an axis is written twice, in two spellings", now, "Delete one.")
        grid[now] = origin.tried[("search", "grid", now)] = found
        if (twice := _twice(found)) is not None:
            raise SweepFileError(origin.where(where), "a grid axis has a value twice", twice[0], "Delete one of them.")
    return grid


def _twice(values: Sequence[Any]) -> tuple[Any] | None:
    """The first value that was there before."""
    seen = set()
    for value in values:
        if (same := _hashable(value)) in seen:
            return (value,)
        seen.add(same)
    return None


def _hashable(value: Any) -> Hashable:
    if isinstance(value, dict):
        return frozenset((key, _hashable(each)) for key, each in value.items())
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def read_search(raw: dict[str, Any], origin: Origin, class_table: str | Names = CITYSCAPES) -> SearchSpec:
    """The section `search` but for its grid.

    Args:
        class_table: the trial's: the players of subsets are classes of it.

    Raises:
        SweepFileError: no such key of it, or of a trial; or its values do not go together.
    """
    values = {key: value for key, value in raw.get("search", {}).items() if key != "grid"}
    known = ("grid", *file_fields(SearchSpec))
    for key in values:
        if key not in known:
            raise SweepFileError(origin.where(("search", key)), "unknown key", None, nearest(key, known))
    if "space" in values:
        space = mapping(values["space"], ("search", "space"), origin)
        for axis in space:
            origin.move(("search", "space", present_key(axis)), ("search", "space", axis))
        values["space"] = present_keys({axis: _domain(axis, domain, origin) for axis, domain in space.items()})
        for axis, domain in values["space"].items():
            origin.tried[("search", "space", axis)] = list(domain.get("values", ()))
    if isinstance(how := values.get("probes"), str):
        remedy = f"Write search.probes.how: {how if how in get_args(How) else ' or '.join(get_args(How))}."
        raise SweepFileError(origin.where(("search", "probes")), "this must be a mapping of keys", how, remedy)
    if "searcher" in values:
        values["searcher"] = settle_choice(values["searcher"], origin, ("search", "searcher"))
    if isinstance(subsets := values.get("subsets"), dict) and class_table != CITYSCAPES:
        values["subsets"] = {"class_table": class_table, **subsets}
    return validate(SearchSpec, values, origin, ("search",))


def _check_whole(value: Any, where: Key, origin: Origin) -> None:
    """A value of the axis `trial` has keys of a trial alone.

    Raises:
        SweepFileError: it has others, or is no mapping.
    """
    for key, given in mapping(value, where, origin).items():
        if str(key).split(".")[0] in ("digests", "seed"):
            remedy = "Use `seeds: [0, 1, 2]`." if str(key) == "seed" else "Delete it."
            raise SweepFileError(origin.where((*where, str(key))), "this key cannot be tried", None, remedy)
        if isinstance(given, dict) and key in TrialSpec.model_fields:
            for name in given:
                _check_axis(f"{key}.{name}", (*where, key, str(name)), origin)
        else:
            _check_axis(str(key), (*where, str(key)), origin)


def _check_axis(dotted: str, where: Key, origin: Origin) -> None:
    """Every name of an axis is a key of a trial; names that people choose are the models' to judge.

    Raises:
        SweepFileError: one is not.
    """
    if dotted == WHOLE:
        return
    model: type[BaseModel] = TrialSpec
    parts = dotted.split(".")
    for depth, part in enumerate(parts):
        fields = file_fields(model)
        if part not in fields:
            names = [".".join([*parts[:depth], name, *parts[depth + 1 :]]) for name in fields]
            raise SweepFileError(origin.where(where), "unknown key", None, _near_axis(dotted, part, depth, names))
        field = fields[part]
        options = [field.annotation, *get_args(field.annotation)]
        below = [each for each in options if isinstance(each, type) and issubclass(each, BaseModel)]
        if marks_of(field).keys() & {"key", "own"} or (below and issubclass(below[0], Named)):
            return
        if not below and depth + 1 < len(parts):
            above = ".".join(parts[: depth + 1])
            raise SweepFileError(origin.where(where), f"{above} has no keys below it", None, f"Write {above}.")
        model = below[0] if below else model


def _near_axis(dotted: str, part: str, depth: int, names: Sequence[str]) -> str:
    """The nearest keys; `mask_at` without its section is one of `input`."""
    found = [
        f"{section}.{part}"
        for section, field in file_fields(TrialSpec).items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        if depth == 0 and part in file_fields(field.annotation)
    ]
    rest = dotted[len(part) :]
    return f"Did you mean {' or '.join(repr(name + rest) for name in found)}?" if found else nearest(dotted, names)


def _domain(axis: str, domain: Any, origin: Origin) -> dict[str, Any]:
    where: Key = ("search", "space", axis)
    if axis.split(".")[0] in ("digests", "seed"):
        raise SweepFileError(origin.where(where), "this key cannot stand in a sweep file", None, "Delete the axis.")
    _check_axis(axis, where, origin)
    if isinstance(domain, list) and domain:
        values = expand_environment(domain, where, origin)
        return {"values": tuple(settle(axis, each, origin, where) for each in values)}
    if isinstance(domain, dict) and len(domain) == 1:
        kind, bounds = next(iter(domain.items()))
        if kind in RANGES and isinstance(bounds, list) and len(bounds) == 2:
            numbers = [isinstance(bound, (int, float)) and not isinstance(bound, bool) for bound in bounds]
            if all(numbers):
                values = {"kind": kind, "low": float(bounds[0]), "high": float(bounds[1])}
                return validate(Range, values, origin, where).model_dump()
    remedy = "Write [a, b, …], {uniform: [low, high]}, {loguniform: [low, high]} or {randint: [low, high]}."
    raise SweepFileError(origin.where(where), "an axis of a space must be a list of values or a range", domain, remedy)


def each_alone(search: SearchSpec) -> list[Point]:
    """Each value of a space once, the other axes at their first: what is wrong by itself is found before the start."""
    first = {axis: domain.samples[0] for axis, domain in search.space.items()}
    points = [first]
    for axis, domain in search.space.items():
        points += [{**first, axis: value} for value in domain.samples[1:]]
    return points


def checked_baseline(
    baseline: str | dict[str, Any] | None, grid: Mapping[str, list[Any]], origin: Origin
) -> str | dict[str, Any] | None:
    """The baseline, whose axes and values are the grid's own: it is a row of the sweep.

    A grid that was changed on the command line may have lost the file's baseline; then it is the default.

    Raises:
        SweepFileError: an axis or a value is not the grid's.
    """
    if isinstance(baseline, dict):
        changed = {key[2] if len(key) > 2 else "" for key in origin.overrides if key[:2] == ("search", "grid")}
        named = any(key[0] == "baseline" for key in origin.overrides)
        lost = {axis for axis, value in baseline.items() if value not in grid.get(axis, ())}
        if lost and not named and ("" in changed or lost <= set(map(present_key, changed))):
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

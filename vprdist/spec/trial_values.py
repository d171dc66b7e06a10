"""The values of one trial: those of all trials, with a recipe's and a point's laid over them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vprdist.errors import SweepFileError, nearest
from vprdist.spec.old_spellings import present_keys
from vprdist.spec.read import Key, Origin, validate
from vprdist.spec.recipes import RECIPES
from vprdist.spec.segmenter import written_segmenter
from vprdist.spec.subsets import Point
from vprdist.spec.trial import CHOICES, TrialSpec
from vprdist.spec.yaml_loader import DEEPEST

RECIPE: Key = ("train", "recipe")
WHOLE = "trial"
"""The axis whose values are of several sections."""


def resolve_trial(
    trial: dict[str, Any], own_train: Sequence[str], point: Point, seed: int, origin: Origin
) -> TrialSpec:
    """`trial` with a seed and the values of a point, checked; a recipe of the point gives way to `own_train`.

    Raises:
        SweepFileError: the values do not go together.
    """
    values, point = copy.deepcopy(trial), present_keys(point)
    values["seed"] = seed
    origin = origin.at_point(point)
    recipe = next((value for key, value in leaves(point) if key == RECIPE), None)
    if recipe is not None:
        for name, given in recipe_values(recipe, origin, ("trial", *RECIPE)).items():
            if name not in own_train:
                put_value(values, ("train", name), given, origin)
    # Names before parameters, whatever order the axes have.
    for key, value in sorted(leaves(point), key=lambda leaf: leaf[0] not in CHOICES):
        put_value(values, key, value, origin)
    _check_named(values, point, origin)
    with_own_segmenter(values, origin.path.parent)
    with_one_table(values)
    return validate(TrialSpec, values, origin, ("trial",))


def _check_named(values: Mapping[str, Any], point: Point, origin: Origin) -> None:
    """An axis of a choice's parameter needs the choice's name beside it: its own line is at fault, no value of it.

    Raises:
        SweepFileError: there is no name.
    """
    for dotted in point:
        key = tuple(dotted.split("."))
        named, chosen = CHOICES.get(key[:2]), values.get(key[0], {}).get(key[1]) if len(key) > 2 else None
        if named is not None and named.door.default is None and isinstance(chosen, dict) and "name" not in chosen:
            axis = next(
                (one for one in (("search", name, dotted) for name in ("grid", "space")) if origin.knows(one)), key
            )
            fault = f"parameters of a {named.door.word} need its name"
            raise SweepFileError(origin.where(axis), fault, None, f"Name it: {'.'.join(key[:2])}.name.")


def leaves(point: Point) -> Iterator[tuple[Key, Any]]:
    """Keys and values of a point; a whole section (`network: {…}`) is laid over the trial's, key by key, and so are the
    several sections of the axis `trial` (`{network: {…}, train: {…}}`)."""
    for dotted, value in point.items():
        if dotted == WHOLE and isinstance(value, dict):
            yield from leaves(value)
        elif dotted in TrialSpec.model_fields and isinstance(value, dict):
            yield from (((dotted, *str(name).split(".")), each) for name, each in value.items())
        else:
            yield tuple(dotted.split(".")), value


def with_own_segmenter(values: dict[str, Any], folder: Path) -> None:
    """Bring the segmenter of a trial's values into its form, in place; see `written_segmenter`."""
    section = values.get("input")
    if isinstance(section, dict) and section.get("segmenter") is not None:
        section["segmenter"] = written_segmenter(section["segmenter"], folder)


def with_one_table(values: dict[str, Any]) -> None:
    """Give the arms of a trial's values the class table of its input, in place: nobody writes it twice."""
    given, train = values.get("input"), values.get("train")
    if not isinstance(given, dict) or not isinstance(train, dict) or "class_table" not in given:
        return
    if isinstance(arms := train.get("arms"), dict):
        values["train"] = {**train, "arms": {**arms, "class_table": given["class_table"]}}


def recipe_values(name: Any, origin: Origin, where: Key) -> dict[str, Any]:
    """The values of `train` that a recipe gives.

    Raises:
        SweepFileError: there is no such recipe.
    """
    if not isinstance(name, str):
        remedy = f"Several are an axis: search.grid. {nearest(str(name), RECIPES)}"
        raise SweepFileError(origin.where(where), "a recipe must be one word", name, remedy)
    if name not in RECIPES:
        raise SweepFileError(origin.where(where), "no such recipe", name, nearest(name, RECIPES))
    return copy.deepcopy(RECIPES[name])  # keys of the file may be laid over its sections


def put_value(values: dict[str, Any], key: Key, value: Any, origin: Origin) -> None:
    """Set one of a trial's values in place, the sections above it made where there are none.

    A parameter of a named choice (`train.loss.margin`) leaves its name as it is, and a word alone the parameters of a
    choice that has the same ones: `train.loss: [gcl, contrastive]` are two losses of the margin that the file sets.

    Raises:
        SweepFileError: something above it is a value, not a section.
    """
    if len(key) > DEEPEST:
        where = origin.where(("trial", *key[:DEEPEST]))
        raise SweepFileError(where, "no key has so many dots", len(key) - 1, "See `vprdist keys`.")
    for depth, part in enumerate(key[:-1], 1):
        below = values.setdefault(part, {})
        if not isinstance(below, dict):
            if isinstance(below, str) and key[:depth] in CHOICES:
                below = values[part] = {"name": below}
            elif below is not None:
                raise SweepFileError(origin.where(("trial", *key)), f"{'.'.join(key[:depth])} has no keys below it")
            else:
                below = values[part] = {}
        values = below
    if key in CHOICES and isinstance(value, str):
        value = CHOICES[key].word_over(value, values.get(key[-1]))
    values[key[-1]] = value

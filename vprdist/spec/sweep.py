"""A sweep, typed: what every trial starts from, what is tried, with which seeds; and the trial of each point of it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from vprdist.errors import SweepFileError, nearest
from vprdist.spec.base import Spec, marked
from vprdist.spec.old_spellings import present_keys
from vprdist.spec.read import Key, Origin, validate
from vprdist.spec.recipes import RECIPES
from vprdist.spec.scales import SCALES
from vprdist.spec.search import Point, SearchSpec
from vprdist.spec.segmenter import written_segmenter
from vprdist.spec.trial import CHOICES, TrialSpec
from vprdist.spec.vocabulary import KS

OBJECTIVES = tuple(f"{metric}@{k}" for metric in ("recall", "map") for k in KS)


class Budget(Spec):
    """What a sweep may cost; `plan` and `sweep` refuse more. Null: no limit."""

    gpu_hours: float | None = Field(
        default=None, gt=0, description="hours of one GPU, all trials together", json_schema_extra=marked(unit="h")
    )
    trials: int | None = Field(default=None, ge=1, description="trials in all")


class SweepSpec(Spec):
    """A sweep file after its scale and overrides were applied."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="names the sweep's folder, runs/sweeps/<name>",
        json_schema_extra=marked(absent="the file's name"),
    )  # fmt: skip
    scale: str = Field(
        description="the set of defaults of `trial`: the built-in city, the paper's, or an entry of `scales`",
        json_schema_extra=marked(words=SCALES, other="an entry of scales", absent="demo"),
    )
    trial: TrialSpec = Field(description="what all trials have in common")
    grid: dict[str, tuple[Any, ...]] = Field(
        description="keys of `trial` and the values of each: every combination is run",
        json_schema_extra=marked(in_files=False, key="key of trial"),
    )
    search: SearchSpec = Field(default=SearchSpec(), description="what is tried")
    seeds: tuple[Annotated[int, Field(ge=0, le=2**31 - 1)], ...] = Field(
        default=(0,), min_length=1, description="each point is run once a seed; a row is the mean of them"
    )
    objective: str = Field(
        default="recall@1", description="what rows are ranked and searches steered by",
        json_schema_extra=marked(words=OBJECTIVES),
    )  # fmt: skip
    baseline: Literal["first", "best"] | dict[str, Any] | None = Field(
        default=None,
        description="the row that others are compared with: the grid's first, the best, or for each row the one that "
        "has these values on some axes of the grid and its own on the others. Null: first of a grid, best of a search",
    )
    cluster: str = Field(
        default="local", description="the profile that says where jobs run",
        json_schema_extra=marked(words=("local",), other="a file of slurm/profiles, or its path"),
    )  # fmt: skip
    budget: Budget = Field(default=Budget(), description="what the sweep may cost; more is refused")
    own_train: tuple[str, ...] = Field(
        default=(), description="keys of trial.train that win over a point's recipe",
        json_schema_extra=marked(in_files=False),
    )  # fmt: skip
    trials: tuple[TrialSpec, ...] = Field(
        description="one for each point of the grid and seed; of a space, each value alone, to be checked. No digests",
        json_schema_extra=marked(in_files=False),
    )
    points: tuple[Point, ...] = Field(
        description="the point that each trial came from", json_schema_extra=marked(in_files=False)
    )

    @property
    def axes(self) -> tuple[str, ...]:
        """The dotted keys that are varied."""
        own = tuple(self.search.space or self.grid)
        if self.search.subsets is None:
            return own
        shared = ("train.arms",) if self.search.method.trains_one else ()
        control = ("input.placebo",) if self.search.subsets.placebos and not shared else ()
        return tuple(dict.fromkeys((*own, *shared, "input.mode", "input.classes", *control)))

    @property
    def settings(self) -> tuple[Point, ...]:
        """The points of the grid alone: subsets are searched at each of them."""
        return tuple(grid_points(self.grid))

    @property
    def arm_settings(self) -> tuple[Point, ...]:
        """The settings whose subsets are trained arm by arm: with `placebos` each comes with its own mask first, then
        with each placebo in the mask's place. One network sees all of them, and greedy asks what it has taken in."""
        subsets = self.search.subsets
        if subsets is None or not subsets.placebos or not self.search.method.arm_controls:
            return self.settings
        return tuple({**at, "input.placebo": shown} for at in self.settings for shown in ("none", *subsets.placebos))

    def nobody_runs(self, setting: Point) -> bool:
        """Whether the empty subset is a trial: without its mask, a network of mode rgb+mask is one of mode rgb.

        One of mode masked would see black, and all of its descriptors would be the same.
        """
        return bool(setting.get("input.mode", self.trial.input.mode) == "rgb+mask")

    @property
    def num_trials(self) -> int:
        """How many trials it will have."""
        return self.search.num_trials or len(self.trials)

    def with_num_trials(self, most: int) -> SweepSpec:
        """The same, with so many trials at most."""
        return self.model_copy(update={"search": self.search.model_copy(update={"num_trials": most})})

    @field_validator("objective")
    @classmethod
    def _objective(cls, value: str) -> str:
        if value not in OBJECTIVES:
            raise ValueError(f"the objective must be one of {', '.join(OBJECTIVES)}")
        return value

    @field_validator("seeds")
    @classmethod
    def _seeds(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) != len(value):
            raise ValueError("a seed stands twice")
        return value


def trial_at(sweep: SweepSpec, point: Point) -> TrialSpec:
    """The trial of one point of the sweep's space, its digests not yet set.

    Raises:
        SweepFileError: the values do not go together.
    """
    values = sweep.trial.to_json()
    del values["digests"]
    seed = point.get("seed", sweep.seeds[0])
    point = {axis: value for axis, value in point.items() if axis != "seed"}
    return resolve_trial(values, sweep.own_train, point, seed, Origin(Path(f"{sweep.name} (proposed)")))


def resolve_trial(
    trial: dict[str, Any], own_train: Sequence[str], point: Point, seed: int, origin: Origin
) -> TrialSpec:
    """`trial` with a seed and the values of a point, checked; a recipe of the point gives way to `own_train`.

    Raises:
        SweepFileError: the values do not go together.
    """
    values, point = copy.deepcopy(trial), present_keys(point)
    values["seed"] = seed
    if point.get("train.recipe") is not None:
        where = ("search", "grid", "train.recipe")
        for name, given in recipe_values(point["train.recipe"], origin, where).items():
            if name not in own_train:
                put_value(values, ("train", name), given, origin)
    lines, overrides = dict(origin.lines), dict(origin.overrides)
    # Names before parameters, whatever order the axes have.
    for dotted, value in sorted(point.items(), key=lambda axis: tuple(axis[0].split(".")) not in CHOICES):
        key = tuple(dotted.split("."))
        put_value(values, key, value, origin)
        source = ("search", "grid", dotted)
        if source in overrides:
            overrides[("trial", *key)] = overrides[source]
        elif source in lines:
            lines[("trial", *key)] = lines[source]
            overrides.pop(("trial", *key), None)
    with_own_segmenter(values, origin.path.parent)
    return validate(TrialSpec, values, Origin(origin.path, lines, overrides), ("trial",))


def with_own_segmenter(values: dict[str, Any], folder: Path) -> None:
    """Bring the segmenter of a trial's values into its form, in place; see `written_segmenter`."""
    section = values.get("input")
    if isinstance(section, dict) and section.get("segmenter") is not None:
        section["segmenter"] = written_segmenter(section["segmenter"], folder)


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
    return RECIPES[name]


def put_value(values: dict[str, Any], key: Key, value: Any, origin: Origin) -> None:
    """Set one of a trial's values in place, the sections above it made where there are none.

    A parameter of a named choice (`train.loss.margin`) leaves its name as it is, and a word alone the parameters of a
    choice that has the same ones: `train.loss: [gcl, contrastive]` are two losses of the margin that the file sets.

    Raises:
        SweepFileError: something above it is a value, not a section.
    """
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


def grid_points(grid: Mapping[str, Sequence[Any]]) -> list[Point]:
    """Every combination of the axes' values, the last axis fastest; one empty point where there is no axis."""
    points: list[Point] = [{}]
    for axis, values in grid.items():
        points = [{**point, axis: value} for point in points for value in values]
    return points

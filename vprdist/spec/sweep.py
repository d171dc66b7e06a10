"""A sweep, typed: what every trial starts from, what is tried, with which seeds; and the trial of each point of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, field_validator, model_validator

from vprdist.errors import RuleError, UserError, nearest
from vprdist.spec.base import Spec, marked
from vprdist.spec.doors import TrackerName
from vprdist.spec.read import Key, Origin
from vprdist.spec.scales import SCALES
from vprdist.spec.search import Direction, Point, SearchSpec
from vprdist.spec.subsets import SubsetSpec
from vprdist.spec.trial import TrialSpec
from vprdist.spec.trial_values import WHOLE, leaves, resolve_trial
from vprdist.spec.vocabulary import KS

OBJECTIVES = tuple(f"{metric}@{k}" for metric in ("recall", "map") for k in KS)


METRIC_NAME = re.compile(r"[A-Za-z_][\w.@/ -]{0,79}")
"""What a number that a program leaves may be called."""


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
        json_schema_extra=marked(words=OBJECTIVES, other="a number that your own program leaves"),
    )  # fmt: skip
    direction: Direction = Field(
        default="maximize", description="which end of the objective is better; minimize for a loss of your own program"
    )
    baseline: Literal["first", "best"] | dict[str, Any] | None = Field(
        default=None,
        description="the row that others are compared with: the grid's first, the best, or for each row the one that "
        "has these values on some axes of the grid and its own on the others. Null: first of a grid, best of a search",
    )
    cluster: str = Field(
        default="local", description="the profile that says where jobs run",
        json_schema_extra=marked(words=("local", "auto"), other="a file of slurm/profiles, or its path"),
    )  # fmt: skip
    budget: Budget = Field(default=Budget(), description="what the sweep may cost; more is refused")
    track: tuple[TrackerName, ...] = Field(
        default=(), description="where the driver sends metrics, configuration, results and the page: wandb, mlflow, …"
    )
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

    _origin: Origin | None = PrivateAttr(default=None)
    _written: dict[str, Key] = PrivateAttr(default_factory=dict)

    def remember(self, origin: Origin, written: Mapping[str, Key]) -> None:
        """Where its values came from, for messages.

        Args:
            written: by dotted key below `trial`, where a person wrote it.
        """
        self._origin, self._written = origin, dict(written)

    @property
    def origin(self) -> Origin:
        """Where its values came from."""
        return self._origin or Origin(Path(self.name))

    @property
    def written(self) -> Mapping[str, Key]:
        """By dotted key below `trial`, where a person wrote it; empty where no file was read."""
        return self._written

    def where(self, dotted: str) -> str:
        """The line that a key stands in, for messages; of one that is varied, the axis' line."""
        key = tuple(dotted.split("."))
        if key[0] != "trial":
            return self.origin.where(key)
        axes = {axis: section for section, axes in (("grid", self.grid), ("space", self.search.space)) for axis in axes}
        for depth in range(len(key), 1, -1):
            axis = ".".join(key[1:depth])
            if axis in axes:
                return self.origin.where(("search", axes[axis], axis, *key[depth:]))
        return self.origin.where(key)

    def where_at(self, place: int, dotted: str) -> str:
        """As `where`, of one of `trials`: of a key that is varied also which of the axis' values it has, from 0."""
        return self.origin.at_point(self.points[place]).where(tuple(dotted.split(".")))

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
    def telling_axes(self) -> tuple[str, ...]:
        """The dotted keys that rows are named by: of a whole section (a network has a name) the keys that differ."""
        return tuple(key for axis in self.axes for key in _telling_keys(axis, self.grid.get(axis, ())))

    @property
    def telling_parameters(self) -> dict[str, set[str]]:
        """By axis of the grid the parameters that tell its values of the same choice apart: [gcl, {name: gcl, …}]."""
        values = {axis: list(each) for axis, each in self.grid.items() if axis != WHOLE}
        given = [_dotted(each) for each in self.grid.get(WHOLE, ())]
        for key in dict.fromkeys(key for each in given for key in each):
            values.setdefault(key, []).extend(each[key] for each in given if key in each)
        return {key: found for key, each in values.items() if (found := _telling_parameters(each))}

    @property
    def settings(self) -> tuple[Point, ...]:
        """The points of the grid alone: subsets are searched at each of them."""
        return tuple(grid_points(self.grid))

    @property
    def arm_settings(self) -> tuple[Point, ...]:
        """The settings whose subsets are trained arm by arm: with `placebos` each comes with its own mask first, then
        with each placebo in the mask's place. One network sees all of them, and greedy asks what it has taken in."""
        return tuple(setting for at in self.settings for setting in self.arms_at(at))

    def arms_at(self, setting: Point) -> tuple[Point, ...]:
        """Those of `arm_settings` that one setting has."""
        subsets = self.search.subsets
        if subsets is None or not subsets.placebos or not self.search.method.arm_controls:
            return (setting,)
        return tuple({**setting, "input.placebo": shown} for shown in ("none", *self.subsets_at(setting).placebos))

    def value_at(self, point: Point, dotted: str) -> Any:
        """What the trial of a point has at a key: the point's, by the key itself or in its section, else the trial's.

        The later one of two axes that give it counts, as where the trial is resolved.
        """
        key = tuple(dotted.split("."))
        found = [value for at, value in leaves(point) if at == key]
        return found[-1] if found else reduce(getattr, key, self.trial)

    def subsets_at(self, setting: Point) -> SubsetSpec:
        """The subsets as one setting has them: without the placebo `outline` where the form of its mask has none, and
        without finalists where nothing is trained."""
        subsets = self.search.subsets
        assert subsets is not None
        if subsets.finalists and self.search.method.trains_one and not self.trains(setting):
            subsets = subsets.model_copy(update={"finalists": 0})
        hides = self._mode_and_place(setting) == ("masked", "picture")
        if "outline" not in subsets.placebos or hides:
            return subsets
        kept = tuple(placebo for placebo in subsets.placebos if placebo != "outline")
        return subsets.model_copy(update={"placebos": kept})

    def trains(self, setting: Point) -> bool:
        """Whether the trials of a setting are trained: of networks that are not, the very network is what is asked."""
        return bool(self.value_at(setting, "train.steps"))

    def pools_at(self, setting: Point) -> bool:
        """Whether a setting's networks are probed from sums: asked for, and its masks weigh the features."""
        return self.search.probes.how == "pooled" and self._mode_and_place(setting) == ("masked", "features")

    def _mode_and_place(self, setting: Point) -> tuple[Any, Any]:
        return self.value_at(setting, "input.mode"), self.value_at(setting, "input.mask_at")

    def nobody_runs(self, setting: Point) -> bool:
        """Whether the empty subset is a trial: without its mask, a network of mode rgb+mask is one of mode rgb.

        One of mode masked would see black, and all of its descriptors would be the same.
        """
        return bool(self.value_at(setting, "input.mode") == "rgb+mask")

    @property
    def num_trials(self) -> int:
        """How many trials it will have."""
        return self.search.num_trials or len(self.trials)

    @property
    def num_distinct(self) -> int:
        """As `num_trials`, but points that are one and the same trial are counted once where that is known before."""
        return self.search.method.num_distinct(self)

    def with_num_trials(self, most: int) -> SweepSpec:
        """The same, with so many trials at most."""
        return self.model_copy(update={"search": self.search.model_copy(update={"num_trials": most})})

    @model_validator(mode="after")
    def _ranked(self) -> SweepSpec:
        if self.trial.measures_itself:
            if not METRIC_NAME.fullmatch(self.objective):
                fault = "an objective must be the name of a number that the program leaves"
                raise RuleError(
                    "objective", fault, self.objective, "Write it as the program calls it: objective: loss."
                )
            return self
        if self.objective not in OBJECTIVES:
            fault = f"the objective must be one of {', '.join(OBJECTIVES)}"
            remedy = f"{nearest(self.objective, OBJECTIVES)} Only a program of your own (trial.job) leaves others."
            raise RuleError("objective", fault, self.objective, remedy)
        if self.direction != "maximize":
            fault = "a recall or a precision cannot be minimized: the best is 1"
            raise RuleError("direction", fault, self.direction, "Delete the key.")
        return self

    @field_validator("track")
    @classmethod
    def _track(cls, value: tuple[TrackerName, ...]) -> tuple[TrackerName, ...]:
        words = [each.title for each in value]
        if len(set(words)) != len(words):
            raise ValueError("a tracker stands twice")
        return value

    @field_validator("seeds")
    @classmethod
    def _seeds(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) != len(value):
            raise ValueError("a seed stands twice")
        return value


@contextmanager
def with_lines(sweep: SweepSpec) -> Iterator[None]:
    """What is found wrong after a sweep file was read: a key at the head of a message gets its file and line."""
    with _placed(sweep, sweep.where):
        yield


@contextmanager
def with_line_of(sweep: SweepSpec, place: int) -> Iterator[None]:
    """As `with_lines`, for what is wrong with one of the sweep's `trials`: of an axis, the entry is named."""
    with _placed(sweep, lambda key: sweep.where_at(place, key)):
        yield


@contextmanager
def _placed(sweep: SweepSpec, where: Callable[[str], str]) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        key, colon, rest = error.where.partition(": ")
        if key.split(".")[0] not in type(sweep).model_fields or ":" in key:  # a path and its line
            raise
        remedy = sweep.origin.reachable(error.remedy)
        raise type(error)(where(key) + colon + rest, error.fault, error.value, remedy) from None


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


def _dotted(value: Any) -> dict[str, Any]:
    """A value of the axis `trial` by dotted keys."""
    return {".".join(key): each for key, each in leaves({WHOLE: value})}


def _telling_keys(axis: str, values: Sequence[Any]) -> list[str]:
    """The axis; in the place of a section, or of several, their keys, if their values differ."""
    if axis == WHOLE:
        given = [_dotted(each) for each in values]
        every = dict.fromkeys(key for each in given for key in each)
        return [key for key in every if any(each.get(key) != given[0].get(key) for each in given)]
    if axis not in TrialSpec.model_fields or axis == "network" or not all(isinstance(each, dict) for each in values):
        return [axis]
    keys = dict.fromkeys(key for section in values for key in section)
    return [f"{axis}.{key}" for key in keys if any(s.get(key) != values[0].get(key) for s in values)] or [axis]


def _telling_parameters(values: Sequence[Any]) -> set[str]:
    given = [{"name": each} if isinstance(each, str) else each for each in values]
    choices = [each for each in given if isinstance(each, dict) and isinstance(each.get("name"), str)]
    pairs = [(one, other) for one, other in combinations(choices, 2) if one["name"] == other["name"]]
    return {key for one, other in pairs for key in (*one, *other) if one.get(key) != other.get(key)}


def grid_points(grid: Mapping[str, Sequence[Any]]) -> list[Point]:
    """Every combination of the axes' values, the last axis fastest; one empty point where there is no axis."""
    points: list[Point] = [{}]
    for axis, values in grid.items():
        points = [{**point, axis: value} for point in points for value in values]
    return points

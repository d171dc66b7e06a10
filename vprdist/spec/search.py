"""What a sweep tries: a grid, points of a space, or subsets of classes; and who stops bad trials early."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from vprdist.errors import RuleError
from vprdist.spec.base import Spec, marked
from vprdist.spec.doors import SearcherName
from vprdist.spec.methods import LISTED, METHODS, Method
from vprdist.spec.methods.points import Points
from vprdist.spec.probes import ProbesSpec
from vprdist.spec.subsets import Point as Point
from vprdist.spec.subsets import SubsetSpec

Direction = Literal["maximize", "minimize"]
PLAYER = "player "
"""Before a player's name: the axis of a searcher's space that says whether the player is there."""


class Choice(Spec):
    """One of some values."""

    values: tuple[Any, ...] = Field(min_length=1)

    @property
    def samples(self) -> tuple[Any, ...]:
        """Values to try alone before anything starts."""
        return self.values

    def has(self, value: Any) -> bool:
        """Whether it is one of the values."""
        return value in self.values

    @property
    def words(self) -> str:
        """What it has, for messages."""
        return f"one of {', '.join(map(str, self.values))}"


class Range(Spec):
    """A number between two bounds, both possible."""

    kind: Literal["uniform", "loguniform", "randint"]
    low: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if not self.low < self.high:
            raise RuleError(self.kind, "the lower bound must be below the upper one", [self.low, self.high])
        if self.kind == "loguniform" and self.low <= 0:
            raise RuleError(self.kind, "bounds on a logarithmic scale must be above zero", [self.low, self.high])
        if self.kind == "randint" and (self.low % 1 or self.high % 1):
            raise RuleError(self.kind, "whole numbers need whole bounds", [self.low, self.high])
        if self.kind == "randint" and max(abs(self.low), abs(self.high)) >= 2**63:
            raise RuleError(self.kind, "whole bounds must lie within 63 bits", [self.low, self.high], "Lower them.")
        return self

    @property
    def samples(self) -> tuple[Any, ...]:
        """Values to try alone before anything starts."""
        return tuple(map(int, (self.low, self.high))) if self.kind == "randint" else (self.low, self.high)

    def has(self, value: Any) -> bool:
        """Whether it is a number between the bounds."""
        return isinstance(value, (int, float)) and self.low <= value <= self.high

    @property
    def words(self) -> str:
        """What it has, for messages."""
        low, high = self.samples
        return f"a {'whole ' if self.kind == 'randint' else ''}number from {low:g} to {high:g}"


class SearchSpec(Spec):
    """How points are proposed and trials are stopped. Without `searcher` every point of the grid is run.

    With `subsets` the classes of the mask are searched as well: by `take` or a searcher of subsets at every point of
    the grid, or by a searcher of points as further axes of the space, true or false (see `methods.Method`).
    """

    space: dict[str, Choice | Range] = Field(
        default_factory=dict, description="keys of `trial` and the values or the range that a searcher draws from",
        json_schema_extra=marked(key="key of trial"),
    )  # fmt: skip
    subsets: SubsetSpec | None = Field(default=None, description="subsets of the mask's classes are tried")
    probes: ProbesSpec = Field(default=ProbesSpec(), description="how one_network is evaluated under many arms")
    searcher: SearcherName | None = Field(
        default=None, description="proposes points of the space, or subsets; null: the grid is run as it stands"
    )
    num_trials: int | None = Field(default=None, ge=1, description="proposals of the searcher, in all")
    seed: int = Field(default=0, ge=0, description="seed of the searcher's draws")
    scheduler: Literal["asha", "median"] | None = Field(
        default=None, description="ends trials that fall behind; null: all train to their end"
    )
    max_steps: int = Field(
        default=1, ge=1, description="steps of the longest trial; filled in when the file is read",
        json_schema_extra=marked(in_files=False),
    )  # fmt: skip
    direction: Direction = Field(
        default="maximize", description="that of the sweep's objective; filled in when the file is read",
        json_schema_extra=marked(in_files=False),
    )  # fmt: skip
    grace_steps: int | None = Field(
        default=None, ge=1, description="no trial is stopped before so many; null: first evaluation"
    )
    reduction: int = Field(default=3, ge=2, description="asha: one in so many trials goes on at each rung")

    @property
    def method(self) -> Method:
        """The way of searching: a searcher's, or a list's."""
        if self.searcher is None:
            return LISTED
        return METHODS.get(self.searcher.name) or Points(self.searcher.title, self.searcher.name)

    @property
    def follows(self) -> bool:
        """Whether trials must be followed while they run: who proposes or stops by results needs to."""
        return self.method.proposes or self.scheduler is not None

    @property
    def mode(self) -> Literal["max", "min"]:
        """The direction in Tune's words."""
        return "max" if self.direction == "maximize" else "min"

    @property
    def domains(self) -> dict[str, Choice | Range]:
        """The space as searchers of points see it: whether each player of the subsets is there is an axis too."""
        players = self.subsets.players if self.subsets else ()
        return {**self.space, **{PLAYER + name: Choice(values=(False, True)) for name in players}}

    @model_validator(mode="after")
    def _whole(self) -> SearchSpec:
        if self.subsets is None:
            self._check_space()
        else:
            self._check_subsets(self.subsets)
        if not self.method.counts and self.num_trials is None:
            raise RuleError("num_trials", "a searcher must be told how many trials to propose", None, "Set num_trials.")
        if self.num_trials is not None and not self.method.proposes:
            raise RuleError(
                "num_trials",
                "a grid cannot have another number of trials than of points",
                self.num_trials,
                "Delete it.",
            )
        if self.probes.how != "each" and not self.method.trains_one:
            fault = "only networks of searcher one_network can be probed"
            raise RuleError("probes.how", fault, self.probes.how, "Delete the key.")
        if self.grace_steps is not None and self.scheduler is None:
            raise RuleError(
                "grace_steps", "without a scheduler no trial is stopped", self.grace_steps, "Set `scheduler`."
            )
        return self

    def _check_space(self) -> None:
        if self.method.searches_subsets:
            remedy = "Add `subsets: {classes: static}`."
            raise RuleError(
                "searcher", f"{self.method.title} needs subsets of classes to search", self.method.title, remedy
            )
        if bool(self.space) != self.method.searches_space:
            fault, remedy = (
                "a space and a searcher must go together",
                f"Set `searcher` ({_of_points()}), or use `grid`.",
            )
            raise RuleError("searcher", fault, self.searcher and self.searcher.name, remedy)

    def _check_subsets(self, subsets: SubsetSpec) -> None:
        if self.scheduler is not None:
            fault = "trials that tell what classes are worth must all train to their end: stopping some favours others"
            raise RuleError(
                "scheduler", fault, self.scheduler, "Delete `scheduler`, or search a space without subsets."
            )
        method = self.method
        if method.proposes == (subsets.take is not None):
            fault = "subsets must either be listed by `take` or proposed by a searcher"
            ways = "subsets.take (leave_one_out, add_one_in, a list) or searcher"
            remedy = f"Set {ways} ({', '.join(METHODS)})."
            raise RuleError("subsets", fault, subsets.take and method.title, remedy)
        if self.space and not method.searches_space:
            raise RuleError("space", f"only {_of_points()} can search a space", list(self.space), "Use `grid`.")
        if subsets.placebos and not method.controls:
            fault = f"{method.title} cannot compare an arm with another"
            remedy = "Delete `placebos`; run the subsets that it finds as a list, `take`, with them."
            raise RuleError("subsets.placebos", fault, list(subsets.placebos), remedy)
        for other in METHODS.values():
            for field, what in other.own_fields.items():
                if field in subsets.model_fields_set and field not in method.own_fields:
                    fault = f"only searcher {other.title} can have {what}"
                    raise RuleError(f"subsets.{field}", fault, getattr(subsets, field), f"Delete `{field}`.")


def _of_points() -> str:
    """The searchers of a space, for messages."""
    return " and ".join(word for word, method in METHODS.items() if method.searches_space)

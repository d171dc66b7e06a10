"""What a sweep tries: a grid, points of a space, or subsets of classes; and who stops bad trials early."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from vprdist.errors import RuleError
from vprdist.spec.base import Spec
from vprdist.spec.subsets import Point as Point
from vprdist.spec.subsets import SubsetSpec

PLAYER = "player "
"""Before a player's name: the axis of a searcher's space that says whether the player is there."""
SUBSET_SEARCHERS = ("greedy", "shapley", "one_network")
"""They propose subsets from the values of earlier ones; `random` and `optuna` propose points of any space."""
COUNTED = ("greedy", "one_network")
"""Searchers that say themselves how many trials they need at most, and may have several seeds a point."""


class Choice(Spec):
    """One of some values."""

    values: tuple[Any, ...] = Field(min_length=1)

    @property
    def samples(self) -> tuple[Any, ...]:
        """Values to try alone before anything starts."""
        return self.values


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
        return self

    @property
    def samples(self) -> tuple[Any, ...]:
        """Values to try alone before anything starts."""
        return tuple(map(int, (self.low, self.high))) if self.kind == "randint" else (self.low, self.high)


class SearchSpec(Spec):
    """How points are proposed and trials are stopped. Without `searcher` every point of the grid is run.

    With `subsets` the classes of the mask are searched as well: by `take` at every point of the grid, by `greedy` or
    `shapley` at every point of the grid, or by `random` or `optuna` as further axes of the space, true or false.
    """

    space: dict[str, Choice | Range] = Field(default_factory=dict)
    subsets: SubsetSpec | None = None
    searcher: Literal["random", "optuna", "greedy", "shapley", "one_network"] | None = None
    num_trials: int | None = Field(default=None, ge=1, description="proposals of the searcher, in all")
    seed: int = Field(default=0, ge=0, description="of the searcher")
    scheduler: Literal["asha", "median"] | None = None
    max_steps: int = Field(default=1, ge=1, description="of the longest trial; filled in when the file is read")
    grace_steps: int | None = Field(
        default=None, ge=1, description="no trial is stopped before; null: first evaluation"
    )
    reduction: int = Field(default=3, ge=2, description="asha: one in so many trials goes on at each rung")

    @property
    def follows(self) -> bool:
        """Whether trials must be followed while they run: who proposes or stops by results needs to."""
        return self.searcher is not None or self.scheduler is not None

    def readers(self, concurrent: int) -> int:
        """Processes that read trials for Tune with so many jobs in flight; a plain grid's are read one by one."""
        return concurrent if self.follows else 1

    @property
    def domains(self) -> dict[str, Choice | Range]:
        """The space as `random` and `optuna` search it: whether each player of the subsets is there is an axis too."""
        players = self.subsets.players if self.subsets else ()
        return {**self.space, **{PLAYER + name: Choice(values=(False, True)) for name in players}}

    @model_validator(mode="after")
    def _whole(self) -> SearchSpec:
        if self.subsets is None:
            self._check_space()
        else:
            self._check_subsets(self.subsets)
        if self.searcher not in (None, *COUNTED) and self.num_trials is None:
            raise RuleError("num_trials", "a searcher must be told how many trials to propose", None, "Set num_trials.")
        if self.num_trials is not None and not self.searcher:
            raise RuleError(
                "num_trials",
                "a grid cannot have another number of trials than of points",
                self.num_trials,
                "Delete it.",
            )
        if self.grace_steps is not None and self.scheduler is None:
            raise RuleError(
                "grace_steps", "without a scheduler no trial is stopped", self.grace_steps, "Set `scheduler`."
            )
        return self

    def _check_space(self) -> None:
        if self.searcher in SUBSET_SEARCHERS:
            remedy = "Add `subsets: {classes: static}`."
            raise RuleError("searcher", f"{self.searcher} needs subsets of classes to search", self.searcher, remedy)
        if bool(self.space) != (self.searcher is not None):
            fault = "a space and a searcher must go together"
            raise RuleError("searcher", fault, self.searcher, "Set `searcher: random` or `optuna`, or use `grid`.")

    def _check_subsets(self, subsets: SubsetSpec) -> None:
        if self.scheduler is not None:
            fault = "trials that tell what classes are worth must all train to their end: stopping some favours others"
            raise RuleError(
                "scheduler", fault, self.scheduler, "Delete `scheduler`, or search a space without subsets."
            )
        if (self.searcher is None) == (subsets.take is None):
            fault = "subsets must either be listed by `take` or proposed by a searcher"
            ways = "subsets.take (leave_one_out, add_one_in, a list) or searcher"
            remedy = f"Set {ways} (one_network, greedy, shapley, optuna)."
            raise RuleError("subsets", fault, subsets.take and self.searcher, remedy)
        if self.space and self.searcher not in ("random", "optuna"):
            raise RuleError("space", "only random and optuna can search a space", list(self.space), "Use `grid`.")
        if "tie" in subsets.model_fields_set and self.searcher != "shapley":
            raise RuleError("subsets", "only searcher shapley can have ties", subsets.tie, "Delete `tie`.")
        if subsets.placebos and self.searcher in ("random", "optuna"):
            fault = f"{self.searcher} cannot compare an arm with another"
            remedy = "Delete `placebos`; run the subsets that it finds as a list, `take`, with them."
            raise RuleError("subsets.placebos", fault, list(subsets.placebos), remedy)
        for field in ("finalists", "probes"):
            if field in subsets.model_fields_set and self.searcher != "one_network":
                fault = f"only searcher one_network can have {field}"
                raise RuleError(f"subsets.{field}", fault, getattr(subsets, field), f"Delete `{field}`.")

"""What a way of searching says of itself: all that a sweep file's reading, its plan and its driver ask of it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from vprdist.spec.named import NoParameters
from vprdist.spec.subsets import Point, SubsetSpec

if TYPE_CHECKING:
    from vprdist.spec.base import Spec
    from vprdist.spec.read import Origin
    from vprdist.spec.search import SearchSpec
    from vprdist.spec.sweep import SweepSpec


class Method:
    """One way of searching. The defaults are those of a searcher that proposes points of a space and says no more.

    What runs is named, and loaded by the room that runs it: `target` by search, `attribution` by attribution.

    Attributes:
        word: the searcher's name in a sweep file.
        title: the same for tables and sentences.
        target: `module:Name` of what proposes. For points a class (`search.methods.Proposer`), or, with `of_tune`, a
            function of the search and its objective that makes one of Tune's searchers; for subsets a function that
            says what is wanted next (`search.subset_rule.Wanted`).
        parameters: those that a sweep file may give it.
        proposes: off for a list, of which every point is known before anything starts.
        draws: `search.seed` decides what it proposes.
        searches: what is proposed: points of the space, or subsets of classes at every point of the grid.
        counts: it says itself how many trials it takes at most; else a sweep file must (`num_trials`).
        several_seeds: a point may have several.
        seeds_remedy: what to do instead where it may not.
        controls: arms may come with their placebos.
        arm_controls: the placebos are settings of their own, whose subsets are all trained.
        trains_one: it trains one network for all subsets, which is probed.
        own_fields: fields of `subsets` that no other method has, and what they are called in a sentence.
    """

    word = ""
    target = ""
    of_tune = False
    parameters: type[Spec] = NoParameters
    proposes = True
    draws = True
    searches: Literal["points", "subsets"] = "points"
    counts = False
    several_seeds = False
    seeds_remedy = "Search with one seed, then run the best points with several: a grid."
    controls = False
    arm_controls = False
    trains_one = False
    own_fields: ClassVar[Mapping[str, str]] = {}

    @property
    def title(self) -> str:
        return self.word

    @property
    def searches_subsets(self) -> bool:
        """Whether it needs `subsets`: it proposes them from the values of earlier ones."""
        return self.searches == "subsets"

    @property
    def searches_space(self) -> bool:
        """Whether it needs a space, or the subsets as further axes of one."""
        return self.proposes and not self.searches_subsets

    def first_points(self, sweep: SweepSpec, points: Sequence[Point]) -> list[Point]:
        """What a sweep of subsets tries before anything starts, to be checked.

        Args:
            points: of the grid, or each value of the space alone.
        """
        subsets, settings = subsets_of(sweep), sweep.arm_settings if self.arm_controls else points
        return [subsets.point(at, subsets.everybody) for at in settings]

    def check(self, sweep: SweepSpec, origin: Origin) -> SweepSpec:
        """The sweep of subsets, its trials enough to tell something, and counted.

        Raises:
            SweepFileError: they are not enough.
        """
        return sweep

    def num_distinct(self, sweep: SweepSpec) -> int:
        """The most trials that a sweep's points are; those of them that are one trial may be counted once."""
        return sweep.num_trials

    def claims_by_seeds(self, subsets: SubsetSpec) -> bool:
        """Whether seeds tell effects from luck of training: with one nothing is claimed."""
        return False

    def lines(self, sweep: SweepSpec) -> Iterator[str]:
        """What it will do with a sweep's subsets, for a plan."""
        return iter(())

    def attribution(self, search: SearchSpec) -> str | None:
        """`module:Name` of what says of its finished trials what each class adds; None: nothing is said.

        The default tells what each arm is worth where subsets are all that is searched, and claims nothing.
        """
        return None if search.space else "vprdist.attribution.methods.arms:told"


def subsets_of(sweep: SweepSpec) -> SubsetSpec:
    """The subsets of a sweep that has some."""
    assert sweep.search.subsets is not None
    return sweep.search.subsets


def at_each_setting(sweep: SweepSpec) -> str:
    """` at each of 3 settings`; empty for one."""
    return f" at each of {len(sweep.settings)} settings" if len(sweep.settings) > 1 else ""


def load(target: str) -> Any:
    """What `module:Name` names."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)

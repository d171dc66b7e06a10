"""Which subsets a search wants next, at every setting of the sweep's other axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vprdist.game.state import Game, ValueOf
from vprdist.spec.methods import load
from vprdist.spec.subsets import Point
from vprdist.spec.sweep import SweepSpec

FinalistsOf = Callable[[Point], Sequence[int] | None]
"""At a setting: subsets to be trained on their own, once its networks were probed; None before."""
Wanted = Callable[[SweepSpec, Sequence[Game], FinalistsOf], Sequence[Point]]
"""A method's own part: what comes next at one setting, told its games (see `families`); nothing when it is over."""


def nobody_yet(setting: Point) -> None:
    """No finalists are known."""


@dataclass(frozen=True)
class SubsetRule:
    """The rule of a sweep: pure, so that a killed search resumes by asking it again.

    Args:
        finalists: for a method that trains one network.
    """

    sweep: SweepSpec
    finalists: FinalistsOf = nobody_yet

    def wanted(self, value_of: ValueOf) -> list[Point]:
        """Points whose trials come next, those that run already among them; none when the search is over."""
        wanted: Wanted = load(self.sweep.search.method.target)
        every = families(self.sweep, value_of)
        return [point for family in every for point in wanted(self.sweep, family, self.finalists)]


def network_point(sweep: SweepSpec, setting: Point, seed: int) -> Point:
    """The point of a setting's one network with that seed."""
    return {**sweep.subsets_at(setting).network_point(setting, sweep.trains(setting)), "seed": seed}


def families(sweep: SweepSpec, value_of: ValueOf, nobody: float = 0.0) -> list[list[Game]]:
    """The sweep's games: for each setting that of the masks, and where placebos are trained arm by arm, theirs.

    Args:
        nobody: what the empty subset of mode masked is worth. No ranking depends on it: it is in every player's
            contribution alike, and the first whom a greedy selection takes in is taken in whatever it is worth.
    """

    def game(at: Point, setting: Point) -> Game:
        known = None if sweep.nobody_runs(at) else nobody
        return Game(subsets=sweep.subsets_at(at), setting=setting, nobody=known, value_of=value_of)

    return [[game(at, setting) for setting in sweep.arms_at(at)] for at in sweep.settings]

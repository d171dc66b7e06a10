"""What a search by one network for all subsets wants next."""

from __future__ import annotations

from collections.abc import Sequence

from vprdist.game.state import Game
from vprdist.search.subset_rule import FinalistsOf, network_point
from vprdist.spec.subsets import Point
from vprdist.spec.sweep import SweepSpec


def wanted(sweep: SweepSpec, family: Sequence[Game], finalists: FinalistsOf) -> Sequence[Point]:
    """The networks first; once they are probed, the finalists."""
    game, seeds = family[0], sweep.seeds
    networks = [network_point(sweep, game.setting, seed) for seed in seeds]
    if missing := tuple(point for point in networks if game.value_of(point) is None):
        return missing
    every = [(subset, seed) for subset in finalists(game.setting) or () for seed in seeds]
    return tuple(game.point(*each) for each in every if game.value(*each) is None)

"""What a greedy selection of subsets wants next."""

from __future__ import annotations

from collections.abc import Sequence

from vprdist.game.state import Game, greedy_controls, greedy_state
from vprdist.search.subset_rule import FinalistsOf
from vprdist.spec.subsets import Point
from vprdist.spec.sweep import SweepSpec


def wanted(sweep: SweepSpec, family: Sequence[Game], finalists: FinalistsOf) -> Sequence[Point]:
    """The candidates of the next step; once none adds anything, the controls of what was taken in."""
    step, candidates = greedy_state(family[0], sweep.seeds)
    return candidates or greedy_controls(family[0], step, sweep.seeds)

"""What a search for Shapley values wants next."""

from __future__ import annotations

from collections.abc import Sequence

from vprdist.game.state import Drawn, Game, draw_until_settled
from vprdist.search.subset_rule import FinalistsOf
from vprdist.spec.subsets import Point
from vprdist.spec.sweep import SweepSpec


def wanted(sweep: SweepSpec, family: Sequence[Game], finalists: FinalistsOf) -> Sequence[Point]:
    """The arms of draws up to the next look at the ranking; none when it is settled."""
    return tuple(point for state in drawn(sweep, family) for point in state.wanted)


def drawn(sweep: SweepSpec, family: Sequence[Game]) -> list[Drawn]:
    """Where the Shapley searches of one setting stand. All games have the same orders and seeds: they can be paired."""
    order_seed, first_seed, most = sweep.search.seed, sweep.seeds[0], max_draws(sweep)
    real = draw_until_settled(family[0], order_seed=order_seed, first_seed=first_seed, max_draws=most)
    return [real] + [
        draw_until_settled(
            game, order_seed=order_seed, first_seed=first_seed, max_draws=real.begun, is_control=True
        )
        for game in family[1:]
    ]  # fmt: skip


def max_draws(sweep: SweepSpec) -> int:
    """Draws that the sweep's trials are enough for, at each setting alike."""
    assert sweep.search.subsets is not None
    each = [sweep.search.subsets.draw_trials(sweep.nobody_runs(setting)) for setting in sweep.arm_settings]
    return (sweep.search.num_trials or 0) // sum(each)

"""Which subsets a search wants next, at every setting of the sweep's other axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vprdist.game.state import Drawn, Game, ValueOf, draw_until_settled, greedy_controls, greedy_state
from vprdist.spec.subsets import Point
from vprdist.spec.sweep import SweepSpec

FinalistsOf = Callable[[Point], Sequence[int] | None]
"""At a setting: subsets to be trained on their own, once its networks were probed; None before."""


def nobody_yet(setting: Point) -> None:
    """No finalists are known."""


@dataclass(frozen=True)
class SubsetRule:
    """The rule of a sweep: pure, so that a killed search resumes by asking it again.

    Args:
        finalists: for searcher one_network.
    """

    sweep: SweepSpec
    finalists: FinalistsOf = nobody_yet

    def wanted(self, value_of: ValueOf) -> list[Point]:
        """Points whose trials come next, those that run already among them; none when the search is over."""
        searcher = self.sweep.search.searcher
        of = {"greedy": self._greedy, "shapley": self._shapley, "one_network": self._one_network}[searcher or ""]
        return [point for family in families(self.sweep, value_of) for point in of(family)]

    def _greedy(self, family: Sequence[Game]) -> tuple[Point, ...]:
        step, wanted = greedy_state(family[0], self.sweep.seeds)
        return wanted or greedy_controls(family[0], step, self.sweep.seeds)

    def _shapley(self, family: Sequence[Game]) -> tuple[Point, ...]:
        return tuple(point for state in drawn(self.sweep, family) for point in state.wanted)

    def _one_network(self, family: Sequence[Game]) -> tuple[Point, ...]:
        """The networks first; once they are probed, the finalists."""
        game, seeds = family[0], self.sweep.seeds
        networks = [network_point(self.sweep, game.setting, seed) for seed in seeds]
        if missing := tuple(point for point in networks if game.value_of(point) is None):
            return missing
        every = [(subset, seed) for subset in self.finalists(game.setting) or () for seed in seeds]
        return tuple(game.point(*each) for each in every if game.value(*each) is None)


def network_point(sweep: SweepSpec, setting: Point, seed: int) -> Point:
    """The point of a setting's one network with that seed."""
    assert sweep.search.subsets is not None
    return {**sweep.search.subsets.network_point(setting), "seed": seed}


def families(sweep: SweepSpec, value_of: ValueOf, nobody: float = 0.0) -> list[list[Game]]:
    """The sweep's games: for each setting that of the masks, and where placebos are trained arm by arm, theirs.

    Args:
        nobody: what the empty subset of mode masked is worth. No ranking depends on it: it is in every player's
            contribution alike, and the first whom a greedy selection takes in is taken in whatever it is worth.
    """
    assert sweep.search.subsets is not None
    games = [
        Game(
            subsets=sweep.search.subsets, setting=setting, value_of=value_of,
            nobody=None if sweep.nobody_runs(setting) else nobody,
        )
        for setting in sweep.arm_settings
    ]  # fmt: skip
    each = len(games) // len(sweep.settings)
    return [games[begin : begin + each] for begin in range(0, len(games), each)]


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

"""Which subsets a greedy or Shapley search wants next, at every setting of the sweep's other axes."""

from __future__ import annotations

from dataclasses import dataclass

from vprdist.attribution.game import Drawn, Game, ValueOf, draw_until_settled, greedy_state
from vprdist.spec.subsets import Point
from vprdist.spec.sweep import SweepSpec


@dataclass(frozen=True)
class SubsetRule:
    """The rule of a sweep: pure, so that a killed search resumes by asking it again."""

    sweep: SweepSpec

    def wanted(self, value_of: ValueOf) -> list[Point]:
        """Points whose trials come next, those that run already among them; none when the search is over."""
        return [point for game in games(self.sweep, value_of) for point in self._wanted(game)]

    def _wanted(self, game: Game) -> tuple[Point, ...]:
        if self.sweep.search.searcher == "greedy":
            return greedy_state(game, self.sweep.seeds)[1]
        return drawn(self.sweep, game).wanted


def games(sweep: SweepSpec, value_of: ValueOf, nobody: float = 0.0) -> list[Game]:
    """The sweep's games, one a setting.

    Args:
        nobody: what the empty subset of mode masked is worth. No ranking depends on it: it is in every player's
            contribution alike, and the first whom a greedy selection takes in is taken in whatever it is worth.
    """
    assert sweep.search.subsets is not None
    return [
        Game(
            subsets=sweep.search.subsets, setting=setting, value_of=value_of,
            nobody=None if sweep.nobody_runs(setting) else nobody,
        )
        for setting in sweep.settings
    ]  # fmt: skip


def drawn(sweep: SweepSpec, game: Game) -> Drawn:
    """Where the Shapley search of one game stands. All games have the same orders and seeds: they can be paired."""
    return draw_until_settled(game, order_seed=sweep.search.seed, first_seed=sweep.seeds[0], max_draws=max_draws(sweep))


def max_draws(sweep: SweepSpec) -> int:
    """Draws that the sweep's trials are enough for, at each setting alike."""
    assert sweep.search.subsets is not None
    each = [sweep.search.subsets.draw_trials(sweep.nobody_runs(setting)) for setting in sweep.settings]
    return (sweep.search.num_trials or 0) // sum(each)

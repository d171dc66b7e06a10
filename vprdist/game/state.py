"""One game: the subsets of a sweep at one setting of its other axes, and what is known of their values."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from vprdist.game.contributions import contributions
from vprdist.game.draws import Floats, Whole, backward_subsets, draw_orders, forward_subsets
from vprdist.game.draws import subsets_of_draw as subsets_of
from vprdist.game.greedy import GreedyStep, greedy_step
from vprdist.game.settled import confidence_of_look, looks, settled
from vprdist.spec.subsets import Point, SubsetSpec

ValueOf = Callable[[Point], float | None]
"""The objective of a point's trial; None while it is not over, NaN when it failed."""


@dataclass(frozen=True, kw_only=True)
class Game:
    """Subsets and seeds to points and values.

    Attributes:
        setting: the values of the sweep's other axes.
        nobody: what the empty subset is worth; None where it is a trial.
    """

    subsets: SubsetSpec
    setting: Point
    nobody: float | None
    value_of: ValueOf

    def point(self, subset: int, seed: int) -> Point:
        """The point of a subset under a seed."""
        return {**self.subsets.point(self.setting, subset), "seed": seed}

    def under(self, placebo: str) -> Game:
        """The same game with a placebo in every mask's place."""
        return replace(self, setting={**self.setting, "input.placebo": placebo})

    def value(self, subset: int, seed: int) -> float | None:
        """What is known of a subset's value."""
        if subset == 0 and self.nobody is not None:
            return self.nobody
        return self.value_of(self.point(subset, seed))


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Draws whose trials are all over, and how the search stands.

    Attributes:
        orders: (R, n); forward, backward: (R, n+1) values (see `draws`).
        rows: which draws these are.
        failed: draws left out since one of their trials failed.
        begun: draws that were asked for so far.
        is_settled: whether the ranking is; at most `sweep.num_trials` trials were made to settle it.
        wanted: points whose trials come next; none when the search is over.
    """

    orders: Whole
    forward: Floats
    backward: Floats
    rows: tuple[int, ...]
    failed: int
    begun: int
    is_settled: bool
    wanted: tuple[Point, ...] = field(default=())

    @property
    def contributions(self) -> Floats:
        """(R, n); without rows where one draw alone is over, which tells nothing of its error."""
        if len(self.orders) < 2:
            return np.empty((0, self.orders.shape[1]))
        return contributions(self.orders, self.forward, self.backward)


def draw_until_settled(
    game: Game, *, order_seed: int, first_seed: int, max_draws: int, is_control: bool = False
) -> Drawn:
    """Where a search for Shapley values stands.

    A control, the game of a placebo, has no end of its own: it makes all `max_draws`, those of the game it stands
    beside, so that their differences are taken within draws.

    All draws up to the next look are asked for at once, so that their trials may run side by side. Draw r has the
    trial seed `first_seed` + r; its order depends on `order_seed` and r.
    """
    orders = draw_orders(game.subsets.num_players, max_draws, order_seed)
    done: list[int] = []
    forward, backward = (np.empty((max_draws, orders.shape[1] + 1)) for _ in range(2))
    failed = begun = 0
    is_settled, wanted = False, []
    for look, count in enumerate(looks(max_draws), 1):
        for row in range(begun, count):
            seed = first_seed + row
            missing = [subset for subset in (*subsets_of(orders[row]), 0) if game.value(subset, seed) is None]
            wanted += [game.point(subset, seed) for subset in missing]
            if not missing:
                for side, subsets in ((forward, forward_subsets), (backward, backward_subsets)):
                    side[row] = [game.value(int(subset), seed) for subset in subsets(orders[row])]
                whole = not np.isnan(forward[row]).any() and not np.isnan(backward[row]).any()
                failed += not whole
                done += [row] * whole
        begun = count
        if wanted:
            break
        if len(done) > 1 and not is_control:
            known = contributions(orders[done], forward[done], backward[done])
            level = confidence_of_look(game.subsets.confidence, look)
            is_settled = bool(settled(known, confidence=level, tie=game.subsets.tie))
        if is_settled:
            break
    return Drawn(
        orders=orders[done], forward=forward[done], backward=backward[done], failed=failed, is_settled=is_settled,
        rows=tuple(done), begun=begun, wanted=tuple(wanted),
    )  # fmt: skip


def greedy_state(game: Game, seeds: tuple[int, ...]) -> tuple[GreedyStep, tuple[Point, ...]]:
    """Where a greedy selection by the mean over seeds stands, and the points whose trials come next.

    A trial that failed is left out of its subset's mean.
    """

    def mean(subset: int) -> float | None:
        values = [game.value(subset, seed) for seed in seeds]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return None
        whole = [value for value in known if not math.isnan(value)]
        return sum(whole) / len(whole) if whole else math.nan

    step = greedy_step(game.subsets.num_players, mean)
    every = [(subset, seed) for subset in step.wanted for seed in seeds]
    return step, tuple(game.point(*each) for each in every if game.value(*each) is None)


def greedy_controls(game: Game, step: GreedyStep, seeds: tuple[int, ...]) -> tuple[Point, ...]:
    """Trials that are missing to tell what a finished selection's steps brought: nobody's, from whom the first step
    begins, where that is a trial; and those of the placebos of what was taken in, player by player."""
    taken = np.cumsum([1 << player for player in step.taken]).tolist()
    controls = [game.under(placebo) for placebo in game.subsets.placebos]
    every = [(game, 0, seed) for seed in seeds]
    every += [(control, subset, seed) for control in controls for subset in taken for seed in seeds]
    return tuple(each.point(subset, seed) for each, subset, seed in every if each.value(subset, seed) is None)


def taken_contributions(game: Game, seeds: tuple[int, ...]) -> Floats:
    """(S, n): what each player adds to all the others (leave_one_out) or to nobody (add_one_in), one row a seed.

    Seeds of which a trial failed or is not over are left out.
    """
    reference, *alone = game.subsets.taken()
    sign = -1 if game.subsets.take == "leave_one_out" else 1
    rows = []
    for seed in seeds:
        values = [game.value(subset, seed) for subset in (reference, *alone)]
        numbers = np.array([math.nan if value is None else value for value in values])
        if not np.isnan(numbers).any():
            rows.append(sign * (numbers[1:] - numbers[0]))
    return np.array(rows, np.float64).reshape(len(rows), game.subsets.num_players)

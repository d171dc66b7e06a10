"""Greedy forward selection: start with nobody, take in whoever helps most, stop when nobody does."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class GreedyStep:
    """How far it is: players in the order in which they were taken in, and the subsets whose values it waits for."""

    taken: tuple[int, ...]
    wanted: tuple[int, ...]


def greedy_step(num_players: int, value: Callable[[int], float | None]) -> GreedyStep:
    """The next step of a greedy forward selection.

    Args:
        value: of a subset; None while it is not known, NaN where it never will be (its trials failed): then the
            subset is passed over. The first player is taken in whatever it is worth. The first of equals is taken.
    """
    taken: tuple[int, ...] = ()
    chosen, best = 0, -math.inf
    while len(taken) < num_players:
        left = [player for player in range(num_players) if player not in taken]
        values = {player: value(chosen | 1 << player) for player in left}
        if unknown := tuple(chosen | 1 << player for player, worth in values.items() if worth is None):
            return GreedyStep(taken, unknown)
        known = {player: worth for player, worth in values.items() if worth is not None and not math.isnan(worth)}
        if not known or max(known.values()) <= best:
            break
        best = max(known.values())
        joins = next(player for player, worth in known.items() if worth == best)
        taken, chosen = (*taken, joins), chosen | 1 << joins
    return GreedyStep(taken, ())

"""What an attribution is given: one setting of a finished search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vprdist.game.draws import Floats
from vprdist.game.inference import Probed
from vprdist.game.state import Game
from vprdist.spec.result import ResultRow
from vprdist.spec.subsets import Point
from vprdist.spec.sweep import SweepSpec
from vprdist.spec.trial import TrialSpec
from vprdist.store.queries import Queries

ResultOf = Callable[[Point], ResultRow | None]


@dataclass(frozen=True)
class PlayersByQuery:
    """What each player adds to each query under its own mask: what settings side by side are compared by.

    Attributes:
        players: in the order of `probed`'s axis n.
        probed: (S, n, Q) of each seed's network.
        queries: the Q queries, those of the sweep's own subtask.
    """

    players: tuple[str, ...]
    probed: Probed
    queries: Queries

    def is_beside(self, other: PlayersByQuery) -> bool:
        """Whether the same queries and as many seeds were asked."""
        return self.queries.same_as(other.queries) and len(self.probed.contributions) == len(other.probed.contributions)

    def of(self, players: Sequence[str]) -> Probed:
        """Some players, in this order."""
        chosen = [self.players.index(name) for name in players]
        rows = self.probed.rows
        return Probed(self.probed.contributions[:, chosen], None if rows is None else rows[:, chosen])

    def mean_of(self, players: Sequence[str]) -> Floats:
        """(K, Q) over seeds."""
        return np.asarray(self.of(players).contributions.mean(axis=0), np.float64)


def forget(found: PlayersByQuery) -> None:
    """Nobody asks for it."""


@dataclass(frozen=True)
class Finished:
    """One setting of a sweep of subsets.

    Attributes:
        family: the setting's game, and those of its placebos.
        trial: any of the setting.
        proposed: every point that a searcher proposed, at whatever setting.
        result_of: the result of a point's trial; None where it has none.
        runs: the run folder.
        keep: is told what players add query by query, where the method knows it.
    """

    sweep: SweepSpec
    setting: Point
    family: Sequence[Game]
    trial: TrialSpec
    proposed: Sequence[Point]
    result_of: ResultOf
    runs: Path
    keep: Callable[[PlayersByQuery], None] = forget

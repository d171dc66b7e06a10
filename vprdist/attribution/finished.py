"""What an attribution is given: one setting of a finished search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vprdist.game.state import Game
from vprdist.spec.result import ResultRow
from vprdist.spec.subsets import Point
from vprdist.spec.sweep import SweepSpec
from vprdist.spec.trial import TrialSpec

ResultOf = Callable[[Point], ResultRow | None]


@dataclass(frozen=True)
class Finished:
    """One setting of a sweep of subsets.

    Attributes:
        family: the setting's game, and those of its placebos.
        trial: any of the setting.
        proposed: every point that a searcher proposed, at whatever setting.
        result_of: the result of a point's trial; None where it has none.
        runs: the run folder.
    """

    sweep: SweepSpec
    setting: Point
    family: Sequence[Game]
    trial: TrialSpec
    proposed: Sequence[Point]
    result_of: ResultOf
    runs: Path

"""Searchers that propose points of a space; with subsets, whether each player is there is an axis of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vprdist.spec.methods.base import Method
from vprdist.spec.named import NoParameters

if TYPE_CHECKING:
    from vprdist.spec.base import Spec
    from vprdist.spec.search import SearchSpec


class Points(Method):
    """A searcher of points: what proposes them is all that there is to say."""

    def __init__(self, word: str, target: str, parameters: type[Spec] = NoParameters) -> None:
        self.word, self.target, self.parameters = word, target, parameters


class OfTune(Points):
    """One of Tune's own; of subsets its leaderboard says all."""

    of_tune = True

    def attribution(self, search: SearchSpec) -> str | None:
        return None

"""Searchers that propose points of a space; with subsets, whether each player is there is an axis of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vprdist.spec.methods.base import Method

if TYPE_CHECKING:
    from vprdist.spec.search import SearchSpec


class Points(Method):
    """A searcher of points: what proposes them is all that there is to say."""

    def __init__(self, word: str, target: str) -> None:
        self.word, self.target = word, target


class OfTune(Points):
    """One of Tune's own; of subsets its leaderboard says all."""

    of_tune = True

    def attribution(self, search: SearchSpec) -> str | None:
        return None

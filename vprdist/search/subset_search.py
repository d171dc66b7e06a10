"""Tune's searcher of subsets: it asks a pure rule. Imported only when a search needs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ray.tune.search import Searcher

from vprdist.files import canonical_json
from vprdist.spec.subsets import Point
from vprdist.store.proposals import Proposal, Proposals


class SubsetSearch(Searcher):  # type: ignore[misc]  # Ray's classes are Any to mypy
    """Issues earlier proposals again in their order, then what the rule wants next, each trial once.

    Args:
        proposals: the search's memory.
        wanted: the points that come next as far as trials are over; asked again whenever one ends. None issues what
            is known and no more.
        present: what of the memory `wanted` has asked for; what is proposed is added.
        num_trials: of these, at most.
        config: what every trial's reader is told besides its id.
    """

    def __init__(
        self, proposals: Proposals, wanted: Callable[[], list[Point]] | None, present: set[str], num_trials: int,
        objective: str, config: Mapping[str, Any],
    ) -> None:  # fmt: skip
        super().__init__(metric=objective, mode="max")
        self.proposals, self.wanted, self.present, self.num_trials = proposals, wanted, present, num_trials
        self.config = dict(config)
        self._again = [known for known in proposals.known if known.trial_id is not None]
        self._running: set[str] = set()
        self._next: list[Point] = []
        self._asked: set[str] = set()
        self._is_news = True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial's config, None to wait for a value, FINISHED when there are no more."""
        if self._again:
            return self._issue(trial_id, self._again.pop(0))
        while (point := self._pop()) is not None:
            before = len(self.proposals.known)
            proposal = self.proposals.propose(point)
            self.present.add(proposal.trial_id or canonical_json(point))
            if proposal.trial_id is not None and len(self.proposals.known) > before:
                return self._issue(trial_id, proposal)
            self._is_news = True  # refused, or the trial of another point: its value may be there already
        return None if self._running else str(Searcher.FINISHED)

    def _pop(self) -> Point | None:
        """The next point that was not asked for yet. Asking the rule takes time: only when there is something new."""
        if not self._next and self._is_news and self.wanted is not None:
            self._is_news = False
            self._next = [point for point in self.wanted() if canonical_json(point) not in self._asked]
        if not self._next or len(self.present) >= self.num_trials:
            return None
        self._asked.add(canonical_json(self._next[0]))
        return self._next.pop(0)

    def _issue(self, trial_id: str, proposal: Proposal) -> dict[str, Any]:
        self._running.add(trial_id)
        return {**self.config, "trial_id": proposal.trial_id}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial ended; its value is read from its folder."""
        self._running.discard(trial_id)
        self._is_news = True

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the sweep's folder is the memory."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a fresh searcher reads the sweep's folder."""

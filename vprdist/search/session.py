"""One run of Tune: it says which trials begin and end, the dispatcher runs them."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from vprdist.launch.dispatcher import Dispatcher
from vprdist.search.book import Book
from vprdist.search.leaving import Interrupted, Stopped
from vprdist.search.view import View

AHEAD = 32
"""Trials of a grid that wait in the driver for a free place: so many can be submitted in one go."""


class Session:
    """One run of Tune over the trials that have no result, and over those that a searcher proposes."""

    def __init__(self, dispatcher: Dispatcher, book: Book, view: View, interrupted: Interrupted) -> None:
        self.dispatcher, self.book, self.view, self.interrupted = dispatcher, book, view, interrupted
        self.concurrent = min(dispatcher.at_once(book.search.method.proposes), max(1, book.size))
        self.ahead: deque[str] = deque()
        self.asked: set[str] = set()

    def run(self, objective: str) -> None:
        """Run every trial that Tune wants, until it wants no more.

        A fresh run of Tune each time: what it saves would be restored with other trials in it, and forbids another
        search space. All earlier trials pass by again, so that searcher and scheduler know them.
        """
        from vprdist.search import in_process
        from vprdist.search.tune_callback import DispatchCallback

        self.ahead.extend(self.book.pending())
        self.tick()
        searcher, scheduler, num_samples = self._tune(objective)
        try:
            in_process.run(searcher, scheduler, self.concurrent, num_samples, DispatchCallback(self))
        except Exception as error:
            error.add_note("Jobs that run go on. The same command again continues where this one ended.")
            raise
        self.tick()

    def _tune(self, objective: str) -> tuple[Any, Any, int]:
        """Tune's searcher, its scheduler, and how many trials there may be."""
        from vprdist.search.searcher import Known, Replay, build_scheduler, inner_searcher

        book, search = self.book, self.book.search
        config: Mapping[str, Any] = {"runs": str(self.dispatcher.runs), "objective": objective}
        if book.proposals is None:
            pending = book.pending()
            return Known(pending, search, objective, config), None, len(pending)
        if book.rule is not None:
            from vprdist.search.subset_search import SubsetSearch

            wanted = book.wanted if book.only is None else None
            most = search.num_trials or 0
            subsets = SubsetSearch(book.proposals, wanted, book.present, most, objective, config)
            return subsets, None, len(book.trials) + most
        asks = search.method.proposes and book.only is None
        inner = inner_searcher(search, objective, book.told) if asks else None
        replay = Replay(book.proposals, inner, search, objective, book.values(objective), config)
        if replay.outside:
            self.view.say(f"{replay.outside} earlier trial(s) lie outside the present space: the searcher is not told")
        return replay, build_scheduler(search, objective), book.size

    def tick(self) -> None:
        """Called many times a second in the main thread; what it raises ends the search."""
        self.dispatcher.check()
        if self.interrupted.number is not None:
            raise Stopped
        for text in self.dispatcher.news():
            self.view.say(text)
        self._feed()
        self.view.tick()

    def _feed(self) -> None:
        """Want known trials before Tune comes to them: no job waits for it.

        A searcher or scheduler that goes by results follows each trial from its start: no more are wanted than run at
        once.
        """
        follows = self.book.search.follows
        if follows and self.asked:
            return
        phases = self.dispatcher.phases()
        unfinished = sum(phases.get(trial_id) != "done" for trial_id in self.asked)
        for _ in range(min(len(self.ahead), self.concurrent + (0 if follows else AHEAD) - unfinished)):
            self.started(self.ahead.popleft())

    def started(self, trial_id: str) -> None:
        """Tune began a trial, or looks once more at one that is over."""
        if trial_id not in self.book.stopped and trial_id not in self.asked:
            self.asked.add(trial_id)
            self.dispatcher.want(self.book.trials[trial_id])

    def ended(self, trial_id: str) -> None:
        """Tune ended a trial; one without result or failure was stopped by a scheduler, and its job with it."""
        folder, proposals = self.book.folders[trial_id], self.book.proposals
        if folder.is_over or trial_id in self.book.stopped:
            return
        if proposals is not None:
            rows = [row for row in folder.new_rows(0)[0] if row.get("kind") == "evaluate"]
            value = rows[-1].get(proposals.objective) if rows else None
            proposals.stop(trial_id, int(rows[-1]["step"]) if rows else 0, float("nan") if value is None else value)
        self.dispatcher.cancel(trial_id)

"""One run of Tune: it says which trials begin and end, the dispatcher runs them."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Mapping
from typing import Any

from vprdist.errors import RayUnavailable
from vprdist.launch.dispatcher import Dispatcher
from vprdist.search.book import Book
from vprdist.search.leaving import Interrupted, Stopped
from vprdist.search.ray_session import PrivateRay
from vprdist.search.view import View

ACTOR_RESTARTS = 10
"""How often Tune may lose the process that reads one trial's folder; the trial's job is not touched by it."""
AHEAD = 32
"""Trials of a grid that wait in the driver for a free place: so many can be submitted in one go."""
RAY_STARTS = 10
"""How often Ray may die in one search."""
LOOK_S = 0.2
"""Seconds between two looks at what the dispatcher says while Ray starts."""


class Session:
    """One run of Tune over the trials that have no result, and over those that a searcher proposes."""

    def __init__(self, dispatcher: Dispatcher, book: Book, view: View, interrupted: Interrupted) -> None:
        self.dispatcher, self.book, self.view, self.interrupted = dispatcher, book, view, interrupted
        self.concurrent = dispatcher.capacity.concurrent
        self.ahead: deque[str] = deque()
        self.asked: set[str] = set()
        self.ray: PrivateRay | None = None

    def run(self, objective: str) -> None:
        """Run every trial that Tune wants, until it wants no more; start Ray anew where it dies.

        Raises:
            RayUnavailable: without Ray nobody proposes or stops trials, and it does not start, or does not stay.
        """
        self.ahead.extend(self.book.pending())
        needed, readers = self.book.search.follows, self.book.search.readers(min(self.concurrent, self.book.size))
        for _ in range(RAY_STARTS):
            self.ray = None
            self.tick()
            with PrivateRay(readers, self.dispatcher.tell, needed) as self.ray, contextlib.suppress(_RayDied):
                if not self._until_up() or self._fit(readers, objective):
                    break
            self.dispatcher.tell("Ray died; jobs go on, it is started again")
        else:
            remedy = "Jobs that run go on. The same command again continues where this one ended."
            raise RayUnavailable("Ray", "it died again and again", RAY_STARTS, remedy)
        self.ray = None
        self.tick()

    def _until_up(self) -> bool:
        """News flows while Ray starts. False: everything has come to its end without it."""
        assert self.ray is not None
        while not self._nothing_left():
            self.tick()
            if self.ray.wait(LOOK_S):
                self.interrupted.listen_again()
                return True
        return False

    def _nothing_left(self) -> bool:
        phases = self.dispatcher.phases()
        if self.ahead or any(phases.get(trial_id) != "done" for trial_id in self.asked):
            return False
        return not self.book.wants_more

    def _fit(self, readers: int, objective: str) -> bool:
        """Build a fresh Tuner and fit it; Tuner.restore would submit again, and forbids another search space.

        Returns:
            Whether Tune came to its end; Ray may have died before.
        """
        from ray import tune

        from vprdist.search.trainable import FolderTrainable
        from vprdist.search.tune_callback import DispatchCallback

        assert self.ray is not None
        config: dict[str, Any] = {"runs": str(self.dispatcher.runs), "objective": objective}
        space: dict[str, Any] = {}
        more: dict[str, Any] = {}
        if self.book.proposals is None:
            if not (pending := self.book.pending()):
                return True  # the last results came with Ray's last word that it is up
            space = {**config, "trial_id": tune.grid_search(pending)}
        else:
            more = self._search(objective, config)
        tuner = tune.Tuner(
            tune.with_resources(FolderTrainable, {"cpu": 1}),
            param_space=space,
            tune_config=tune.TuneConfig(
                metric=objective, mode=self.book.search.mode, max_concurrent_trials=readers, reuse_actors=True, **more
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(self.ray.storage),
                verbose=0,
                callbacks=[DispatchCallback(self)],
                failure_config=tune.FailureConfig(max_failures=ACTOR_RESTARTS),
            ),
        )
        try:
            tuner.fit()
        except Exception:
            if self.ray.is_alive:
                raise
            return False
        return self.ray.is_alive

    def _search(self, objective: str, config: Mapping[str, Any]) -> dict[str, Any]:
        """What Tune is told of searcher and scheduler. All earlier trials pass by again, so that both know them."""
        from vprdist.search.searcher import Replay, build_scheduler, inner_searcher

        book, search = self.book, self.book.search
        assert book.proposals is not None
        if book.rule is not None:
            from vprdist.search.subset_search import SubsetSearch

            wanted = book.wanted if book.only is None else None
            most = search.num_trials or 0
            subsets = SubsetSearch(book.proposals, wanted, book.present, most, objective, config)
            return {"search_alg": subsets, "num_samples": len(book.trials) + most}
        asks = search.method.proposes and book.only is None
        inner = inner_searcher(search, objective, book.told) if asks else None
        replay = Replay(book.proposals, inner, search, objective, book.values(objective), config)
        if replay.outside:
            self.view.say(f"{replay.outside} earlier trial(s) lie outside the present space: the searcher is not told")
        return {"search_alg": replay, "scheduler": build_scheduler(search), "num_samples": book.size}

    def tick(self) -> None:
        """Called many times a second in the main thread; what it raises ends the search."""
        self.dispatcher.check()
        if self.interrupted.number is not None:
            raise Stopped
        if self.ray is not None and not self.ray.is_alive:
            raise _RayDied
        for text in self.dispatcher.news():
            self.view.say(text)
        self._feed()
        self.view.tick()

    def _feed(self) -> None:
        """Want known trials before Tune comes to them: no job waits for Ray or for a reader to start.

        A searcher or scheduler that goes by results follows each trial from its start: no more are wanted than run at
        once.
        """
        follows = self.book.search.follows
        if follows and self.asked:
            return
        phases = self.dispatcher.phases()
        unfinished = sum(phases.get(trial_id) != "done" for trial_id in self.asked)
        for _ in range(self.concurrent + (0 if follows else AHEAD) - unfinished):
            if self.ahead:
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


class _RayDied(BaseException):
    """Leaves Tune's loop at once, which may wait for ever for a server that is dead."""

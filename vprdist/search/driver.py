"""Ray Tune proposes, the dispatcher runs, the folders remember."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from vprdist.files import canonical_json
from vprdist.launch.dispatcher import Dispatcher
from vprdist.launch.node import DEFAULT_JOB
from vprdist.search.proposing import Told
from vprdist.search.view import NoView, View
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.result import ResultRow
from vprdist.spec.search import Point, SearchSpec
from vprdist.spec.trial import TrialSpec
from vprdist.store.journal import Failure
from vprdist.store.proposals import Proposal, Proposals
from vprdist.store.trial_folder import TrialFolder

ACTOR_RESTARTS = 10
"""How often Tune may lose the process that reads one trial's folder; the trial's job is not touched by it."""
AHEAD = 32
"""Trials of a grid that wait in the driver for a free place: so many can be submitted in one go."""
LEAVING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)
GRID = SearchSpec()
Wanted = Callable[[Callable[[Point], float | None]], list[Point]]
"""What a search of subsets wants next, told values of points: None while a trial is not over, NaN if it failed."""


@dataclass(frozen=True)
class Outcome:
    """What a sweep ended with, by trial id, in the order of the sweep. `stopped`: early, by its scheduler."""

    results: Mapping[str, ResultRow]
    failures: Mapping[str, Failure]
    stopped: Mapping[str, Mapping[str, Any]]


class SearchInterrupted(KeyboardInterrupt):
    """Ctrl-C or a signal: the driver left, the jobs go on. Its text tells the person how to come back."""

    def __init__(self, text: str, number: signal.Signals = signal.SIGINT) -> None:
        super().__init__(text)
        self.signal = number


def run_search(
    trials: Sequence[TrialSpec],
    *,
    sweep_name: str,
    objective: str,
    profile: ClusterProfile,
    runs: Path,
    view: View | None = None,
    job: str = DEFAULT_JOB,
    search: SearchSpec = GRID,
    proposals: Proposals | None = None,
    only: frozenset[str] | None = None,
    wanted: Wanted | None = None,
    given_up: frozenset[str] = frozenset(),
    asked_at: float = math.inf,
) -> Outcome:
    """Run every trial that has no result yet, and gather the results of all.

    Args:
        trials: resolved trials; the same id twice runs once. A searcher proposes its own: none are given.
        sweep_name: for messages.
        objective: the metric that Tune's searchers and schedulers look at.
        profile: where jobs run, and how many at once.
        runs: the folder that holds `trials/`.
        view: shown while it runs.
        job: `module:function` that each rank calls.
        search: the searcher and the scheduler.
        proposals: their memory; needed where there is one of them.
        only: ids of known trials: no other is run, and none is proposed.
        wanted: the rule of a search of subsets.
        given_up: ids of trials that failed a moment ago, in the same run of the driver: they are not tried again.
        asked_at: Unix time; nor are those that failed since then (`launch.driver_job.asked_at`).

    Raises:
        SearchInterrupted: at Ctrl-C or SIGTERM; jobs go on.
        LaunchError: nothing can be submitted, or a folder is broken.
    """
    book = _Book(runs, trials, search, proposals, only, wanted, objective)
    pending, unended = book.pending(), book.unended
    more = bool(pending) or book.wants_more
    if more or unended:
        shown = view or NoView()
        with (
            Dispatcher(profile, runs, job) as dispatcher,
            shown.live(book.folders, dispatcher.phases, dispatcher.waits),
        ):
            for trial_id in unended:
                dispatcher.cancel(trial_id)
            if not more:
                return book.outcome()
            dispatcher.retire_failures((i for i in pending if i not in given_up), before=asked_at)
            with _interruptible(sweep_name, dispatcher) as interrupted:
                _Session(dispatcher, book, shown, interrupted).run(objective)
    return book.outcome()


class _Book:
    """Every trial of the search, also those that are proposed on the way.

    Attributes:
        present: what the rule has asked for and is proposed. Earlier proposals may be of other players: they are kept,
            and use up none of the present search's trials.
    """

    def __init__(
        self, runs: Path, trials: Sequence[TrialSpec], search: SearchSpec, proposals: Proposals | None,
        only: frozenset[str] | None = None, wanted: Wanted | None = None, objective: str = "recall@1",
    ) -> None:  # fmt: skip
        self.runs, self.search, self.proposals, self.only = runs, search, proposals, only
        self.rule, self.objective = wanted, objective
        self._known_values: dict[str, float] = {}
        self.present: set[str] = set()
        self.trials: dict[str, TrialSpec] = {}
        self.folders: dict[str, TrialFolder] = {}
        for trial in trials:
            self.add(trial)
        if proposals is None:
            return
        if not search.method.proposes:
            proposals.known = [Proposal({}, trial_id) for trial_id in self.trials]
            proposals.read_stops()
        else:
            told = proposals.tell

            def tell(trial: TrialSpec) -> None:
                self.add(trial)
                told(trial)

            proposals.tell = tell
            proposals.read()
            if only is not None:
                over = {i for i, folder in self.folders.items() if folder.has_result or i in proposals.stopped}
                proposals.known = [known for known in proposals.known if known.trial_id in only | over]

    def add(self, trial: TrialSpec) -> None:
        self.trials[trial.trial_id] = trial
        self.folders[trial.trial_id] = TrialFolder.of(self.runs, trial.trial_id)

    @property
    def stopped(self) -> Mapping[str, Mapping[str, Any]]:
        known = {} if self.proposals is None else self.proposals.stopped
        return {i: row for i, row in known.items() if i in self.folders and not self.folders[i].has_result}

    @property
    def unended(self) -> list[str]:
        """Stopped trials whose job may live: the driver that stopped them was killed before it had ended it."""
        jobs = {i: folder.job() for i in self.stopped if not (folder := self.folders[i]).is_over}
        return [i for i, job in jobs.items() if job and (job.state != "cancelled" or self.folders[i].is_running)]

    @property
    def wants_more(self) -> bool:
        """Whether a searcher has proposals left."""
        if self.proposals is None or self.only is not None:
            return False
        most = self.search.num_trials or 0
        if self.rule is None:
            return len(self.proposals.known) < most
        return bool(self.wanted()) and len(self.present) < most

    def wanted(self) -> list[Point]:
        """What the rule of a search of subsets wants next."""
        assert self.rule is not None
        return self.rule(self.value_of)

    def value_of(self, point: Point) -> float | None:
        """The objective of a proposed point; None while it is not known, NaN where it never will be."""
        ids = self.proposals.ids if self.proposals else {}
        if (key := canonical_json(point)) not in ids:
            return None
        trial_id = ids[key]
        self.present.add(trial_id or key)
        if trial_id is None:
            return float("nan")
        folder = self.folders[trial_id]
        over = folder.is_over  # before the result is looked for: one that comes in between is no failure
        if trial_id not in self._known_values and folder.has_result:
            self._known_values[trial_id] = folder.objective(self.objective)
        return self._known_values.get(trial_id, float("nan") if over else None)

    def told(self) -> list[Told]:
        """Every point that was asked for, in order, with its value as `value_of` has it; a stopped trial's last one."""
        if self.proposals is None:
            return []
        stopped, ids = self.stopped, self.proposals.ids
        asked = [(point, stopped.get(ids[canonical_json(point)] or "")) for point in self.proposals.asked]
        return [(point, float(row["value"]) if row else self.value_of(point)) for point, row in asked]

    @property
    def size(self) -> int:
        """Trials in all, those to come included."""
        return max(len(self.trials), 0 if self.only is not None else self.search.num_trials or 0)

    def pending(self) -> list[str]:
        """Trials without a result that are to run; those that hold a place already, from an earlier driver, first."""
        stopped = self.stopped
        left = [i for i, folder in self.folders.items() if not folder.has_result and i not in stopped]
        left = [i for i in left if self.only is None or i in self.only]
        return sorted(left, key=lambda trial_id: not self.folders[trial_id].job_file.exists())

    def values(self, objective: str) -> dict[str, float]:
        """The objective of every trial that is over."""
        stopped = {i: float(row["value"]) for i, row in self.stopped.items()}
        return stopped | {i: f.objective(objective) for i, f in self.folders.items() if f.has_result}

    def outcome(self) -> Outcome:
        stopped = self.stopped  # looked at once, and first: a stopped trial's job may still come to its result
        results = {i: folder.result() for i, folder in self.folders.items() if i not in stopped and folder.has_result}
        unknown = Failure(reason="The driver ended before this trial did", attempts=0)
        failures = {
            i: folder.failure() or unknown
            for i, folder in self.folders.items()
            if i not in results and i not in stopped
        }
        return Outcome(results, failures, stopped)


class _Session:
    """One run of Tune over the trials that have no result, and over those that a searcher proposes."""

    def __init__(self, dispatcher: Dispatcher, book: _Book, view: View, interrupted: _Interrupted) -> None:
        self.dispatcher, self.book, self.view, self.interrupted = dispatcher, book, view, interrupted
        self.concurrent = dispatcher.capacity.concurrent
        self.ahead: deque[str] = deque()
        self.asked: set[str] = set()

    def run(self, objective: str) -> None:
        """Build a fresh Tuner and fit it; Tuner.restore would submit again, and forbids another search space."""
        from vprdist.search.ray_session import private_ray

        pending = self.book.pending()
        self.ahead.extend(pending)
        self._feed()
        readers = self.book.search.readers(min(self.concurrent, self.book.size))
        with private_ray(readers) as storage:
            from ray import tune

            from vprdist.search.trainable import FolderTrainable
            from vprdist.search.tune_callback import DispatchCallback

            config: dict[str, Any] = {"runs": str(self.dispatcher.runs), "objective": objective}
            space: dict[str, Any] = {}
            more: dict[str, Any] = {}
            if self.book.proposals is None:
                space = {**config, "trial_id": tune.grid_search(pending)}
            else:
                more = self._search(objective, config)
            tuner = tune.Tuner(
                tune.with_resources(FolderTrainable, {"cpu": 1}),
                param_space=space,
                tune_config=tune.TuneConfig(
                    metric=objective, mode="max", max_concurrent_trials=readers, reuse_actors=True, **more
                ),
                run_config=tune.RunConfig(
                    name="tune",
                    storage_path=str(storage),
                    verbose=0,
                    callbacks=[DispatchCallback(self)],
                    failure_config=tune.FailureConfig(max_failures=ACTOR_RESTARTS),
                ),
            )
            tuner.fit()
        self.tick()

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
            raise _Stopped
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
            rows = [row for row in folder.rows()[0] if row.get("kind") == "evaluate"]
            value = rows[-1].get(proposals.objective) if rows else None
            proposals.stop(trial_id, int(rows[-1]["step"]) if rows else 0, float("nan") if value is None else value)
        self.dispatcher.cancel(trial_id)


class _Stopped(BaseException):
    """Leaves Tune's loop at once: it only cleans up slowly after an Exception."""


class _Interrupted:
    """Which signal asked the driver to leave, if one did."""

    number: signal.Signals | None = None


@contextlib.contextmanager
def _interruptible(sweep_name: str, dispatcher: Dispatcher) -> Iterator[_Interrupted]:
    """Turn the first SIGINT, SIGTERM or (in a job of its own) USR2 into a polite end; the second one ends at once."""
    interrupted = _Interrupted()
    before: dict[signal.Signals, Any] = {}

    def stop(number: int, frame: FrameType | None) -> None:
        if interrupted.number is not None:
            raise KeyboardInterrupt
        interrupted.number = signal.Signals(number)
        os.write(2, b"\nStopping; the jobs go on.\n")  # at once: Ray may still be starting

    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, stop) for number in LEAVING}
    try:
        yield interrupted
    except _Stopped:
        running = sum(phase == "running" for phase in dispatcher.phases().values())
        raise SearchInterrupted(
            f"Sweep {sweep_name}: stopped watching. {running} job(s) go on by themselves; start the same command "
            "again to come back to them. Nothing is run twice.",
            interrupted.number or signal.SIGINT,
        ) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

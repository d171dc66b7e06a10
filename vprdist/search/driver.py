"""Ray Tune proposes, the dispatcher runs, the folders remember."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from vprdist.launch.dispatcher import Dispatcher
from vprdist.launch.folder import TrialFolder
from vprdist.launch.journal import Failure
from vprdist.launch.node import DEFAULT_JOB
from vprdist.search.view import NoView, View
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.result import ResultRow
from vprdist.spec.trial import TrialSpec

ACTOR_RESTARTS = 10
"""How often Tune may lose the process that reads one trial's folder; the trial's job is not touched by it."""


@dataclass(frozen=True)
class Outcome:
    """What a sweep ended with, by trial id, in the order of the sweep."""

    results: Mapping[str, ResultRow]
    failures: Mapping[str, Failure]


class SearchInterrupted(KeyboardInterrupt):
    """Ctrl-C: the driver left, the jobs go on. Its text tells the person how to come back."""


def run_search(
    trials: Sequence[TrialSpec],
    *,
    sweep_name: str,
    objective: str,
    profile: ClusterProfile,
    runs: Path,
    view: View | None = None,
    job: str = DEFAULT_JOB,
) -> Outcome:
    """Run every trial that has no result yet, and gather the results of all.

    Args:
        trials: resolved trials; the same id twice runs once.
        sweep_name: for messages.
        objective: the metric that Tune's schedulers look at.
        profile: where jobs run, and how many at once.
        runs: the folder that holds `trials/`.
        view: shown while it runs.
        job: `module:function` that each rank calls.

    Raises:
        SearchInterrupted: at Ctrl-C or SIGTERM; jobs go on.
        LaunchError: nothing can be submitted, or a folder is broken.
    """
    wanted = {trial.trial_id: trial for trial in trials}
    folders = {trial_id: TrialFolder.of(runs, trial_id) for trial_id in wanted}
    pending = [trial_id for trial_id in wanted if not folders[trial_id].has_result]
    # Jobs that still run from an earlier driver come first: they hold places already.
    pending.sort(key=lambda trial_id: not folders[trial_id].job_file.exists())
    if pending:
        shown = view or NoView()
        with Dispatcher(profile, runs, job) as dispatcher, shown.live(folders, dispatcher.phases):
            dispatcher.retire_failures(pending)
            with _interruptible(sweep_name, dispatcher) as interrupted:
                session = _Session(dispatcher, {i: wanted[i] for i in pending}, folders, shown, interrupted)
                session.run(objective)
    results = {i: folder.result() for i, folder in folders.items() if folder.has_result}
    failures = {i: folder.failure() for i, folder in folders.items() if i not in results}
    unknown = Failure(reason="The driver ended before this trial did", attempts=0)
    return Outcome(results, {i: failure or unknown for i, failure in failures.items()})


class _Session:
    """One run of Tune over the trials that have no result."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        trials: Mapping[str, TrialSpec],
        folders: Mapping[str, TrialFolder],
        view: View,
        interrupted: threading.Event,
    ) -> None:
        self.dispatcher, self.trials, self.folders = dispatcher, trials, folders
        self.view, self.interrupted = view, interrupted

    def run(self, objective: str) -> None:
        """Build a fresh Tuner and fit it; Tuner.restore would submit again, and forbids another search space."""
        from vprdist.search.ray_session import private_ray

        concurrent = min(self.dispatcher.capacity.concurrent, len(self.trials))
        for trial_id in list(self.trials)[:concurrent]:
            self.started(trial_id)  # Tune begins with these; their jobs need not wait the seconds that Ray starts in
        with private_ray(concurrent) as storage:
            from ray import tune

            from vprdist.search.trainable import FolderTrainable
            from vprdist.search.tune_callback import DispatchCallback

            space: dict[str, Any] = {
                "trial_id": tune.grid_search(list(self.trials)),
                "runs": str(self.dispatcher.runs),
                "objective": objective,
            }
            tuner = tune.Tuner(
                tune.with_resources(FolderTrainable, {"cpu": 1}),
                param_space=space,
                tune_config=tune.TuneConfig(
                    metric=objective, mode="max", max_concurrent_trials=concurrent, reuse_actors=True
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

    def tick(self) -> None:
        """Called many times a second in the main thread; what it raises ends the search."""
        self.dispatcher.check()
        if self.interrupted.is_set():
            raise _Stopped
        self.view.tick()

    def started(self, trial_id: str) -> None:
        """Tune began a trial."""
        self.dispatcher.want(self.trials[trial_id])

    def ended(self, trial_id: str) -> None:
        """Tune ended a trial; one without result or failure was stopped by a scheduler, and its job with it."""
        folder = self.folders[trial_id]
        if not folder.has_result and not folder.failure_file.exists():
            self.dispatcher.cancel(trial_id)


class _Stopped(BaseException):
    """Leaves Tune's loop at once: it only cleans up slowly after an Exception."""


@contextlib.contextmanager
def _interruptible(sweep_name: str, dispatcher: Dispatcher) -> Iterator[threading.Event]:
    """Turn the first SIGINT or SIGTERM into a polite end; the second one ends at once."""
    interrupted = threading.Event()
    before: dict[signal.Signals, Any] = {}

    def stop(number: int, frame: FrameType | None) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()
        os.write(2, b"\nStopping; the jobs go on.\n")  # at once: Ray may still be starting

    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupted
    except _Stopped:
        running = sum(phase == "running" for phase in dispatcher.phases().values())
        raise SearchInterrupted(
            f"Sweep {sweep_name}: stopped watching. {running} job(s) go on by themselves; start the same command "
            "again to come back to them. Nothing is run twice."
        ) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""Tune's own controller, searchers and schedulers inside the driver's process: no cluster of Ray's, no server, no port.

Tune asks an actor manager for actors, which are processes of a Ray cluster: 480 MB, nine processes, and 115 MB more a
trial. Ours are readers of trials' folders (`readers`), all in one thread. Everything that Ray does not promise to keep
is used in this file alone, and is listed in `ray_contract`, which is looked at before anything starts.
"""

from __future__ import annotations

import itertools
import logging
import tempfile
import warnings
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from ray import tune
from ray.air.execution._internal.tracked_actor import TrackedActor
from ray.train._internal.storage import StorageContext
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Experiment
from ray.tune.search import ConcurrencyLimiter, SearchGenerator

from vprdist.search.readers import FolderReader, Readers

TRAINABLE = "vprdist-folder"
STEP_TASK, END_TASK = "train", "stop"
"""What Tune asks of an actor: the next result, and to end."""


class Actors:
    """Stands where Tune's controller has its `RayActorManager`: an actor is a reader, there as soon as it is wanted."""

    def __init__(self, readers: Readers) -> None:
        self.readers = readers
        self._names = itertools.count()
        self._to_start: deque[tuple[TrackedActor, Mapping[str, Any]]] = deque()
        self._on_result: dict[TrackedActor, Callable[..., None]] = {}
        # The controller takes an actor's handle from here, and calls it where there is one.
        self._live_actors_to_ray_actors_resources: dict[TrackedActor, tuple[None, None]] = {}

    def next(self, timeout: float | None = None) -> bool:
        """Start an actor, or pass on one result; False where nothing came in so many seconds."""
        if self._to_start:
            actor, config = self._to_start.popleft()
            self._live_actors_to_ray_actors_resources[actor] = (None, None)
            self.readers.add(actor, FolderReader(config))
            actor._on_start(actor)
            return True
        if (found := self.readers.next(timeout)) is None:
            return False
        actor, news = found
        if (on_result := self._on_result.pop(actor, None)) is not None:
            on_result(actor, news)
        return True

    def add_actor(
        self, cls: Any, kwargs: Mapping[str, Any], resource_request: Any, *, on_start: Any = None, on_stop: Any = None,
        on_error: Any = None,
    ) -> TrackedActor:  # fmt: skip
        """Want an actor for a trial's config; `next` starts it."""
        actor = TrackedActor(next(self._names), on_start=on_start, on_stop=on_stop, on_error=on_error)
        self._to_start.append((actor, kwargs["config"]))
        return actor

    def schedule_actor_task(
        self, tracked_actor: TrackedActor, method_name: str, args: Any = None, kwargs: Any = None,
        on_result: Any = None, on_error: Any = None, _return_future: bool = False,
    ) -> None:  # fmt: skip
        """Ask for an actor's next result; its end needs no task."""
        if method_name == STEP_TASK:
            self._on_result[tracked_actor] = on_result
            self.readers.want(tracked_actor)
        elif method_name != END_TASK:
            raise NotImplementedError(f"a reader of a folder has nothing to {method_name}")

    def remove_actor(self, tracked_actor: TrackedActor, kill: bool = False, stop_future: Any = None) -> bool:
        """End an actor at once. False: nobody need wait for it."""
        self.readers.drop(tracked_actor)
        self._on_result.pop(tracked_actor, None)
        self._to_start = deque(each for each in self._to_start if each[0] != tracked_actor)
        if self._live_actors_to_ray_actors_resources.pop(tracked_actor, None) and tracked_actor._on_stop:
            tracked_actor._on_stop(tracked_actor)
        return False

    def clear_actor_task_futures(self, tracked_actor: TrackedActor) -> None:
        """Nobody wants its result any more."""
        self._on_result.pop(tracked_actor, None)

    def is_actor_started(self, tracked_actor: TrackedActor) -> bool:
        return tracked_actor in self._live_actors_to_ray_actors_resources

    def is_actor_failed(self, tracked_actor: TrackedActor) -> bool:
        """Never: what a reader raises ends the search."""
        return False

    @property
    def num_live_actors(self) -> int:
        return len(self._live_actors_to_ray_actors_resources)

    @property
    def num_pending_actors(self) -> int:
        return len(self._to_start)

    @property
    def num_total_actors(self) -> int:
        return self.num_live_actors + self.num_pending_actors

    @property
    def num_actor_tasks(self) -> int:
        return len(self._on_result)


class _Classes:
    """Stands where the controller keeps what `ray.remote` made of a class."""

    def get(self, trainable_cls: Any) -> Any:
        return trainable_cls


class _Patience:
    """Stands where the controller warns that a cluster may be too small: ours has room for every reader."""

    def on_no_available_trials(self, all_trials: Any) -> None:
        """Nothing."""


class Controller(TuneController):  # type: ignore[misc]  # Ray's classes are Any to mypy
    """Tune's controller with readers for actors. It writes no snapshot, and raises whatever goes wrong in it."""

    def __init__(self, readers: Readers, **settings: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of processes that `raise` may leave, and there are none
            super().__init__(**settings, fail_fast=self.RAISE, resource_manager_factory=lambda: None)
        self._actor_manager = Actors(readers)
        self._class_cache = _Classes()
        self._insufficient_resources_manager = _Patience()

    def checkpoint(self, force: bool = False, wait: bool = False) -> None:
        """Nothing: the folders are the memory."""

    def on_step_begin(self) -> None:
        """Nothing: there is no cluster to ask how large it is."""


class _Storage(StorageContext):  # type: ignore[misc]
    """One folder for all; Tune asks a cluster for a folder of each trial, in which nothing would ever lie."""

    @property
    def experiment_driver_staging_path(self) -> str:
        return str(self.storage_fs_path)

    @property
    def trial_driver_staging_path(self) -> str:
        return str(self.storage_fs_path)

    @property
    def trial_working_directory(self) -> str:
        return str(self.storage_fs_path)


class _Experiment(Experiment):  # type: ignore[misc]
    _storage_context_cls = _Storage


def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="vprdist-tune-", ignore_cleanup_errors=True)


def run(searcher: Any, scheduler: Any, concurrent: int, num_samples: int, callback: Any) -> None:
    """Run every trial that a searcher proposes, to its end or to the scheduler's stop.

    Args:
        searcher, scheduler: Tune's, told already which metric they go by, and which way; no scheduler is None.
        concurrent: trials at once.
        num_samples: trials in all, at most.
        callback: a `tune.Callback` that is told what begins and ends; what it raises ends the run.
    """
    logging.getLogger("ray").setLevel(logging.ERROR)
    # It logs an error with its traceback before it raises it: once is enough.
    logging.getLogger(TuneController.__module__).setLevel(logging.CRITICAL)
    tune.register_trainable(TRAINABLE, tune.Trainable)  # only its name is ever asked for
    search = SearchGenerator(ConcurrencyLimiter(searcher, max_concurrent=concurrent))
    with _folder() as folder, Readers() as readers:
        experiment = _Experiment("tune", TRAINABLE, num_samples=num_samples, storage_path=folder)
        controller = Controller(
            readers, search_alg=search, scheduler=scheduler, callbacks=[callback], metric=searcher.metric,
            storage=experiment.storage,
        )  # fmt: skip
        search.add_configurations([experiment])
        controller.update_max_pending_trials(concurrent)
        while not controller.is_finished():
            controller.step()

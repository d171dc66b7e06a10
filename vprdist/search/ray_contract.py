"""What `in_process` uses of Ray that Ray does not promise to keep; looked at before anything starts."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Iterator

from vprdist.contract import Contract, find_name, lacking, parameters

RAY = Contract("Ray", "ray[tune]", "2.40", "2.61")
CONTROLLER = "ray.tune.execution.tune_controller:TuneController"
STORAGE = "ray.train._internal.storage:StorageContext"
NEEDED: dict[str, tuple[str, ...]] = {
    CONTROLLER: (
        "search_alg", "scheduler", "callbacks", "fail_fast", "metric", "storage", "resource_manager_factory",
    ),
    f"{CONTROLLER}.RAISE": (),
    f"{CONTROLLER}.checkpoint": ("force", "wait"),
    f"{CONTROLLER}.on_step_begin": (),
    f"{CONTROLLER}.is_finished": (),
    f"{CONTROLLER}.step": (),
    f"{CONTROLLER}.update_max_pending_trials": ("max_pending_trials",),
    "ray.air.execution._internal.tracked_actor:TrackedActor": ("actor_id", "on_start", "on_stop", "on_error"),
    "ray.tune.experiment:Experiment": ("name", "run", "num_samples", "storage_path"),
    "ray.tune.experiment:Experiment._storage_context_cls": (),
    STORAGE: (),
    f"{STORAGE}.experiment_driver_staging_path": (),
    f"{STORAGE}.trial_driver_staging_path": (),
    f"{STORAGE}.trial_working_directory": (),
    "ray.tune.search:SearchGenerator": ("searcher",),
    "ray.tune.search:SearchGenerator.add_configurations": ("experiments",),
    "ray.tune.search:ConcurrencyLimiter": ("searcher", "max_concurrent"),
    "ray.tune:Trainable": (),
    "ray.tune:register_trainable": ("name", "trainable"),
    "ray.tune:Callback.on_step_begin": ("iteration", "trials"),
    "ray.tune:Callback.on_trial_start": ("iteration", "trials", "trial"),
    "ray.tune:Callback.on_trial_complete": ("iteration", "trials", "trial"),
}  # fmt: skip
"""Names, and the parameters that are given by name."""
SET_IN_INIT = {
    CONTROLLER: ("_actor_manager", "_class_cache", "_insufficient_resources_manager"),
    "ray.air.execution._internal.tracked_actor:TrackedActor": ("_on_start", "_on_stop"),
    STORAGE: ("storage_fs_path",),
}
"""Attributes that `__init__` makes: ours stand in their places, or are read."""
ANSWERED = {
    "_actor_manager": frozenset({
        "next", "add_actor", "schedule_actor_task", "remove_actor", "clear_actor_task_futures", "is_actor_started",
        "is_actor_failed", "num_live_actors", "num_pending_actors", "num_total_actors", "num_actor_tasks",
        "_live_actors_to_ray_actors_resources",
    }),
    "_class_cache": frozenset({"get"}),
    "_insufficient_resources_manager": frozenset({"on_no_available_trials"}),
}  # fmt: skip
"""What the controller may ask of ours."""
NEVER_ASKED = frozenset({"cleanup", "get_live_actors_resources", "_actor_task_events"})
"""What it asks where it reports, exports a model, or cleans up, none of which happens here."""
TOOK = {
    "next": ("timeout",),
    "add_actor": ("cls", "kwargs", "resource_request", "on_start", "on_stop", "on_error"),
    "schedule_actor_task": (
        "tracked_actor", "method_name", "args", "kwargs", "on_result", "on_error", "_return_future",
    ),
    "remove_actor": ("tracked_actor", "kill", "stop_future"),
    "clear_actor_task_futures": ("tracked_actor",),
}  # fmt: skip
"""The parameters of Ray's own actor manager: the controller gives no others."""
ACTORS = "ray.air.execution._internal:RayActorManager"


def check_version() -> None:
    """See at once, without loading Ray, whether it is a version that is known to do; only another one is looked at.

    Raises:
        LaunchError: it is not there, or lacks what is used.
    """
    if not RAY.is_known():
        check_ray()


def check_ray() -> None:
    """Load Ray, and look whether all is there that is used.

    Raises:
        LaunchError: it cannot be loaded, or lacks something; the first thing is named.
    """
    # Some questions to Ray start a whole cluster where none runs; asked now, they raise.
    before = os.environ.get("RAY_ENABLE_AUTO_CONNECT")
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"
    try:
        RAY.check(missing)
    finally:
        if before is None:
            del os.environ["RAY_ENABLE_AUTO_CONNECT"]
        else:
            os.environ["RAY_ENABLE_AUTO_CONNECT"] = before


def missing() -> Iterator[str]:
    """What the installed Ray lacks, or does otherwise, a line each; Ray is loaded."""
    took = {f"{ACTORS}.{method}": taken for method, taken in TOOK.items()}
    yield from lacking({**NEEDED, **took}, SET_IN_INIT)
    for name, taken in took.items():
        if more := parameters(find_name(name)) - set(taken) - {"self"}:
            yield f"{name} takes {', '.join(sorted(more))} too"
    yield from _asked_more()


def _asked_more() -> Iterator[str]:
    """What the controller asks that ours do not answer."""
    if (controller := find_name(CONTROLLER)) is None:
        return
    source = inspect.getsource(controller)
    for attribute, answered in ANSWERED.items():
        asked = set(re.findall(rf"self\.{attribute}\s*\.\s*(\w+)", source))
        for name in sorted(asked - answered - NEVER_ASKED):
            yield f"{CONTROLLER} asks {attribute}.{name}"

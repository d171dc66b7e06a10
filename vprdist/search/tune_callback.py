"""What Tune tells the driver. Cancelling belongs here: where the driver leaves, jobs go on."""

from __future__ import annotations

from typing import Any, Protocol

from ray import tune


class Session(Protocol):
    """What the driver does about it."""

    def tick(self) -> None: ...
    def started(self, trial_id: str) -> None: ...
    def ended(self, trial_id: str) -> None: ...


class DispatchCallback(tune.Callback):  # type: ignore[misc]  # Ray's classes are Any to mypy
    """Passes Tune's events on, by trial id; all of them come in the driver's main thread."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self.session.tick()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.session.started(trial.config["trial_id"])

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.session.ended(trial.config["trial_id"])

"""Tune's searcher and schedulers as this project uses them. Imported only when a search needs them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ray.tune.schedulers import ASHAScheduler, MedianStoppingRule, TrialScheduler
from ray.tune.search import Searcher

from vprdist.search.points import decode, encode
from vprdist.search.proposing import Proposing, Told
from vprdist.spec.methods import load
from vprdist.spec.search import Point, SearchSpec
from vprdist.store.proposals import Proposal, Proposals

TRIES = 300
"""Points in a row that were known already, after which a space is taken for exhausted."""


class Known(Searcher):  # type: ignore[misc]  # Ray's classes are Any to mypy
    """Issues the trials of a plain grid in their order.

    Args:
        config: what every trial's reader is told besides its id.
    """

    def __init__(self, trial_ids: Iterable[str], search: SearchSpec, objective: str, config: Mapping[str, Any]) -> None:
        super().__init__(metric=objective, mode=search.mode)
        self._left, self.config = deque(trial_ids), dict(config)

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """The next trial's config, FINISHED when there are no more."""
        return {**self.config, "trial_id": self._left.popleft()} if self._left else str(Searcher.FINISHED)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: no other trial hangs on it."""


class Replay(Searcher):  # type: ignore[misc]
    """Issues earlier proposals again in their order, then new ones of an inner searcher, each trial once.

    Earlier results are told to the inner searcher before it proposes anything: finished and stopped ones at once,
    the others when they end.

    Args:
        proposals: the search's memory.
        inner: proposes indices and numbers for `space`; None issues what is known and no more.
        search: the sweep's search section.
        values: the objective of what is over already, by trial id.
        config: what every trial's reader is told besides its id.
    """

    def __init__(
        self, proposals: Proposals, inner: Any, search: SearchSpec, objective: str, values: Mapping[str, float],
        config: Mapping[str, Any],
    ) -> None:  # fmt: skip
        super().__init__(metric=objective, mode=search.mode)
        self.proposals, self.inner, self.search = proposals, inner, search
        self.config, self.objective = dict(config), objective
        self._again = [known for known in proposals.known if known.trial_id is not None]
        self._running: dict[str, Proposal] = {}
        self._asked: dict[str, str] = {}  # Tune's name of a trial to the inner searcher's
        self._questions = self.outside = 0
        for known in proposals.known:
            value = values.get(known.trial_id or "")
            if value is not None and math.isfinite(value):
                self._tell(known.point, value)
        self._told = set(values)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial's config, None to wait, FINISHED when there are no more."""
        if self._again:
            return self._issue(trial_id, self._again.pop(0))
        if self.inner is None:
            return str(Searcher.FINISHED)
        for _ in range(TRIES):
            if len(self.proposals.known) >= (self.search.num_trials or 0):
                break
            before = len(self.proposals.known)
            self._questions += 1
            question = f"{trial_id}-{self._questions}"  # asked by the same name, Optuna gives the same answer
            values = self.inner.suggest(question)
            if values is None or values == Searcher.FINISHED:
                return None if values is None and self._running else str(Searcher.FINISHED)
            proposal = self.proposals.propose(decode(self.search, values), repeats=not self.search.method.of_tune)
            if proposal.trial_id is not None and len(self.proposals.known) > before:
                self._asked[trial_id] = question
                return self._issue(trial_id, proposal)
            # Refused, or known already: the inner searcher hears that this led nowhere, and is asked again.
            self.inner.on_trial_complete(question, error=True)
        return str(Searcher.FINISHED)

    def _issue(self, trial_id: str, proposal: Proposal) -> dict[str, Any]:
        self._running[trial_id] = proposal
        over = proposal.trial_id in self.proposals.stopped
        return {**self.config, "trial_id": proposal.trial_id, "stopped": over}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial ended, was stopped or failed: the inner searcher learns its value."""
        proposal = self._running.pop(trial_id, None)
        if proposal is None or self.inner is None:
            return
        value = float((result or {}).get(self.objective, math.nan))
        if trial_id in self._asked:
            failed = error or not math.isfinite(value)
            answer = None if failed else {self.objective: value}
            self.inner.on_trial_complete(self._asked.pop(trial_id), answer, error=failed)
        elif proposal.trial_id not in self._told and math.isfinite(value):
            self._tell(proposal.point, value)

    def _tell(self, point: Point, value: float) -> None:
        if self.inner is None:
            return
        if (values := encode(self.search, point)) is None:
            self.outside += 1
        else:
            self.inner.add_evaluated_point(values, value)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the sweep's folder is the memory."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a fresh searcher reads the sweep's folder."""


def inner_searcher(search: SearchSpec, objective: str, told: Callable[[], list[Told]] = list) -> Any:
    """What proposes the points of a search: one of Tune's searchers, or a proposer behind the same three methods.

    Args:
        told: every point that was asked for so far, with its value.

    Raises:
        UserError: a user's class that cannot be loaded or made.
    """
    if search.method.of_tune:
        return load(search.method.target)(search, objective)
    return Proposing(search, told)


def build_scheduler(search: SearchSpec, objective: str) -> Any:
    """The scheduler of a sweep; None without one."""
    if search.scheduler is None:
        return None
    told: dict[str, Any] = {
        "metric": objective,
        "mode": search.mode,
        "time_attr": "training_step",
        "grace_period": search.grace_steps or 1,
    }
    if search.scheduler == "asha":
        return _of_evaluations(ASHAScheduler)(
            **told, max_t=search.max_steps, reduction_factor=search.reduction, stop_last_trials=False
        )
    return _of_evaluations(MedianStoppingRule)(**told, min_samples_required=3)


def _of_evaluations(base: Any) -> Any:
    """A scheduler that fits trials which are jobs of a cluster.

    It sees each evaluation once, and none whose objective is unknown. It does not stop a
    trial that has done its last step, and is about to write its result. It does not pause: a job cannot be paused.
    """

    class OfEvaluations(base):  # type: ignore[misc]
        def _is_news(self, trial: Any, result: dict[str, Any]) -> bool:
            seen: dict[str, int] = self.__dict__.setdefault("seen_steps", {})
            if math.isnan(result.get(self.metric, math.nan)) or seen.get(trial.trial_id) == result["training_step"]:
                return False
            seen[trial.trial_id] = result["training_step"]
            return True

        def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
            if not self._is_news(trial, result):
                return str(TrialScheduler.CONTINUE)
            action = super().on_trial_result(controller, trial, result)
            last = result["training_step"] >= result.get("steps", math.inf)
            return str(TrialScheduler.STOP if action == TrialScheduler.STOP and not last else TrialScheduler.CONTINUE)

        def on_trial_complete(self, controller: Any, trial: Any, result: dict[str, Any]) -> None:
            if not math.isnan(result.get(self.metric, math.nan)):
                super().on_trial_complete(controller, trial, result)

    return OfEvaluations

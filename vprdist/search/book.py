"""Every trial of a search, also those that are proposed on the way, and what has come of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vprdist.errors import UserError
from vprdist.files import canonical_json
from vprdist.search.proposing import Told
from vprdist.spec.result import ResultRow
from vprdist.spec.search import Point, SearchSpec
from vprdist.spec.trial import TrialSpec
from vprdist.store.journal import Failure
from vprdist.store.proposals import Proposal, Proposals
from vprdist.store.trial_folder import TrialFolder

Wanted = Callable[[Callable[[Point], float | None]], list[Point]]
"""What a search of subsets wants next, told values of points: None while a trial is not over, NaN if it failed."""


@dataclass(frozen=True)
class Outcome:
    """What a sweep ended with, by trial id, in the order of the sweep. `stopped`: early, by its scheduler."""

    results: Mapping[str, ResultRow]
    failures: Mapping[str, Failure]
    stopped: Mapping[str, Mapping[str, Any]]


class Book:
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
        return [i for i in self.stopped if not self.folders[i].is_over and _may_live(self.folders[i])]

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
        results: dict[str, ResultRow] = {}
        failures: dict[str, Failure] = {}
        unended = Failure(reason="The driver ended before this trial did", attempts=0)
        for i, folder in self.folders.items():
            if i in stopped:
                continue
            try:
                if folder.has_result:
                    results[i] = folder.result()
                else:
                    failures[i] = folder.failure() or unended
            except UserError as error:  # it costs its row
                failures[i] = Failure(reason=str(error), attempts=0, kind="unreadable")
        return Outcome(results, failures, stopped)


def _may_live(folder: TrialFolder) -> bool:
    try:
        job = folder.job()
        return job is not None and (job.state != "cancelled" or folder.is_running)
    except UserError:  # the dispatcher could not end what it cannot name
        return False

"""Everything that `vprdist plan` says, gathered without writing a file or starting a job."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vprdist.errors import UserError
from vprdist.launch.capacity import Capacity, capacity
from vprdist.launch.paths import check_folder
from vprdist.plan.budget import check_budget
from vprdist.plan.estimate import Estimate, Estimates, read_results
from vprdist.plan.power import Power, power_of
from vprdist.plan.probe_cost import ProbeCost, probe_cost
from vprdist.plan.queries import check_queries
from vprdist.plan.reuse import results_left_behind, reuse_of_other_code
from vprdist.plan.space import Space, space
from vprdist.prepare.checks import check_profile
from vprdist.prepare.prepare import Prepared, look
from vprdist.prepare.rights import check_rights, check_trials
from vprdist.search.proposing import check_proposer
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.result import ResultRow
from vprdist.spec.sweep import SweepSpec, trial_at
from vprdist.spec.trial import Digests, TrialSpec
from vprdist.store.manifest import sweep_folder
from vprdist.store.proposals import Proposals, proposals_path
from vprdist.store.trial_folder import TrialFolder, held

State = Literal[
    "new",
    "done",
    "stopped early",
    "running",
    "watched by another driver",
    "failed before",
    "begun",
    "not resolved yet",
    "not proposed yet",
]
UNKNOWN = Digests(dataset="", cache=None, weights="")
"""Stands for what nobody knows before the data are there."""
OVER: tuple[State, ...] = ("done", "stopped early")


@dataclass(frozen=True)
class Planned:
    """One trial: its id where it is known, how far it is, and how long it would take."""

    trial: TrialSpec
    trial_id: str | None
    state: State
    estimate: Estimate


@dataclass(frozen=True)
class Plan:
    """What a sweep would do."""

    sweep: SweepSpec
    profile: ClusterProfile
    runs: Path
    looked: Prepared
    trials: tuple[Planned, ...]
    capacity: Capacity
    space: Space
    over_budget: UserError | None
    power: Power | None
    queries: tuple[str, ...] = ()
    probes: ProbeCost | None = None
    reused: str | None = None
    left_behind: str | None = None

    @property
    def to_run(self) -> list[Planned]:
        """Trials that would be submitted, or are on their way."""
        return [planned for planned in self.trials if planned.state not in OVER]


def survey(sweep: SweepSpec, profile: ClusterProfile, runs: Path) -> Plan:
    """Look at everything.

    Raises:
        UserError: the sweep cannot run as it is.
    """
    check_profile(profile, sweep.trials)
    check_folder(runs, profile.kind)
    guard = check_rights(sweep, runs, profile.trust)
    check_proposer(sweep.search)
    looked = look(sweep, profile, runs)
    check_trials(guard, looked.trials, runs)
    results = read_results(runs)
    trials = planned_trials(sweep, looked, results)
    remaining = [planned.estimate for planned in trials if planned.state not in OVER]
    probes = probe_cost(sweep, looked.trials[0], profile, results, runs)
    if probes is not None:
        remaining += probes.estimates(profile)
    over = None
    try:
        check_budget(sweep, profile, len(trials), remaining)
    except UserError as error:
        over = error
    room = space([planned.trial for planned in trials], runs, profile.num_ranks)
    found = power_of(sweep, looked.num_queries, len(trials), results, runs)
    queries = tuple(check_queries(sweep, looked.trials))
    reused, left = reuse_of_other_code(sweep, looked), results_left_behind(sweep, looked)
    bears = capacity(profile, sweep.search.method.proposes)
    return Plan(sweep, profile, runs, looked, trials, bears, room, over, found, queries, probes, reused, left)


def planned_trials(sweep: SweepSpec, prepared: Prepared, results: Sequence[ResultRow]) -> tuple[Planned, ...]:
    """Every trial of a sweep. A search has those that earlier runs proposed, and as many as are still to come: what
    these will be nobody knows, and each is taken to cost what the first point does.

    Args:
        prepared: its trials as far as they could be resolved.
        results: earlier ones, to estimate from.
    """
    trials = list(prepared.trials)
    proposals = Proposals(
        proposals_path(sweep_folder(prepared.runs, sweep.name)),
        lambda point: prepared.resolve(trial_at(sweep, point)), sweep.objective,
    )  # fmt: skip
    left = 0
    if not sweep.search.method.proposes:
        proposals.read_stops()
    elif sweep.search.method.searches_subsets:  # which of those proposed it still asks for, values decide
        trials, left = [], sweep.num_distinct
    else:
        trials, proposals.tell = [], lambda trial: trials.append(trial)
        proposals.read()
        left = max(0, sweep.num_trials - len(proposals.known))
    first = prepared.trials[0]
    estimates = Estimates(prepared.profile, results)
    like = Planned(first, None, "not proposed yet", estimates.of(first))
    return (*(_planned(trial, prepared, proposals.stopped, estimates) for trial in _once(trials)), *[like] * left)


def _once(trials: Sequence[TrialSpec]) -> list[TrialSpec]:
    """The same experiment twice runs once; before its data are there, it is told by what is left of its settings."""
    seen: dict[str, TrialSpec] = {}
    for trial in trials:
        known = trial if trial.digests else trial.resolved(UNKNOWN)
        seen.setdefault(known.trial_id if trial.digests else known.model_dump_json(), trial)
    return list(seen.values())


def _planned(
    trial: TrialSpec, prepared: Prepared, stopped: Container[str], estimates: Estimates
) -> Planned:  # fmt: skip
    expected = estimates.of(trial)
    if trial.digests is None:
        return Planned(trial, None, "not resolved yet", expected)
    state = trial_state(TrialFolder.of(prepared.runs, trial.trial_id))
    if state != "done" and trial.trial_id in stopped:
        state = "stopped early"
    return Planned(trial, trial.trial_id, state, expected)


def trial_state(folder: TrialFolder) -> State:
    """How far a trial is, from its folder alone."""
    if folder.has_result:
        return "done"
    if folder.is_running:
        return "running"
    if folder.path.exists() and held(folder.driver_lock):
        return "watched by another driver"
    if folder.failure_file.exists():
        return "failed before"
    return "begun" if folder.job_file.exists() else "new"

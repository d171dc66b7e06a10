"""Drives a prepared sweep: its trials through Ray Tune, the probes of its networks, and what came out."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vprdist.attribution.attribute import attribute
from vprdist.console import Console, bar
from vprdist.files import canonical_json
from vprdist.launch.driver_job import asked_at, in_driver_job, requeue_self
from vprdist.prepare.prepare import Prepared
from vprdist.probes.make import make_probes, orders_of
from vprdist.report.attribution import replace_attribution
from vprdist.report.publish import leaderboard
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.subsets import Point
from vprdist.spec.sweep import SweepSpec, trial_at
from vprdist.spec.trial import TrialSpec
from vprdist.store.driving import check_wanted, driving
from vprdist.store.manifest import Manifest
from vprdist.store.trial_folder import TrialFolder

if TYPE_CHECKING:
    from vprdist.probes.order import ProbeOrder
    from vprdist.search.book import Outcome
    from vprdist.search.subset_rule import SubsetRule
    from vprdist.store.journal import Failure
    from vprdist.store.proposals import Proposal, Proposals


def drive(
    sweep: SweepSpec, profile: ClusterProfile, prepared: Prepared, book: Manifest, runs: Path, console: Console,
    only: frozenset[str] | None,
) -> int:  # fmt: skip
    """Run what has no result yet; show the leaderboard, what is said of classes, and what failed.

    Args:
        only: ids of the trials to run; the others stay as they are.

    Returns:
        The exit code: 0 all trials have a result, 1 some failed, 130 interrupted.
    """
    with driving(book.folder):
        return _drive(_Driver(sweep, profile, prepared, book, runs, console, only))


def _drive(driver: _Driver) -> int:
    from vprdist.search.leaving import SearchInterrupted

    sweep, book, runs, console = driver.sweep, driver.book, driver.runs, driver.console
    try:
        outcome, proposals = driver.run()
    except SearchInterrupted as left:
        console.print(str(left), style="yellow")
        if left.signal == signal.SIGUSR2 and in_driver_job():
            console.print("The driver goes back into the queue.")
            requeue_self()
        return 130
    ids = {} if proposals is None else proposals.ids
    replace_attribution(book.folder, attribute(sweep, driver.prepared.trials, ids, outcome.results, runs))
    code = leaderboard(book.folder, runs, console)
    if outcome.stopped:
        text = f"{len(outcome.stopped)} trial(s) were stopped early by {sweep.search.scheduler}; they have no row"
        console.print(text, style="yellow")
    _show_refused(proposals.known if proposals else (), console)
    return _show_failures(sweep, outcome.failures, book.shown, console) or code


@dataclass(frozen=True)
class _Driver:
    sweep: SweepSpec
    profile: ClusterProfile
    prepared: Prepared
    book: Manifest
    runs: Path
    console: Console
    only: frozenset[str] | None

    def run(self) -> tuple[Outcome, Proposals | None]:
        """Everything, to its end."""
        if not self.sweep.search.method.searches_subsets:
            return self.search(None)
        from vprdist.search.subset_rule import SubsetRule

        if not self.sweep.search.method.trains_one:
            return self.search(SubsetRule(self.sweep))
        outcome, proposals = self.search(SubsetRule(self.sweep))
        assert proposals is not None
        finalists = self.probe(outcome, proposals)
        if not any(finalists.values()):
            return outcome, proposals
        # A network that failed has no probes: should it be tried again now, nothing could be said of any.
        rule = SubsetRule(self.sweep, lambda setting: finalists[canonical_json(setting)])
        return self.search(rule, frozenset(outcome.failures))

    def search(
        self, rule: SubsetRule | None, given_up: frozenset[str] = frozenset()
    ) -> tuple[Outcome, Proposals | None]:
        """Trials through Tune, until the searcher, or the rule of subsets, wants no more."""
        from vprdist.search.driver import run_search
        from vprdist.search.progress import SweepProgress

        sweep, only, proposals = self.sweep, self.only, self.proposals()
        trials = () if sweep.search.method.proposes else self.prepared.trials
        # Points of a grid may be one trial, and are counted once; what a searcher will propose is known as a number.
        most = sweep.num_distinct if only is None and sweep.search.method.proposes else 0
        outcome = run_search(
            [trial for trial in trials if only is None or trial.trial_id in only],
            sweep_name=sweep.name,
            objective=sweep.objective,
            profile=self.profile,
            runs=self.runs,
            view=SweepProgress(self.book.shown, sweep.objective, self.console, most),
            search=sweep.search,
            proposals=proposals,
            only=only,
            wanted=None if rule is None else rule.wanted,
            given_up=given_up,
            asked_at=asked_at(self.book.folder),
        )
        return outcome, proposals

    def proposals(self) -> Proposals | None:
        """The memory of what was proposed; None for a plain grid."""
        from vprdist.store.proposals import Proposals, proposals_path

        sweep, book, prepared = self.sweep, self.book, self.prepared
        if not sweep.search.follows:
            return None

        def told(trial: TrialSpec) -> None:
            book.add(trial)
            book.write()

        return Proposals(
            proposals_path(book.folder),
            lambda point: prepared.resolve(trial_at(sweep, point)), sweep.objective, told,
        )  # fmt: skip

    def probe(self, outcome: Outcome, proposals: Proposals) -> dict[str, list[int]]:
        """Probe every network that has a result; the finalists of each setting, by its canonical JSON."""
        from vprdist.probes.read import finalists_of

        orders = [(at, self._orders(at, outcome, proposals)) for at in self.sweep.settings]
        every = [order for _, some in orders for order in some]
        make_probes(
            every, self.profile, lambda text: self.console.print(text),
            lambda title: bar(self.console, title), check=lambda: check_wanted(self.book.folder),
        )  # fmt: skip
        return {canonical_json(at): finalists_of(self.sweep, at, some) for at, some in orders}

    def _orders(self, setting: Point, outcome: Outcome, proposals: Proposals) -> list[ProbeOrder]:
        def network_at(point: Point) -> TrialFolder | None:
            trial_id = proposals.ids.get(canonical_json(point))
            return TrialFolder.of(self.runs, trial_id) if trial_id and trial_id in outcome.results else None

        return orders_of(self.sweep, setting, network_at)


def _show_refused(proposals: Sequence[Proposal], console: Console) -> None:
    """Points that the searcher proposed and that are no trials."""
    refused = [proposal for proposal in proposals if proposal.refused]
    for proposal in refused[:5]:
        console.print(f"no trial: {proposal.point}: {proposal.refused}", style="yellow")
    if len(refused) > 5:
        console.print(f"… and {len(refused) - 5} more proposals that are no trials", style="yellow")


def _show_failures(
    sweep: SweepSpec, failures: Mapping[str, Failure], names: Mapping[str, str], console: Console
) -> int:
    """1 when there are some."""
    for trial_id, failure in failures.items():
        word = "cancelled" if failure.kind == "cancelled" else "failed"
        console.print(f"{word}: {names[trial_id]} ({trial_id}): {failure.reason}", style="red")
        for line in failure.log_lines:
            console.print(f"    {line}", style="dim")
    if failures:
        console.print(f"The same command again, or vprdist retry {sweep.name}, tries them once more.", style="yellow")
    return int(bool(failures))

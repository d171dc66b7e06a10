"""A sweep is started: everything that can be wrong is looked at, then it is driven, here or as a job of its own."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from vprdist.console import Console, bar
from vprdist.driver.drive import drive
from vprdist.launch.check import check_cluster
from vprdist.launch.driver_job import asked_at, check_detachable, in_driver_job, requeue_self, submit_driver
from vprdist.launch.own_code import unnamed
from vprdist.launch.paths import check_folder
from vprdist.launch.submitit_contract import check_submitit
from vprdist.launch.warm import JOB_MODULES, kept
from vprdist.plan.budget import check_budget
from vprdist.plan.driver_cost import driver_job_gb
from vprdist.plan.estimate import read_results
from vprdist.plan.probe_cost import probe_cost
from vprdist.plan.probe_memory import driver_probe_gb
from vprdist.plan.queries import check_queries
from vprdist.plan.reuse import results_left_behind, reuse_of_other_code
from vprdist.plan.survey import OVER, planned_trials
from vprdist.prepare.checks import check_profile, check_runs_folder, paths_of
from vprdist.prepare.prepare import Prepared, prepare, unready
from vprdist.prepare.rights import check_rights, check_trials, trust_note
from vprdist.private import narrow_umask
from vprdist.search.proposing import check_proposer
from vprdist.search.ray_contract import check_version
from vprdist.spec.idle import idle_settings
from vprdist.spec.profile import ClusterProfile, read_profile
from vprdist.spec.profile_choice import settle_cluster
from vprdist.spec.sweep import SweepSpec, with_lines
from vprdist.spec.sweep_file import read_sweep
from vprdist.spec.trial import TrialSpec
from vprdist.store.driving import check_wanted, preparing, want_again
from vprdist.store.manifest import Manifest, sweep_file, sweep_folder
from vprdist.trackers.beside import tracked


def resume(name: str, runs: Path, console: Console, only: frozenset[str]) -> int:
    """Some trials of a sweep that was started before, from the file that it left in its folder."""
    return run(read_sweep(sweep_file(sweep_folder(runs, name))), runs, console, only=only)


def run(
    sweep: SweepSpec, runs: Path, console: Console, only: frozenset[str] | None = None, detach: bool = False
) -> int:
    """Run a sweep to its leaderboard.

    Args:
        only: ids of the trials to run; the others stay as they are.
        detach: submit the driver as a job, and return.
    """
    sweep, chosen = settle_cluster(sweep)
    if chosen:
        console.print(chosen)
    profile = read_profile(sweep.cluster, sweep.where("cluster"))
    if detach:
        check_detachable(profile)
    for note in () if only is not None or in_driver_job() else idle_settings(sweep, profile):
        console.print(note, style="yellow")
    if (trusted := trust_note(profile)) is not None:
        console.print(trusted, style="yellow")
    narrow_umask(profile.trust)
    loaded = (*JOB_MODULES, "vprdist.training.run") if profile.kind == "local" else ()
    with with_lines(sweep), _left_at_sigterm(), _requeued_at_usr2(console), kept(loaded):
        return _run(sweep, profile, runs, console, only, detach)


@contextmanager
def _left_at_sigterm() -> Iterator[None]:
    """SIGTERM ends the driver as Ctrl-C does: what it makes here (caches, probes) is made by processes of its own,
    which would go on without it. While trials run, `search.leaving` hears the signal first."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one ends at once
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _requeued_at_usr2(console: Console) -> Iterator[None]:
    """A detached driver that is asked to leave goes back into the queue, also while it still makes a cache."""
    if not in_driver_job():
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        raise _Leave

    signal.signal(signal.SIGUSR2, leave)
    try:
        yield
    except _Leave:
        console.print("The driver goes back into the queue.")
        requeue_self()
        raise KeyboardInterrupt from None


class _Leave(BaseException):
    """USR2 came."""


def _run(
    sweep: SweepSpec, profile: ClusterProfile, runs: Path, console: Console, only: frozenset[str] | None, detach: bool
) -> int:
    check_profile(profile, sweep.trials)
    for place in (runs, Path.cwd()) if detach else (runs,):
        check_folder(place, profile.kind)
    check_runs_folder(runs, profile.trust)
    if (reason := unnamed(profile.trust)) is not None:
        console.print(f"Jobs do not take vprdist from where this driver has it: {reason}", style="yellow")
    folder, guard = sweep_folder(runs, sweep.name), check_rights(sweep, runs, profile.trust)
    if only is None:  # known trials need nobody who proposes
        check_proposer(sweep.search)
    check_version()
    check_submitit()
    want_again(folder, asked_at(folder))
    check_budget(sweep, profile, sweep.num_distinct, ())  # the budget of trials; that of GPU-hours needs their ids
    # The cluster was asked when a person submitted a driver's job; after an outage nobody would start it once more.
    for note in () if in_driver_job() else check_cluster(profile, paths_of(sweep.trials, runs)):
        if not note.startswith("sbatch"):
            console.print(f"not checked: {note}", style="dim")
    if detach and (reason := unready(sweep, profile, runs)) is not None:
        console.print(f"{reason}: the driver's job sees to it first")
        book = Manifest(folder, sweep, ())
        book.keep_known()
        book.write()
        return _detach(sweep, profile, folder, runs, console, sweep.trials[0])
    with preparing(folder, sweep.objective) as seen:
        prepared, book = _prepared(sweep, profile, runs, console, only, detach, seen)
    check_trials(guard, prepared.trials, runs)
    if detach:
        return _detach(sweep, profile, book.folder, runs, console, prepared.trials[0])
    with tracked(runs, sweep.name, sweep.track, console):
        return drive(sweep, profile, prepared, book, runs, console, only)


def _prepared(
    sweep: SweepSpec, profile: ClusterProfile, runs: Path, console: Console, only: frozenset[str] | None,
    detach: bool, seen: Callable[[str, int, int], None],
) -> tuple[Prepared, Manifest]:  # fmt: skip
    """Everything that the sweep needs is made and looked at, and its manifest written."""
    folder = sweep_folder(runs, sweep.name)

    @contextmanager
    def noted(title: str) -> Iterator[Callable[[int, int], None]]:
        seen(title, 0, 0)
        with bar(console, title) as advance:

            def both(done: int, total: int) -> None:
                advance(done, total)
                seen(title, done, total)

            yield both

    prepared = prepare(sweep, profile, runs, console.print, noted, lambda: check_wanted(folder))
    for note in prepared.fallbacks:
        console.print(f"fell back: {note}", style="yellow")
    for fact in prepared.facts:
        console.print(f"data: {fact}", style="yellow")
    _check_cost(sweep, profile, prepared, runs)
    for note in check_queries(sweep, prepared.trials):
        console.print(note, style="dim")
    for earlier in (reuse_of_other_code(sweep, prepared), results_left_behind(sweep, prepared)):
        if only is None and earlier is not None:
            console.print(earlier, style="yellow")
    book = Manifest(folder, sweep, prepared.fallbacks)
    if not sweep.search.method.proposes:
        if (before := book.others(prepared.trials)) is not None:
            text = f"sweep {sweep.name} had {before} other trials before: its leaderboard now shows the present ones"
            console.print(f"{text} (their results are kept; name=… keeps leaderboards apart)", style="yellow")
        for trial in prepared.trials:
            book.add(trial)
        book.compare(prepared.trials)
    elif detach:
        book.keep_known()  # until the driver's job has read the proposals again
    book.write()
    return prepared, book


def _check_cost(sweep: SweepSpec, profile: ClusterProfile, prepared: Prepared, runs: Path) -> None:
    if sweep.budget.gpu_hours is None and sweep.budget.trials is None:
        return
    results = read_results(runs)
    trials = planned_trials(sweep, prepared, results)
    estimates = [planned.estimate for planned in trials if planned.state not in OVER]
    probes = probe_cost(sweep, prepared.trials[0], profile, results, runs)
    check_budget(sweep, profile, sweep.num_distinct, estimates + (probes.estimates(profile) if probes else []))


def _detach(
    sweep: SweepSpec, profile: ClusterProfile, folder: Path, runs: Path, console: Console, trial: TrialSpec
) -> int:
    memory_gb = profile.driver.memory_gb or driver_job_gb(driver_probe_gb(sweep, trial))
    driver, new = submit_driver(folder, runs, profile, memory_gb)
    console.print(f"driver: job {driver.job_id} {'was submitted' if new else 'is there already'}; log {driver.log}")
    console.print(f"look:   vprdist status {sweep.name} --runs {runs} --watch")
    console.print(f"end it: scancel {driver.job_id} (its jobs go on), or vprdist cancel {sweep.name} (they end too)")
    return 0

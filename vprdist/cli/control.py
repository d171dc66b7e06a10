"""`vprdist cancel`, `retry`, `prune`: what a person does to trials of a sweep."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from vprdist.cli.options import add_runs
from vprdist.cli.words import about
from vprdist.console import Console, add_command, fitted_table
from vprdist.errors import LaunchError, UserError
from vprdist.launch.array_folder import Array
from vprdist.launch.cancel import cancelled_job, end_jobs, first_jobs_taken, mark_cancelled
from vprdist.launch.driver_job import find_driver, wait_until_gone
from vprdist.launch.queue_rows import queue_name
from vprdist.launch.slurm import cancel_jobs
from vprdist.machine import current_user
from vprdist.spec.computation import COMPUTATION, FIRST
from vprdist.status.arrays import ArrayFacts, cache_arrays, probe_arrays, read_array
from vprdist.status.facts import look_at_queue, may_live
from vprdist.status.find import Sweep, find_sweep, pick
from vprdist.status.first_jobs import row_of
from vprdist.status.prune import find_waste, remove
from vprdist.store.driving import cancel_rest, is_driven
from vprdist.store.first_job import unfinished_first_jobs
from vprdist.store.journal import JobRecord
from vprdist.store.manifest import read_manifest
from vprdist.store.proposals import is_searched
from vprdist.store.trial_folder import TrialFolder, held

if TYPE_CHECKING:
    from vprdist.console import Commands


def add_commands(commands: Commands) -> None:
    """Add them to the command line."""
    cancel = add_command(commands, "cancel", _cancel, about("cancel"), "table1 'rgb 0-2'")
    _which(cancel, "all that are not over")
    retry = add_command(commands, "retry", _retry, about("retry"), "table1")
    _which(retry, "all that failed")
    retry.add_argument("--list", action="store_true", help="only show them, and why they failed")
    prune = add_command(commands, "prune", _prune, about("prune"), "--orphans")
    prune.description = (
        "Remove what no leaderboard needs: checkpoints of trials that have a result, and the logs of all but their "
        "last submission. Results, metrics, predictions and everything of unfinished trials stay, and the checkpoints "
        "of networks whose probes are still to be made."
    )
    prune.add_argument("sweep", nargs="*", help="only these sweeps' trials (default: all trials)")
    prune.add_argument("--orphans", action="store_true", help="also whole folders of trials that no sweep lists")
    _common(prune)


def _common(parser: argparse.ArgumentParser) -> None:
    add_runs(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask")


def _which(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument("sweep", help="its name")
    parser.add_argument("trial", nargs="*", help=f"ids, their beginnings, or row names (default: {default})")
    _common(parser)


def _job(found: JobRecord | ArrayFacts) -> str:
    return found.state if found.job_id is None else f"{found.job_id} ({found.state})"


def _cancel(args: argparse.Namespace, console: Console) -> int:
    sweep = find_sweep(args.runs.resolve(), args.sweep)
    picked, unreadable = _journalled(sweep, pick(sweep, args.trial), console)
    cancelled = {i: record for i in picked if (record := cancelled_job(sweep.trials[i])) is not None}
    driver = None if args.trial else find_driver(sweep.folder)
    arrays = [] if args.trial else _arrays(sweep, console)
    first = [] if args.trial else unfinished_first_jobs(args.runs.resolve())
    asked = [*(record for record in cancelled.values() if record.cluster == "slurm"), *(record for _, record in first)]
    queue = look_at_queue((), [*(array.queue_name for array in arrays), *map(queue_name, asked)])
    first = [(folder, record) for folder, record in first if queue.silent or row_of(record, queue)]
    first = [(folder, record) for folder, record in first if driver or not held(folder.driver_lock)]
    outlived = {i for i, record in cancelled.items() if may_live(sweep.trials[i], record, queue)}
    chosen = [i for i in picked if i in outlived or not sweep.trials[i].is_over]
    alive = [facts for facts in (read_array(array, queue) for array in arrays) if facts.state]
    rest = not args.trial and is_driven(sweep.folder)
    if not (chosen or driver or alive or first or rest):
        console.print(f"Nothing to cancel: every one of these trials is over{' or unreadable' * unreadable}.")
        return int(unreadable)
    lines = []
    for trial in chosen:
        record = sweep.trials[trial].job() if sweep.trials[trial].path.exists() else None
        lines.append((trial, sweep.names[trial], "none" if record is None else _job(record)))
    for facts in alive:
        lines.append(("-", facts.name, _job(facts)))
    for _, record in first:
        lines.append(("-", "first job", _job(record)))
    console.print(fitted_table(console, ("trial", "name", "job"), lines, words=(1,)))
    also = [] if driver is None else [f"the driver's job {driver.job_id}"]
    also += [f"{len(alive)} job array(s)"] if alive else ["what its driver makes beside trials"] if rest else []
    if not _agreed(args, console, f"Cancel {' and '.join([f'{len(chosen)} trial(s)', *also])}?"):
        return 1
    if driver is not None:  # first: it would submit others, or go on with the sweep's cache
        ended = cancel_jobs([driver.job_id], driver.clusters)
        how = "cancelled" if ended else "could not be ended: SLURM does not answer"
        console.print(f"driver: job {driver.job_id} {how}")
    if not args.trial:
        cancel_rest(sweep.folder, current_user())
        arrays = _arrays(sweep, console)  # once more: its driver may have begun another one before it heard of this
    jobs: list[tuple[TrialFolder, JobRecord]] = []
    marked = mark_cancelled([sweep.trials[trial] for trial in chosen], current_user())
    for trial, (outcome, record) in zip(chosen, marked, strict=True):
        console.print(f"{trial} {sweep.names[trial]}: {outcome}")
        if record is not None:
            jobs.append((sweep.trials[trial], record))
    if first and driver is not None:
        wait_until_gone(sweep.folder)  # it watches its first job as long as it lives
    with first_jobs_taken([folder for folder, _ in first]) as taken:
        left = end_jobs([*jobs, *taken], lambda text: console.print(text, style="dim"), arrays)
        _note_first(first, taken, left, console)
    for facts in alive:
        if facts.name not in left:
            console.print(f"array {facts.name}: cancelled")
    for name in left:
        console.print(f"job {name} is still there; the same command again ends it", style="yellow")
    with contextlib.suppress(UserError):  # proposals that cannot be read; what was asked for is done
        if not args.trial and is_searched(sweep.folder):
            console.print("A driver of this search that runs elsewhere proposes others: stop it (Ctrl-C) before.")
    again = "The same command again, or vprdist retry, does." if chosen else "The same command again does."
    console.print(f"A driver of {sweep.name} submits none of them. {again}")
    return 1 if left or unreadable else 0


def _note_first(
    first: Sequence[tuple[TrialFolder, JobRecord]], taken: Sequence[tuple[TrialFolder, JobRecord]],
    left: Sequence[str], console: Console,
) -> None:  # fmt: skip
    """Journal and say what became of first jobs; one that is still there is found by the same command again."""
    for folder, record in taken:
        if record.name not in left:
            folder.write_job(record.updated(state="cancelled"))
            console.print(f"first job {record.job_id}: cancelled")
    for folder, record in first:
        if folder.path not in [each.path for each, _ in taken]:
            console.print(f"first job {record.job_id} is left to a driver that waits for it")


def _journalled(sweep: Sweep, trials: Sequence[str], console: Console) -> tuple[list[str], bool]:
    """The trials whose journal can be read, or that have none; whether there are others. These are named."""
    found = []
    for trial in trials:
        try:
            sweep.trials[trial].job()
        except UserError as error:  # everything else can be cancelled all the same
            console.print(f"{trial} is left as it is: {error}", style="yellow")
        else:
            found.append(trial)
    return found, len(found) < len(trials)


def _arrays(sweep: Sweep, console: Console) -> list[Array]:
    """Job arrays that a driver of the sweep may have submitted: of its caches, and of its networks' probes."""
    found: list[Array] = []
    for arrays_of in (cache_arrays, probe_arrays):
        try:
            found += arrays_of(sweep)
        except UserError as error:  # everything else can be cancelled all the same
            console.print(f"some job arrays are not looked for: {error}", style="yellow")
    return found


def _retry(args: argparse.Namespace, console: Console) -> int:
    from vprdist.driver.start import resume

    runs = args.runs.resolve()
    sweep = find_sweep(runs, args.sweep)
    failed = [i for i in pick(sweep, args.trial) if sweep.trials[i].failure() and not sweep.trials[i].has_result]
    if not failed:
        console.print(f"No trial of {sweep.name} has failed.")
        return 0
    _show_failed(sweep, failed, console)
    if not args.list and (made_by := read_manifest(sweep.folder).get("computation", FIRST)) != COMPUTATION:
        raise LaunchError(
            f"sweep {sweep.name}",
            f"trials of computation {made_by} cannot be tried again by this code, which makes those of {COMPUTATION}",
            None,
            "Run the sweep again: it computes all of its trials anew. Or retry with the code that made them.",
        )
    if args.list or not _agreed(args, console, f"Run {len(failed)} trial(s) again?"):
        return 0 if args.list else 1
    return resume(sweep.name, runs, console, only=frozenset(failed))


def _show_failed(sweep: Sweep, failed: Sequence[str], console: Console) -> None:
    lines = []
    for trial in failed:
        failure = sweep.trials[trial].failure()
        assert failure is not None
        when = time.strftime("%m-%d %H:%M", time.localtime(failure.at))
        lines.append((trial, sweep.names[trial], failure.kind, str(failure.attempts), when, failure.reason[:200]))
    heads = ("trial", "name", "kind", "attempts", "when", "why")
    console.print(fitted_table(console, heads, lines, words=(1, 5), spare=(3, 4, 2)))


def _prune(args: argparse.Namespace, console: Console) -> int:
    runs = args.runs.resolve()
    trials = None
    if args.sweep:
        trials = {trial for name in args.sweep for trial in find_sweep(runs, name).trials}
    waste = find_waste(runs, trials, args.orphans)
    if not waste:
        console.print(f"Nothing to remove in {runs}.")
        return 0
    table = Table("what", "trials", "files", "MB")
    for what in sorted({each.what for each in waste}):
        kind = [each for each in waste if each.what == what]
        size = sum(each.bytes for each in kind) / 1e6
        table.add_row(
            what, str(len({e.trial for e in kind if e.trial}) or "-"), str(sum(e.files for e in kind)), f"{size:.1f}"
        )
    console.print(table)
    if not _agreed(args, console, "Remove it?"):
        return 1
    files, size = remove(runs, waste)
    console.print(f"{files} files removed, {size / 1e6:.1f} MB freed. Every leaderboard can still be made.")
    return 0


def _agreed(args: argparse.Namespace, console: Console, question: str) -> bool:
    """Ask; without a person there must be a --yes.

    Raises:
        LaunchError: nobody can be asked.
    """
    if args.yes:
        return True
    if not sys.stdin.isatty():
        raise LaunchError("--yes", "nobody can be asked (no terminal)", None, "Add --yes.")
    if console.input(f"{question} [y/N] ").strip().lower() in ("y", "yes"):
        return True
    console.print("Nothing was changed.")
    return False

"""python -m vprdist.sweep FILE [dotted.key=value …]: read a sweep file, run it, show the leaderboard."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from rich.console import Console

from vprdist.attribute import check_queries
from vprdist.attribute.memory import driver_probe_gb
from vprdist.checks import check_profile, check_runs_folder
from vprdist.console import bar
from vprdist.drive import drive
from vprdist.errors import UserError
from vprdist.launch.capacity import capacity
from vprdist.launch.check import check_cluster
from vprdist.launch.detach import asked_at, check_detachable, in_driver_job, requeue_self, submit_driver
from vprdist.launch.driving import check_wanted, want_again
from vprdist.manifest import Manifest
from vprdist.plan.budget import check_budget
from vprdist.plan.driver_cost import driver_job_gb
from vprdist.plan.estimate import read_results
from vprdist.plan.probes import probe_cost
from vprdist.plan.survey import OVER, paths_of, planned_trials
from vprdist.prepare import Prepared, prepare, unready
from vprdist.spec.profile import ClusterProfile, read_profile
from vprdist.spec.sweep import SweepSpec
from vprdist.spec.sweep_file import read_sweep
from vprdist.spec.trial import TrialSpec

EXAMPLE = """examples:
  python -m vprdist.sweep sweeps/table1.yaml
      the built-in demo city on this machine
  python -m vprdist.sweep sweeps/table1.yaml scale=paper cluster=example-gpu
      the paper's subset of MSLS (export MSLS_ROOT=…) on a SLURM cluster
  python -m vprdist.sweep sweeps/table1.yaml name=mine trial.data.root=/data/msls \\
      'trial.data.train=[zurich]' 'trial.data.validate=[cph]' trial.train.steps=200
      other cities and settings; values are YAML

The same command again continues: a trial that has a result is never run twice.
"""


def build_parser(prog: str) -> argparse.ArgumentParser:
    """The command line of a sweep."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Run a sweep file and show its leaderboard.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, help="a sweep file, e.g. sweeps/table1.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="dotted keys of the sweep file")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where results are kept (default: %(default)s)")
    parser.add_argument(
        "--detach",
        action="store_true",
        help="submit the driver as a small CPU job that requeues and resumes, and leave",
    )
    return parser


def main(argv: Sequence[str] | None = None, prog: str = "python -m vprdist.sweep") -> int:
    """Returns the exit code: 0 all trials have a result, 1 some failed, 2 bad input, 130 interrupted."""
    # Intermixed: an option may stand before, between or after the overrides.
    args = build_parser(prog).parse_intermixed_args(argv)
    return guarded(
        lambda console: run(read_sweep(args.file, args.overrides), args.runs.resolve(), console, detach=args.detach)
    )


def guarded(work: Callable[[Console], int]) -> int:
    """Run a command; what a user can mend becomes one message and exit code 2."""
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty(), width=None if sys.stdout.isatty() else 200)
    try:
        return work(console)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        # A full disk, a folder in the way: the system's words name the path.
        print(f"error: {error.filename or 'system'}: {error.strerror or error}.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted. What was made is kept; the same command again continues.", file=sys.stderr)
        return 130


def resume(name: str, runs: Path, console: Console, only: frozenset[str]) -> int:
    """Some trials of a sweep that was started before, from the file that it left in its folder."""
    return run(read_sweep(runs / "sweeps" / name / "sweep.yaml"), runs, console, only=only)


def run(
    sweep: SweepSpec, runs: Path, console: Console, only: frozenset[str] | None = None, detach: bool = False
) -> int:
    """Run a sweep to its leaderboard.

    Args:
        only: ids of the trials to run; the others stay as they are.
        detach: submit the driver as a job, and return.
    """
    profile = read_profile(sweep.cluster)
    if detach:
        check_detachable(profile)
    with _requeued_at_usr2(console):
        return _run(sweep, profile, runs, console, only, detach)


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
    check_runs_folder(runs)
    folder = runs / "sweeps" / sweep.name
    want_again(folder, asked_at(folder))
    check_budget(sweep, profile, sweep.num_trials, ())  # of trials; that of GPU-hours needs their ids
    # Of a driver's job it was asked when a person submitted it; after an outage nobody would start it once more.
    for note in () if in_driver_job() else check_cluster(profile, paths_of(sweep.trials, runs)):
        if not note.startswith("sbatch"):
            console.print(f"not checked: {note}", style="dim", markup=False)
    if detach and (reason := unready(sweep, profile, runs)) is not None:
        console.print(f"{reason}: the driver's job sees to it first", markup=False)
        book = Manifest(folder, sweep, ())
        book.keep_known()
        book.write()
        return _detach(sweep, profile, folder, runs, console, sweep.trials[0])
    prepared = prepare(
        sweep, profile, runs, lambda text: console.print(text, markup=False), lambda title: bar(console, title),
        lambda: check_wanted(folder),
    )  # fmt: skip
    for note in prepared.fallbacks:
        console.print(f"fell back: {note}", style="yellow")
    _check_cost(sweep, profile, prepared, runs)
    for note in check_queries(sweep, prepared.trials):
        console.print(note, style="dim", markup=False)
    book = Manifest(folder, sweep, prepared.fallbacks)
    if sweep.search.searcher is None:
        if (before := book.others(prepared.trials)) is not None:
            text = f"sweep {sweep.name} had {before} other trials before: its leaderboard now shows the present ones"
            console.print(f"{text} (their results are kept; name=… keeps leaderboards apart)", style="yellow")
        for trial in prepared.trials:
            book.add(trial)
        book.compare(prepared.trials)
    elif detach:
        book.keep_known()  # until the driver's job has read the proposals again
    book.write()
    if detach:
        return _detach(sweep, profile, book.folder, runs, console, prepared.trials[0])
    return drive(sweep, profile, prepared, book, runs, console, only)


def _check_cost(sweep: SweepSpec, profile: ClusterProfile, prepared: Prepared, runs: Path) -> None:
    if sweep.budget.gpu_hours is None and sweep.budget.trials is None:
        return
    results = read_results(runs)
    trials = planned_trials(sweep, prepared, results)
    estimates = [planned.estimate for planned in trials if planned.state not in OVER]
    probes = probe_cost(sweep, prepared.trials[0], profile, results, runs)
    check_budget(sweep, profile, sweep.num_trials, estimates + (probes.estimates(profile) if probes else []))


def _detach(
    sweep: SweepSpec, profile: ClusterProfile, folder: Path, runs: Path, console: Console, trial: TrialSpec
) -> int:
    readers = sweep.search.readers(min(capacity(profile).concurrent, sweep.num_trials))
    segments = any(trial.input.segmenter is not None for trial in sweep.trials)
    memory_gb = profile.driver.memory_gb or driver_job_gb(readers, segments, driver_probe_gb(sweep, trial))
    driver, new = submit_driver(folder, runs, profile, memory_gb)
    console.print(f"driver: job {driver.job_id} {'was submitted' if new else 'is there already'}; log {driver.log}")
    console.print(f"look:   vprdist status {sweep.name} --runs {runs} --watch")
    console.print(f"end it: scancel {driver.job_id} (its jobs go on), or vprdist cancel {sweep.name} (they end too)")
    return 0


if __name__ == "__main__":
    sys.exit(main())

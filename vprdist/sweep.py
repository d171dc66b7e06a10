"""python -m vprdist.sweep FILE [dotted.key=value …]: read a sweep file, run it, show the leaderboard."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vprdist import __version__
from vprdist.errors import UserError
from vprdist.files import read_json, write_json, write_text
from vprdist.prepare import Prepared, check_profile, check_runs_folder, prepare
from vprdist.report.leaderboard import show, write_leaderboard
from vprdist.report.rows import group_rows, row_names
from vprdist.spec.profile import read_profile
from vprdist.spec.result import read_result
from vprdist.spec.scales import SCALES
from vprdist.spec.sweep import SweepSpec, read_sweep

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
    return parser


def main(argv: Sequence[str] | None = None, prog: str = "python -m vprdist.sweep") -> int:
    """Returns the exit code: 0 all trials have a result, 1 some failed, 2 bad input, 130 interrupted."""
    # Intermixed: an option may stand before, between or after the overrides.
    args = build_parser(prog).parse_intermixed_args(argv)
    return guarded(lambda console: run(args.file, args.overrides, args.runs.resolve(), console))


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


def run(file: Path, overrides: Sequence[str], runs: Path, console: Console) -> int:
    """Run a sweep to its leaderboard."""
    from vprdist.search.driver import SearchInterrupted, run_search
    from vprdist.search.progress import SweepProgress

    sweep = read_sweep(file, overrides)
    profile = read_profile(sweep.cluster)
    check_profile(profile, sweep.trials)
    check_runs_folder(runs)
    prepared = prepare(sweep, runs, lambda text: console.print(text), lambda title: bar(console, title))
    for note in prepared.fallbacks:
        console.print(f"fell back: {note}", style="yellow")
    names = (
        row_names(prepared.trials, tuple(sweep.grid))
        if sweep.grid
        else {t.trial_id: sweep.name for t in prepared.trials}
    )
    folder = runs / "sweeps" / sweep.name
    if (before := _other_trials(folder, names)) is not None:
        text = f"sweep {sweep.name} had {before} other trials before: its leaderboard now shows the present ones"
        console.print(f"{text} (their results are kept; name=… keeps leaderboards apart)", style="yellow")
    _write_manifest(folder, sweep, prepared, names)
    try:
        outcome = run_search(
            prepared.trials,
            sweep_name=sweep.name,
            objective=sweep.objective,
            profile=profile,
            runs=runs,
            view=SweepProgress(names, sweep.objective, console),
        )
    except SearchInterrupted as left:
        console.print(str(left), style="yellow", markup=False)
        return 130
    code = leaderboard(folder, runs, console)
    for trial_id, failure in outcome.failures.items():
        console.print(f"failed: {names[trial_id]} ({trial_id}): {failure.reason}", style="red", markup=False)
        for line in failure.log_lines:
            console.print(f"    {line}", style="dim", markup=False)
    if outcome.failures:
        console.print("The same command again tries the failed trials once more.", style="yellow")
        return 1
    return code


def leaderboard(folder: Path, runs: Path, console: Console) -> int:
    """Show and publish the leaderboard of a sweep from the results that are there."""
    if not (folder / "manifest.json").exists():
        known = ", ".join(sorted(p.parent.name for p in folder.parent.glob("*/manifest.json"))) or "none"
        raise UserError(folder, "the sweep must have been started", None, f"Sweeps in {runs}: {known}.")
    manifest = _read_manifest(folder)
    names: dict[str, str] = manifest["names"]
    paths = [runs / "trials" / trial / "result.json" for trial in names]
    results = [read_result(path) for path in paths if path.exists()]
    if not results:
        console.print("No trial has a result yet.", style="yellow")
        return 1
    rows = group_rows(results, names, manifest["objective"])
    title = f"{manifest['name']} ({len(results)} of {len(names)} trials), best {manifest['objective']} first"
    show(rows, title, console)
    written = write_leaderboard(folder, rows, title)
    console.print(f"\nleaderboard: {', '.join(str(path) for path in written)}")
    console.print(f"trials:      {runs / 'trials'} (metrics, checkpoint, log; predictions/sheet.png to look at)")
    if all(len(row.seeds) == 1 for row in rows):
        console.print(
            "next:        'seeds=[0,1,2]' on the same command adds seeds, to tell rows from luck", markup=False
        )
    return 0


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    try:
        manifest: dict[str, Any] = read_json(path)
        return manifest | {"names": {entry["trial"]: entry["name"] for entry in manifest["trials"]}}
    except (ValueError, KeyError, TypeError) as error:
        remedy = f"Delete it and run the sweep again: {path}."
        raise UserError(path, "a manifest must be readable", str(error), remedy) from None


def _other_trials(folder: Path, names: dict[str, str]) -> int | None:
    """How many trials of the same sweep name the present command leaves out; None when there are none."""
    if not (folder / "manifest.json").exists():
        return None
    return len(set(_read_manifest(folder)["names"]) - set(names)) or None


def _write_manifest(folder: Path, sweep: SweepSpec, prepared: Prepared, names: dict[str, str]) -> None:
    """What this sweep is, so that it can be repeated and its leaderboard made again."""
    seeds = {trial.trial_id: trial.seed for trial in prepared.trials}
    manifest = {
        "name": sweep.name,
        "vprdist": __version__,
        "scale": sweep.scale,
        "objective": sweep.objective,
        "cluster": sweep.cluster,
        "trials": [{"trial": i, "name": names[i], "seed": seed} for i, seed in seeds.items()],
        "fallbacks": list(prepared.fallbacks),
    }
    # A sweep file again: every default written out, so that it says the same when defaults or scales change.
    trial = {key: value for key, value in sweep.trial.to_json().items() if key not in ("seed", "digests")}
    resolved = {
        "name": sweep.name,
        "scale": sweep.scale if sweep.scale in SCALES else "demo",
        "trial": trial,
        "search": {"grid": {key: list(values) for key, values in sweep.grid.items()}},
        "seeds": list(sweep.seeds),
        "objective": sweep.objective,
        "cluster": sweep.cluster,
    }
    write_json(folder / "manifest.json", manifest)
    write_text(folder / "sweep.yaml", yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True))


@contextmanager
def bar(console: Console, title: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on a terminal; elsewhere a line every tenth of the way."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    if not console.is_terminal:
        state = [0, 0]

        def note(done: int, total: int) -> None:
            # A line every tenth: enough for a log to show that work goes on.
            if total and (done == total or done * 10 // total != state[0] * 10 // max(state[1], 1)):
                console.print(f"{title}: {done}/{total}")
            state[:] = [done, total]

        yield note
        return
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


if __name__ == "__main__":
    sys.exit(main())

"""`vprdist importance`: which axes matter over the trials that a run folder has already."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vprdist.cli.options import add_runs
from vprdist.cli.words import about
from vprdist.console import Commands, Console, add_command
from vprdist.errors import UserError, nearest
from vprdist.report.evidence import QueriesOf
from vprdist.report.importance import MOST_NUMBERS, MOST_WORDS, importances
from vprdist.report.importance_tables import show_importance, write_importance
from vprdist.report.rows import group_rows, readable_results
from vprdist.report.sources import code_lines
from vprdist.spec.names import is_name
from vprdist.spec.vocabulary import METRICS
from vprdist.store.manifest import is_started, read_manifest, sweep_folder, sweep_names
from vprdist.store.queries import Queries, queries_path, read_queries
from vprdist.store.trial_folder import TrialFolder, trials_folder

LIMITS = (
    "Trials are compared where queries, database and evaluation are the same. Luck is told from effects by rows with "
    f"several seeds. An axis of more than {MOST_NUMBERS} numbers is cut in thirds; one of more than {MOST_WORDS} "
    "words, and of more than half as many as rows, is left out. Axes that always vary together have one number; what "
    "three axes change only together is in no share. Of probes (searcher one_network) the leaderboard speaks."
)
MOST_TOLD = 3
"""Files left out that are told one by one."""


def add_commands(commands: Commands) -> None:
    """Add it to the command line."""
    text = about("importance")
    told = add_command(commands, "importance", _importance, text, "table1 recipes")
    told.description = f"{told.description} {LIMITS}"
    told.add_argument(
        "what", nargs="*", metavar="RUN OR SWEEP",
        help="sweeps by name, or run folders; their trials count together (default: all trials of --runs)",
    )  # fmt: skip
    told.add_argument("--objective", help="the metric, or a program's number (default: the sweeps' own, else recall@1)")
    add_runs(told)


@dataclass(frozen=True)
class _Asked:
    """By trial id where its result lies, if it has one; the sweeps' folders and objectives."""

    results: dict[str, Path]
    sweeps: list[Path]
    objectives: set[str]


def _importance(args: argparse.Namespace, console: Console) -> int:
    asked = _asked(args.what, args.runs.resolve())
    objective = _objective(args.objective, asked)
    name = " ".join(args.what) or str(args.runs)
    results, refused = readable_results(asked.results.values())
    queries_of = _reader(asked, refused)
    # Rows of several sweeps may have one name: what tells rows apart here is the trial without its seed.
    names = {each.trial_id: each.trial.model_copy(update={"seed": 0}).trial_id for each in results}
    known = {*METRICS, *(name for each in results for name in each.metrics)}
    if objective not in known:
        raise UserError(
            "--objective", "no result has a number of that name", objective, nearest(objective, sorted(known))
        )
    rows = group_rows(results, names, objective)
    found, silent = importances(rows, objective, queries_of)
    for text in refused[:MOST_TOLD]:
        console.print(f"left out: {text}", style="yellow")
    if len(results) < len(asked.results):
        console.print(f"{len(asked.results) - len(results)} of {len(asked.results)} trials have no result yet.")
    if not found:
        fault = f"no axis can be compared: {silent[0][1]}" if silent else "no trial has a result"
        raise UserError(name, fault, None, "Run trials that differ, with several seeds each.")
    missing = len(asked.results) - len(results)
    so_far = f"; unfinished: {missing} of {len(asked.results)} trials have no result" if missing else ""
    title = f"Which axes matter? ({name}, {objective}{so_far})"
    for one in found:
        show_importance(one, title, console)
    for what, why in silent:
        console.print(f"{what} says nothing: {why}", style="yellow")
    for text in code_lines(rows):
        console.print(text, style="yellow")
    if len(asked.sweeps) == 1 and len(args.what) == 1:
        written = write_importance(asked.sweeps[0], found, title)
        console.print(f"\nresults: {', '.join(map(str, written))}", soft_wrap=True)
    return 0


def _reader(asked: _Asked, refused: list[str]) -> QueriesOf:
    """Reads per-query results; a file that cannot be read costs its row, and is told."""
    known: dict[str, Queries] = {}

    def queries_of(called: str) -> Queries | None:
        trial, _, data_set = called.partition("@")
        try:
            found = read_queries(queries_path(asked.results[trial].parent, data_set))
        except UserError as error:
            refused.append(str(error))
            return None
        if found is not None:
            found = known[called] = found.sharing(next(iter(known.values()), found))
        return found

    return queries_of


def _asked(words: Sequence[str], runs: Path) -> _Asked:
    """The trials of sweeps and run folders, each once.

    Raises:
        UserError: no such sweep or folder.
    """
    asked = _Asked({}, [], set())
    for word in words or [str(runs)]:
        folder = Path(word).resolve()
        if trials_folder(folder).is_dir():
            trials = (each.name for each in trials_folder(folder).iterdir() if each.is_dir())
            asked.results.update({trial: TrialFolder.of(folder, trial).result_file for trial in sorted(trials)})
            continue
        if not words:
            raise UserError(runs, "no trials are there", None, "Name the folder of your runs by --runs.")
        if not is_name(word) or not is_started(sweep_folder(runs, word)):
            known = ", ".join(sweep_names(runs)) or "none"
            raise UserError(runs, "no such sweep, and no such run folder", word, f"Sweeps: {known}.")
        asked.sweeps.append(sweep_folder(runs, word))
        manifest = read_manifest(asked.sweeps[-1])
        asked.results.update({trial: TrialFolder.of(runs, trial).result_file for trial in manifest["names"]})
        asked.objectives.add(manifest["objective"])
    return asked


def _objective(wanted: str | None, asked: _Asked) -> str:
    if wanted is not None:
        return wanted
    if len(asked.objectives) > 1:
        found = ", ".join(sorted(asked.objectives))
        raise UserError("--objective", "the sweeps have several objectives, and none is named", found, "Name one.")
    return next(iter(asked.objectives), METRICS[0])

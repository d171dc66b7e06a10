"""Sweeps and trials by the words that a person types."""

from __future__ import annotations

import contextlib
import shlex
from dataclasses import dataclass
from pathlib import Path

from vprdist.errors import LaunchError, UserError, nearest
from vprdist.spec.search import Direction
from vprdist.store.driving import read_driver, read_preparing
from vprdist.store.journal import NAME_PREFIX
from vprdist.store.manifest import is_started, read_manifest, sweep_folder, sweep_names, with_seed
from vprdist.store.trial_folder import TrialFolder, trials_folder


@dataclass(frozen=True)
class Sweep:
    """A sweep as its manifest lists it: names and folders by trial id, in order.

    Attributes:
        names: the row's, and the seed where there are several.
        also: other words for a trial: its row's name, with and without the seed.
    """

    name: str
    folder: Path
    objective: str
    names: dict[str, str]
    trials: dict[str, TrialFolder]
    also: dict[str, tuple[str, str]]
    direction: Direction = "maximize"


def find_sweep(runs: Path, name: str) -> Sweep:
    """A sweep by its name; one whose city or cache is still being made has no trials yet.

    Raises:
        LaunchError: there is none of that name.
        UserError: its manifest cannot be read.
    """
    folder = sweep_folder(runs, name)
    known = sweep_names(runs)
    if name not in known and (preparing := read_preparing(folder)) is not None:
        return Sweep(name, folder, preparing.objective, {}, {}, {})
    if name not in known:
        remedy = nearest(name, known) if known else "No sweep was started here; --runs names another run folder."
        raise LaunchError(runs, "no such sweep", name, remedy)
    manifest = read_manifest(folder)
    seeds = len({entry["seed"] for entry in manifest["trials"]}) > 1
    also = {e["trial"]: (e["name"], with_seed(e["name"], e["seed"])) for e in manifest["trials"]}
    names = {trial: with_its_seed if seeds else row for trial, (row, with_its_seed) in also.items()}
    trials = {trial: TrialFolder.of(runs, trial) for trial in names}
    return Sweep(name, folder, manifest["objective"], names, trials, also, manifest["direction"])


def sweeps_in_preparation(runs: Path) -> list[str]:
    """Sweeps that are no more than a city or a cache in the making."""
    folders = sweep_folder(runs, "*").parent.glob("*")
    return sorted(each.name for each in folders if not is_started(each) and read_preparing(each) is not None)


def pick(sweep: Sweep, words: list[str]) -> list[str]:
    """Trial ids of a sweep by id, the beginning of an id, or row name; all of them where no word is given, each once.

    Raises:
        LaunchError: a word names no trial, or several.
    """
    if not words:
        return list(sweep.trials)
    return list(dict.fromkeys(_pick(sweep, word) for word in words))


def _pick(sweep: Sweep, word: str) -> str:
    found = [i for i in sweep.trials if word in sweep.also[i]] or [i for i in sweep.trials if _begins(i, word)]
    if len(found) == 1:
        return found[0]
    known = [*sweep.names.values()]
    if not found:
        raise LaunchError(f"sweep {sweep.name}", "no such trial", word, nearest(word, known))
    raise LaunchError(f"sweep {sweep.name}", "the word fits several trials", word, f"It fits {', '.join(found)}.")


def _begins(trial_id: str, word: str) -> bool:
    """Every id begins with an empty word, but nobody means one by it: a script has an unset variable there."""
    return bool(word) and trial_id.startswith(word)


def find_trial(runs: Path, word: str) -> TrialFolder:
    """One trial of any sweep: by id, the beginning of an id, SWEEP/row name, or a row name that one sweep alone has.

    Raises:
        LaunchError: no such trial, or several.
    """
    name, slash, rest = word.partition("/")
    if slash and name in sweep_names(runs):
        sweep = find_sweep(runs, name)
        return sweep.trials[_pick(sweep, rest)]
    folder = trials_folder(runs)
    begins = word.rpartition(NAME_PREFIX)[2]  # a job's name has the id behind it
    found = sorted(entry.name for entry in folder.glob("*") if _begins(entry.name, begins))
    if len(found) == 1:
        return TrialFolder.of(runs, found[0])
    if found:
        raise LaunchError(folder, "the ids of several trials begin with it", word, f"It fits {', '.join(found[:5])}.")
    named = _called(runs, word)
    if len({trial for _, trial in named}) == 1:
        return TrialFolder.of(runs, named[0][1])
    if named:
        words = ", ".join(f"{trial} (of {sweep})" for sweep, trial in named[:5])
        raise LaunchError(folder, "several trials have that name", word, f"Name one by its id: {words}.")
    if word in sweep_names(runs):
        remedy = _rows_of(runs, word)
    else:
        remedy = "Give an id or its beginning, or SWEEP/row name; `vprdist status SWEEP` lists them."
    raise LaunchError(folder, "no such trial", word, remedy)


def _rows_of(runs: Path, name: str) -> str:
    """What to type where a trial is wanted and somebody typed a sweep's name; the driver has a log of its own."""
    sweep = find_sweep(runs, name)
    row = shlex.quote(f"{name}/{next(iter(sweep.names.values()), 'ROW')}")
    driver = read_driver(sweep.folder)
    own = f" What its driver said is in {driver.log}." if driver is not None else ""
    return f"It is a sweep. Name one of its trials: {row}; vprdist status {shlex.quote(name)} lists them.{own}"


def _called(runs: Path, name: str) -> list[tuple[str, str]]:
    """(sweep, trial id) of every trial of that name; a sweep whose manifest cannot be read has none."""
    found = []
    for sweep_name in sweep_names(runs):
        with contextlib.suppress(UserError):
            sweep = find_sweep(runs, sweep_name)
            found += [(sweep_name, trial) for trial, words in sweep.also.items() if name in words]
    return found

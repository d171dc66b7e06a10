"""Sweeps and trials by the words that a person types."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vprdist.errors import LaunchError, nearest
from vprdist.store.manifest import read_manifest, sweep_folder, sweep_names
from vprdist.store.trial_folder import TrialFolder, trials_folder


@dataclass(frozen=True)
class Sweep:
    """A sweep as its manifest lists it: row names and folders by trial id, in order."""

    name: str
    folder: Path
    objective: str
    names: dict[str, str]
    trials: dict[str, TrialFolder]


def find_sweep(runs: Path, name: str) -> Sweep:
    """A sweep by its name.

    Raises:
        LaunchError: there is none of that name.
        UserError: its manifest cannot be read.
    """
    folder = sweep_folder(runs, name)
    known = sweep_names(runs)
    if name not in known:
        remedy = nearest(name, known) if known else "No sweep was started here; --runs names another run folder."
        raise LaunchError(runs, "no such sweep", name, remedy)
    manifest = read_manifest(folder)
    seeds = len({entry["seed"] for entry in manifest["trials"]}) > 1
    names = {e["trial"]: e["name"] + (f" seed {e['seed']}" if seeds else "") for e in manifest["trials"]}
    trials = {trial: TrialFolder.of(runs, trial) for trial in names}
    return Sweep(name, folder, manifest["objective"], names, trials)


def pick(sweep: Sweep, words: list[str]) -> list[str]:
    """Trial ids of a sweep by id, the beginning of an id, or row name; all of them where no word is given, each once.

    Raises:
        LaunchError: a word names no trial, or several.
    """
    if not words:
        return list(sweep.trials)
    return list(dict.fromkeys(_pick(sweep, word) for word in words))


def _pick(sweep: Sweep, word: str) -> str:
    found = [i for i in sweep.trials if sweep.names[i] == word] or [i for i in sweep.trials if _begins(i, word)]
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
    """One trial of any sweep: by id, the beginning of an id, or SWEEP/row name.

    Raises:
        LaunchError: no such trial, or several.
    """
    name, slash, rest = word.partition("/")
    if slash and name in sweep_names(runs):
        sweep = find_sweep(runs, name)
        return sweep.trials[_pick(sweep, rest)]
    folder = trials_folder(runs)
    found = sorted(entry.name for entry in folder.glob("*") if _begins(entry.name, word))
    if len(found) == 1:
        return TrialFolder.of(runs, found[0])
    if found:
        raise LaunchError(folder, "the ids of several trials begin with it", word, f"It fits {', '.join(found[:5])}.")
    remedy = "Give an id or its beginning, or SWEEP/row name; `vprdist status SWEEP` lists them."
    raise LaunchError(folder, "no such trial", word, remedy)

"""`vprdist prune`: what no leaderboard needs any more."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vprdist.errors import UserError
from vprdist.files import locked
from vprdist.status.arrays import probe_orders
from vprdist.status.find import find_sweep
from vprdist.store.batch_folder import BatchFolder, batches
from vprdist.store.manifest import sweep_names
from vprdist.store.proposals import networks
from vprdist.store.trial_folder import TrialFolder, held, trials_folder

BATCH = "submission of several trials"


@dataclass(frozen=True)
class Waste:
    """Something that may go, of one trial; of none (empty) where it is of a submission of several."""

    trial: str
    path: Path
    what: str
    files: int
    bytes: int


def find_waste(runs: Path, trials: Iterable[str] | None, orphans: bool) -> list[Waste]:
    """What may go: checkpoints of trials with a result, logs of all but their last submission, and, on request, whole
    folders of trials that no sweep lists; folders of submissions of several trials that all have a result.

    Never anything of a trial that runs, waits or is watched; never result, metrics, predictions or specs; nor the
    checkpoint of a network whose probes are still to be made: its sweep could never be finished.
    """
    listed, unprobed = _listed(runs), _unprobed(runs)
    every = sorted(path.name for path in trials_folder(runs).glob("*") if path.is_dir())
    wanted = every if trials is None else [trial for trial in every if trial in set(trials)]
    found: list[Waste] = []
    for trial in wanted:
        folder = TrialFolder.of(runs, trial)
        if _is_busy(folder):
            continue
        if orphans and trial not in listed:
            found.append(_waste(folder.trial_id, folder.path, "of no sweep"))
        elif folder.has_result:
            if (checkpoint := folder.path / "checkpoint").exists() and trial not in unprobed:
                found.append(_waste(folder.trial_id, checkpoint, "checkpoint"))
            attempts = sorted(folder.log.glob("attempt-*"), key=lambda path: path.lstat().st_mtime)
            found += [_waste(folder.trial_id, path, "earlier log") for path in attempts[:-1]]
            found += [_waste(folder.trial_id, path, "rendezvous") for path in folder.log.glob("rendezvous-*")]
    return found + [_waste("", batch.path, BATCH) for batch in _idle_batches(runs, None if trials is None else wanted)]


def remove(runs: Path, waste: Iterable[Waste]) -> tuple[int, int]:
    """Remove it; files and bytes that went. A trial that somebody took meanwhile is left alone."""
    files = size = 0
    idle = {batch.path for batch in _idle_batches(runs, None)}
    for each in waste:
        if each.what == BATCH:
            if each.path not in idle:
                continue
            shutil.rmtree(each.path)
            files, size = files + each.files, size + each.bytes
            continue
        folder = TrialFolder.of(runs, each.trial)
        with locked(folder.driver_lock, blocking=False) as mine:
            if not mine or folder.is_running or not (folder.has_result or each.what == "of no sweep"):
                continue
            if each.path.is_dir():
                shutil.rmtree(each.path)
            else:
                each.path.unlink(missing_ok=True)
        files, size = files + each.files, size + each.bytes
    return files, size


def _is_busy(folder: TrialFolder) -> bool:
    if held(folder.driver_lock) or folder.is_running or folder.is_submitting:
        return True
    # A journalled job without an end may be in a queue: unknown is not dead.
    return folder.job_file.exists() and not folder.is_over


def _listed(runs: Path) -> set[str]:
    """Trials that some sweep lists. A manifest that cannot be read may list any: the error is not swallowed."""
    return {trial for name in sweep_names(runs) for trial in find_sweep(runs, name).trials}


def _unprobed(runs: Path) -> set[str]:
    """Networks whose probes are not all made; of a sweep whose file cannot be read, every one."""
    found: set[str] = set()
    for name in sweep_names(runs):
        sweep = find_sweep(runs, name)
        try:
            found |= {Path(order.trial).name for order in probe_orders(sweep) if order.missing}
        except UserError:
            found |= set(networks(sweep.folder).values())
    return found


def _idle_batches(runs: Path, trials: Sequence[str] | None) -> list[BatchFolder]:
    """Submissions of several trials that no trial needs: each has its result, or was submitted anew.

    Args:
        trials: only those of these alone; None: all.
    """
    found = [batch for batch in batches(runs) if not held(batch.lock)]
    if trials is not None:
        found = [batch for batch in found if set(itertools.chain(*batch.members())) <= set(trials)]
    if not found:
        return []
    needed = set[str]()
    for path in trials_folder(runs).glob("*"):
        folder = TrialFolder.of(runs, path.name)
        try:
            record = folder.job()
        except UserError:  # nobody knows which it needs
            return []
        if record is not None and record.members and (not folder.has_result or folder.is_running):
            needed.add(record.token)
    return [batch for batch in found if batch.token not in needed]


def _waste(trial: str, path: Path, what: str) -> Waste:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return Waste(trial, path, what, len(files), sum(file.stat().st_size for file in files))

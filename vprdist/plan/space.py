"""Files and bytes that trials leave, and what the run folder's file system has left."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import mean

from vprdist.spec.trial import TrialSpec
from vprdist.store.result_file import glance_at_result
from vprdist.store.trial_folder import results_in

SAMPLE = 30
"""Done trials that are looked at."""
FILES, RANK_FILES = 19, 1
"""Specs, journal, result, metrics, locks, checkpoint, predictions, starts, and what submitit leaves in the log."""
LOG_BYTES = 400_000
UNKNOWN_PARAMETERS = 25_000_000
"""Taken for a backbone of a user's own whose file does not state `num_parameters`: as many as a ResNet50 has."""


@dataclass(frozen=True)
class Space:
    """What one trial leaves (`measured` from done ones, or counted), and what is free; None where unknown."""

    files: int
    bytes: int
    measured: bool
    free_files: int | None
    free_bytes: int | None


def space(trials: Sequence[TrialSpec], runs: Path, num_ranks: int) -> Space:
    """For trials like these."""
    own = any(trial.job is not None for trial in trials)
    like = (path for path in results_in(runs) if _is_program(path) == own)
    sizes = [_folder_size(path.parent) for path in islice(like, SAMPLE)]
    if sizes:
        files, size = round(mean(count for count, _ in sizes)), round(mean(size for _, size in sizes))
    else:
        files = FILES + RANK_FILES * num_ranks
        size = LOG_BYTES + max((checkpoint_bytes(trial) for trial in trials), default=0)
    free_files, free_bytes = _free(runs)
    return Space(files, size, bool(sizes), free_files, free_bytes)


def checkpoint_bytes(trial: TrialSpec) -> int:
    """Weights, and AdamW's two moments where all are trained; float32."""
    copies = 3 if trial.train.optimizer == "adamw" else 1
    return 4 * copies * int(trial.network.backbone.fact("num_parameters") or UNKNOWN_PARAMETERS)


def _is_program(result: Path) -> bool:
    """Whether a program of the user's own left it: it leaves other files than networks do."""
    trial = glance_at_result(result).get("trial")
    return isinstance(trial, dict) and trial.get("job") is not None


def _folder_size(folder: Path) -> tuple[int, int]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return len(files), sum(path.stat().st_size for path in files)


def _free(runs: Path) -> tuple[int | None, int | None]:
    """What is free on the file system on which the run folder lies, or would lie."""
    there = next(folder for folder in (runs, *runs.parents) if folder.exists())
    stat = os.statvfs(there)
    return (stat.f_favail or None), stat.f_bavail * stat.f_frsize

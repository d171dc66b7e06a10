"""What a program left in its folder: numbers of its own, predictions, descriptors."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vprdist.errors import TrainingError
from vprdist.spec.program import ProgramSpec
from vprdist.store.trial_folder import TrialFolder

PREDICTIONS, DESCRIPTORS = "predictions.txt", "descriptors"
"""Where they are looked for when the program does not say where they are."""
NO_FINISH = "the program did not say that it had finished: the numbers that it logged last are its result"


@dataclass(frozen=True)
class Left:
    """What a program left.

    Attributes:
        metrics: its own numbers, by its own names.
        not_finite: names of numbers that came out as NaN or infinite.
        files: predictions (one file), or descriptors (any number), as `trial.job.leaves` says; none of own numbers.
        notes: what a person should know of it.
    """

    metrics: Mapping[str, float]
    not_finite: tuple[str, ...]
    files: tuple[Path, ...]
    notes: tuple[str, ...]


def read_left(place: TrialFolder, job: ProgramSpec) -> Left:
    """What is there once the program has ended well.

    Raises:
        TrainingError: nothing is, or something else than `trial.job.leaves` says.
    """
    said = _finished(place)
    metrics, notes = _numbers(place, said), [*_damaged(place)]
    not_finite = tuple(map(str, said.get("not_finite") or ()))
    if job.leaves != "result":
        return Left(metrics, not_finite, _files(place, job, said), tuple(notes))
    if not said:
        metrics = _last_logged(place)
        notes += [NO_FINISH] if metrics else []
    if not metrics and not not_finite:
        fault = "the program ended well, and left no number"
        remedy = 'Let it call vprdist.client.finish(loss=…), or write {"metrics": {…}} to $VPRDIST_FINISHED.'
        raise TrainingError(job.title, fault, _what_there_is(place), remedy)
    return Left(metrics, not_finite, (), tuple(notes))


def _finished(place: TrialFolder) -> dict[str, Any]:
    """What the program said of its end; empty where it said nothing."""
    path = place.finished_file
    try:
        said = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise TrainingError(path, "what a program finishes with must be JSON", str(error), _FORM) from None
    if not isinstance(said, dict):
        raise TrainingError(path, "what a program finishes with must be a JSON object", said, _FORM)
    return said


_FORM = 'Write {"metrics": {"loss": 0.5}}.'


def _numbers(place: TrialFolder, said: Mapping[str, Any]) -> dict[str, float]:
    given = said.get("metrics", {})
    if not isinstance(given, dict):
        raise TrainingError(place.finished_file, "metrics must be numbers by their names", given, _FORM)
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            fault = f"metrics must be finite numbers: {name}"
            raise TrainingError(place.finished_file, fault, value, "Leave it out where there is none.")
    return {str(name): float(value) for name, value in given.items()}


def _last_logged(place: TrialFolder) -> dict[str, float]:
    """The newest value of each number in the rows of its metrics."""
    found: dict[str, float] = {}
    for row in place.rows()[0]:
        if row["kind"] == "evaluate":
            numbers = {name: value for name, value in row.items() if name not in ("kind", "step", "time")}
            found |= {name: float(value) for name, value in numbers.items() if _is_finite(value)}
    return found


def _is_finite(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _damaged(place: TrialFolder) -> list[str]:
    """What lines of the metrics say nothing, and which is the first of them."""
    if not place.metrics_file.exists():
        return []
    lines = place.metrics_file.read_bytes().splitlines()
    bad = [number for number, line in enumerate(lines, 1) if line.strip() and not _is_row(line)]
    words = f"{len(bad)} line(s) of {place.metrics_file.name} are no rows (a JSON object with a step), the first: line"
    return [f"{words} {bad[0]}"] if bad else []


def _is_row(line: bytes) -> bool:
    try:
        row = json.loads(line)
    except ValueError:
        return False
    if not isinstance(row, dict):
        return False
    step = row.get("step")
    return row.get("kind", "evaluate") != "evaluate" or (isinstance(step, int) and not isinstance(step, bool))


def _files(place: TrialFolder, job: ProgramSpec, said: Mapping[str, Any]) -> tuple[Path, ...]:
    if job.leaves == "predictions":
        named = [said["predictions"]] if said.get("predictions") else []
        usual = [place.path / PREDICTIONS]
        where = f"client.finish(predictions=…), or $VPRDIST_FOLDER/{PREDICTIONS}"
    else:
        named = list(said.get("descriptors") or ())
        folder = place.path / DESCRIPTORS
        usual = sorted((*folder.glob("*.npz"), *folder.glob("*.npy")))
        where = f"client.finish(descriptors=[…]), or files in $VPRDIST_FOLDER/{DESCRIPTORS}"
    paths = [Path(str(each)) for each in named] or [path for path in usual if path.is_file()]
    for path in paths:
        if not path.is_file():
            raise TrainingError(
                path, f"the program names {job.leaves} that are not there", None, f"Write them: {where}."
            )
    if not paths:
        fault = f"the program ended well, and left no {job.leaves}"
        raise TrainingError(job.title, fault, _what_there_is(place), f"Write them: {where}.")
    return tuple(paths)


def _what_there_is(place: TrialFolder) -> str:
    """The names in the folder that are the program's own, for a message."""
    ours = {place.trial_file, place.job_file, place.log, place.checkpoint}
    ours |= {place.driver_lock, place.running_lock, place.submit_lock}
    names = sorted(path.name for path in place.path.iterdir() if path not in ours)
    return ", ".join(names) or "nothing"

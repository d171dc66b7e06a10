"""Makes a finished sweep of any size of a real one's trials: `command_times` starts it.

    python -m tests.benchmarks.command_copies RUNS PLACE SIZE SEEDS

RUNS holds a finished table1. PLACE gets `copies.yaml` and a run folder of its own, where that sweep is finished: two
modes, learning rates, some seeds of each, with results and queries of the real trials in turn, under ids of their own.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import yaml

from vprdist.prepare.prepare import look
from vprdist.spec.profile import read_profile
from vprdist.spec.result import ResultRow
from vprdist.spec.sweep_file import read_sweep
from vprdist.spec.trial import TrialSpec
from vprdist.store.manifest import Manifest, sweep_folder
from vprdist.store.trial_folder import TrialFolder

REPO = Path(__file__).resolve().parents[2]
STAGES = 40
"""Rows of a curve that a copy has: what a trial of some hundred steps logs."""


def make(real: Path, place: Path, size: int, seeds: int) -> None:
    """Make the sweep; what lies there of an earlier one goes."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(real / "data", place / "runs" / "data", copy_function=os.link)
    rates = [round(0.5 - 0.4 * number * 2 * seeds / size, 6) for number in range(max(1, size // (2 * seeds)))]
    sweep = yaml.safe_load((REPO / "sweeps" / "table1.yaml").read_text())
    sweep |= {"name": "copies", "seeds": list(range(seeds))}
    sweep["trial"]["train"] = {"steps": 4}
    sweep["search"]["grid"] = {"input.mode": ["rgb", "masked"], "train.lr": rates}
    file = place / "draft.yaml"
    file.write_text(yaml.safe_dump(sweep))
    spec = read_sweep(file, [])
    trials = look(spec, read_profile(spec.cluster, None), place / "runs").trials
    models = models_of(real)
    for number, trial in enumerate(trials):
        some = models[trial.input.mode]
        copy_trial(some[number % len(some)], TrialFolder.of(place / "runs", trial.trial_id), trial)
    book = Manifest(sweep_folder(place / "runs", "copies"), spec, ())
    for trial in trials:
        book.add(trial)
    book.compare(trials)
    book.write()
    file.rename(place / "copies.yaml")


def models_of(runs: Path) -> dict[str, list[TrialFolder]]:
    """The real trials by their mode."""
    found: dict[str, list[TrialFolder]] = {}
    for path in sorted((runs / "trials").iterdir()):
        folder = TrialFolder(path)
        found.setdefault(folder.trial().input.mode, []).append(folder)
    return found


def copy_trial(model: TrialFolder, folder: TrialFolder, trial: TrialSpec) -> None:
    """All that a finished trial leaves but its checkpoint, as another one's; predictions are the same files."""
    shutil.copytree(model.path, folder.path, copy_function=os.link, ignore=shutil.ignore_patterns("checkpoint"))
    for path in (folder.trial_file, folder.result_file, folder.metrics_file, folder.job_file):
        path.unlink()
    for path in (*folder.path.glob("*lock"), *folder.path.rglob("*.jsonl")):  # written to or locked by themselves
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)
    folder.write_trial(trial)
    folder.job_file.write_text(model.job_file.read_text().replace(model.trial_id, folder.trial_id))
    result = model.result().model_copy(update={"trial": trial})
    folder.write_result(type(result).model_validate_json(text_of(result, folder.trial_id)))
    lines = model.metrics_file.read_text().splitlines(keepends=True)
    train = next(line for line in lines if '"kind": "train"' in line)
    place = lines.index(train)
    folder.metrics_file.write_text("".join([*lines[:place], *[train] * STAGES, *lines[place + 1 :]]))


def text_of(result: ResultRow, trial_id: str) -> str:
    value = result.model_dump(mode="json", by_alias=True)
    return json.dumps(value | {"trial_id": trial_id})


if __name__ == "__main__":
    make(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))

"""Toy trials under a sweep's name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from toy import toy_trials

from vprdist.files import write_json, write_text
from vprdist.spec.computation import COMPUTATION
from vprdist.store.trial_folder import TrialFolder


def toy_folders(runs: Path, count: int) -> list[TrialFolder]:
    """Their folders."""
    return [TrialFolder.of(runs, trial.trial_id) for trial in toy_trials(count)]


def list_sweep(runs: Path, name: str, seeds: Sequence[int], computation: int = COMPUTATION) -> None:
    """A manifest that lists the toy trials of these seeds, row names `toy 0` and on."""
    trials = toy_trials(max(seeds, default=-1) + 1)
    rows = [{"trial": trials[seed].trial_id, "name": f"toy {seed}", "seed": 0} for seed in seeds]
    manifest = {"name": name, "objective": "recall@1", "cluster": "local", "computation": computation, "trials": rows}
    write_json(runs / "sweeps" / name / "manifest.json", manifest)
    write_text(runs / "sweeps" / name / "sweep.yaml", f"name: {name}\n")

"""Programs under Tune's searchers and schedulers: whole sweeps on this machine, by the command."""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path
from typing import Any

import yaml

from tests import warm
from tests.program.programs import COUNTER, losses
from vprdist.store.manifest import read_manifest
from vprdist.store.proposals import stopped
from vprdist.store.trial_folder import TrialFolder

REPO = Path(__file__).resolve().parents[2]


def sweep(folder: Path, search: dict[str, Any], text: str = COUNTER, **params: Any) -> Path:
    """Run a sweep of a program to its end, a trial at a time; its folder."""
    (folder / "train.py").write_text(text)
    (folder / "here.yaml").write_text("kind: local\nmax_concurrent: 1\npoll_s: 0.2\n")
    values = {
        "trial": {"job": {"command": ["python", "train.py"], "steps": 3}, "params": {"steps": 3, "dt": 0.0, **params}},
        "search": search, "objective": "loss", "direction": "minimize", "cluster": str(folder / "here.yaml"),
    }  # fmt: skip
    (folder / "mine.yaml").write_text(yaml.safe_dump(values))
    done = warm.run(
        [sys.executable, "-m", "vprdist.sweep", "mine.yaml"], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(REPO)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "runs" / "sweeps" / "mine"


def leaderboard(folder: Path) -> list[dict[str, str]]:
    with (folder / "leaderboard.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_a_scheduler_ends_a_program_that_falls_behind(tmp_path: Path) -> None:
    """Those that must be stopped wait for it for ever: without a stop the sweep would have no end."""
    points = [{"params": {"lr": 0.3}}, {"params": {"lr": 0.1, "hold": True}}, {"params": {"lr": 0.01, "hold": True}}]
    folder = sweep(tmp_path, {"grid": {"trial": points}, "scheduler": "asha", "grace_steps": 1})
    (row,) = leaderboard(folder)
    assert float(row["loss"]) == round(losses(3, 0.3)[-1], 6)
    rates = {TrialFolder.of(tmp_path / "runs", trial_id).trial().params["lr"] for trial_id in stopped(folder)}
    assert rates == {0.1, 0.01}


def test_a_searcher_proposes_parameters_and_the_smallest_loss_comes_first(tmp_path: Path) -> None:
    space = {"params.lr": {"loguniform": [0.001, 0.4]}}
    folder = sweep(tmp_path, {"space": space, "searcher": "optuna", "num_trials": 5, "seed": 1})
    ids = [entry["trial"] for entry in read_manifest(folder)["trials"]]
    rates = [TrialFolder.of(tmp_path / "runs", trial_id).trial().params["lr"] for trial_id in ids]
    assert len(set(rates)) == 5
    shown = [float(row["loss"]) for row in leaderboard(folder)]
    assert shown == sorted(round(losses(3, lr)[-1], 6) for lr in rates)

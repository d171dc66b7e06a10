"""A sweep over pictures that lie in a form of the user's own, as they run it: planned, trained, measured, shown."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import warm
from tests.data.walks import own_file, write_walk

REPO = Path(__file__).resolve().parents[2]
SWEEP = """
name: walk
seeds: [0]
trial:
  data: {{root: {root}, layout: {layout}, train: [ada], validate: [bob]}}
  network: {{backbone: resnet18, weights: none, unfreeze: 2-2}}
  train: {{image_size: [32, 40], steps: 2, batch_pairs: 4, micro_pairs: 4, batch_norm: frozen}}
  run: {{log_steps: 1}}
search:
  grid: {{train.lr: [0.05, 0.1]}}
"""


def vprdist(*words: object, folder: Path = REPO) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vprdist", *map(str, words)]
    return warm.run(command, cwd=folder, capture_output=True, text=True, timeout=570, check=False)


@pytest.mark.slow
def test_a_users_layout_is_planned_and_run(small_tree, tmp_path):
    """Its path counts from the sweep file; a trial's own file holds the whole path."""
    root, runs, sweep = write_walk(small_tree, tmp_path / "walk"), tmp_path / "runs", tmp_path / "sweep.yaml"
    file = own_file(tmp_path)
    sweep.write_text(SWEEP.format(root=root, layout="{name: walk_layout.py:Walk, step_m: 1.0}"))
    planned = vprdist("plan", sweep, "--runs", runs)
    assert planned.returncode == 0, planned.stderr
    done = vprdist("sweep", sweep, "--runs", runs)
    assert done.returncode == 0, done.stderr + done.stdout
    with (runs / "sweeps" / "walk" / "leaderboard.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 2
    for row in rows:
        trial = json.loads((runs / "trials" / row["trial"] / "trial.json").read_text())
        assert trial["data"]["layout"]["name"] == f"{file}:Walk"
    begun = {path: path.stat().st_mtime_ns for path in runs.glob("trials/*/result.json")}
    again = vprdist("sweep", runs / "sweeps" / "walk" / "sweep.yaml", "--runs", runs)
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in runs.glob("trials/*/result.json")} == begun
    file.write_text(file.read_text() + "\n# another text\n")
    other = vprdist("plan", sweep, "--runs", runs)
    assert other.returncode == 0, other.stderr
    changed = vprdist("sweep", sweep, "--runs", runs)
    assert changed.returncode == 0, changed.stderr
    assert len(list(runs.glob("trials/*/result.json"))) == 4, "another text of the layout is another trial"


def test_a_broken_layout_is_refused_before_anything_is_submitted(small_tree, tmp_path):
    root, sweep = write_walk(small_tree, tmp_path / "walk"), tmp_path / "sweep.yaml"
    file = own_file(tmp_path)
    file.write_text(file.read_text().replace("ca=ca)", "ca=ca[1:])"))
    sweep.write_text(SWEEP.format(root=root, layout="walk_layout.py:Walk"))
    for words in (("plan", sweep), ("sweep", sweep)):
        done = vprdist(*words, "--runs", tmp_path / "runs")
        assert done.returncode == 2 and "Traceback" not in done.stderr
        assert f"{file}:" in done.stderr.replace("\n", "") and "one value a picture: 12" in done.stderr
    assert not list(tmp_path.glob("runs/trials/*"))

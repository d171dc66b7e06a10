"""Sweep files, profiles, and words of the command line."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.format import Format
from vprdist.spec.profile import read_profile
from vprdist.spec.sweep_file import read_sweep

SWEEP = """\
name: fuzzed
scale: demo
trial:
  data: {root: demo, train: [agia], validate: [brno]}
  input: {mode: rgb}
  network: {backbone: resnet18, unfreeze: 0-2, weights: imagenet, aggregator: {name: gem, p: 3}}
  train: {steps: 8, lr: 0.1, loss: {name: gcl, margin: 0.5}}
scales:
  large: {train.steps: 100}
search:
  grid:
    train.lr: [0.1, 0.01, 1e-3]
    network.unfreeze: [0-2, all]
seeds: [0, 1]
baseline: {train.lr: 0.1}
cluster: local
budget: {gpu_hours: 10, trials: 100}
"""
PROFILE = """\
kind: slurm
nodes: 2
ranks: 1
partition: gpu
time_limit_min: 60
memory_gb: 32
setup:
- module load cuda
- export A=1
"""


def make(folder: Path) -> None:
    for name in ("sweep.yaml", "whole.yaml"):
        (folder / name).write_text(SWEEP)
    (folder / "profile.yaml").write_text(PROFILE)
    (folder / "words.txt").write_text("trial.train.loss={name: gcl, margin: 0.25}")


def sweep(folder: Path) -> object:
    return [trial.to_json() for trial in read_sweep(folder / "sweep.yaml").trials]


def profile(folder: Path) -> object:
    return read_profile(str(folder / "profile.yaml")).model_dump(mode="json")


def word(folder: Path) -> object:
    """One override: what a shell hands over has no zero byte, and other bytes as Python takes them."""
    said = (folder / "words.txt").read_bytes().split(b"\0")[0].decode("utf-8", "surrogateescape")
    return [trial.to_json() for trial in read_sweep(folder / "whole.yaml", [said]).trials]


FORMATS = [
    Format("settings/sweep.yaml", make, "sweep.yaml", sweep),
    Format("settings/profile.yaml", make, "profile.yaml", profile),
    Format("settings/override", make, "words.txt", word, places=False),
]

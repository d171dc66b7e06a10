"""The axis `trial`: each value is laid over several sections, so that whole systems stand side by side."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from vprdist.errors import SweepFileError
from vprdist.spec.network import NetworkSpec
from vprdist.spec.recipes import RECIPES
from vprdist.spec.row_name import network_name, row_name
from vprdist.spec.sweep import SweepSpec
from vprdist.spec.sweep_file import read_sweep
from vprdist.store.manifest import resolved_file

FILE = """name: systems
scale: demo
trial: {network: {unfreeze: 0-2}}
search:
  grid:
    input.mode: [rgb, masked]
    trial:
      - {}
      - {network: {attention: spatial}, train: {loss: contrastive}}
      - network.aggregator: {name: netvlad, clusters: 8}
        train: {recipe: fast, lr: 0.003}
      - network.aggregator: {name: netvlad, clusters: 4}
"""


def sweep_of(folder: Path, text: str, *words: str) -> SweepSpec:
    path = folder / "systems.yaml"
    path.write_text(text)
    return read_sweep(path, words)


def names(sweep: SweepSpec) -> list[str]:
    return [row_name(trial, sweep.telling_axes, None, sweep.telling_parameters) for trial in sweep.trials]


def test_each_value_is_laid_over_the_trial(tmp_path):
    sweep = sweep_of(tmp_path, FILE)
    assert len(sweep.trials) == 8
    plain, mixed, fast, small = sweep.trials[:4]
    assert {trial.input.mode for trial in sweep.trials[:4]} == {"rgb"}
    assert all(trial.network.unfreeze == "0-2" for trial in sweep.trials)
    assert (mixed.network.attention.name, mixed.train.loss.name) == ("spatial", "contrastive")
    assert (plain.network.attention.name, plain.train.loss.name) == ("none", "gcl")
    assert fast.train.optimizer == RECIPES["fast"]["optimizer"] and fast.train.lr == 0.003
    assert fast.network.aggregator.parameters["clusters"] == 8
    assert small.train == plain.train and small.network.aggregator.parameters["clusters"] == 4


def test_rows_are_named_by_what_differs(tmp_path):
    found = names(sweep_of(tmp_path, FILE))
    assert len(set(found)) == 8
    assert [("masked" in name, "clusters=8" in name, "spatial" in name) for name in found[4:]] == [
        (True, False, False), (True, False, True), (True, True, False), (True, False, False),
    ]  # fmt: skip


def test_a_resolved_file_reads_back_to_the_same_trials(tmp_path):
    sweep = sweep_of(tmp_path, FILE)
    again = sweep_of(tmp_path, yaml.safe_dump(resolved_file(sweep), sort_keys=False))
    assert [trial.to_json() for trial in again.trials] == [trial.to_json() for trial in sweep.trials]
    assert names(again) == names(sweep)


@pytest.mark.parametrize(
    ("network", "name"),
    [
        ({"attention": "deattention"}, "resnet50 deattention"),
        ({"attention": {"name": "cbam", "at": ["layer3", "layer4"]}}, "resnet50 cbam at=layer3+layer4"),
        ({"aggregator": {"name": "netvlad", "clusters": 8}}, "resnet50 netvlad clusters=8"),
    ],
)
def test_a_network_is_named_by_what_is_not_usual(network, name):
    assert network_name(NetworkSpec.model_validate_json(json.dumps(network))) == name


@pytest.mark.parametrize(
    ("value", "line", "fault"),
    [
        ("[rgb]", 6, "must be a mapping"),
        ("[{netwrok: {attention: spatial}}]", 6, "unknown key"),
        ("[{network: {atention: spatial}}]", 6, "unknown key"),
        ("[{train: {loss: nosuch}}]", 6, "no such loss"),
        ("[{seed: 3}]", 6, "this key cannot be tried"),
        ("[{train: {recipe: nosuch}}]", 6, "no such recipe"),
    ],
)
def test_a_value_that_is_wrong_is_told_at_its_line(tmp_path, value, line, fault):
    text = f"name: systems\nscale: demo\ntrial: {{}}\nsearch:\n  grid:\n    trial: {value}\n"
    with pytest.raises(SweepFileError) as error:
        sweep_of(tmp_path, text)
    assert fault in str(error.value) and f"systems.yaml:{line}: search.grid.trial" in str(error.value)

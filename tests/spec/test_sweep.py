"""A sweep file becomes trials; what is wrong in it is said with file, line, dotted path, rule, value and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from vprdist.errors import SweepFileError
from vprdist.spec.sweep import read_sweep

SWEEPS = Path(__file__).resolve().parents[2] / "sweeps"


def sweep(tmp_path: Path, text: str, *overrides: str):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return read_sweep(path, overrides)


def refusal(tmp_path: Path, text: str, *overrides: str) -> str:
    with pytest.raises(SweepFileError) as caught:
        sweep(tmp_path, text, *overrides)
    return str(caught.value).replace(str(tmp_path), "")


@pytest.mark.parametrize(("name", "count"), [("table1", 8), ("input_modes", 8), ("mask_forms", 6)])
def test_the_sweeps_that_ship_can_be_read_at_both_scales(name, count, monkeypatch):
    monkeypatch.setenv("MSLS_ROOT", "/data/msls")
    for scale in ("demo", "paper"):
        spec = read_sweep(SWEEPS / f"{name}.yaml", [f"scale={scale}"])
        assert len(spec.trials) == count
        assert spec.trials[0].network.backbone == {"demo": "efficientnet_lite0", "paper": "resnet50"}[scale]
    assert spec.trials[0].data.root == "/data/msls"
    assert spec.trials[0].data.train == ("amman", "boston", "london", "manila", "zurich")


def test_the_last_word_wins(tmp_path):
    text = """
name: layers
trial: {train: {steps: 7, lr: 0.5}}
scales: {demo: {train.steps: 8, train.batch_pairs: 4}}
search: {grid: {train.margin: [0.1, 0.2]}}
"""
    spec = sweep(tmp_path, text, "trial.train.micro_pairs=2", "trial.train.batch_pairs=6")
    train = spec.trials[1].train
    assert (train.lr, train.steps, train.batch_pairs, train.micro_pairs, train.margin) == (0.5, 8, 6, 2, 0.2)
    assert train.image_size == (96, 128), "what nobody named comes from the built-in scale"


def test_every_combination_and_seed_is_one_trial(tmp_path):
    text = "search: {grid: {input.mode: [rgb, masked], network.unfreeze: [0-2, all]}}\nseeds: [3, 5]\n"
    spec = sweep(tmp_path, text)
    found = [(t.input.mode, t.network.unfreeze, t.seed) for t in spec.trials]
    assert found == [(m, u, s) for m in ("rgb", "masked") for u in ("0-2", "all") for s in (3, 5)]
    assert spec.name == "mine", "a sweep without a name is called like its file"


def test_an_override_may_replace_a_grid_axis(tmp_path):
    text = "search: {grid: {input.mode: [rgb, masked]}}\n"
    spec = sweep(tmp_path, text, "search.grid.input.mode=[rgb]", "search.grid.network.unfreeze=[0-2, 2-2]", "name=x")
    assert [(t.input.mode, t.network.unfreeze) for t in spec.trials] == [("rgb", "0-2"), ("rgb", "2-2")]
    assert spec.name == "x"


def test_small_numbers_are_numbers(tmp_path):
    assert sweep(tmp_path, "trial: {train: {lr: 1e-3}}\n").trials[0].train.lr == 0.001


@pytest.mark.parametrize(
    ("text", "overrides", "parts"),
    [
        ("trial:\n  netwrok: {}\n", (), ("/mine.yaml:2: trial.netwrok", "unknown key", "'network'")),
        ("trial:\n  network:\n    unfreez: 0-2\n", (), (":3: trial.network.unfreez", "unknown key", "'unfreeze'")),
        ("trial:\n  train:\n    steps: 1.5\n", (), (":3: trial.train.steps", "whole number", "1.5")),
        ("trial:\n  train:\n    lr: fast\n", (), (":3: trial.train.lr", "a number", "'fast'")),
        ("trial:\n  train:\n    lr: true\n", (), (":3: trial.train.lr", "a number", "True")),
        ("trial:\n  input:\n    mode: maskd\n", (), (":3: trial.input.mode", "'maskd'", "'masked'")),
        ("trial:\n  input:\n    classes: [bulding]\n", (), (":3: trial.input.classes", "'bulding'", "'building'")),
        ("trial:\n  input:\n    classes: statc\n", (), (":3: trial.input.classes", "'statc'", "'static'")),
        ("trial:\n  input:\n    classes: [road, road]\n", (), (":3: trial.input.classes", "named once")),
        ("trial:\n  input:\n    classes: []\n", (), (":3: trial.input.classes", "empty mask")),
        ("trial:\n  network:\n    unfreeze: 5-4\n", (), (":3: trial.network.unfreeze", "impossible", "'5-4'")),
        ("trial:\n  network:\n    unfreeze: [layer9]\n", (), ("trial.network.unfreeze", "no unit 'layer9'")),
        ("trial:\n  network:\n    backbone: resnet5\n", (), (":3: trial.network.backbone", "'resnet50'")),
        ("search:\n  grid:\n    input.mode: []\n", (), (":3: search.grid.input.mode", "at least one value")),
        ("search:\n  grid:\n    input.mode: rgb\n", (), (":3: search.grid.input.mode", "list of values", "'rgb'")),
        ("search:\n  grid:\n    input.mod: [rgb]\n", (), (":3: trial.input.mod", "unknown key", "'mode'")),
        ("search:\n  grid:\n    network.unfreeze: [0-2, 9-9]\n", (), (":3: trial.network.unfreeze", "'9-9'")),
        ("search:\n  grid:\n    seed: [1]\n", (), (":3: search.grid.seed", "seeds: [0, 1, 2]")),
        ("search:\n  gird: {}\n", (), (":2: search.gird", "unknown key", "'grid'")),
        ("search:\n  grid: {}\n", (), (":2: search.grid", "at least one axis")),
        ("search:\n  grid:\n    digests.weights: [a]\n", (), (":3: search.grid.digests.weights", "computed")),
        ("search:\n  grid: {1: [a]}\n", (), (":2", "a key is text", "'1'")),
        ("1: 2\n", (), (":1", "a key is text", "'1'")),
        ("trial: {input: {true: 1}}\n", (), (":1", "a key is text")),
        ("trial: {data: {train: &a [*a]}}\n", (), (":1", "cannot contain itself")),
        ("name: a\n", ("trial.train={1: 2}",), ("a key is text", "'1'")),
        ("trial: {input: {mode: masked, classes: null}}\n", (), ("trial.input.classes", "mode masked needs")),
        ("trial: {input: {mode: masked}}\n", ("trial.input.mask_reduce=null",), ("mask_reduce", "needs a value")),
        ("trial: {input: {mode: rgb+mask, conv1_init: null}}\n", (), ("trial.input.conv1_init", "needs a value")),
        ("scale: papr\n", (), (":1: scale", "'papr'", "'paper'")),
        ("scale: paper\n", (), ("trial.data.root", "MSLS_ROOT must be set")),
        ("name: a\nname: b\n", (), (":2: name", "written once", "line 1")),
        ("name: [a\n", (), (":2", "must be YAML")),
        ("- a\n", (), ("must be a mapping",)),
        ("name: ../a\n", (), (":1: name", "'../a'")),
        ("seeds: []\n", (), (":1: seeds", "at least one value")),
        ("seeds: [1, 1]\n", (), (":1: seeds", "stands once")),
        ("objective: recall@3\n", (), (":1: objective", "recall@20", "'recall@3'")),
        ("trials: {}\n", (), (":1: trials", "unknown key", "'trial'")),
        ("trial: {seed: 3}\n", (), (":1: trial.seed", "seeds: [0, 1, 2]")),
        ("trial: 3\n", (), (":1: trial", "mapping", "3")),
        ("trial: {train: {batch_pairs: 6, micro_pairs: 4}}\n", (), ("trial.train.micro_pairs", "divides", "4")),
        ("trial: {data: {train: [a], validate: [a]}}\n", (), ("trial.data.validate", "cannot validate", "'a'")),
        ("name: a\n", ("trial.train.lr=fast",), ("override 'trial.train.lr=fast': trial.train.lr", "a number")),
        ("name: a\n", ("trial.train.lrr=1",), ("override 'trial.train.lrr=1'", "unknown key", "'lr'")),
        ("name: a\n", ("lr=1",), ("override 'lr=1'", "unknown key")),
        ("name: a\n", ("name",), ("override 'name'", "dotted.key=value")),
        ("name: a\n", ("name=[b",), ("override 'name=[b'", "YAML")),
    ],
)  # fmt: skip
def test_a_refusal_says_where_what_and_how_to_mend_it(tmp_path, monkeypatch, text, overrides, parts):
    monkeypatch.delenv("MSLS_ROOT", raising=False)
    message = refusal(tmp_path, text, *overrides)
    for part in parts:
        assert part in message, message
    assert "\n" not in message.strip(), "one message on one line"


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SweepFileError, match=r"nowhere\.yaml: the file must exist"):
        read_sweep(tmp_path / "nowhere.yaml")

"""The schema of editors accepts the files that ship and refuses what is misspelt, at every level."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from vprdist.spec.keys import profile_keys, sweep_keys
from vprdist.spec.profile import read_profile
from vprdist.spec.read import read_yaml
from vprdist.spec.schema import profile_schema, sweep_schema
from vprdist.spec.sweep_file import read_sweep
from vprdist.store.manifest import resolved_file

ROOT = Path(__file__).resolve().parents[2]
SWEEPS, PROFILES = sorted((ROOT / "sweeps").glob("*.yaml")), sorted((ROOT / "slurm" / "profiles").glob("*.yaml"))
SWEEP, PROFILE = Draft202012Validator(sweep_schema()), Draft202012Validator(profile_schema())
FREE = ("<scale>", "<group>", "<key of trial>", "<parameter>", "<parameter of a program>", "<city>")
KEYS = {key.name: key for key in sweep_keys()}


def faults(validator: Draft202012Validator, value: Any) -> list[str]:
    return [f"{'.'.join(map(str, error.path))}: {error.message}" for error in validator.iter_errors(value)]


def nested(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    for name in reversed(path):
        value = {name: value}
    return value


@pytest.mark.parametrize("schema", [sweep_schema(), profile_schema()], ids=["sweep", "profile"])
def test_it_is_a_schema_of_the_draft_that_it_names(schema):
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(schema)
    assert json.loads(json.dumps(schema)) == schema


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_sweep_that_ships_is_accepted(path, monkeypatch):
    monkeypatch.setenv("MSLS_ROOT", "/data/msls")
    assert not faults(SWEEP, read_yaml(path)[0])
    for scale in ("demo", "paper"):
        written_out = json.loads(json.dumps(resolved_file(read_sweep(path, [f"scale={scale}"]))))
        assert not faults(SWEEP, written_out), "the file that a run folder keeps has every key"


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_every_profile_that_ships_is_accepted(path):
    assert not faults(PROFILE, read_yaml(path)[0])
    assert not faults(PROFILE, json.loads(read_profile(str(path)).model_dump_json()))


GOOD: list[dict[str, Any]] = [
    {},
    {"trial": {"data": {"root": "${MSLS_ROOT}/train", "train": ["zurich"]}, "network.weights": "${HOME}/a.pth"}},
    {"trial": {"data.demo": {"recipe": {"traffic sign": {"churn": 0.5}}}}},
    {"trial": {"data": {"demo.recipe.traffic sign.churn": 0.5, "demo.planted.carry.pole": 0.25}}},
    {"scale": "mine", "scales": {"mine": {"train.steps": 7}, "demo": {"evaluate": {"before_training": False}}}},
    {"scales": {"demo": {"input.segmenter.flip": True}}},
    {"search": {"grid": {"input.segmenter": [None, {"name": "litert:a.tflite"}], "train.recipe": ["fast", None]}}},
    {"search": {"grid": {"data.demo.recipe.road.identity": [0.0, 0.5], "data.root": ["${A}", "demo"]}}},
    {"search": {"space": {"train.lr": {"loguniform": [0.01, 1]}, "train.steps": {"randint": [1, 9]}}}},
    {"search": {"space": {"input.classes": ["static", ["building", "pole"]], "train.margin": [0.1]}}},
    {"search": {"subsets": {"take": [["building"], ["pole", "sky"]], "groups": {"mine": ["road"]}}}},
    {"baseline": {"input.mode": "rgb", "train.steps": 3}},
    {"trial": {"network": {"aggregator": "gem", "backbone": {"name": "resnet18"}}}},
    {"trial": {"network": {"aggregator": {"name": "gem", "p": 4}}, "network.aggregator.p": 2}},
    {"trial": {"network": {"aggregator": {"p": 4}, "backbone": "my_net.py:Tiny"}}},
    {"trial": {"train": {"loss": {"name": "${HOME}/losses/mine.py:Loss", "width": [1, 2]}}}},
    {"trial": {"network": {"attention": {"name": "package.module:Att", "at": ["layer4"]}}}},
    {"search": {"grid": {"network.aggregator": ["gem", {"name": "a.py:B"}], "network.aggregator.width": [3]}}},
    {"search": {"grid": {"train.loss": ["gcl", {"name": "contrastive", "margin": 0.3}], "train.loss.margin": [0.2]}}},
    {"trial": {"input": {"segmenter": "transformers:nvidia/segformer-b0"}}},
    {"trial": {"input": {"segmenter": {"name": "mine.py:Seg", "width": 3}}, "input.segmenter.depth": 2}},
    {"trial": {"network": {"gem_p": 4}, "train.margin": 0.4}},
    {"baseline": "best", "budget": {"gpu_hours": 2}},
]


@pytest.mark.parametrize("value", GOOD, ids=str)
def test_what_a_sweep_file_may_say_is_accepted(value):
    assert not faults(SWEEP, value)


BAD: list[dict[str, Any]] = [
    {"trial": {"train": {"steps": "many"}}},
    {"trial": {"train.steps": -1}},
    {"trial": {"input": {"mode": "maskd"}}},
    {"trial": {"input": {"classes": ["bulding"]}}},
    {"trial": {"input": None}},
    {"trial": {"network": {"backbone": "resnet51"}}},
    {"trial": {"network": {"aggregator": {"name": "gem", "q": 4}}}},
    {"trial": {"network": {"aggregator": {"q": 4}}}},
    {"trial": {"network": {"aggregator": {"name": "gem", "p": "four"}}}},
    {"trial": {"network": {"aggregator": {"name": "gme"}}}},
    {"trial": {"network.aggregator.p": -1}},
    {"trial": {"network": {"attention": {"name": "none", "at": ["layer4"]}}}},
    {"trial": {"train": {"loss": "gcll"}}},
    {"trial": {"input": {"segmenter": {"name": "deeplabv3plus", "flipp": True}}}},
    {"trial": {"input": {"segmenter": {"flipp": True}}}},
    {"trial": {"train": {"image_size": [480]}}},
    {"trial": {"data": {"demo": {"recipe": {"house": {"churn": 1}}}}}},
    {"trial": {"seed": 3}},
    {"trial.train.steps": 3},
    {"grid": {"train.steps": [3]}},
    {"scales": {"demo": {"train.stpes": 7}}},
    {"search": {"grid": {"train.steps": 3}}},
    {"search": {"grid": {"train.steps": []}}},
    {"search": {"grid": {"train.steps": ["three"]}}},
    {"search": {"grid": {"trial.train.steps": [3]}}},
    {"search": {"grid": {"seed": [3]}}},
    {"search": {"space": {"train.lr": {"uniformly": [0, 1]}}}},
    {"search": {"space": {"train.lr": {"uniform": [0, 1, 2]}}}},
    {"search": {"space": {"train.steps": {"uniform": [0, 1]}}}},
    {"search": {"space": {"input.mode": {"uniform": [0, 1]}}}},
    {"search": {"max_steps": 3}},
    {"search": {"searcher": "tpe"}},
    {"search": {"subsets": {"groups": {"mine": ["rode"]}}}},
    {"baseline": {"input.mode": "grey"}},
    {"baseline": "worst"},
    {"direction": "down"},
    {"seeds": 3},
    {"seeds": []},
    {"name": "a b"},
]


@pytest.mark.parametrize("value", BAD, ids=str)
def test_what_the_reader_refuses_is_refused(value):
    assert faults(SWEEP, value)


@pytest.mark.parametrize("key", [k for k in sweep_keys() if k.path[-1] not in FREE], ids=lambda key: key.name)
def test_a_misspelt_key_is_refused_at_every_level(key):
    above = tuple({"<class>": "building", "<group>": "mine"}.get(part, part) for part in key.path[:-1])
    name = {"<class>": "building"}.get(key.path[-1], key.path[-1])
    for wrong in (f"{name}x", f"x{name}", name.upper(), f"{name}."):
        assert faults(SWEEP, nested((*above, wrong), 1)), wrong
        may_be_own = ".".join((*key.path[:-1], "<parameter>")) in KEYS  # of a class that the file names elsewhere
        if key.path[0] == "trial" and len(key.path) > 1 and not may_be_own:
            assert faults(SWEEP, {"scales": {"demo": {".".join((*above[1:], wrong)): 1}}})
            for section in ("grid", "space"):
                assert faults(SWEEP, {"search": {section: {".".join((*above[1:], wrong)): [1]}}})


@pytest.mark.parametrize("key", [k for k in profile_keys() if len(k.path) > 1], ids=lambda key: key.name)
def test_a_misspelt_key_of_a_profile_is_refused(key):
    good = {"kind": "slurm"}
    assert not faults(PROFILE, good)
    assert faults(PROFILE, {**good, **nested((*key.path[1:-1], f"{key.path[-1]}x"), 1)})


def test_a_profile_says_its_kind():
    assert faults(PROFILE, {"ranks": 1})
    assert faults(PROFILE, {"kind": "pbs"})


def test_editors_see_the_meaning_and_the_default_of_every_key():
    schema = sweep_schema()
    for key in sweep_keys():
        if key.path[0] == "trial":
            shown = schema["$defs"][".".join(part.strip("<>") for part in key.path)]
            assert key.meaning in shown["description"]
            assert key.absent is not None or shown["default"] == key.default

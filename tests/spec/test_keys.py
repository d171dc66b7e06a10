"""The list of keys says what the reader does: what it accepts is listed, and what is listed it accepts."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from vprdist.errors import SweepFileError, UserError
from vprdist.spec.base import marks_of
from vprdist.spec.find_key import find_keys
from vprdist.spec.key import Key
from vprdist.spec.keys import model_of, profile_keys, sweep_keys
from vprdist.spec.named import Named
from vprdist.spec.profile import ClusterProfile, read_profile
from vprdist.spec.search import SearchSpec
from vprdist.spec.sweep import Budget, SweepSpec
from vprdist.spec.sweep_file import TOP_KEYS, read_sweep
from vprdist.spec.trial import CHOICES as TRIAL_CHOICES
from vprdist.spec.trial import TrialSpec


def lay(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Two files as one, the second over the first."""
    out = copy.deepcopy(below)
    for name, value in above.items():
        both = isinstance(value, dict) and isinstance(out.get(name), dict)
        out[name] = lay(out[name], value) if both else value
    return out


def nested(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    for name in reversed(path):
        value = {name: value}
    return value


SWEEP, PROFILE = sweep_keys(), profile_keys()
NAMES = {key.name for key in SWEEP}
REFUSED = (
    "unknown key",
    "cannot stand in a sweep file",
    "cannot be an axis of the grid",
    "they cannot be tried",
)
WRITTEN_BY_US = (
    "trial.input.segmenter.parameters",
    "trial.input.segmenter.digest",
    "trial.train.arms.class_table",
    "search.subsets.class_table",
)
"""Keys of the files that run folders keep: the reader knows them, and nobody writes them by hand."""
OWN = """class Own:
    units = ("stem", "body", "neck", "head")
    wants = "pairs"

    def __init__(self, channels: int = 3, width: int = 3) -> None: ...
"""
"""A class of a user's own that may stand at every door, with one parameter."""
CHOICES = {".".join(("trial", *key)): named for key, named in TRIAL_CHOICES.items()} | {
    f"search.{name}": model
    for name, field in SearchSpec.model_fields.items()
    if issubclass(model := model_of(field.annotation) or object, Named)
}
CHOSEN = {
    "<parameter>": "width",
    "<class>": "building",
    "<scale>": "demo",
    "<group>": "built",
    "<key of trial>": "train.steps",
    "<city>": "ada",
    "<data set>": "more",
    "<parameter of a program>": "lr",
}
SAMPLES: dict[str, Any] = {
    "name": "mine", "scale": "demo", "trial.job.command": ["python", "-m", "mine"],
    "trial.params.<parameter of a program>": 0.1, "trial.job.function": "own.py:main",
    "trial.data.demo": {}, "trial.data.demo.planted": {},
    "trial.data.demo.conditions": {}, "trial.data.layout.sets": {"msls": {}}, "trial.data.shares.<city>": 2.0,
    "trial.data.demo.planted.carry.<class>": 0.5, "trial.input.learnt.lr_factor": 2.0,
    "trial.input.segmenter.name": "deeplabv3plus", "trial.input.segmenter.weights": "a.pth",
    "trial.train.arms.players": [["building"], ["pole"]],
    "search.subsets.groups.<group>": ["building", "wall"], "search.space.<key of trial>": [7],
    **{f"trial.network.backbone.{name}": "b" for name in ("model", "file", "repo", "entry")},
    "trial.network.backbone.answers": "features", "trial.network.backbone.end": "conv5_3",
    "trial.network.attention.reduction": 4, "trial.network.attention.weight": 0.5,
    **{f"trial.network.aggregator.{name}": 2 for name in ("out_channels", "rows", "depth")},
    "search.grid.<key of trial>": [7], "trial.network.gem_p": 4.0, "trial.train.margin": 0.25,
    "trial.train.loss.margin": 0.25, "trial.train.loss.negatives": "all", "trial.train.loss.loss": "NTXentLoss",
    **{f"{name}.name": next(iter(named.door.built_in)) for name, named in CHOICES.items()},
    **{f"{name}.<parameter>": 7 for name in (*CHOICES, "trial.input.segmenter")},
}  # fmt: skip
"""What to write for keys without a default of their own; other sections are written as {}."""
OWN_CLASSES = {name: nested(tuple(name.split(".")), {"name": "own.py:Own"}) for name in CHOICES}
AROUND: dict[str, dict[str, Any]] = {
    **{f"trial.job{name}": {"trial": {"job": {"command": ["python", "-m", "mine"]}}}
       for name in (".files", ".leaves", ".steps", ".stop_signal", ".folder")},
    "trial.params": {"trial": {"job": {"command": ["python", "-m", "mine"]}}},
    "trial.data.layout.": {"trial": {"data": {"root": "/data"}}},
    "trial.data.layout.sets": {"trial": {"data": {"layout": {"name": "mixed", "sets": {"msls": {}}}}}},
    "trial.data.shares.<city>": {"trial": {"data": {"root": "/data", "train": ["ada"]}}},
    "trial.evaluate.of_set.<data set>": {"trial": {"data": {
        "root": "/data", "layout": {"name": "mixed", "sets": {"msls": {}, "more": {}}}, "validate": ["more.ada"],
    }}},
    **{f"trial.data.layout.{name}": {"trial": {"data": {"layout": {"name": layout}}}}
       for layout, names in (
           ("frames", ("database", "queries", "tolerance", "truth", "array", "every", "sections", "endings")),
       ) for name in names},
    **{f"trial.data.layout.{name}": {"trial": {"data": {"layout": {"name": "utm"}}}}
       for name in ("query_folders", "sequence", "heading", "heading_shift", "zones")},
    **{f"trial.data.layout.{name}": {"trial": {"data": {"layout": {"name": "csv"}}}} for name in ("files", "images")},
    **{f"trial.network.backbone.{name}": {"trial": {"network": {"backbone": beside}, "train": {"steps": 0}}}
       for beside, names in (
           ({"name": "timm", "model": "resnet18"}, ("model", "answers")),
           ({"name": "vgg16"}, ("end",)),
           ({"name": "onnx", "file": "net.onnx"}, ("file", "mean", "std")),
           ({"name": "hub", "repo": "a/b", "entry": "net"}, ("repo", "entry", "arguments")),
       ) for name in names},
    "trial.evaluate.rerank.score": {"trial": {"evaluate": {"rerank": {"name": "mutual_nearest"}}}},
    "trial.data.demo.conditions": {"trial": {"data": {"demo": {"database_visits": 3}}}},
    "trial.network.aggregator.at": {"trial": {"network": {"aggregator": {"name": "multi_scale_gem"}}}},
    **{f"trial.network.aggregator.{name}": {"trial": {"network": {"aggregator": {"name": pool}}}}
       for pool, names in (
           ("netvlad", ("clusters", "start", "form")),
           ("sralnet", ("shadows", "centre_classes", "shadow_classes")),
           ("gem+linear", ("length",)), ("mixvpr", ("out_channels", "rows", "depth", "ratio")),
           ("salad", ("token_channels", "hidden", "iterations")), ("boq", ("queries",)),
       ) for name in names},
    "trial.input.segmenter": {"trial": {"input": {"segmenter": {"name": "deeplabv3plus", "weights": "a.pth"}}}},
    "trial.input.segmenter.<parameter>": {"trial": {"input": {"segmenter": {"name": "own.py:Own", "weights": None}}}},
    "trial.input.learnt.hidden": {"trial": {"input": {"learnt": {"name": "squeeze_excite"}}}},
    "trial.input.learnt.width": {"trial": {"input": {"learnt": {"name": "conv_head"}}}},
    **{f"trial.network.attention.{name}": {"trial": {"network": {"attention": {"name": word}}}}
       for word, names in (
           ("bam", ("reduction", "dilation", "combine", "start")), ("cbam", ("kernel",)),
           ("residual_attention", ("levels",)),
       ) for name in names},
    **{f"trial.network.attention.{name}": {"trial": {"network": {"attention": {"name": "deattention"}}}}
       for name in ("rejected", "version", "weight", "order")},
    "trial.network.attention.budget": {"trial": {"network": {"attention": {"name": "spatial"}}}},
    "trial.network.attention.budget_weight": {"trial": {"network": {"attention": {"name": "spatial"}}}},
    **{f"trial.train.loss.{name}": {"trial": {"train": {"recipe": "fast", "loss": beside}}}
       for beside, names in (
           ({"name": "sharpened_triplet", "negatives": "all"}, ("negatives", "margin_pn", "version")),
           ({"name": "multi_similarity"}, ("alpha", "beta", "base", "epsilon")),
           ({"name": "metric", "loss": "NTXentLoss"},
            ("loss", "arguments", "miner", "miner_arguments", "distance", "distance_arguments")),
       ) for name in names},
    "trial.train.arms": {"trial": {
        "input": {"mode": "masked", "mask_reduce": "sum", "classes": ["building", "pole"]},
        "train": {"arms": {"players": [["building"], ["pole"]]}},
    }},
    "search.subsets": {
        "trial": {"input": {"mode": "masked"}}, "search": {"subsets": {"take": "leave_one_out"}}
    },
    "search.subsets.take": {"search": {"searcher": "greedy"}},
    "search.subsets.finalists": {"search": {"searcher": "one_network", "subsets": {"take": None}}},
    "search.subsets.probes": {"search": {"searcher": "one_network", "subsets": {"take": None}}},
    "search.subsets.tie": {"search": {"searcher": "shapley", "num_trials": 900, "subsets": {"take": None}}},
    "search.subsets.groups": {"search": {"subsets": {"groups": {"a": ["pole"], "b": ["fence"]}}}},
    "search.searcher.": {"search": {"space": {"train.lr": [0.1]}, "num_trials": 2}},
    "search.space.<key of trial>": {"search": {"searcher": "random", "num_trials": 2}},
    **{f"{name}.{own}": beside for name, beside in OWN_CLASSES.items()
       for own in ("<parameter>", *CHOICES[name].door.beside.model_fields)},
}  # fmt: skip
"""What has to stand beside a key, by the beginning of its name: the words of a file depend on each other."""


def sample(key: Key) -> Any:
    if key.name in SAMPLES:
        return SAMPLES[key.name]
    return {} if key.is_section or key.name == "scales.<scale>" else key.default


def around(name: str) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for beginning, more in AROUND.items():
        if name == beginning or name.startswith(f"{beginning.removesuffix('.')}."):
            out = lay(out, more)
    return out


def read(folder: Path, values: dict[str, Any]) -> SweepSpec:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(values))
    (folder / "own.py").write_text(OWN)
    return read_sweep(path)


def fields_of(model: type[BaseModel], above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The path of every field below a model, whether it is for files or not."""
    for name, field in model.model_fields.items():
        path = (*above, field.alias or name)
        yield path
        options = [field.annotation, *get_args(field.annotation)]
        for option in options:
            if isinstance(option, type) and issubclass(option, Named):
                built_in = [name for each in option.door.built_in.values() for name in each.parameters.model_fields]
                yield from ((*path, name) for name in dict.fromkeys([*option.model_fields, *built_in]))
            elif isinstance(option, type) and issubclass(option, BaseModel) and name not in ("space", "recipe"):
                under = marks_of(field).get("key")  # where people choose the names of sections
                yield from fields_of(option, (*path, f"<{under}>") if under else path)


@pytest.mark.parametrize("key", [*SWEEP, *PROFILE], ids=lambda key: key.name)
def test_every_key_is_explained(key):
    assert key.meaning
    assert not re.match(r"(?i)of\b", key.meaning), "a meaning is not the rest of a sentence"
    assert key.meaning.count("`") % 2 == 0
    assert key.type
    ends = {"_m": "m", "_s": "s", "_mb": "MB", "_gb": "GB", "_min": "min", "_degrees": "degrees"}
    for end, unit in ends.items():
        if key.name.endswith(end):
            assert key.unit == unit


@pytest.mark.parametrize("key", [k for k in SWEEP if k.name not in ("trial", "search")], ids=lambda key: key.name)
def test_every_listed_key_is_accepted(tmp_path, key):
    path = tuple(CHOSEN.get(part, part) for part in key.path)
    values = lay(around(key.name), nested(path, sample(key)))
    if key.name == "search.grid":
        with pytest.raises(SweepFileError, match="at least one axis"):
            read(tmp_path, values)
    else:
        read(tmp_path, values)


@pytest.mark.parametrize("key", [k for k in PROFILE if len(k.path) > 1], ids=lambda key: key.name)
def test_every_listed_key_of_a_profile_is_accepted(tmp_path, key):
    path = tmp_path / "mine.yaml"
    value = "slurm" if key.path[-1] == "kind" else {} if key.is_section else key.default
    path.write_text(yaml.safe_dump(lay({"kind": "slurm"}, nested(key.path[1:], value))))
    read_profile(str(path))


@pytest.mark.parametrize(
    "path",
    [
        *fields_of(TrialSpec, ("trial",)), *fields_of(SearchSpec, ("search",)), *fields_of(Budget, ("budget",)),
        *((name,) for name in SweepSpec.model_fields), *((name,) for name in TOP_KEYS),
    ],
    ids=".".join,
)  # fmt: skip
def test_what_the_reader_accepts_is_listed_and_nothing_else(tmp_path, path):
    dotted = ".".join(path)
    try:
        read(tmp_path, lay(around(dotted), nested(path, {"a": 1})))
    except SweepFileError as error:
        refused = any(f"{rule}" in str(error) for rule in REFUSED) and ".a: unknown key" not in str(error)
    else:
        refused = False
    assert refused == (dotted not in (*NAMES, *WRITTEN_BY_US))


def test_every_field_of_a_profile_is_listed():
    assert {key.path[1:] for key in PROFILE} - {()} == set(fields_of(ClusterProfile, ()))


@pytest.mark.parametrize("section", ["grid", "space"])
@pytest.mark.parametrize("key", [k for k in SWEEP if k.path[0] == "trial"], ids=lambda key: key.name)
def test_axes_are_what_the_list_says(tmp_path, key, section):
    path = tuple(CHOSEN.get(part, part) for part in key.path[1:])
    more = {"searcher": "random", "num_trials": 2} if section == "space" else {}
    search = {section: {".".join(path): [sample(key)]}, **more}
    values = lay(around(key.name), {"search": search})
    if section in key.axes:
        if key.name == "trial.train.recipe":
            values["search"][section] = {"train.recipe": ["fast"]}
        if key.name in ("trial.input.segmenter", "trial.train.arms"):
            values["search"][section][".".join(path)] = [None]
        read(tmp_path, values)
    else:
        assert len(path) < 2 or path[0] == "run", "only how a trial runs says nothing of what it is"


@pytest.mark.parametrize("axis", ["seed", "digests.dataset"])
@pytest.mark.parametrize("section", ["grid", "space"])
def test_what_is_not_listed_is_no_axis(tmp_path, axis, section):
    more = {"searcher": "random", "num_trials": 2} if section == "space" else {}
    with pytest.raises(SweepFileError) as caught:
        read(tmp_path, {"search": {section: {axis: [1]}, **more}})
    assert any(rule in str(caught.value) for rule in REFUSED)


@pytest.mark.parametrize(
    "key",
    [k for k in SWEEP if k.path[0] == "trial" and not (k.is_section or k.absent is not None or around(k.name))],
    ids=lambda k: k.name,
)
def test_the_default_is_what_a_trial_has_without_the_key(tmp_path, monkeypatch, key):
    monkeypatch.setenv("MSLS_ROOT", "${MSLS_ROOT}")
    for scale in ("demo", "paper"):
        text = {"scale": scale, "trial": {"data": {"demo": {}}} if scale == "demo" else {}}
        value: Any = read(tmp_path, text).trial.to_json()
        for part in key.path[1:]:
            value = value.get(part) if isinstance(value, dict) else None
        if key.name in CHOICES and isinstance(value, dict):
            value = value["name"]
        if value is not None:  # below a section that is null, nothing holds
            assert value == key.scales.get(scale, key.default)


def test_keys_are_found_as_people_type_them():
    (key,) = find_keys("trial.train.lr")
    for short in ("train.lr", "scales.demo.train.lr", "search.grid.train.lr"):
        assert find_keys(short) == (key,)
    assert (key.type, key.default, key.scales) == ("number > 0", 0.1, {"demo": 0.5})
    assert [k.path[-1] for k in find_keys("data.demo.recipe.building")] == ["<class>", "identity", "churn", "repeat"]
    assert {k.path[0] for k in find_keys("cluster")} == {"cluster", "profile"}
    assert find_keys("cluster.poll_s") == find_keys("profile.poll_s")
    assert find_keys("trial.input") == tuple(k for k in SWEEP if k.path[:2] == ("trial", "input"))


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("trial.network.unfreze", "Did you mean 'trial.network.unfreeze'?"),
        ("network.bakbone", "Did you mean 'trial.network.backbone'?"),
        ("bakbone", "Did you mean 'trial.network.backbone'?"),
        ("trail", "Did you mean 'trial'?"),
        ("profile.driver.memry_gb", "Did you mean 'profile.driver.memory_gb'?"),
        ("data.demo.recipe.biulding.churn", "Did you mean 'trial.data.demo.recipe.<class>.churn'?"),
        ("network.xyz", "Valid: backbone, unfreeze, weights"),
        ("seed.x", "Valid: name, scale, scales, trial"),
        ("trial.digests", "Valid: data, input, network"),
    ],
)
def test_a_path_that_is_no_key_names_the_nearest(path, hint):
    with pytest.raises(UserError) as caught:
        find_keys(path)
    assert f"{path}: no such key. " in str(caught.value)
    assert hint in str(caught.value)


def test_words_are_those_of_the_models():
    by_name = {key.name: key for key in (*SWEEP, *PROFILE)}
    assert by_name["trial.input.mode"].words == ("rgb", "masked", "rgb+mask", "rgb+semantics")
    assert {"static", "all", "building", "traffic sign"} < set(by_name["trial.input.classes"].words)
    assert "resnet50" in by_name["trial.network.backbone"].words
    assert by_name["trial.train.recipe"].words == ("reference", "fast", "current", "segvpr", "deattention")
    assert by_name["search.searcher"].words == ("random", "optuna", "greedy", "shapley", "one_network")
    assert by_name["profile.kind"].words == ("local", "slurm")
    assert by_name["trial.train.image_size"].type == "2 × whole number 32 to 4096"
    assert by_name["baseline"].type == "first | best | {key: value} | null"


def test_a_key_is_json():
    for key in (*SWEEP, *PROFILE):
        assert json.loads(json.dumps(key.to_json()))["key"] == key.name

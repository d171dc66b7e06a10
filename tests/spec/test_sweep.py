"""A sweep file becomes trials; what is wrong in it is said with file, line, dotted path, rule, value and remedy."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml

from vprdist.errors import SweepFileError
from vprdist.spec.augment import AugmentSpec
from vprdist.spec.recipes import RECIPES
from vprdist.spec.row_name import row_name
from vprdist.spec.sweep import trial_at
from vprdist.spec.sweep_file import read_sweep
from vprdist.store.manifest import resolved_file

SWEEPS = Path(__file__).resolve().parents[2] / "sweeps"


def sweep(tmp_path: Path, text: str, *overrides: str):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return read_sweep(path, overrides)


def refusal(tmp_path: Path, text: str, *overrides: str) -> str:
    with pytest.raises(SweepFileError) as caught:
        sweep(tmp_path, text, *overrides)
    return str(caught.value).replace(str(tmp_path), "")


@pytest.mark.parametrize(
    ("name", "count"),
    [
        *(("table1", 8), ("input_modes", 8), ("mask_forms", 6), ("search", 11), ("placebos", 24)),
        *(("class_subsets", 33), ("shapley", 1), ("forms_beside_rgb", 60)),
    ],
)
def test_the_sweeps_that_ship_can_be_read_at_both_scales(name, count, monkeypatch):
    monkeypatch.setenv("MSLS_ROOT", "/data/msls")
    for scale in ("demo", "paper"):
        spec = read_sweep(SWEEPS / f"{name}.yaml", [f"scale={scale}"])
        assert len(spec.trials) == count
        assert spec.trials[0].network.backbone.name == {"demo": "efficientnet_lite0", "paper": "resnet50"}[scale]
    assert spec.trials[0].data.root == "/data/msls"
    assert spec.trials[0].data.train == ("amman", "boston", "london", "manila", "zurich")


def test_the_sweep_over_forms_can_be_read_at_both_scales(monkeypatch):
    monkeypatch.setenv("MSLS_ROOT", "/data/msls")
    for scale in ("demo", "paper"):
        spec = read_sweep(SWEEPS / "forms.yaml", [f"scale={scale}"])
        assert len({(trial.input.mask_at, trial.input.mask_fill) for trial in spec.trials}) == 6
        assert not any(trial.train.steps for trial in spec.trials)


def test_the_last_word_wins(tmp_path):
    text = """
name: layers
trial: {train: {steps: 7, lr: 0.5}}
scales: {demo: {train.steps: 8, train.batch_pairs: 4}}
search: {grid: {train.margin: [0.1, 0.2]}}
"""
    spec = sweep(tmp_path, text, "trial.train.micro_pairs=2", "trial.train.batch_pairs=6")
    train = spec.trials[1].train
    assert (train.lr, train.steps, train.batch_pairs, train.micro_pairs, train.loss.parameters["margin"]) == (
        0.5,
        8,
        6,
        2,
        0.2,
    )
    assert train.image_size == (96, 128), "what nobody named comes from the built-in scale"


def test_a_recipe_gives_way_to_what_the_file_says_itself(tmp_path):
    train = sweep(tmp_path, "trial: {train: {recipe: fast, lr: 0.003}}\n", "trial.train.steps=9").trial.train
    expected = {**RECIPES["fast"], "lr": 0.003, "loss": {"name": "gcl", "margin": 0.5}}
    assert {key: train.model_dump()[key] for key in expected} == expected
    assert (train.recipe, train.steps, train.image_size) == ("fast", 9, (96, 128))
    assert sweep(tmp_path, "trial: {train: {recipe: fast}}\n", "trial.train.recipe=reference").trial.train.chunked


@pytest.mark.parametrize("scale", ["demo", "paper"])
def test_every_recipe_fits_both_scales(tmp_path, monkeypatch, scale):
    monkeypatch.setenv("MSLS_ROOT", "/data/msls")
    spec = sweep(tmp_path, f"scale: {scale}\nsearch: {{grid: {{train.recipe: [reference, fast, current]}}}}\n")
    assert [(t.train.batches, t.train.pairs, t.train.loss.name) for t in spec.trials] == [
        ("pairs", "drawn", "gcl"), ("pairs", "all", "gcl"), ("places", "all", "multi_similarity")
    ]  # fmt: skip
    assert [trial.train.augment is not None for trial in spec.trials] == [False, False, True]


def test_keys_of_a_file_are_laid_over_a_recipes_augmentations_and_leave_the_recipe_as_it_is(tmp_path):
    before = copy.deepcopy(RECIPES)
    found = sweep(tmp_path, "trial: {train: {recipe: current, augment: {flip: 0.0}}}\n").trial.train.augment
    assert found is not None and (found.flip, found.num_ops, found.crop_scale) == (0.0, 3, (0.5, 1.0))
    assert sweep(tmp_path, "trial: {train: {recipe: current, augment: null}}\n").trial.train.augment is None
    text = "trial: {train: {recipe: fast}}\nsearch: {grid: {train.augment: [null, {flip: 0.0}, {num_ops: 0}]}}\n"
    assert [t.train.augment for t in sweep(tmp_path, text).trials] == [
        None, AugmentSpec(flip=0.0), AugmentSpec(num_ops=0)
    ]  # fmt: skip
    assert before == RECIPES


@pytest.mark.parametrize(("value", "said"), [
    ("{crop_scale: [0.9, 0.5]}", r"crop_scale: the least must not be above the most; found \[0.9, 0.5\]"),
    ("{crop_ratio: [1, 0.9]}", "crop_ratio: the least must not be above the most"),
    ("{crop_scale: [0, 1]}", "crop_scale.0: this must be above 0"),
    ("{flip: 2}", "flip: this must be at most 1"),
    ("{flips: 1}", "flips: unknown key. Did you mean 'flip'"),
    ("[flip]", "augment: this must be a mapping"),
])  # fmt: skip
def test_augmentations_that_cannot_be_are_refused_at_their_line(tmp_path, value, said):
    with pytest.raises(SweepFileError, match=said):
        sweep(tmp_path, f"trial:\n  train:\n    augment: {value}\n")


@pytest.mark.parametrize("search", ["grid", "space"])
def test_recipes_can_be_compared(tmp_path, search):
    more = "searcher: random, num_trials: 4, " if search == "space" else ""
    text = f"trial: {{train: {{margin: 0.7}}}}\nsearch: {{{more}{search}: {{train.recipe: [reference, fast]}}}}\n"
    spec = sweep(tmp_path, text)
    for again in (spec, sweep(tmp_path, yaml.safe_dump(resolved_file(spec)))):
        trials = again.trials if search == "grid" else [trial_at(again, point) for point in again.points]
        for trial, name in zip(trials, ("reference", "fast"), strict=True):
            expected = {**RECIPES[name], "loss": {"name": "gcl", "margin": 0.7}}
            assert {key: trial.train.model_dump()[key] for key in expected} == expected
            assert trial.train.recipe == name


def test_every_recipe_replaces_the_other_whole():
    assert len({frozenset(recipe) for recipe in RECIPES.values()}) == 1


def test_the_papers_scale_is_the_reference(monkeypatch):
    monkeypatch.setenv("MSLS_ROOT", "/data/msls")
    train = read_sweep(SWEEPS / "table1.yaml", ["scale=paper"]).trials[0].train
    assert (train.recipe, train.chunks, train.chunk_queries, train.micro_pairs) == ("reference", 52, 10_000, 2)


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
        ("trial:\n  input:\n    classes: [road, road]\n", (), (":3: trial.input.classes", "named twice")),
        ("trial:\n  input:\n    classes: []\n", (), (":3: trial.input.classes", "empty mask")),
        ("trial:\n  network:\n    unfreeze: 5-4\n", (), (":3: trial.network.unfreeze", "impossible", "'5-4'")),
        ("trial:\n  network:\n    unfreeze: [layer9]\n", (), ("trial.network.unfreeze", "no unit 'layer9'")),
        ("trial:\n  network:\n    backbone: resnet5\n", (), (":3: trial.network.backbone", "'resnet50'")),
        ("search:\n  grid:\n    input.mode: []\n", (), (":3: search.grid.input.mode", "at least one value")),
        ("search:\n  grid:\n    input.mode: rgb\n", (), (":3: search.grid.input.mode", "list of values", "'rgb'")),
        ("search:\n  grid:\n    input.mod: [rgb]\n", (), (":3: search.grid.input.mod", "unknown key", "'input.mode'")),
        ("search:\n  grid:\n    network.unfreeze: [0-2, 9-9]\n", (), (":3: search.grid.network.unfreeze", "'9-9'")),
        ("search:\n  grid:\n    seed: [1]\n", (), (":3: search.grid.seed", "seeds: [0, 1, 2]")),
        ("search:\n  gird: {}\n", (), (":2: search.gird", "unknown key", "'grid'")),
        ("search:\n  grid: {}\n", (), (":2: search.grid", "at least one axis")),
        ("search:\n  grid:\n    digests.weights: [a]\n", (), (":3: search.grid.digests.weights", "computed")),
        ("search:\n  grid: {1: [a]}\n", (), (":2", "a key must be text", "'1'")),
        ("1: 2\n", (), (":1", "a key must be text", "'1'")),
        ("trial: {input: {true: 1}}\n", (), (":1", "a key must be text")),
        ("trial: {data: {train: &a [*a]}}\n", (), (":1", "cannot contain itself")),
        ("name: a\n", ("trial.train={1: 2}",), ("a key must be text", "'1'")),
        ("trial: {input: {mode: masked, classes: null}}\n", (), ("trial.input.classes", "mode masked needs")),
        ("trial: {input: {mode: masked}}\n", ("trial.input.mask_reduce=null",), ("mask_reduce", "needs a value")),
        ("trial: {input: {mode: rgb+mask, conv1_init: null}}\n", (), ("trial.input.conv1_init", "needs a value")),
        ("trial: {train: {recipe: fats}}\n", (), (":1: trial.train.recipe", "'fats'", "Did you mean 'fast'")),
        ("trial: {train: {recipe: [fast]}}\n", (), (":1: trial.train.recipe", "['fast']", "search.grid")),
        ("search: {grid: {train.recipe: [[fast]]}}\n", (), (":1: search.grid.train.recipe", "['fast']")),
        ("search: {grid: {train.recipe: [fast, slow]}}\n", (), (":1: search.grid.train.recipe", "'slow'")),
        ("trial: {train: {pairs: all}}\n", ("trial.train.micro_pairs=4",), ("micro_pairs", "in one piece")),
        ("trial: {train: {recipe: reference, chunk_queries: 1}}\n", (), ("chunk_queries", "must fill a micro-batch")),
        ("scale: papr\n", (), (":1: scale", "'papr'", "'paper'")),
        ("scale: paper\n", (), ("trial.data.root", "MSLS_ROOT is not set")),
        ("name: a\nname: b\n", (), (":2: name", "written twice", "line 1")),
        ("name: [a\n", (), (":2", "must be YAML")),
        ("- a\n", (), ("must be a mapping",)),
        ("name: ../a\n", (), (":1: name", "'../a'")),
        ("seeds: []\n", (), (":1: seeds", "at least one value")),
        ("seeds: [1, 1]\n", (), (":1: seeds", "stands twice")),
        ("objective: recall@3\n", (), (":1: objective", "recall@20", "'recall@3'")),
        ("trials: {}\n", (), (":1: trials", "unknown key", "'trial'")),
        ("trial: {seed: 3}\n", (), (":1: trial.seed", "seeds: [0, 1, 2]")),
        ("trial: 3\n", (), (":1: trial", "mapping", "3")),
        ("trial: {train: {batch_pairs: 6, micro_pairs: 4}}\n", (), ("trial.train.micro_pairs", "must divide", "4")),
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
    with pytest.raises(SweepFileError, match=r"nowhere\.yaml: no such file"):
        read_sweep(tmp_path / "nowhere.yaml")


SPACE = """
search:
  searcher: optuna
  num_trials: 5
  space:
    input.mode: [rgb, masked]
    train.lr: {loguniform: [0.001, 0.1]}
    train.steps: {randint: [10, 20]}
seeds: [3]
"""


def test_a_space_is_read_with_its_bounds_and_each_value_is_tried_alone(tmp_path):
    spec = sweep(tmp_path, SPACE)
    assert spec.num_trials == 5
    assert spec.axes == ("input.mode", "train.lr", "train.steps")
    tried = {(t.input.mode, t.train.lr, t.train.steps, t.seed) for t in spec.trials}
    assert tried == {
        ("rgb", 0.001, 10, 3), ("masked", 0.001, 10, 3), ("rgb", 0.1, 10, 3), ("rgb", 0.001, 20, 3),
    }  # fmt: skip
    middle = trial_at(spec, {"input.mode": "masked", "train.lr": 0.02, "train.steps": 15})
    assert (middle.input.mode, middle.train.lr, middle.train.steps, middle.seed) == ("masked", 0.02, 15, 3)
    with pytest.raises(SweepFileError, match=r"proposed.*train.lr"):
        trial_at(spec, {"input.mode": "rgb", "train.lr": -1.0, "train.steps": 15})


def test_a_scheduler_has_trials_evaluated_on_their_way(tmp_path):
    text = "trial: {train: {steps: 40}}\nsearch: {scheduler: asha, grid: {input.mode: [rgb, masked]}}\n"
    spec = sweep(tmp_path, text)
    assert {t.run.evaluate_steps for t in spec.trials} == {10}
    assert (spec.search.grace_steps, spec.search.max_steps) == (10, 40)
    plain = sweep(tmp_path, text.replace("scheduler: asha, ", ""))
    assert [t.model_dump(exclude={"run"}) for t in plain.trials] == [t.model_dump(exclude={"run"}) for t in spec.trials]
    later = sweep(tmp_path, text, "search.grace_steps=20", "trial.run.evaluate_steps=5")
    assert (later.search.grace_steps, later.trials[0].run.evaluate_steps) == (20, 5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("search.searcher=optima", "search.searcher"),
        ("search.searcher=null", "a space and a searcher must go together"),
        ("search.num_trials=null", "a searcher must be told how many trials to propose"),
        ("search.num_trials=0", "search.num_trials"),
        ("search.seracher=optuna", "unknown key. Did you mean 'searcher'"),
        ("search.max_steps=7", "unknown key"),
        ("search.grace_steps=7", "without a scheduler no trial is stopped"),
        ("search.space.train.lr={loguniform: [0, 1]}", "bounds on a logarithmic scale must be above zero"),
        ("search.space.train.lr={uniform: [2, 1]}", "the lower bound must be below the upper one"),
        ("search.space.train.lr={uniform: [a, b]}", "an axis of a space must be a list of values or a range"),
        ("search.space.train.lr={normal: [0, 1]}", "an axis of a space must be a list of values or a range"),
        ("search.space.train.lr=[]", "an axis of a space must be a list of values or a range"),
        ("search.space.train.steps={randint: [1.5, 4]}", "whole numbers need whole bounds"),
        ("search.space.train.stps=[1, 2]", "Did you mean 'train.steps'"),
        ("search.space.train.lr=[0.1, -3]", "train.lr"),
        ("search.space.seed=[1, 2]", "this key cannot stand in a sweep file"),
        ("search.grid.train.margin=[0.1]", "search.grid"),
        ("seeds=[1,2]", "seeds"),
    ],
)
def test_a_search_that_cannot_be_is_refused(tmp_path, change, words):
    assert words in refusal(tmp_path, SPACE, change)


def test_a_scheduler_without_anything_to_compare_is_refused(tmp_path):
    text = "trial: {train: {steps: 1}}\nsearch: {scheduler: median, grid: {input.mode: [rgb, masked]}}\n"
    assert "a scheduler needs trials that train for some steps" in refusal(tmp_path, text)
    assert "between the first evaluation, 2, and the last step, 8" in refusal(
        tmp_path, text, "trial.train.steps=8", "search.grace_steps=8"
    )


@pytest.mark.parametrize("text", [SPACE, SPACE.replace("num_trials", "scheduler: asha\n  num_trials")])
def test_the_resolved_file_of_a_search_is_the_same_search(tmp_path, text):
    spec = sweep(tmp_path, text)
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(resolved_file(spec)))
    again = read_sweep(tmp_path / "again.yaml")
    assert again.search == spec.search
    assert again.trials == spec.trials
    assert resolved_file(again) == resolved_file(spec)
    point = {"input.mode": "masked", "train.lr": 0.02, "train.steps": 15}
    assert trial_at(again, point) == trial_at(spec, point)


GRID = "search: {grid: {input.mode: [rgb, masked], network.unfreeze: [0-2, all]}}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GRID + "baseline: {input.mod: rgb}\n", "2: baseline.input.mod: no such axis of search.grid: 'input.mod'"),
        (GRID + "baseline: {input.mode: rgb+mask}\n", "the baseline's value must be one of the grid's on input.mode"),
        (GRID + "baseline: {}\n", "a baseline must have at least one axis"),
        (GRID + "baseline: worst\n", "2: baseline"),
        ("baseline: first\n", "only a grid can have a first row"),
    ],
)
def test_a_baseline_is_a_row_of_the_grid(tmp_path, text, message):
    assert message in refusal(tmp_path, text)


def test_a_grid_changed_on_the_command_line_may_lose_the_files_baseline(tmp_path):
    text = GRID + "baseline: {input.mode: rgb}\n"
    assert sweep(tmp_path, text, "search.grid.input.mode=[rgb, masked]").baseline == {"input.mode": "rgb"}
    assert sweep(tmp_path, text, "search.grid.input.mode=[masked]").baseline is None
    assert sweep(tmp_path, text, "search.grid={input.mask_reduce: [sum, max]}").baseline is None
    words = ("search.grid.input.mode=[masked]", "baseline={input.mode: rgb}")
    assert "the baseline's value must be one of the grid's" in refusal(tmp_path, text, *words)


@pytest.mark.parametrize("baseline", ["best", "first", {"input.mode": "rgb"}])
def test_a_resolved_file_keeps_the_baseline(tmp_path, baseline):
    spec = sweep(tmp_path, GRID + f"baseline: {baseline}\n")
    again = tmp_path / "again.yaml"
    again.write_text(yaml.safe_dump(resolved_file(spec)))
    assert read_sweep(again).baseline == spec.baseline == baseline


@pytest.mark.parametrize(
    ("text", "overrides", "parts"),
    [
        (GRID.replace("input.mode", "input.mod") + "baseline: {input.mode: rgb}\n", (),
         (":1: search.grid.input.mod: unknown key. Did you mean 'input.mode'?",)),
        ("search:\n  searcher: random\n  num_trials: 2\n  space:\n    train.stesp: [1, 2]\n", (),
         (":5: search.space.train.stesp: unknown key. Did you mean 'train.steps'?",)),
        ("search: {grid: {train.lr.int: [1]}}\n", (), (":1: search.grid.train.lr.int: train.lr has no keys below it",)),
        ("search:\n  grid:\n    input.classes:\n      - [road]\n      - [raod]\n", (),
         (":5: search.grid.input.classes", "found 'raod'. Did you mean 'road'?")),
        ("search: {grid: {train.margin: [1], train.loss.margin: [2]}}\n", (), ("written twice, in two spellings",)),
        ("name: a\n", ("trial.data.train[0]=zurich",),
         ("override 'trial.data.train[0]=zurich': trial.data.train[0]: unknown key. Did you mean 'train'?",)),
        ("name: a\n", ("trial.netwrok.unfreeze=all",), ("override 'trial.netwrok.unfreeze=all': trial.netwrok",)),
        ("trial: {network: {}}\n", ("trial.network.unfreeze.str=3",),
         ("override 'trial.network.unfreeze.str=3': trial.network.unfreeze: this must be text or a list",)),
        ("trial: {train: {steps: 3}}\n", ("trial.train.steps.int=3",), ("trial.train.steps.int: train.steps has no",)),
        ("trial: {train: {image_size: [64, 64]}}\n", ("trial.train.image_size=[64, x]",),
         ("override 'trial.train.image_size=[64, x]': trial.train.image_size.1: this must be a whole number",)),
        ("trial:\n  train: {steps: 7}\nscales:\n  demo:\n    train.steps: x\n", (), (":5: scales.demo.train.steps",)),
        ("trial: {train: {steps: 7, batch_pairs: 5}, train.steps: 8}\n", (),
         ("trial.train.steps: a key is written twice, dotted and not",)),
        ("trial:\n  train.margin: x\n", (), (":2: trial.train.margin: this must be a number",)),
        ("trial: {network: {backbone: resnet5}}\n", (), (":1: trial.network.backbone: no such backbone",)),
        ("name: 010\n", (), (":1: name: a whole number cannot begin with 0",)),
        ("name: a\n", ("trial.train.steps=010",), ("override 'trial.train.steps=010'", "cannot begin with 0")),
        ("name: a\n", ("trial.train.steps=1:30",), ("this must be a whole number; found '1:30'. Write one number.",)),
        ("trial: {train: {steps: 1_000}}\n", (), ("this must be a whole number; found '1_000'. Write 1000.",)),
        ("trial: {run: {compile: yes}}\n", (), ("this must be true or false; found 'yes'. Write true.",)),
    ],
)  # fmt: skip
def test_a_refusal_blames_the_key_that_is_wrong(tmp_path, text, overrides, parts):
    message = refusal(tmp_path, text, *overrides)
    for part in parts:
        assert part in message, message


def test_several_findings_are_shown_each_with_its_line(tmp_path):
    keys = {"lr": "x", "steps": 1.5, "warmup": 2, "optimizer": "sdg", "pears": "all", "chunked": "no", "margin": -1}
    text = "trial:\n  train:\n" + "".join(f"    {key}: {value}\n" for key, value in keys.items())
    first, *others = refusal(tmp_path, text).splitlines()
    said = {line.split("/mine.yaml:")[1].split(":")[1].strip() for line in (first, *others[:-1])}
    assert len(said) == 5 and said <= {f"trial.train.{key}" for key in keys}
    assert all(line.startswith("And /mine.yaml:") for line in others[:-1])
    assert others[-1] == "And 2 more."
    two = refusal(tmp_path, "trial:\n  train:\n    lr: x\n    steps: y\n").splitlines()
    assert [line.partition("mine.yaml")[2].partition(";")[0] for line in two] == [
        ":4: trial.train.steps: this must be a whole number",
        ":3: trial.train.lr: this must be a number",
    ]


def test_an_empty_section_asks_for_nothing(tmp_path):
    assert sweep(tmp_path, "trial: {train: {}}\n").trial == sweep(tmp_path, "name: mine\n").trial


AXES = f"name: a\nsearch:\n  grid:\n    train.lr: &hundred {[i + 0.5 for i in range(100)]}\n"
"""The first of several axes of a hundred values."""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (AXES + "    train.weight_decay: *hundred\n    train.inertia: *hundred\n", "unknown key"),
        (AXES + "    train.weight_decay: *hundred\n    data.fov_radius_m: *hundred\n    train.loss.margin: *hundred\n"
         "seeds: [0, 1]\n", "mine.yaml:3: search.grid: a sweep may not have more than 20000 trials: '200000000: 100 "),
        (f"name: a\nseeds: {[*range(20001)]}\n", "mine.yaml:2: seeds: a sweep may not have more"),
        ("name: a\nsearch: {space: {train.lr: {uniform: [0.1, 1]}}, searcher: random, num_trials: 1000000000000}\n",
         "mine.yaml:2: search.num_trials: a sweep may not have more than 20000 trials: 1000000000000. Lower it."),
        ("name: a\nsearch: {space: {train.steps: {randint: [0, 1e30]}}, searcher: random, num_trials: 3}\n",
         "whole bounds must lie within 63 bits"),
        ("name: a\ntrial: {" + ".".join("a" * 40) + ": 1}\n", "no key has so many dots: 39"),
        (f"name: a\ntrial: {{data: {{root: {['word'] * 2000}}}}}\n", "this must be text; found ['word'"),
    ],
)  # fmt: skip
def test_what_would_fill_the_memory_is_counted_and_refused(tmp_path, text, words):
    message = refusal(tmp_path, text)
    assert words in message and len(message) < 1200


def test_an_override_of_many_dots_is_refused(tmp_path):
    for section in ("budget", "trial.train", "scales.paper", "search.grid"):
        assert "no key has so many dots" in refusal(tmp_path, "name: a\n", f"{section}.{'.'.join('a' * 5000)}=1")


def test_rows_of_whole_sections_are_named_by_what_differs_between_them(tmp_path):
    text = """
name: sections
trial: {data: {root: demo}}
search:
  grid:
    input: [{mode: rgb}, {mode: masked, classes: static}, {mode: masked, mask_at: features, placebo: image, cache: a/b}]
    train: [{steps: 3}, {steps: 3, lr: 0.2}]
    network: [{backbone: resnet18, weights: none}, {backbone: efficientnet_lite0, unfreeze: 0-4}]
"""
    spec = sweep(tmp_path, text)
    axes = spec.telling_axes
    keys = {f"input.{key}" for key in ("mode", "classes", "mask_at", "placebo", "cache")}
    assert {*keys, "train.lr", "network"} == set(axes)
    names = [row_name(trial, axes) for trial in spec.trials]
    assert len(set(names)) == len(spec.trials) == 12
    assert not any("{" in name or "steps" in name or "/" in name for name in names), names
    one = sweep(tmp_path, "name: one\ntrial: {data: {root: demo}}\nsearch: {grid: {input: [{mode: rgb}]}}\n")
    assert one.telling_axes == ("input",), "nothing differs"


def test_rows_of_one_choice_are_told_apart_by_its_parameters(tmp_path):
    grid = """
name: losses
trial: {data: {root: demo}}
search:
  grid:
    train.loss: [gcl, {name: gcl, margin: 0.3}, contrastive]
    network.aggregator: [gem, {name: netvlad, clusters: 8}]
"""
    spec = sweep(tmp_path, grid)
    names = [row_name(trial, spec.telling_axes, None, spec.telling_parameters) for trial in spec.trials]
    losses, pools = ("gcl", "gcl margin=0.3", "contrastive"), ("gem", "netvlad")
    assert names == [f"{loss} {pool}" for loss in losses for pool in pools]
    both = (
        "name: both\ntrial: {data: {root: demo}}\nsearch: {grid: {train.loss: [gcl], train.loss.margin: [0.2, 0.3]}}\n"
    )
    spec = sweep(tmp_path, both)
    assert [row_name(trial, spec.telling_axes) for trial in spec.trials] == ["gcl 0.2", "gcl 0.3"], "once"
    assert spec.telling_parameters == {}
    alike = (
        "name: a\ntrial: {data: {root: demo}, train: {margin: 0.4}}\nsearch: {grid: {train.loss: [gcl, contrastive]}}\n"
    )
    spec = sweep(tmp_path, alike)
    found = [row_name(trial, spec.telling_axes, None, spec.telling_parameters) for trial in spec.trials]
    assert found == ["gcl", "contrastive"], "what all rows have tells nothing"

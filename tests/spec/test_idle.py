"""A setting that does nothing is refused, or said: an override that no trial gets, a key that no trial reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from vprdist.errors import SweepFileError
from vprdist.spec.base import file_fields
from vprdist.spec.idle import IDLE, LOCAL_IDLE, idle_settings
from vprdist.spec.keys import model_of
from vprdist.spec.profile import ClusterProfile, read_profile
from vprdist.spec.sweep_file import read_sweep
from vprdist.spec.trial import TrialSpec
from vprdist.store.manifest import resolved_file

ROOT = Path(__file__).resolve().parents[2]
READ = {
    "data": "root layout demo train validate positive_radius_m leave_out broken pack",
    "input": "mode",
    "network": "backbone weights attention aggregator gem_p",
    "train": "steps margin arms precision",
    "evaluate": "subtask gallery queries database no_positives image_size whitening dimensions rerank storage predict "
    "of_set",
    "run": "workers keep_mb store_gb tensorboard",
    "job": "command function files leaves steps stop_signal folder",
}
"""Keys that every trial reads; `evaluate.dimensions` without whitening and `data.demo` without the demo are refused."""
LOCAL = ClusterProfile(kind="local")
MASKED = {"input": {"mode": "masked"}}
STILL = {"train": {"steps": 0}}
TWO_SETS = {"data": {"root": "/data", "train": ["ada"]}}


def notes(tmp_path: Path, text: str, *words: str, profile: ClusterProfile = LOCAL) -> list[str]:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return [note.replace(f"{tmp_path}/", "") for note in idle_settings(read_sweep(path, words), profile)]


def refusal(tmp_path: Path, text: str, *words: str) -> str:
    with pytest.raises(SweepFileError) as caught:
        notes(tmp_path, text, *words)
    return str(caught.value).replace(f"{tmp_path}/", "")


def test_every_key_of_a_trial_is_known_to_be_read_always_or_sometimes():
    keys = {
        f"{section}.{name}"
        for section, field in file_fields(TrialSpec).items()
        if (model := model_of(field.annotation)) is not None  # `params` has whatever a program reads
        for name in file_fields(model)
    }
    always = {f"{section}.{name}" for section, names in READ.items() for name in names.split()}
    assert not always & IDLE.keys()
    assert keys == always | IDLE.keys(), "a new key: when is it not read? Say so in spec/idle.py"


CASES: list[tuple[str, Any, dict[str, Any], dict[str, Any]]] = [
    # key, a value that asks for something, where no trial reads it, where one does
    ("input.classes", ["building"], {}, MASKED),
    ("input.mask_reduce", "sum", {"input": {"mode": "rgb+semantics"}}, MASKED),
    ("input.placebo", "random", {}, MASKED),
    ("input.mask_at", "features", {}, MASKED),
    ("input.mask_fill", "mean", {"input": {"mode": "masked", "mask_at": "features"}}, MASKED),
    ("input.learnt", "class_weights", {}, MASKED),
    ("input.conv1_init", "random", MASKED, {"input": {"mode": "rgb+mask"}}),
    ("input.cache", "/cache", {}, MASKED),
    ("input.class_table", "vistas65", {}, MASKED),
    ("input.segmenter", {"name": "deeplabv3plus", "weights": "a.pth"}, {}, MASKED),
    ("input.compression", "lz4", MASKED, {
        "input": {"mode": "masked", "segmenter": {"name": "deeplabv3plus", "weights": "a.pth"}}
    }),
    ("input.top_k", 4, MASKED, {
        "input": {"mode": "masked", "segmenter": {"name": "deeplabv3plus", "weights": "a.pth"}}
    }),
    ("data.labels", "computed", STILL, {}),
    ("data.fov_radius_m", 40.0, STILL, {}),
    ("data.fov_degrees", 60.0, STILL, {}),
    ("data.fov_degrees", 60.0, {"data.labels": "distance"}, {}),
    ("data.fov_degrees", 60.0, {"data.labels": "truth"}, {}),
    ("data.fov_radius_m", 40.0, {"data.labels": "truth"}, {"data.labels": "distance"}),
    ("network.unfreeze", "all", STILL, {}),
    ("train.recipe", "fast", STILL, {}),
    ("train.batch_pairs", 48, STILL, {}),
    ("train.micro_pairs", 8, STILL, {}),
    ("train.chunk_queries", 77, STILL, {}),
    ("train.chunked", True, STILL, {}),
    ("train.pairs", "all", STILL, {}),
    ("train.loss", "contrastive", STILL, {}),
    ("train.loss.margin", 0.7, STILL, {}),
    ("train.optimizer", "adamw", STILL, {}),
    ("train.lr", 0.3, STILL, {}),
    ("train.momentum", 0.9, {"train": {"optimizer": "adamw"}}, {}),
    ("train.weight_decay", 0.1, STILL, {}),
    ("train.schedule", "cosine", STILL, {}),
    ("train.warmup", 0.1, STILL, {}),
    ("train.batch_norm", "sync", STILL, {}),
    ("train.backbone_lr_factor", 0.3, STILL, {}),
    ("train.augment", {"flip": 0.25}, STILL, {}),
    ("train.image_size", [64, 64], {**STILL, "evaluate": {"image_size": [32, 32]}}, STILL),
    ("train.chunks", 3, {}, {"train": {"chunked": True}}),
    ("train.batches", "places", STILL, {}),
    ("train.place_pictures", 3, {}, {"train": {"batches": "places"}}),
    ("train.mining", {"negatives": 3}, {}, {"train": {"batches": "triplets", "chunked": True}}),
    ("train.lr_drop_pairs", 3000, {"train": {"schedule": "cosine"}}, {}),
    ("data.shares", {"ada": 2.0}, {**STILL, **TWO_SETS}, TWO_SETS),
    ("evaluate.before_training", False, STILL, {}),
    ("run.compile", True, STILL, {}),
    ("run.checkpoint_s", 7.0, STILL, {}),
    ("run.log_steps", 7, STILL, {}),
    ("run.evaluate_steps", 7, STILL, {}),
]  # fmt: skip


def test_an_override_below_an_axis_of_whole_mappings_is_refused_and_no_wrong_axis_is_proposed(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("search:\n  grid:\n    train.loss: [{name: gcl, margin: 0.4}, {name: gcl, margin: 0.5}]\n")
    with pytest.raises(SweepFileError, match=r"search\.grid\.train\.loss says what each trial has\. Delete the"):
        read_sweep(file, ["trial.train.loss.margin=0.3"])


def test_every_rule_has_a_case():
    assert {".".join(key.split(".")[:2]) for key, *_ in CASES} == IDLE.keys()


@pytest.mark.parametrize(("key", "value", "unread", "read"), CASES, ids=[case[0] for case in CASES])
def test_a_key_is_said_where_no_trial_reads_it_and_nowhere_else(tmp_path, key, value, unread, read):
    (note,) = notes(tmp_path, yaml.safe_dump({"trial": {**unread, key: value}}))
    assert note.startswith("mine.yaml:") and f": trial.{key}" in note and ": no effect, since " in note
    assert notes(tmp_path, yaml.safe_dump({"trial": {**read, key: value}})) == []
    asks_for_nothing = TrialSpec().to_json()
    for part in key.split("."):
        asks_for_nothing = asks_for_nothing[part]
    if key != "train.pairs":
        assert notes(tmp_path, yaml.safe_dump({"trial": {**unread, key: asks_for_nothing}})) == [], "its default"


def test_one_trial_that_reads_a_key_is_enough(tmp_path):
    text = "trial: {input: {mask_reduce: sum}}\nsearch: {grid: {input.mode: [rgb, masked]}}\n"
    assert notes(tmp_path, text) == []
    (note,) = notes(tmp_path, text.replace("masked", "rgb+semantics"))
    assert note == "mine.yaml:1: trial.input.mask_reduce: no effect, since mode rgb has no mask"


def test_an_axis_that_no_trial_reads_is_said(tmp_path):
    (note,) = notes(tmp_path, "search:\n  grid:\n    input.mask_reduce: [sum, max]\n")
    assert note == "mine.yaml:3: search.grid.input.mask_reduce: no effect, since mode rgb has no mask"


def test_settings_with_one_reason_are_one_sentence(tmp_path):
    (note,) = notes(tmp_path, "trial:\n  train:\n    steps: 0\n    lr: 0.3\n    warmup: 0.1\n")
    assert note == (
        "mine.yaml:4: trial.train.lr, mine.yaml:5: trial.train.warmup: no effect, since nothing is trained "
        "(train.steps: 0)"
    )


GRID = "search:\n  grid:\n    train.lr: [0.1, 0.2]\n    train.loss: [gcl, contrastive]\n"
SPACE = "search: {searcher: random, num_trials: 2, space: {train.lr: {uniform: [0.1, 0.2]}}}\n"
SUBSETS = "trial: {input: {mode: masked}}\nsearch: {subsets: {take: leave_one_out}}\n"


@pytest.mark.parametrize(
    ("text", "word", "words"),
    [
        (GRID, "trial.train.lr=0.3", "search.grid.train.lr says what each trial has. Write search.grid.train.lr=[0.3]"),
        (GRID, "scales.demo.train.lr=0.3", "search.grid.train.lr says what each trial has"),
        (GRID, "trial.train.loss=gcl", "search.grid.train.loss says what each trial has"),
        (SPACE, "trial.train.lr=0.3", "search.space.train.lr says what each trial has"),
        (SUBSETS, "trial.input.classes=[building]", "search.subsets says what each trial has. Delete the override"),
        ("search: {grid: {train.margin: [0.1, 0.2]}}", "trial.train.loss.margin=0.3", "search.grid.train.loss.margin"),
        ("search: {grid: {train.loss.margin: [0.1, 0.2]}}", "trial.train.margin=0.3", "search.grid.train.loss.margin"),
        ("name: a\n", "scales.paper.train.lr=0.3", "only scale paper reads it. Add scale=paper"),
    ],
)
def test_an_override_that_no_trial_gets_is_refused(tmp_path, text, word, words):
    message = refusal(tmp_path, text, word)
    assert message.startswith(f"override {word!r}: {word.partition('=')[0]}: this does nothing: ")
    assert words in message


def test_an_override_that_some_trial_gets_is_taken(tmp_path):
    """A choice among words keeps the parameters that stand in the file, and so those of the command line."""
    for word in ("trial.train.loss.margin=0.7", "trial.train.loss={name: gcl, margin: 0.7}"):
        path = tmp_path / "mine.yaml"
        path.write_text(GRID)
        assert {trial.train.loss.parameters["margin"] for trial in read_sweep(path, [word]).trials} == {0.7}


def test_an_override_that_comes_twice_is_said(tmp_path):
    (note,) = notes(tmp_path, "name: a\n", "trial.train.lr=0.3", "trial.train.lr=0.4")
    assert note == "override 'trial.train.lr=0.3' does nothing: 'trial.train.lr=0.4' comes after it"


def test_a_value_under_an_axis_is_said(tmp_path):
    (note,) = notes(tmp_path, f"trial: {{train: {{lr: 0.3}}}}\n{GRID}")
    assert note == "mine.yaml:1: trial.train.lr: no effect, since search.grid.train.lr says what each trial has"


OTHER = "scale: demo\nscales:\n  paper:\n    "


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("train: {stesp: 3}", "mine.yaml:4: scales.paper.train.stesp: unknown key. Did you mean 'steps'?"),
        ("train.lr: fast", "mine.yaml:4: scales.paper.train.lr: this must be a number; found 'fast'"),
        ("train.recipe: fats", "mine.yaml:4: scales.paper.train.recipe: no such recipe: 'fats'. Did you mean 'fast'"),
        ("input: {classes: [bulding]}", "mine.yaml:4: scales.paper.input.classes"),
        ("seed: 3", "mine.yaml:4: scales.paper.seed: this key cannot stand in a sweep file"),
        ("train: {micro_pairs: 3}", "mine.yaml:4: scales.paper.train.micro_pairs: this must divide batch_pairs, 32"),
        ("network.backbone: resnet5", "mine.yaml:4: scales.paper.network.backbone: no such backbone: 'resnet5'"),
        ("{train: {lr: 1}, train.lr: 2}", "scales.paper.train.lr: a key is written twice, dotted and not"),
    ],
)
def test_a_scale_that_is_not_chosen_is_read_too(tmp_path, monkeypatch, entry, words):
    monkeypatch.delenv("MSLS_ROOT", raising=False)
    assert words in refusal(tmp_path, f"{OTHER}{entry}\n")
    assert notes(tmp_path, f"{OTHER}train: {{steps: 7, lr: 0.3}}\n") == []


def test_a_scale_that_may_be_misspelt_is_said(tmp_path):
    text = "scales:\n  dmeo: {train.steps: 7}\n"
    assert notes(tmp_path, text) == ["mine.yaml:2: scales.dmeo: only scale=dmeo reads it. Did you mean 'demo'?"]
    assert notes(tmp_path, text, "scale=dmeo") == [], "a scale of one's own, chosen"
    assert notes(tmp_path, text.replace("dmeo", "evening")) == []


def test_a_scale_of_the_command_line_wins_however_the_file_writes_it(tmp_path):
    for entry in ("{train: {steps: 7, lr: 0.3}}", "{train.steps: 7, train: {lr: 0.3}}", "{train: {steps: 7}}"):
        (tmp_path / "mine.yaml").write_text(f"scales: {{demo: {entry}}}\n")
        trial = read_sweep(tmp_path / "mine.yaml", ["scales.demo.train.steps=9"]).trial
        assert (trial.train.steps, trial.train.image_size) == (9, (96, 128))


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("search: {seed: 3}\n", "mine.yaml:1: search.seed: no effect, since nothing is drawn"),
        ("trial: {input: {mode: masked}}\nsearch: {searcher: greedy, seed: 3, subsets: {classes: static}}\n",
         "mine.yaml:2: search.seed: no effect, since nothing is drawn"),
        (SPACE.replace("random", "random, seed: 3"), None),
        ("search: {reduction: 4}\n", "mine.yaml:1: search.reduction: no effect, since only scheduler asha reduces"),
        ("search: {scheduler: median, reduction: 4}\n", "only scheduler asha reduces"),
        ("search: {scheduler: asha, reduction: 4}\n", None),
        (SUBSETS.replace("leave_one_out", "[[building], [pole]], confidence: 0.9"), "nothing is claimed"),
        (SUBSETS.replace("leave_one_out", "leave_one_out, confidence: 0.9"), None),
        ("trial: {input: {mode: masked}}\nsearch: {searcher: greedy, grid: {train.lr: [0.1, 0.2]}, "
         "subsets: {classes: static}}\nbaseline: first\n", "the rows of a search are compared with the best"),
    ],
)  # fmt: skip
def test_a_setting_of_the_search_that_it_does_not_read_is_said(tmp_path, text, note):
    found = notes(tmp_path, text)
    assert (found == []) if note is None else (len(found) == 1 and note in found[0])


def test_a_profile_of_this_machine_says_which_keys_are_slurms(tmp_path):
    values = {
        "requeue": False, "array_limit": 3, "arrays": True, "exclude_after": 3, "partition": "gpu", "account": "a",
        "qos": "q",
        "constraint": "c", "reservation": "r", "exclude": ["n"], "mail_user": "me", "mail_types": ["END"],
        "shared": ["/home"], "srun_args": ["-v"], "driver": {"cpus": 3}, "gres": "gpu:2", "cpus_per_gpu": 2,
        "mem_per_gpu": "4G", "nodelist": ["n"], "exclusive": True, "licenses": "l", "nice": 1, "hint": "multithread",
        "dependency": "singleton", "wckey": "w", "clusters": "c", "comment_prefix": "c", "job_name_prefix": "j",
        "sbatch_args": ["--switches=1"], "python": "/opt/python", "teardown": ["date"], "cluster_name": "c",
    }  # fmt: skip
    others = {"gpus_per_task": 1, "gpu_type": "a100", "mem_per_cpu": "4G", "use_srun": False}
    assert {*values, *others} == set(LOCAL_IDLE)
    file = tmp_path / "site.yaml"
    file.write_text(yaml.safe_dump({"kind": "local", **others}))
    (found,) = notes(tmp_path, "name: a\n", profile=read_profile(str(file)))
    assert all(name in found for name in others)
    for kind in ("local", "slurm"):
        file.write_text(yaml.safe_dump({"kind": kind, **values}, sort_keys=False))
        found = notes(tmp_path, "name: a\n", profile=read_profile(str(file)))
        lines = [f"site.yaml:{line}: {name}" for line, name in enumerate(("kind", "requeue"), 1)][1:]
        assert all(any(line in note for note in found) for line in lines) == (kind == "local")
        assert len(found) == (kind == "local")


@pytest.mark.parametrize("path", sorted((ROOT / "sweeps").glob("*.yaml")), ids=lambda path: path.stem)
@pytest.mark.parametrize("scale", ["demo", "paper"])
def test_the_sweeps_that_ship_say_nothing_and_so_do_their_resolved_files(tmp_path, monkeypatch, path, scale):
    monkeypatch.setenv("MSLS_ROOT", "/data/msls")
    sweep = read_sweep(path, [f"scale={scale}"])
    assert idle_settings(sweep, read_profile("local")) == []
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(resolved_file(sweep)))
    again = read_sweep(tmp_path / "again.yaml")
    assert [note for note in idle_settings(again, LOCAL) if "says what each trial has" not in note] == []


@pytest.mark.parametrize(
    ("attention", "aggregator", "says"),
    [
        ("spatial", "netvlad", "the aggregator netvlad divides features by their length at each place"),
        ("spatial", "multi_scale_gem", "behind the last unit (an earlier unit keeps it)"),
        ("{name: spatial, at: [layer3]}", "netvlad", None),
        ("spatial", "gem", None),
        ("bam", "netvlad", None),
        ("segvpr", "netvlad", None),
        ("{name: segvpr, order: published}", "gem", "(order: works keeps it)"),
    ],
)
def test_attention_that_changes_no_descriptor_is_said_though_other_rows_have_one_that_does(
    tmp_path, attention, aggregator, says
):
    axis = f"network.attention: [none, {attention}]"
    text = f"trial: {{network: {{backbone: resnet18, aggregator: {aggregator}}}}}\nsearch: {{grid: {{{axis}}}}}\n"
    found = notes(tmp_path, text)
    if says is None:
        assert found == []
    else:
        (note,) = found
        assert note.startswith("mine.yaml:2: search.grid.network.attention: no effect, since ") and says in note


def test_a_parameter_of_a_users_own_that_is_called_order_says_nothing_of_its_factor(tmp_path):
    (tmp_path / "own.py").write_text(
        "from torch import nn\n\nclass Own(nn.Module):\n    def __init__(self, channels, order: str = 'published'):\n"
        "        super().__init__()\n"
    )
    own = f"{{name: {tmp_path}/own.py:Own, order: published}}"
    assert notes(tmp_path, f"trial: {{network: {{attention: {own}}}}}\n") == []

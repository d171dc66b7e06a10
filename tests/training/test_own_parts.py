"""Networks and losses of a user's own: built, tried before anything starts, trained over ranks, resumed, exact."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.training.making import (
    TwoRanks,
    check_same_weights,
    cut_here,
    losses,
    make_cache,
    make_trial,
    run_here,
    weights_of,
)
from vprdist.errors import OwnCodeError
from vprdist.network.model import build_network
from vprdist.prepare.own_code import try_own_code
from vprdist.spec.doors import AggregatorName, AttentionName, BackboneName, LossName, MaskName
from vprdist.spec.input import InputSpec
from vprdist.spec.row_name import row_name
from vprdist.spec.trial import TrialSpec
from vprdist.training.try_out import try_out

PARTS = '''
import torch
from torch import nn

class Tiny(nn.Module):
    pass

from vprdist.network.backbones.base import Backbone

class Net(Backbone):
    units = ("stem", "body")

    def __init__(self, width: int = 8, token: bool = False):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, stride=2, padding=1)
        body = [nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)]
        self.body = nn.Sequential(*body, *([WithToken()] if token else []))
        self.channels = 2 * width

class WithToken(nn.Module):
    def forward(self, features):
        return features, features.mean(dim=(2, 3))

class Mean(nn.Module):
    def __init__(self, channels, share: float = 1.0):
        super().__init__()
        self.dimensions, self.share = channels, nn.Parameter(torch.full((1,), share))

    def forward(self, features, token=None, weights=None):
        assert weights is None
        return self.share * (features.mean(dim=(2, 3)) if token is None else token) + 0.01

class Cube(nn.Module):
    """GeM's numbers, written anew."""
    def __init__(self, channels):
        super().__init__()
        self.dimensions, self.p = channels, nn.Parameter(torch.full((1,), 3.0))

    def forward(self, features, **more):
        return features.clamp(min=1e-6).pow(self.p).mean(dim=(2, 3)).pow(1 / self.p)

class Same(nn.Module):
    def __init__(self, channels, factor: float = 1.0):
        super().__init__()
        self.channels, self.factor = channels, nn.Parameter(torch.full((1,), factor))

    def forward(self, features, extra=None):
        assert extra is None or (0 < extra.min() and extra.max() < 1)
        assert features.shape[1] == self.channels
        return features * self.factor

class Nearest:
    """Every query with every partner: pull what overlaps, push what does not."""
    def __init__(self, margin: float = 0.3):
        self.margin = margin

    def __call__(self, query, partner, similarity):
        distance = torch.cdist(query, partner)
        pull = (similarity * distance.square()).mean()
        push = ((1 - similarity) * (self.margin - distance).clamp(min=0).square()).mean()
        return pull + push, {"pull": pull}

class Again:
    """GCL's numbers, written anew."""
    wants = "pairs"
    def __init__(self, margin: float = 0.5):
        self.margin = margin

    def __call__(self, distance, similarity):
        pull = similarity * distance.square()
        push = (1 - similarity) * torch.clamp(self.margin - distance, min=0).square()
        return (pull + push) / 2

class Late(Nearest):
    calls = 0
    def __init__(self):
        self.margin = 0.3

    def __call__(self, query, partner, similarity):
        if len(query) > 2:
            Late.calls += 1
        if Late.calls > 2:
            raise ValueError("the third step is one too many")
        return super().__call__(query, partner, similarity)
'''
KINDS = {"backbone": BackboneName, "attention": AttentionName, "aggregator": AggregatorName, "loss": LossName}


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    path = tmp_path / "parts.py"
    path.write_text(PARTS)
    return path


def with_own(trial: TrialSpec, file: Path, **named: object) -> TrialSpec:
    """The trial with some choices of its own: a class's name, or a mapping; a word of a registry is left as it is."""
    network, train = dict(trial.network), trial.train
    changes = {}
    for kind, value in named.items():
        value = {"name": value} if isinstance(value, str) else dict(value)  # type: ignore[call-overload]
        if value["name"] not in KINDS[kind].door.built_in:
            value["name"] = f"{file}:{value['name']}"
        changes[kind] = KINDS[kind].model_validate(value)
    if "backbone" in changes:
        changes["unfreeze"] = "all"
    loss = changes.pop("loss", train.loss)
    network = type(trial.network)(**{**network, **changes})
    assert trial.digests is not None
    return trial.model_copy(update={"network": network, "train": train.model_copy(update={"loss": loss})}).resolved(
        trial.digests
    )


def test_a_network_and_a_loss_of_ones_own_train_and_are_recorded(small_tree: Path, tmp_path: Path, parts: Path) -> None:
    plain = make_trial(small_tree)
    trial = with_own(
        plain, parts, backbone={"name": "Net", "token": True}, attention={"name": "Same", "at": ["stem"]},
        aggregator={"name": "Mean", "share": 0.5}, loss={"name": "Nearest", "margin": 0.4},
    )  # fmt: skip
    try_out(trial)
    row = run_here(trial, tmp_path / "run")
    assert row.trial == trial and TrialSpec.model_validate_json(json.dumps(trial.to_json())) == trial
    assert trial.digests is not None and trial.digests.code is not None
    assert set(trial.digests.code) == {
        "network.backbone", "network.attention", "network.aggregator", "train.loss"
    }  # fmt: skip
    weights = weights_of(tmp_path / "run", trial)
    assert weights["pool.share"] != 0.5 and weights["attention.stem.factor"] != 1.0, "both are trained"
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(0 < each["loss/pull"] <= each["loss"] for each in rows if each["kind"] == "train")


def test_another_text_is_another_trial_and_another_folder_is_not(small_tree: Path, tmp_path: Path, parts: Path) -> None:
    trial = with_own(make_trial(small_tree), parts, aggregator="Mean")
    (tmp_path / "elsewhere").mkdir()
    moved = tmp_path / "elsewhere" / "pool.py"
    moved.write_text(PARTS)
    assert with_own(make_trial(small_tree), moved, aggregator="Mean").trial_id == trial.trial_id
    moved.write_text(PARTS + "\n# a word more\n")
    changed = with_own(make_trial(small_tree), moved, aggregator="Mean")
    assert changed.trial_id != trial.trial_id
    assert with_own(make_trial(small_tree), parts, aggregator={"name": "Mean", "share": 2.0}).trial_id != trial.trial_id
    assert with_own(make_trial(small_tree), parts, aggregator={"name": "Mean", "share": 1.0}).trial_id == trial.trial_id
    moved.write_text(PARTS)
    with pytest.raises(OwnCodeError, match="changed since the trial was submitted"):
        run_here(changed, tmp_path / "run")


@pytest.mark.parametrize("pairs", ["drawn", "all"])
def test_gcl_and_gem_written_anew_give_the_same_numbers_to_the_bit(
    small_tree: Path, tmp_path: Path, parts: Path, pairs: str
) -> None:
    ours = make_trial(small_tree, pairs=pairs)
    theirs = with_own(ours, parts, aggregator="Cube", loss="Again")
    assert run_here(ours, tmp_path / "ours").metrics == run_here(theirs, tmp_path / "theirs").metrics
    assert losses(tmp_path / "ours") == losses(tmp_path / "theirs")
    found = weights_of(tmp_path / "theirs", theirs)
    for name, value in weights_of(tmp_path / "ours", ours).items():
        assert torch.equal(value, found[name]), name


@pytest.mark.parametrize("at", [["layer3"], ["layer1"], ["conv1", "layer2"]])
def test_attention_that_changes_nothing_changes_nothing_and_trains_behind_frozen_units(
    small_tree: Path, tmp_path: Path, parts: Path, at: list[str]
) -> None:
    trial = make_trial(small_tree, make_cache(small_tree, tmp_path), "rgb+mask")
    watched = with_own(trial, parts, attention={"name": "Same", "at": at})
    images = torch.randint(0, 256, (2, 3, 32, 40), dtype=torch.uint8)
    extra = torch.randint(200, 250, (2, 1, 16, 20), dtype=torch.int16)
    plain, seen = build_network(trial, None), build_network(watched, None)
    assert torch.equal(plain(images, extra), seen(images, extra))
    seen(images, extra)[0, 0].backward()
    assert {name: module.factor.grad is not None for name, module in seen.attention.items()} == dict.fromkeys(at, True)
    frozen = [p for name, unit in seen.units.items() if name not in seen.trained for p in unit.parameters()]
    assert frozen and all(parameter.grad is None for parameter in frozen)


def test_two_ranks_train_a_loss_of_the_whole_batch_as_one_does(
    small_tree: Path, tmp_path: Path, parts: Path, two_ranks: TwoRanks
) -> None:
    trial = with_own(make_trial(small_tree, steps=4), parts, aggregator="Mean", loss="Nearest")
    alone = run_here(trial, tmp_path / "one")
    two_ranks.run((trial, tmp_path / "two"))
    for step, loss in losses(tmp_path / "one").items():
        assert losses(tmp_path / "two")[step] == pytest.approx(loss, rel=1e-5), step
    found = weights_of(tmp_path / "two", trial)
    for name, value in weights_of(tmp_path / "one", trial).items():
        assert torch.allclose(value, found[name], rtol=1e-4, atol=1e-6), name
    assert alone.num_ranks == 1


def test_a_run_with_parts_of_ones_own_resumes_exactly(small_tree: Path, tmp_path: Path, parts: Path) -> None:
    trial = with_own(
        make_trial(small_tree, chunk_queries=10), parts, attention={"name": "Same", "at": ["layer1"]}, loss="Nearest"
    )
    whole = run_here(trial, tmp_path / "whole")
    cut_here(trial, small_tree, tmp_path / "cut", 2)
    assert run_here(trial, tmp_path / "cut").metrics == whole.metrics
    check_same_weights(tmp_path / "whole", tmp_path / "cut", trial)


def test_an_error_that_only_shows_in_training_names_file_and_line(
    small_tree: Path, tmp_path: Path, parts: Path
) -> None:
    trial = with_own(make_trial(small_tree), parts, loss="Late")
    try_out(trial)
    with pytest.raises(OwnCodeError, match="the third step is one too many") as caught:
        run_here(trial, tmp_path / "run")
    line = PARTS.splitlines().index('            raise ValueError("the third step is one too many")') + 1
    assert caught.value.where == f"{parts}:{line}"
    assert not (tmp_path / "run" / "result.json").exists()


BAD = {
    "no backbone": ("backbone", "class Bad:\n    units = ('a',)\n", "must inherit from"),
    "no unit": (
        "backbone",
        "class Bad(Backbone):\n    units = ('a',)\n    channels = 3\n",
        "has no sub-module 'a'",
    ),
    "outside": (
        "backbone",
        "class Bad(Backbone):\n    units = ('a',)\n    def __init__(self):\n        super().__init__()\n"
        "        self.a, self.b, self.channels = nn.Conv2d(3, 4, 3), nn.Linear(2, 2), 4\n",
        "a parameter outside of its units",
    ),
    "channels": (
        "backbone",
        "class Bad(Backbone):\n    units = ('a',)\n    def __init__(self):\n        super().__init__()\n"
        "        self.a, self.channels = nn.Conv2d(3, 4, 3), 5\n",
        "descriptors, (2, 5) as `dimensions` says; found '(2, 4), torch.float32'",
    ),
    "no module": (
        "aggregator", "class Bad:\n    def __init__(self, channels): pass\n", "must be a torch module",
    ),
    "no dimensions": (
        "aggregator",
        "class Bad(nn.Module):\n    def __init__(self, channels):\n        super().__init__()\n",
        "must say its dimensions",
    ),
    "another shape": (
        "aggregator",
        "class Bad(nn.Module):\n    def __init__(self, channels):\n        super().__init__()\n"
        "        self.dimensions = channels\n    def forward(self, features, **more):\n"
        "        return features.flatten(1)\n",
        "(2, 256) as `dimensions` says; found '(2, ",
    ),
    "another dtype": (
        "aggregator",
        "class Bad(nn.Module):\n    def __init__(self, channels):\n        super().__init__()\n"
        "        self.dimensions = channels\n    def forward(self, features, **more):\n"
        "        return features.mean((2, 3)).double()\n",
        "float32 descriptors, (2, 256) as `dimensions` says; found '(2, 256), torch.float64'",
    ),
    "not finite": (
        "aggregator",
        "class Bad(nn.Module):\n    def __init__(self, channels):\n        super().__init__()\n"
        "        self.dimensions = channels\n    def forward(self, features, **more):\n"
        "        return features.mean((2, 3)) / 0\n",
        "a descriptor must be finite",
    ),
    "raises": (
        "aggregator",
        "class Bad(nn.Module):\n    def __init__(self, channels):\n        super().__init__()\n"
        "        self.dimensions = channels\n    def forward(self, features, **more):\n"
        "        return features.mean((2, 7))\n",
        "bad.py:9: IndexError",
    ),
    "keywords": (
        "aggregator",
        "class Bad(nn.Module):\n    def __init__(self, channels):\n        super().__init__()\n"
        "        self.dimensions = channels\n    def forward(self, features):\n        return features.mean((2, 3))\n",
        "unexpected keyword argument 'token'",
    ),
    "no scalar": (
        "loss", "class Bad:\n    def __call__(self, q, p, s):\n        return (q - p).sum(dim=1)\n", "with one number",
    ),
    "a float": ("loss", "class Bad:\n    def __call__(self, q, p, s):\n        return 0.5\n", "with one number"),
    "detached": (
        "loss", "class Bad:\n    def __call__(self, q, p, s):\n        return q.detach().sum()\n", "no gradient",
    ),
    "not callable": ("loss", "class Bad:\n    pass\n", "must be callable"),
    "mean of pairs": (
        "loss",
        "class Bad:\n    wants = 'pairs'\n    def __call__(self, d, s):\n        return d.mean()\n",
        "one number a pair, of shape (2,)",
    ),
    "wants": (
        "loss",
        "class Base:\n    wants = 'pairs'\nclass Bad(Base):\n    def __call__(self, d, s):\n        return d\n",
        'must state wants = "pairs"',
    ),
    "parameters": (
        "loss",
        "class Bad(nn.Linear):\n    def __init__(self):\n        super().__init__(1, 1)\n",
        "has parameters of its own",
    ),
    "log": (
        "loss",
        "class Bad:\n    def __call__(self, q, p, s):\n        return (q - p).sum(), {'all': q}\n",
        "must be numbers: all",
    ),
    "import": ("loss", "import no_such_library\nclass Bad:\n    pass\n", "bad.py:4: ModuleNotFoundError"),
    "attention": (
        "attention",
        "class Bad(nn.Module):\n    def __init__(self, channels):\n        super().__init__()\n"
        "    def forward(self, features, extra):\n        return features[:, :3]\n",
        "attention must answer with features of the same shape",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", BAD)
def test_what_cannot_be_used_is_one_message_before_anything_starts(
    small_tree: Path, tmp_path: Path, fault: str
) -> None:
    kind, text, words = BAD[fault]
    path = tmp_path / "bad.py"
    path.write_text(f"from torch import nn\nfrom vprdist.network.backbones.base import Backbone\n\n{text}")
    trial = with_own(make_trial(small_tree), path, **{kind: "Bad"})
    with pytest.raises(OwnCodeError) as caught:
        try_out(trial)
    assert words in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_the_driver_tries_each_combination_once_in_a_process_of_its_own(
    small_tree: Path, tmp_path: Path, parts: Path
) -> None:
    good = with_own(make_trial(small_tree), parts, loss="Nearest")
    path = tmp_path / "bad.py"
    path.write_text("class Bad:\n    def __call__(self, q, p, s):\n        print('heard?')\n        return 0.5\n")
    bad = with_own(make_trial(small_tree), path, loss="Bad")
    try_own_code([make_trial(small_tree), good, good.model_copy(update={"seed": 3})])
    with pytest.raises(OwnCodeError, match="with one number"):
        try_own_code([good, bad])
    code = "import sys, vprdist.prepare.own_code; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
    path.write_text("import os\nos._exit(3)\nclass Bad:\n    pass\n")
    died = with_own(make_trial(small_tree), path, loss="Bad")
    with pytest.raises(OwnCodeError, match="died"):
        try_own_code([died])


WEIGHING = """
import torch
from torch import nn

class Bad(nn.Module):
    weighs = True
    sums = {sums}

    def __init__(self, channels):
        super().__init__()
        self.dimensions = channels

    def forward(self, features, weights=None, **more):
        if weights is None:
            return features.mean((2, 3)) + 0.1
        return {weighed}
"""
SHARED = "(features * weights).sum((2, 3)) / weights.sum((2, 3)).clamp(min=1e-12) + 0.1"
SUMS = """
    def sums_of(self, features, maps):
        maps = maps.flatten(2)
        return torch.cat([maps @ features.flatten(2).transpose(1, 2), maps.sum(2, keepdim=True)], 2)

    def from_sums(self, sums):
        return {answer}
"""
WRONG = {
    "right": (SHARED, "sums[:, :-1] / sums[:, -1:].clamp(min=1e-12) + 0.1", None),
    "no sums stated": (SHARED, None, None),
    "lost": (SHARED, "", "must have a method sums_of"),
    "another mean": (SHARED, "sums[:, :-1] / sums[:, -1:].clamp(min=1e-12) + 0.2", "as `forward` does their mask"),
    "not finite without a mask": (SHARED, "sums[:, :-1] / sums[:, -1:] + 0.1", "as `forward` does .*'nan apart'"),
    "another shape": (SHARED, "sums", "as `forward` does .*shape"),
    "raises": (SHARED, "sums.nothing()", r"bad\.py:23: AttributeError"),
    "unequal": ("(features * weights).sum((2, 3)) + 0.1", None, "must answer equal weights as it does none"),
    "unused": ("features.mean((2, 3)) + 0.1", None, "must use `weights`"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_an_aggregator_does_with_weights_and_sums_what_it_states(small_tree: Path, tmp_path: Path, fault: str) -> None:
    weighed, answer, words = WRONG[fault]
    path = tmp_path / "bad.py"
    text = WEIGHING.format(sums=answer is not None, weighed=weighed)
    path.write_text(text + (SUMS.format(answer=answer) if answer else ""))
    trial = with_own(make_trial(small_tree), path, aggregator="Bad")
    if words is None:
        try_out(trial)
        return
    with pytest.raises(OwnCodeError, match=words) as caught:
        try_out(trial)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


FEW = """
import torch
from torch import nn

class Few(nn.Module):
    def __init__(self, classes, chosen):
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(len(classes)))
        self.broken = len(classes) == 3
    def forward(self, activations, **more):
        gate = self.gate.nosuch if self.broken else self.gate.sigmoid()
        return (gate[:, None, None] * activations).sum(dim=1, keepdim=True).clamp(0, 1)
"""


@pytest.mark.parametrize("is_last", [False, True])
def test_a_class_is_tried_with_every_class_table_of_a_grid(small_tree: Path, tmp_path: Path, is_last: bool) -> None:
    path = tmp_path / "few.py"
    path.write_text(FEW)
    trial = make_trial(small_tree)
    mask = MaskName.model_validate({"name": f"{path}:Few"})
    tables = ("cityscapes", ("tree", "car", "house"))
    inputs = [InputSpec(mode="masked", learnt=mask, class_table=table, classes="all") for table in tables]
    good, bad = (trial.model_copy(update={"input": given}) for given in inputs)
    try_own_code([good])
    with pytest.raises(OwnCodeError, match=r"few\.py.*nosuch"):
        try_own_code([bad, good] if is_last else [good, bad])


NOISY = """
import atexit, os, sys
from vprdist.training.losses.base import BatchLoss
os.write(1, b"loaded\\n")
atexit.register(print, "bye")

class Noisy(BatchLoss):
    def __call__(self, q, p, s):
        print("called")
        return (q @ p.T).mean()
"""


def test_what_a_class_prints_is_no_answer_and_leaving_is_a_fault(small_tree: Path, tmp_path: Path) -> None:
    path = tmp_path / "noisy.py"
    path.write_text(NOISY)
    try_own_code([with_own(make_trial(small_tree), path, loss="Noisy")])
    for leave, words in (("os._exit(0)", "died"), ("sys.exit(0)", r"noisy\.py:9: SystemExit")):
        path.write_text(NOISY.replace('print("called")', leave))
        with pytest.raises(OwnCodeError, match=words):
            try_own_code([with_own(make_trial(small_tree), path, loss="Noisy")])


def test_classes_of_one_name_in_two_files_are_both_tried(small_tree: Path, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text("class Same:\n    def __call__(self, q, p, s):\n        return (q @ p.T).mean()\n")
    bad.write_text("class Same:\n    def __call__(self, q, p, s):\n        return 0.5\n")
    trials = [with_own(make_trial(small_tree), path, loss="Same") for path in (bad, good)]
    with pytest.raises(OwnCodeError, match=r"bad\.py:Same: .*with one number"):
        try_own_code(trials)


@pytest.mark.parametrize("body", ["draws = (1 / 3, 1 / 3, 1 / 3)", "draws = {0.5, 0.25}", "labels = 's' + 'im'"])
def test_a_fact_that_is_not_seen_in_the_text_is_not_passed_over(small_tree: Path, tmp_path: Path, body: str) -> None:
    path = tmp_path / "fact.py"
    path.write_text(f"class Bad:\n    {body}\n    def __call__(self, q, p, s):\n        return (q @ p.T).mean()\n")
    with pytest.raises(OwnCodeError, match="as a plain value in its own body"):
        try_out(with_own(make_trial(small_tree), path, loss="Bad"))


def test_a_parameter_that_an_inherited_signature_lacks_is_blamed_on_the_class(small_tree: Path, tmp_path: Path) -> None:
    path = tmp_path / "heir.py"
    path.write_text(
        "class Above:\n    def __init__(self, a=1): pass\n    def __call__(self, q, p, s):\n        return q.sum()\n"
        "class Bad(Above): pass\n"
    )
    with pytest.raises(OwnCodeError, match=r"heir\.py:5: TypeError: .*nosuch"):
        try_out(with_own(make_trial(small_tree), path, loss={"name": "Bad", "nosuch": 3}))


def test_rows_of_classes_of_ones_own_are_told_apart_by_file_and_parameters(
    small_tree: Path, tmp_path: Path, parts: Path
) -> None:
    trials = [with_own(make_trial(small_tree), parts, loss={"name": "Nearest", "margin": m}) for m in (0.2, 0.4)]
    assert [row_name(trial, ["train.loss.margin"]) for trial in trials] == ["0.2", "0.4"]
    names = [row_name(trial, ["train.loss"]) for trial in trials]
    assert names == ["parts.py:Nearest margin=0.2", "parts.py:Nearest margin=0.4"]

"""Masks that are learnt, trained: they begin as rgb, what is frozen stays, the budget is exact however divided."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import which

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch._inductor import config as inductor

from tests.training.making import (
    CPU,
    TwoRanks,
    check_same_weights,
    cut_here,
    losses,
    make_cache,
    make_trial,
    run_here,
    weights_of,
)
from vprdist.data.graph import city_graph
from vprdist.data.layouts.msls import read_city
from vprdist.errors import CheckpointError, OwnCodeError, SweepFileError
from vprdist.network.inputs import PlaceReader, stack
from vprdist.network.model import build_network, set_mode
from vprdist.semantics.cache import open_cache
from vprdist.semantics.placebo import other_image
from vprdist.spec.doors import AttentionName, MaskName
from vprdist.spec.input import InputSpec
from vprdist.spec.network import NetworkSpec
from vprdist.spec.sweep_file import read_sweep
from vprdist.spec.trial import RunSpec, TrialSpec
from vprdist.spec.vocabulary import CLASSES
from vprdist.training.batches import PairImages
from vprdist.training.loop import Trainer
from vprdist.training.steps import RankParts
from vprdist.training.try_out import try_out

NAMES = [name for name in MaskName.door.built_in if name != "none"]
OWN = '''
import torch
from torch import nn

class Bright(nn.Module):
    """What is brighter is shown more; the steepness is learnt."""
    def __init__(self, classes, chosen, steep: float = 2.0):
        super().__init__()
        assert len(classes) == 19 and set(chosen) <= set(classes)
        self.steep = nn.Parameter(torch.tensor(steep))

    def forward(self, activations, image):
        grey = nn.functional.interpolate(image.mean(dim=1, keepdim=True), activations.shape[2:], mode="bilinear")
        return torch.sigmoid(self.steep * (grey - 0.5))

class Wide(Bright):
    def forward(self, activations, image):
        return super().forward(activations, image).expand(-1, 2, -1, -1)

class Loud(Bright):
    def forward(self, activations, image):
        return 3 * super().forward(activations, image)

class Known(Bright):
    wants = "all"
'''

NET = """
from torch import nn
from vprdist.network.backbones.base import Backbone

class Net(Backbone):
    units = ("stem", "body")

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.channels = 16
"""


def learnt_trial(
    root: Path, folder: Path, learnt: object = "class_weights", placebo: str = "none",
    form: str = "black", **train: object
) -> TrialSpec:  # fmt: skip
    """A trial whose mask is learnt, with a rate at which it moves within some steps."""
    cache = folder / "cache" if (folder / "cache").exists() else make_cache(root, folder)
    plain = make_trial(root, cache, "masked", **train)
    value = {"name": learnt} if isinstance(learnt, str) else learnt
    shape = {"mask_at": "features"} if form == "features" else {"mask_fill": form}
    given = InputSpec(mode="masked", cache=str(cache), learnt=MaskName.model_validate(value), placebo=placebo, **shape)
    assert plain.digests is not None
    return plain.model_copy(update={"input": given}).resolved(plain.digests)


def fast(name: str, **more: object) -> dict[str, object]:
    return {"name": name, "lr_factor": 200.0, "budget_weight": 3.0, "budget": 0.3, **more}


@pytest.mark.parametrize("form", ["black", "blur", "features"])
@pytest.mark.parametrize("name", NAMES)
def test_a_network_with_a_learnt_mask_begins_as_the_rgb_network(
    small_tree: Path, tmp_path: Path, name: str, form: str
) -> None:
    trial = learnt_trial(small_tree, tmp_path, name, form=form)
    images = torch.randint(0, 256, (3, 3, 64, 96), dtype=torch.uint8)
    images[:, :, :32] //= 8
    extra = torch.randint(0, 14, (3, 19, 12, 16), dtype=torch.uint8)
    extra[:, 2, :6], extra[:, 8, 6:] = 200, 180  # buildings, dark, above vegetation
    learnt, rgb = build_network(trial, None).eval(), build_network(make_trial(small_tree), None).eval()
    assert torch.allclose(learnt(images, extra), rgb(images), atol=1e-6)
    assert {key for key in learnt.state_dict() if not key.startswith("mask.")} == set(rgb.state_dict())
    for key, value in rgb.state_dict().items():
        assert torch.equal(learnt.state_dict()[key], value), "building a mask draws no random number of the others"
    far = 0.3 if name == "conv_head" else 3.0  # not where every place is saturated
    with torch.no_grad():
        for parameter in learnt.mask.parameters():
            parameter.add_(far * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(4)))
    moved = learnt(images, extra)
    assert float((moved - rgb(images)).norm(dim=1).min().detach()) > 1e-3
    (moved[0] - moved[1]).norm().backward()
    assert all(each.grad is not None and each.grad.abs().max() > 0 for each in learnt.mask.parameters())
    frozen = [each for key, unit in learnt.units.items() if key not in learnt.trained for each in unit.parameters()]
    assert all(each.grad is None for each in frozen)


@pytest.mark.slow
@pytest.mark.skipif(which("g++") is None, reason="torch.compile needs a C++ compiler on the CPU")
@pytest.mark.parametrize(("name", "form"), [("conv_head", "black"), ("class_weights", "features")])
def test_a_compiled_step_trains_as_an_eager_one(small_tree: Path, tmp_path: Path, name: str, form: str) -> None:
    """Around a small network: the compiler takes a minute to translate one that it translates everywhere."""
    (tmp_path / "net.py").write_text(NET)
    eager = learnt_trial(small_tree, tmp_path, fast(name), form=form)
    small = {"backbone": {"name": f"{tmp_path}/net.py:Net"}, "unfreeze": "1-1", "weights": "none"}
    assert eager.digests is not None
    eager = eager.model_copy(update={"network": NetworkSpec.model_validate(small)}).resolved(eager.digests)
    run_here(eager, tmp_path / "eager")
    with inductor.patch(compile_threads=1):  # others are processes, which load torch first
        run_here(eager.model_copy(update={"run": RunSpec(log_steps=1, compile=True)}), tmp_path / "compiled")
    expected = losses(tmp_path / "eager")
    assert np.allclose([losses(tmp_path / "compiled")[s] for s in expected], list(expected.values()), rtol=1e-3)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("unfreeze", "form"), [("0-2", "black"), ("0-0", "noise"), ("0-2", "features")])
def test_what_is_frozen_stays_and_the_mask_moves(
    small_tree: Path, tmp_path: Path, name: str, unfreeze: str, form: str
) -> None:
    trial = learnt_trial(small_tree, tmp_path, fast(name), form=form, steps=3)
    network = trial.network.model_copy(update={"unfreeze": unfreeze})
    trial = trial.model_copy(update={"network": network})
    still = build_network(trial, None).state_dict()
    row = run_here(trial, tmp_path / "run")
    moved = {key for key, value in weights_of(tmp_path / "run", trial).items() if not torch.equal(value, still[key])}
    assert {key.split(".")[1] for key in moved if key.startswith("units.")} == set(trial.network.trained)
    assert {key for key in still if key.startswith("mask.")} <= moved
    assert not any("running" in key for key in moved)
    assert row.metrics["recall@1"] >= 0


def test_the_budget_is_of_all_pictures_of_a_step_and_its_gradient_is_exact(small_tree: Path, tmp_path: Path) -> None:
    """However a step is divided, mask and network get the gradient of loss + λ (M - b)², M over the whole step."""
    found = {}
    for micro in (1, 2, 4):
        trial = learnt_trial(small_tree, tmp_path, fast("squeeze_excite"), micro_pairs=micro, steps=1)
        network = build_network(trial, None)
        with torch.no_grad():
            for parameter in network.mask.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
        city = read_city(small_tree, "ada")
        reader = PlaceReader(trial, trial.train.image_size)
        graphs = [city_graph(city, trial.data)]
        rows: list[dict[str, object]] = []
        trainer = Trainer(trial, network, [city], graphs, reader, CPU, tmp_path / str(micro), rows.append)
        (part,) = RankParts(trial, trainer.steps, range(1), CPU, graphs)
        batch = PairImages(reader, [city.sides])[part]
        set_mode(network, trial.train.batch_norm, training=True)
        logged = trainer._drawn_pairs(batch)
        found[micro] = {key: each.grad.clone() for key, each in network.named_parameters() if each.grad is not None}
        if micro == 4:  # the slow way: one graph of everything
            network.zero_grad()
            sides = [network.described(side.image, side.extra) for side in (batch.query, batch.partner)]
            distance = (sides[0].descriptors - sides[1].descriptors).square().sum(dim=1).add(1e-12).sqrt()
            s, margin = batch.similarity, trial.train.loss.parameters["margin"]
            loss = (s * distance**2 / 2 + (1 - s) * (margin - distance).clamp(min=0) ** 2 / 2).mean()
            mean = torch.cat([side.shown for side in sides]).mean()
            (loss + 3.0 * (mean - 0.3) ** 2).backward()
            found["slow"] = {
                key: each.grad.clone() for key, each in network.named_parameters() if each.grad is not None
            }
            assert float(logged["loss/mask_budget"]) == pytest.approx(3.0 * (float(mean.detach()) - 0.3) ** 2, rel=1e-5)
            assert float(logged["mask_mean"]) == pytest.approx(float(mean.detach()), rel=1e-5)
            assert float(logged["loss"]) == pytest.approx(float(loss.detach()), rel=1e-4), (
                "the loss is logged without it"
            )
    assert float(found["slow"]["mask.made.excite.weight"].abs().max()) > 1e-4
    for micro in (1, 2, 4):
        for key, value in found["slow"].items():
            scale = float(value.abs().max()) + 1e-9
            assert torch.allclose(found[micro][key], value, atol=1e-3 * scale), (micro, key)


def test_the_budget_pulls_the_mean_of_the_masks_to_it(small_tree: Path, tmp_path: Path) -> None:
    means = {}
    for weight in (0.0, 30.0):
        trial = learnt_trial(small_tree, tmp_path, fast("class_weights", budget_weight=weight), steps=30)
        run_here(trial, tmp_path / str(weight))
        rows = [json.loads(line) for line in (tmp_path / str(weight) / "metrics.jsonl").read_text().splitlines()]
        rows = [row for row in rows if row["kind"] == "train"]
        means[weight] = rows[-1]["mask_mean"]
        assert rows[0]["mask_mean"] == pytest.approx(1.0) and rows[0]["loss/mask_budget"] == pytest.approx(
            weight * 0.49
        )
    assert abs(means[30.0] - 0.3) < 0.1 < abs(means[0.0] - 0.3)


def test_attention_on_features_has_the_budget_that_is_asked_for(small_tree: Path, tmp_path: Path) -> None:
    plain = make_trial(small_tree, steps=25, micro_pairs=2)
    assert plain.digests is not None
    last = {}
    for weight in (0.0, 20.0):
        attention = AttentionName.of("spatial", budget=0.4, budget_weight=weight)
        network = plain.network.model_copy(update={"attention": attention})
        trial = plain.model_copy(update={"network": network}).resolved(plain.digests)
        images = torch.randint(0, 256, (2, 3, 32, 40), dtype=torch.uint8)
        assert torch.equal(build_network(trial, None)(images), build_network(plain, None)(images))
        run_here(trial, tmp_path / str(weight))
        rows = [json.loads(line) for line in (tmp_path / str(weight) / "metrics.jsonl").read_text().splitlines()]
        last[weight] = [row for row in rows if row["kind"] == "train"]
    assert "loss/attention_budget" not in last[0.0][-1]
    assert last[20.0][0]["loss/attention_budget"] == pytest.approx(20 * 0.36, rel=1e-4)
    assert last[20.0][-1]["loss/attention_budget"] < 0.5 * 20 * 0.36


def test_a_learnt_mask_has_its_own_rate_and_does_not_decay(small_tree: Path, tmp_path: Path) -> None:
    trial = learnt_trial(small_tree, tmp_path, fast("class_weights"), weight_decay=0.1)
    city = read_city(small_tree, "ada")
    reader = PlaceReader(trial, trial.train.image_size)
    trainer = Trainer(
        trial, build_network(trial, None), [city], [city_graph(city, trial.data)], reader, CPU, tmp_path, print
    )
    others, mask = trainer.optimizer.param_groups
    assert [each.shape for each in mask["params"]] == [(19,)] and mask["weight_decay"] == 0 and others["weight_decay"]
    trainer.run()
    assert mask["lr"] == pytest.approx(200 * others["lr"])


@pytest.mark.parametrize("recipe", [{"batch_norm": "frozen"}, {"batch_norm": "reference", "optimizer": "adamw"}])
def test_a_resumed_run_with_a_learnt_mask_equals_an_uninterrupted_one(
    small_tree: Path, tmp_path: Path, recipe: dict[str, object]
) -> None:
    trial = learnt_trial(small_tree, tmp_path, fast("conv_head", lr_factor=3.0), micro_pairs=2, **recipe)
    whole = run_here(trial, tmp_path / "whole")
    cut_here(trial, small_tree, tmp_path / "cut", 2)
    assert run_here(trial, tmp_path / "cut").metrics == whole.metrics
    check_same_weights(tmp_path / "whole", tmp_path / "cut", trial)
    lost = torch.load(tmp_path / "cut" / "checkpoint" / "last.pt", weights_only=True)
    del lost["network"]["mask.made.last.bias"]
    network = build_network(trial, None)
    from vprdist.training.checkpoint import fill_network

    with pytest.raises(CheckpointError, match=r"must hold the trial's network.*mask\.made\.last\.bias"):
        fill_network(network, lost, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [{"micro_pairs": 1}, {"pairs": "all"}], ids=["drawn", "all"])
def test_two_gloo_ranks_learn_the_mask_that_one_does(
    small_tree: Path, tmp_path: Path, recipe: dict[str, object], two_ranks: TwoRanks
) -> None:
    trial = learnt_trial(small_tree, tmp_path, fast("class_weights", lr_factor=50.0), **recipe)
    run_here(trial, tmp_path / "one")
    two_ranks.run((trial, tmp_path / "two"))
    found, expected = losses(tmp_path / "two"), losses(tmp_path / "one")
    assert np.allclose([found[step] for step in expected], list(expected.values()), rtol=1e-4)
    mine, theirs = (weights_of(tmp_path / name, trial) for name in ("one", "two"))
    still = build_network(trial, None).state_dict()
    for name in mine:
        one_way, other_way = ((after[name] - still[name]).float() for after in (mine, theirs))
        assert torch.allclose(one_way, other_way, atol=0.2 * float(one_way.abs().max()) + 1e-6), name
    assert torch.allclose(mine["mask.made.weights_K"], theirs["mask.made.weights_K"], atol=1e-3)
    budgets = []
    for name in ("one", "two"):
        rows = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        budgets.append([row["loss/mask_budget"] for row in rows if row["kind"] == "train"])
    assert np.allclose(*budgets, rtol=1e-3)


def test_the_placebo_gives_another_pictures_activations(small_tree: Path, tmp_path: Path) -> None:
    own, other = (learnt_trial(small_tree, tmp_path, placebo=placebo) for placebo in ("none", "image"))
    assert own.trial_id != other.trial_id
    side, cache = read_city(small_tree, "ada").query, open_cache(tmp_path / "cache")
    for row in (0, 3):
        image, extra = PlaceReader(other, (32, 40)).read(side, row)
        plain, mine = PlaceReader(own, (32, 40)).read(side, row)
        drawn = other_image(len(side), row, other.seed, "ada", "query", str(side.keys[row]))
        assert drawn != row and torch.equal(image, plain)
        assert np.array_equal(extra, cache.activations("ada", "query", str(side.keys[drawn])))
        assert np.array_equal(mine, cache.activations("ada", "query", str(side.keys[row])))


def test_a_mask_of_ones_own_is_tried_and_trains(small_tree: Path, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    trial = learnt_trial(small_tree, tmp_path, fast(f"{tmp_path}/own.py:Bright", steep=3.0))
    try_out(trial)
    row = run_here(trial, tmp_path / "run")
    assert weights_of(tmp_path / "run", trial)["mask.made.steep"] != 3.0
    assert row.trial.digests is not None and row.trial.digests.code == {"input.learnt": trial.input.learnt.digest}
    assert trial.input.learnt.parameters["budget"] == 0.3 and trial.input.learnt.parameters["steep"] == 3.0
    for name, fault in (("Wide", "floats of the shape"), ("Loud", r"must lie in \[0, 1\]")):
        with pytest.raises(OwnCodeError, match=fault) as caught:
            try_out(learnt_trial(small_tree, tmp_path, f"{tmp_path}/own.py:{name}"))
        assert f"own.py:{name}" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("mode", ["rgb+mask", "rgb+semantics"])
def test_a_mode_that_has_no_mask_to_learn_refuses_one(mode: str) -> None:
    with pytest.raises(ValidationError, match="cannot learn a mask: only mode masked can"):
        InputSpec(mode=mode, learnt=MaskName.of("class_weights"))


@pytest.mark.parametrize("placebo", ["random", "classes"])
def test_a_placebo_that_needs_a_mask_of_chosen_classes_is_refused(placebo: str) -> None:
    with pytest.raises(ValidationError, match="the placebo of a mask that is learnt must be image"):
        InputSpec(mode="masked", learnt=MaskName.of("conv_head"), placebo=placebo)


def test_one_network_for_all_subsets_learns_no_mask() -> None:
    trial = {
        "input": {"mode": "masked", "mask_reduce": "sum", "classes": ["building", "pole"], "learnt": "class_weights"},
        "train": {"arms": {"players": [["building"], ["pole"]]}},
    }
    with pytest.raises(ValidationError, match="a mask that is learnt cannot stand beside"):
        TrialSpec.model_validate_json(json.dumps(trial))


@pytest.mark.parametrize(
    "text",
    [
        "trial: {input: {mode: masked, learnt: conv_head}}\nsearch: {subsets: {take: leave_one_out}}\n",
        "trial: {input: {mode: masked}}\n"
        "search: {subsets: {take: leave_one_out}, grid: {input.learnt: [none, conv_head]}}\n",
    ],
)
def test_a_search_of_subsets_learns_no_mask(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(SweepFileError, match=r"learnt: (no mask can be learnt here|no axis of a search of subsets)"):
        read_sweep(tmp_path / "mine.yaml")


def test_a_mask_that_nothing_trains_is_refused() -> None:
    trial = {"input": {"mode": "masked", "learnt": "conv_head"}, "train": {"steps": 0}}
    with pytest.raises(ValidationError, match="a mask cannot be learnt where nothing is trained"):
        TrialSpec.model_validate_json(json.dumps(trial))


def test_what_a_learnt_mask_does_not_read_is_not_hashed(small_tree: Path, tmp_path: Path) -> None:
    def resolved(**more: object) -> InputSpec:
        return InputSpec(mode="masked", **more).resolved()

    learnt = MaskName.of("class_weights")
    one, other = resolved(learnt=learnt), resolved(learnt=learnt, classes=("pole",), mask_reduce="sum")
    assert one == other and one.classes is None and one.mask_reduce is None and one.hashed()["learnt"]
    begins = MaskName.of("class_weights", start="classes")
    some, all_static = resolved(learnt=begins, classes=("sky", "pole")), resolved(learnt=begins)
    assert some.classes == ("pole", "sky") and some != all_static
    assert "learnt" not in resolved().hashed() and "learnt" not in InputSpec(learnt=learnt).resolved().hashed()
    trial = learnt_trial(small_tree, tmp_path, {"name": "class_weights", "start": "classes"})
    weights = build_network(trial, None).state_dict()["mask.made.weights_K"]
    assert [name for name, w in zip(CLASSES, weights.tolist(), strict=True) if w > 0] == list(CLASSES[:10])


def test_activations_that_lie_as_corners_are_brought_to_cells(small_tree: Path, tmp_path: Path) -> None:
    """The mean of a mask is the share of the picture that it shows: outer points of corners stand for less of it."""
    from vprdist.network.masks.learnt import LearntMask
    from vprdist.semantics.resize import point_shares

    spec = MaskName.of("class_weights")
    made = spec.make(classes=CLASSES, chosen=("sky",))
    assert spec.training is not None
    activations = torch.zeros(1, 19, 5, 7, dtype=torch.uint8)
    activations[:, CLASSES.index("sky"), :2] = 255
    activations[:, CLASSES.index("road"), 2:] = 255
    images = torch.zeros(1, 3, 10, 14, dtype=torch.uint8)
    for grid in ("cells", "corners"):
        found = LearntMask(made, "class_weights", spec.training, grid)(images, activations)
        share = point_shares((5, 7), grid)[:2].sum()
        hidden = float(torch.sigmoid(torch.tensor(-4.0)) / torch.sigmoid(torch.tensor(4.0)))
        assert float(found.mean().detach()) == pytest.approx(share + (1 - share) * hidden, abs=1e-6), grid


def test_stacked_readings_keep_every_class(small_tree: Path, tmp_path: Path) -> None:
    trial = learnt_trial(small_tree, tmp_path)
    reader, side = PlaceReader(trial, (32, 40)), read_city(small_tree, "bob").database
    batch = stack([reader.read(side, row) for row in range(2)])
    assert batch.extra is not None and batch.extra.shape[:2] == (2, 19) and batch.extra.dtype == torch.uint8

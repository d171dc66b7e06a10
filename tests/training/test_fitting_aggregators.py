"""Aggregators that are made to fit the features: refused where they do not, tried first, trained, resumed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from pydantic import ValidationError

from tests.training.making import TwoRanks, cut_here, losses, make_cache, make_trial, run_here, weights_of
from tests.training.test_own_parts import PARTS, with_own
from vprdist.cli import main
from vprdist.errors import OwnCodeError, SweepFileError, UserError, WeightsError
from vprdist.network.checkpoints import read_checkpoint
from vprdist.network.model import build_network
from vprdist.network.parts import Shown
from vprdist.prepare.own_code import try_own_code
from vprdist.prepare.prepare import look
from vprdist.prepare.resolve import Resolver
from vprdist.spec.doors import AggregatorName
from vprdist.spec.profile import read_profile
from vprdist.spec.sweep_file import read_sweep
from vprdist.spec.trial import TrialSpec
from vprdist.training.try_out import try_out

SMALL = {
    "gem+linear": {"out_channels": 16},
    "mixvpr": {"out_channels": 8, "rows": 2, "depth": 2},
    "salad": {"clusters": 3, "out_channels": 8, "token_channels": 4, "hidden": 16},
    "boq": {"out_channels": 64, "queries": 4, "rows": 2},
}


def pooled(trial: TrialSpec, name: str, size: tuple[int, int] | None = None, **more: object) -> TrialSpec:
    """The trial with another aggregator, small, checked anew; its pictures on 3x3 features and more."""
    values = trial.to_json()
    values["network"]["aggregator"] = {"name": name, **SMALL.get(name, {}), **more}
    values["train"]["image_size"], values["evaluate"]["image_size"] = [48, 64], size and list(size)
    read = TrialSpec.model_validate_json(json.dumps(values))
    assert trial.digests is not None
    return read.resolved(trial.digests)


def test_two_ranks_train_as_one_does_and_a_cut_run_goes_on_exactly(
    small_tree: Path, tmp_path: Path, two_ranks: TwoRanks
) -> None:
    trial = pooled(make_trial(small_tree, steps=4, chunk_queries=10), "salad")
    whole = run_here(trial, tmp_path / "whole")
    two_ranks.run((trial, tmp_path / "two"))
    for step, loss in losses(tmp_path / "whole").items():
        assert losses(tmp_path / "two")[step] == pytest.approx(loss, rel=1e-4), step
    cut_here(trial, small_tree, tmp_path / "cut", 2)
    assert run_here(trial, tmp_path / "cut").metrics == whole.metrics
    found, start = weights_of(tmp_path / "cut", trial), build_network(trial, None).state_dict()
    for key, value in weights_of(tmp_path / "whole", trial).items():
        assert torch.equal(value, found[key]), key
    trained = [key for key in start if key.startswith("pool.features.") and not torch.equal(start[key], found[key])]
    assert len(trained) == 4


def test_the_map_and_the_class_token_are_told_when_an_aggregator_is_made(small_tree: Path, tmp_path: Path) -> None:
    file = tmp_path / "parts.py"
    file.write_text(PARTS + ASKING)
    plain = make_trial(small_tree, make_cache(small_tree, tmp_path), "masked")
    for token, wanted in ((True, 16), (False, None)):
        trial = with_own(plain, file, backbone={"name": "Net", "token": token}, aggregator="Asking")
        try_out(trial)
        pool = build_network(trial, None).pool
        assert (pool.places, pool.token) == ((8, 10), wanted)
        built = with_own(
            plain, file, backbone={"name": "Net", "token": token}, aggregator={"name": "salad", "clusters": 2}
        )
        network = build_network(built, None)
        assert network.dimensions == 2 * 128 + (256 if token else 0)
        shown = built.input.model_copy(update={"mask_at": "features"})
        masked = build_network(built.model_copy(update={"input": shown}), None)
        assert masked.dimensions == 2 * 128, "a class token would tell what the mask leaves out"
    bound = trial.model_copy(update={"evaluate": trial.evaluate.model_copy(update={"image_size": (64, 80)})})
    with pytest.raises(
        ValidationError, match="the aggregator Asking must be shown pictures of the size that it is made"
    ):
        TrialSpec.model_validate(bound.model_dump())
    file.write_text(PARTS + ASKING.replace('("places", "token")', '("depth",)'))
    with pytest.raises(ValidationError, match="the class Asking must ask for no other than places, token"):
        AggregatorName.of(f"{file}:Asking")


ASKING = """
class Asking(Mean):
    asks = ("places", "token")

    def __init__(self, channels, places, token, share: float = 1.0):
        super().__init__(channels, share)
        self.places, self.token = places, token
"""


def test_another_size_than_that_of_training_is_refused_with_its_key(small_tree: Path, tmp_path: Path, capsys) -> None:
    file = tmp_path / "sizes.yaml"
    values = {
        "trial": {
            "data": {"root": str(small_tree), "train": ["ada"], "validate": ["bob"]},
            "network": {"backbone": "resnet18", "weights": "none", "aggregator": {"name": "mixvpr", **SMALL["mixvpr"]}},
            "train": {"image_size": [96, 128], "steps": 2, "batch_pairs": 4, "micro_pairs": 4},
            "evaluate": {"image_size": [128, 160]},
        }
    }
    file.write_text(yaml.safe_dump(values))
    with pytest.raises(SweepFileError) as caught:
        read_sweep(file)
    assert "trial.evaluate.image_size" in str(caught.value) and "made for, 96x128; found [128, 160]" in str(
        caught.value
    )
    values["trial"]["train"]["steps"] = 0  # it is built for what it is shown, then
    file.write_text(yaml.safe_dump(values))
    assert read_sweep(file).trials[0].picture_size == (128, 160)
    trial = pooled(make_trial(small_tree, steps=1), "mixvpr")
    folder = tmp_path / "runs" / "trials" / trial.trial_id
    folder.mkdir(parents=True)
    (folder / "trial.json").write_text(json.dumps(trial.to_json()))
    run_here(trial, folder)
    given = ["evaluate", trial.trial_id, "--runs", str(tmp_path / "runs"), "--image-size"]
    assert main([*given, "128", "160"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "--image-size: the aggregator mixvpr must be shown pictures of the size that it is made for, 48x64" in said
    assert main([*given, "48", "64"]) == 0
    _starts_from(trial, folder)


def _starts_from(trial: TrialSpec, folder: Path) -> None:
    """A checkpoint whose shapes are those of its pictures is a start for pictures of that size alone."""
    path = folder / "checkpoint" / "last.pt"
    start = trial.network.model_copy(update={"weights": str(path)})
    good = trial.model_copy(update={"network": start})
    Resolver().check_checkpoint(good)
    assert torch.equal(
        build_network(good, path).pool.row_map.weight,
        read_checkpoint(path, start, Shown((48, 64)))["pool.row_map.weight"],
    )
    larger = good.model_copy(update={"train": good.train.model_copy(update={"image_size": (128, 160)})})
    with pytest.raises(WeightsError, match=r"mixvpr on pictures of 128x160; found '.*not "):
        Resolver().check_checkpoint(larger)


def test_more_clusters_than_places_are_refused_before_anything_starts(small_tree: Path, tmp_path: Path) -> None:
    plain = make_trial(small_tree)
    few = pooled(plain, "salad", clusters=12)
    words = r"trial\.network\.aggregator\.clusters: clusters must be fewer than .* them, 12; found 12\. Set at most 11"
    with pytest.raises(UserError, match=words):
        try_own_code([few])
    try_own_code([pooled(plain, "salad", clusters=11)])
    with pytest.raises(UserError, match=r"assigned to them, 4; found 11"):  # they are fewer where it is evaluated
        try_own_code([pooled(plain, "salad", (32, 32), clusters=11)])
    file = tmp_path / "few.yaml"
    chosen = {"name": "salad", "clusters": 64}
    data = {"root": str(small_tree), "train": ["ada"], "validate": ["bob"]}
    network = {"backbone": "resnet18", "weights": "none", "aggregator": chosen}
    file.write_text(yaml.safe_dump({"trial": {"data": data, "network": network, "train": {"image_size": [96, 128]}}}))
    with pytest.raises(OwnCodeError, match=r"few\.yaml:\d+: trial\.network\.aggregator"):
        look(read_sweep(file), read_profile("local"), tmp_path / "runs")
    shutil.rmtree(tmp_path / "runs", ignore_errors=True)


def test_a_mask_at_the_features_is_asked_of_those_alone_that_can_weigh(small_tree: Path, tmp_path: Path) -> None:
    cache = make_cache(small_tree, tmp_path)
    masked, rgb = make_trial(small_tree, cache, "masked"), make_trial(small_tree)
    values = masked.to_json()
    values["input"]["mask_at"] = "features"
    at_features = TrialSpec.model_validate_json(json.dumps(values))
    for name in ("mixvpr", "boq"):
        words = f"the aggregator {name} takes no weights"
        with pytest.raises(ValidationError, match=words) as caught:
            pooled(at_features, name)
        assert "gem" in str(caught.value.errors()[0]["ctx"]["error"].remedy)
    for name in ("gem+linear", "salad"):
        images = torch.randint(0, 256, (2, 3, 96, 128), dtype=torch.uint8)
        mask = torch.randint(0, 256, (2, 1, 24, 32), dtype=torch.uint8)
        network = build_network(pooled(at_features, name), None).eval()
        with torch.no_grad():
            assert not torch.allclose(network(images, mask), network(images, 255 - mask), atol=1e-6), name
    weighted, plain = (build_network(pooled(at_features, name), None).eval() for name in ("gem_weighted", "gem"))
    with torch.no_grad():
        assert torch.equal(weighted(images, mask), plain(images, mask)), "it is GeM, which must have a mask"
    for trial in (rgb, masked):
        with pytest.raises(ValidationError, match="weighs places by a mask, and none is at the features") as caught:
            pooled(trial, "gem_weighted")
        assert "trial.input.mask_at: features" in caught.value.errors()[0]["ctx"]["error"].remedy

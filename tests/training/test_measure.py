"""What a network costs: counted by hand for small ones, and measured over some steps."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import warm
from tests.training.choices import make_world, trial_of
from tests.training.making import make_cache, make_trial
from vprdist.spec.doors import AggregatorName, BackboneName
from vprdist.spec.network import NetworkSpec
from vprdist.spec.trial import TrialSpec
from vprdist.training import measure
from vprdist.training.measure import Cost, count, pace

SMALL = """
import torch
from torch import nn
from vprdist.network.backbones.base import Backbone

class Small(Backbone):
    units = ("stem", "body")
    channels = 8

    def __init__(self, looks: bool = False):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False)
        self.body = nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 8, 1), Looks() if looks else nn.Identity())

class Looks(nn.Module):
    def forward(self, features):
        return features if float(features.sum()) > -1e9 else -features

class Attended(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.dimensions, self.out = channels, nn.Linear(channels, channels)

    def forward(self, features, **more):
        tokens = features.flatten(2).transpose(1, 2).unsqueeze(1)
        tokens = nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)
        return self.out(tokens.mean(dim=(1, 2)))
"""
STEM, BODY = 16 * 20 * 4 * 27, 16 * 20 * 8 * 4
"""Multiply-adds of the convolutions of a picture of 32x40: places times channels times weights of each."""
NUMBERS = 4 * 27 + 2 * 4 + 8 * 4 + 8
"""Weights of the convolutions and of BatchNorm, with what is added."""


def small(tree: Path, folder: Path, looks: bool = False, pool: str = "gem", **train: object) -> TrialSpec:
    path = folder / "small.py"
    path.write_text(SMALL)
    aggregator = AggregatorName.of(pool if pool == "gem" else f"{path}:{pool}")
    network = NetworkSpec(
        backbone=BackboneName.of(f"{path}:Small", looks=looks), aggregator=aggregator, weights="none", unfreeze="0-1"
    )
    return make_trial(tree, **train).model_copy(update={"network": network})


@pytest.mark.parametrize("looks", [False, True])
def test_products_are_those_counted_by_hand(small_tree: Path, tmp_path: Path, looks: bool) -> None:
    found = count(small(small_tree, tmp_path, looks))
    assert found == Cost(NUMBERS + 1, NUMBERS + 1 - 4 * 27, STEM + BODY), "GeM has one number; the stem is frozen"


def test_attention_counts_its_products(small_tree: Path, tmp_path: Path) -> None:
    places = 16 * 20
    products = 2 * places * places * 8 + 8 * 8
    found = count(small(small_tree, tmp_path, pool="Attended"))
    assert found == Cost(NUMBERS + 72, NUMBERS + 72 - 4 * 27, STEM + BODY + products)


def test_what_the_mode_adds_is_counted(small_tree: Path, tmp_path: Path) -> None:
    plain, more = make_trial(small_tree), make_trial(small_tree, make_cache(small_tree, tmp_path), "rgb+mask")
    apart = count(more).multiply_adds, count(plain).multiply_adds
    assert None not in apart and apart[0] - apart[1] == 64 * 49 * 16 * 20, "conv1, of one channel more"
    assert count(plain).parameters == 2_782_784 + 1 == count(more).parameters - 64 * 49


@pytest.mark.parametrize(
    "more",
    [
        {"backbone": "vgg16"},
        {"attention": "deattention", "aggregator": "netvlad"},
        {"aggregator": "multi_scale_gem", "attention": "segvpr"},
    ],
    ids=str,
)
@pytest.mark.parametrize("form", ["rgb", "features"])
def test_built_in_networks_are_counted_without_their_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], form: str
) -> None:
    """Those of a large sweep would take gigabytes and minutes to fill: only one that looks at values may need it."""
    trial = trial_of(make_world(tmp_path), form, network={"unfreeze": "2-2", **more})
    with_values = measure._counted(trial, measure.build_network(trial, None), {})
    monkeypatch.setattr(measure, "build_network", only_empty(measure.build_network))
    assert count(trial) == with_values


def only_empty(build: Any) -> Any:
    def built(*args: Any) -> Any:
        network = build(*args)
        assert all(each.is_meta for each in network.parameters())
        return network

    return built


@pytest.mark.parametrize(
    "train",
    [
        {"batch_norm": "reference", "micro_pairs": 2},
        {"pairs": "all"},
        {"loss": "multi_similarity", "batches": "places", "place_pictures": 3},
        {"loss": "triplet", "batches": "triplets", "chunked": True},
    ],
    ids=str,
)
def test_steps_are_timed_for_every_kind_of_batch(
    small_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, train: dict[str, object]
) -> None:
    ticks = iter(range(100))
    monkeypatch.setattr(measure.time, "perf_counter", lambda: float(next(ticks)))
    trial = small(small_tree, tmp_path, **train)
    assert pace(trial) == pytest.approx(3 * 4 / 3.0), "three steps of four queries, three ticks apart"
    monkeypatch.setattr(measure, "ENOUGH_S", 0.5)
    assert pace(trial) == pytest.approx(4 / 2.0), "one step at least"


def test_the_process_answers_for_each_and_goes_on_after_one_that_cannot_be_built(
    small_tree: Path, tmp_path: Path
) -> None:
    good = small(small_tree, tmp_path)
    broken = tmp_path / "broken.py"
    broken.write_text("class Pool:\n    def __init__(self, channels): pass\n")
    network = good.network.model_copy(update={"aggregator": AggregatorName.of(f"{broken}:Pool")})
    bad = good.model_copy(update={"network": network})
    still = small(small_tree, tmp_path, steps=0)
    order = json.dumps([each.to_json() for each in (bad, good, still)])
    command = [sys.executable, "-m", "vprdist.training.measure", "--pace"]
    done = warm.run(command, input=order, capture_output=True, text=True, check=True)
    first, second, third = map(json.loads, done.stdout.splitlines())
    assert "must be a torch module" in first["refused"]["rule"]
    assert second["multiply_adds"] == third["multiply_adds"] == STEM + BODY
    assert second["queries_per_s"] > 0 and second["device"] and third["queries_per_s"] is None

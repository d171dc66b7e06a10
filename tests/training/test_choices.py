"""Every built-in choice of a network beside every form of the input: a step of training, an evaluation, and the state.

It is parametrised over the registries: a word that is added is covered without a line here.
"""

from __future__ import annotations

import json

import pytest
import torch

from tests.training.making import make_cache, make_trial, run_here, weights_of
from tests.worlds import write_small_tree
from vprdist.network.model import build_network
from vprdist.semantics.cache import open_cache
from vprdist.spec.doors import AggregatorName, AttentionName, LossName
from vprdist.spec.trial import TrialSpec
from vprdist.tensors import difference

FORMS = {
    "rgb": {"mode": "rgb"},
    "black": {"mode": "masked", "mask_reduce": "sum"},
    "features": {"mode": "masked", "mask_reduce": "sum", "mask_at": "features"},
    "channels": {"mode": "rgb+mask", "mask_reduce": "sum", "conv1_init": "inflate"},
}
SMALL = {
    "netvlad": {"clusters": 2}, "sralnet": {"clusters": 2, "shadows": 1}, "salad": {"clusters": 2, "out_channels": 8},
    "mixvpr": {"out_channels": 8, "rows": 2}, "boq": {"out_channels": 64, "queries": 4, "rows": 2},
    "gem+linear": {"out_channels": 16}, "multi_scale_gem": {"at": ["layer3", "layer4"]},
}  # fmt: skip
METRIC = {"metric": {"loss": "ContrastiveLoss"}}


def words(door) -> list[str]:
    return [word for word in door.door.built_in if word != "none"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("choices")
    root = write_small_tree(folder / "tree", (80, 64))
    return root, make_cache(root, folder)


def trial_of(world, form: str, **sections) -> TrialSpec:
    root, cache = world
    plain = make_trial(root, steps=1, image_size=(64, 80))
    assert plain.digests is not None
    values = plain.to_json() | {"digests": None}
    values["input"] = {**FORMS[form], "cache": str(cache)}
    for name, more in sections.items():
        values[name] |= more
    trial = TrialSpec.model_validate_json(json.dumps(values)).undigested
    held = None if trial.input.cache is None else open_cache(cache).manifest.digest_of(trial.measured_cities)
    return trial.resolved(plain.digests.model_copy(update={"cache": held}))


def check(world, folder, trial: TrialSpec) -> None:
    """It trains a step, which moves it, is evaluated, and its state is that of the network that would be built anew."""
    row = run_here(trial, folder)
    assert row.steps == 1 and row.final_loss is not None and 0 <= row.metrics["recall@5"] <= 1
    fresh, after = build_network(trial, None).state_dict(), weights_of(folder, trial)
    assert difference(after, fresh) is None
    assert any(not torch.equal(after[name], value) for name, value in fresh.items())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("word", words(AttentionName))
def test_attention_in_every_form(world, tmp_path, word, form):
    check(world, tmp_path, trial_of(world, form, network={"attention": word}))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("word", words(AggregatorName))
def test_aggregators_in_every_form(world, tmp_path, word, form):
    chosen = AggregatorName.of(word, **SMALL.get(word, {}))
    if form == "features" and not chosen.fact("weighs"):
        pytest.skip("it cannot weigh places, and is refused in words: tests/network/test_current_aggregators.py")
    if form != "features" and chosen.fact("needs_mask"):
        pytest.skip("it needs a mask at the features, and is refused in words without")
    check(world, tmp_path, trial_of(world, form, network={"aggregator": {"name": word, **SMALL.get(word, {})}}))


@pytest.mark.parametrize("batches", ["pairs", "places", "triplets"])
@pytest.mark.parametrize("word", words(LossName))
def test_losses_on_every_kind_of_batch(world, tmp_path, word, batches):
    negatives = {"negatives": "own" if batches == "triplets" else "hardest"} if word == "triplet" else {}
    if word == "sharpened_triplet" and batches != "triplets":
        pytest.skip("it needs negatives of each query's own, and is refused in words without")
    train = {
        "loss": {"name": word, **METRIC.get(word, {}), **negatives}, "batches": batches, "place_pictures": 3,
        "chunked": True,
        "mining": {"negatives": 2, "pool": 12, "positives": 2},
    }  # fmt: skip
    check(world, tmp_path, trial_of(world, "rgb", train=train))

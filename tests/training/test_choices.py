"""Every built-in choice of a network beside every form of the input: a step of training, an evaluation, and the state.

It is parametrised over the registries: a word that is added is covered without a line here.
"""

from __future__ import annotations

import pytest
import torch

from tests.training.choices import FORMS, SMALL, make_world, of_loss, trial_of, words
from tests.training.making import run_here, weights_of
from vprdist.errors import WeightsError
from vprdist.network.model import build_network
from vprdist.spec.doors import AggregatorName, AttentionName, LossName
from vprdist.spec.trial import TrialSpec
from vprdist.tensors import difference

KEPT = ("units.", "attention.", "pool.")
"""What a trial takes from the checkpoint of another, but for what attention is taught through."""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("choices"))


def check(folder, trial: TrialSpec) -> None:
    """It trains a step, which moves it, is evaluated, its state is that of the network that would be built anew, and
    another trial can start from its checkpoint."""
    row = run_here(trial, folder)
    assert row.steps == 1 and row.final_loss is not None and 0 <= row.metrics["recall@5"] <= 1
    fresh, after = build_network(trial, None).state_dict(), weights_of(folder, trial)
    assert difference(after, fresh) is None
    assert any(not torch.equal(after[name], value) for name, value in fresh.items())
    file = folder / "checkpoint" / "last.pt"
    network = trial.network.model_copy(update={"weights": str(file)})
    later = trial.model_copy(update={"network": network})
    if trial.input.num_added:
        with pytest.raises(WeightsError, match="three input channels"):
            build_network(later, file)
        return
    again = build_network(later, file).state_dict()
    assert all(
        torch.equal(after[name], value)
        for name, value in again.items()
        if name.startswith(KEPT) and ".taught." not in name
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("word", words(AttentionName))
def test_attention_in_every_form(world, tmp_path, word, form):
    check(tmp_path, trial_of(world, form, network={"attention": word}))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("word", words(AggregatorName))
def test_aggregators_in_every_form(world, tmp_path, word, form):
    chosen = AggregatorName.of(word, **SMALL.get(word, {}))
    if form == "features" and not chosen.fact("weighs"):
        pytest.skip("it cannot weigh places, and is refused in words: tests/network/test_current_aggregators.py")
    if form != "features" and chosen.fact("needs_mask"):
        pytest.skip("it needs a mask at the features, and is refused in words without")
    check(tmp_path, trial_of(world, form, network={"aggregator": {"name": word, **SMALL.get(word, {})}}))


@pytest.mark.parametrize("batches", ["pairs", "places", "triplets"])
@pytest.mark.parametrize("word", words(LossName))
def test_losses_on_every_kind_of_batch(world, tmp_path, word, batches):
    if word == "sharpened_triplet" and batches != "triplets":
        pytest.skip("it needs negatives of each query's own, and is refused in words without")
    check(tmp_path, trial_of(world, "rgb", train=of_loss(word, batches)))

"""Every built-in attention, aggregator and loss takes a step on a GPU, with the loss that the CPU has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.gpu.test_training import on_cpu
from tests.training.choices import SMALL, World, make_world, of_loss, trial_of, words
from tests.training.making import losses, run_here
from vprdist.spec.doors import AggregatorName, AttentionName, LossName


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("choices"))


def check(world: World, folder: Path, form: str = "rgb", **sections: Any) -> None:
    trial = trial_of(world, form, **sections)
    run_here(trial, folder / "gpu")
    on_cpu(trial, folder / "cpu")
    found, expected = losses(folder / "gpu"), losses(folder / "cpu")
    assert found.keys() == expected.keys() == {1}
    assert found[1] == pytest.approx(expected[1], rel=1e-3)


@pytest.mark.parametrize("word", words(AttentionName))
def test_attention(world, tmp_path, word):
    check(world, tmp_path, network={"attention": word})


@pytest.mark.parametrize("word", words(AggregatorName))
def test_aggregators(world, tmp_path, word):
    form = "features" if AggregatorName.of(word, **SMALL.get(word, {})).fact("needs_mask") else "rgb"
    check(world, tmp_path, form, network={"aggregator": {"name": word, **SMALL.get(word, {})}})


@pytest.mark.parametrize("word", words(LossName))
def test_losses(world, tmp_path, word):
    check(world, tmp_path, train=of_loss(word, "triplets"))

"""Attention with BatchNorm in training: two ranks train as one does, a resumed run is exact, one picture is enough."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.training.making import TwoRanks, cut_here, losses, make_trial, run_here, weights_of
from vprdist.network.batch_norm import BATCH_NORM
from vprdist.network.model import build_network, set_mode
from vprdist.spec.doors import AttentionName
from vprdist.spec.trial import TrialSpec


def attended(root: Path, word: str, at: tuple[str, ...] = ("layer2", "layer3"), **train: object) -> TrialSpec:
    """A trial whose attention stands behind a unit that is frozen, and behind one that is trained."""
    plain = make_trial(root, **{"steps": 4, **train})
    network = plain.network.model_copy(update={"attention": AttentionName.of(word, at=at), "unfreeze": "0-2"})
    assert plain.digests is not None
    return plain.model_copy(update={"network": network}).resolved(plain.digests)


def statistics(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in weights.items() if name.startswith("attention") and "running" in name}


def test_two_ranks_train_attention_with_batch_norm_as_one_does(
    small_tree: Path, tmp_path: Path, two_ranks: TwoRanks
) -> None:
    trials = {"sync": attended(small_tree, "bam", batch_norm="sync"), "frozen": attended(small_tree, "cbam")}
    two_ranks.run(*((trial, tmp_path / "two" / name) for name, trial in trials.items()))
    for name, trial in trials.items():
        run_here(trial, tmp_path / name)
    for name, trial in trials.items():
        alone, together = losses(tmp_path / name), losses(tmp_path / "two" / name)
        assert alone.keys() == together.keys()
        assert all(together[step] == pytest.approx(loss, rel=1e-4) for step, loss in alone.items()), name
        one, two = weights_of(tmp_path / name, trial), weights_of(tmp_path / "two" / name, trial)
        for key, value in statistics(one).items():
            assert torch.allclose(value, two[key], rtol=1e-4, atol=1e-5), key
            begun = 1.0 if key.endswith("var") else 0.0
            assert bool((value == begun).all()) == (name == "frozen"), key


def test_a_run_with_attention_resumes_exactly(small_tree: Path, tmp_path: Path) -> None:
    trial = attended(small_tree, "bam", batch_norm="reference", micro_pairs=1)
    run_here(trial, tmp_path / "whole")
    cut_here(trial, small_tree, tmp_path / "cut", 2)
    run_here(trial, tmp_path / "cut")
    whole, cut = weights_of(tmp_path / "whole", trial), weights_of(tmp_path / "cut", trial)
    assert all(torch.equal(value, cut[name]) for name, value in whole.items())
    rows = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert all(row["loss"] > 0 for row in rows if row["kind"] == "train"), (
        "a picture alone has no statistics of its own"
    )


@pytest.mark.parametrize(("mode", "training"), [("frozen", False), ("sync", True), ("reference", True)])
def test_batch_norm_of_attention_is_kept_under_frozen_alone(small_tree: Path, mode: str, training: bool) -> None:
    network = build_network(attended(small_tree, "residual_attention", batch_norm=mode), None)
    norms = [each for each in network.attention.modules() if isinstance(each, BATCH_NORM)]
    assert norms
    for wanted, asked in ((training, True), (False, False)):
        set_mode(network, mode, training=asked)
        assert {each.training for each in norms} == {wanted}

"""Which parameters an optimizer moves, and how fast."""

from __future__ import annotations

import pytest

from tests.training.making import make_trial, run_here, weights_of
from vprdist.network.model import build_network
from vprdist.spec.trial import TrialSpec
from vprdist.training.optimizer import build_optimizer


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_backbone_learns_at_its_own_rate_and_everything_that_learns_is_in_one_group(small_tree, optimizer):
    trial = make_trial(small_tree, optimizer=optimizer, backbone_lr_factor=0.3)
    network = build_network(trial, None)
    heads, backbone = build_optimizer(trial.train, network).param_groups
    named = {id(parameter): name for name, parameter in network.named_parameters()}
    assert backbone["factor"] == 0.3 and "factor" not in heads
    assert all(named[id(parameter)].startswith("units.") for parameter in backbone["params"])
    assert [named[id(parameter)] for parameter in heads["params"]] == ["pool.p"]
    learn = {id(parameter) for parameter in network.parameters() if parameter.requires_grad}
    assert {id(parameter) for group in (heads, backbone) for parameter in group["params"]} == learn
    (one,) = build_optimizer(make_trial(small_tree, optimizer=optimizer).train, network).param_groups
    assert {id(parameter) for parameter in one["params"]} == learn, "as before there was a factor"


def test_a_step_of_sgd_is_shorter_for_the_backbone_by_its_factor_and_the_same_for_the_heads(small_tree, tmp_path):
    trials = [make_trial(small_tree, steps=1, backbone_lr_factor=factor) for factor in (1.0, 0.25)]
    start = build_network(trials[0], None).state_dict()
    moved = []
    for number, trial in enumerate(trials):
        run_here(TrialSpec.model_validate(trial), tmp_path / str(number))
        after = weights_of(tmp_path / str(number), trial)
        moved.append({name: (after[name] - start[name]).float() for name in ("units.layer3.1.conv2.weight", "pool.p")})
    assert moved[1]["pool.p"].item() == pytest.approx(moved[0]["pool.p"].item(), rel=1e-3)
    far, near = (float(each["units.layer3.1.conv2.weight"].norm()) for each in moved)
    assert near == pytest.approx(0.25 * far, rel=1e-3) and far > 0

"""Models of timm's trained in part: two ranks equal one, a run that was cut goes on exactly, frozen parts stay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.making import losses, make_trial, run_here, weights_of
from tests.worlds import write_small_tree
from vprdist.network.model import build_network
from vprdist.spec.network import NetworkSpec
from vprdist.spec.result import ResultRow
from vprdist.spec.trial import TrialSpec

pytest.importorskip("timm", reason="timm is not installed")
MODELS = {
    # A norm of the head that nothing depends on: ranks would wait for its gradient.
    "test_vit2": ("1-2", "frozen", ("reg_token", "pos_embed", "patch_embed", "blocks.6", "blocks.7")),
    # Its BatchNorm holds the activation behind it.
    "test_efficientnet": ("0-2", "sync", ("blocks.3", "blocks.4", "conv_head", "bn2")),
}


def trial_of(root: Path, model: str) -> TrialSpec:
    unfreeze, mode, _ = MODELS[model]
    network = NetworkSpec(backbone=f"timm:{model}", weights="none", unfreeze=unfreeze)
    made = make_trial(root, image_size=(32, 48), batch_norm=mode)
    return made.model_copy(update={"network": network})


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_two_ranks_train_the_same_parts_as_one(tmp_path, model, two_ranks):
    write_small_tree(tmp_path / "tree")
    trial, (_, _, parts) = trial_of(tmp_path / "tree", model), MODELS[model]
    two_ranks.run((trial, tmp_path / "two"))
    one = run_here(trial, tmp_path / "one")
    assert ResultRow.model_validate_json((tmp_path / "two" / "result.json").read_text()).num_ranks == 2
    found, expected = losses(tmp_path / "two"), losses(tmp_path / "one")
    assert np.allclose([found[step] for step in expected], list(expected.values()), rtol=1e-4)
    mine, theirs = weights_of(tmp_path / "one", trial), weights_of(tmp_path / "two", trial)
    still = build_network(trial, None).state_dict()
    moved = set()
    for name, before in still.items():
        one_way, other_way = (after[name].float() - before.float() for after in (mine, theirs))
        assert torch.allclose(one_way, other_way, atol=0.2 * float(one_way.abs().max()) + 1e-6), name
        moved |= {name} if one_way.any() else set()
    units = {name for name in moved if name.startswith("units.")}
    assert units and all(any(part in name for part in parts) for name in units), units
    assert all(any(part in name for name in units) for part in parts), units
    again = run_here(trial, tmp_path / "again")
    assert again.metrics == one.metrics and again.final_loss == one.final_loss

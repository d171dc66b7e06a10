"""A damaged checkpoint of a trial's own: training starts anew and says so; whoever asks for the network is told."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.training.making import CPU, make_trial
from vprdist.data.graph import city_graph
from vprdist.data.layouts.msls import read_city
from vprdist.errors import CheckpointError, TrainingError
from vprdist.network.inputs import PlaceReader
from vprdist.network.model import build_network
from vprdist.training.checkpoint import fill, load_checkpoint, read_progress, save_checkpoint
from vprdist.training.loop import Trainer
from vprdist.training.trained import trained_network

DAMAGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no network": (lambda state: state.pop("network"), "found 'no state of a network'"),
    "a hole": (lambda state: state["network"].pop("bias"), "found 'no bias'"),
    "another network": (lambda state: state["network"].update(more=torch.ones(1)), "found 'an unknown more'"),
    "another shape": (lambda state: state["network"].update(bias=torch.ones(7)), "bias is torch.float32"),
    "parameters in another order": (
        lambda state: state["optimizer"]["param_groups"][0]["params"].reverse(),
        "its parameters are in another order",
    ),
    "no optimizer": (lambda state: state.pop("optimizer"), "must hold the state of the trial's optimizer"),
    "other groups": (lambda state: state["optimizer"]["param_groups"].clear(), "the state of the trial's optimizer"),
    "other momentum": (
        lambda state: state["optimizer"]["state"][0].update(momentum_buffer=torch.ones(9)),
        "found 'momentum_buffer of parameter 0 is",
    ),
    "no progress": (lambda state: state.pop("progress"), "must say where training stood"),
    "a step that is none": (lambda state: state["progress"].update(step="7"), "must say where training stood"),
    "a step before the start": (lambda state: state["progress"].update(step=-1), "must say where training stood"),
    "no trial": (lambda state: state.pop("trial_id"), "must say of which trial it is"),
    "a trial that is a tensor": (lambda state: state.update(trial_id=torch.ones(2)), "must say of which trial it is"),
}


def small() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    network = nn.Linear(3, 2)
    return network, torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)


def checkpoint() -> dict[str, Any]:
    network, optimizer = small()
    network(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    progress = {"step": 1, "train_s": 0.5, "last_loss": 0.25, "evaluated": 0}
    states = {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
    return {"trial_id": "t", **copy.deepcopy(states), "progress": progress}


def read(folder: Path) -> tuple[nn.Module, torch.optim.Optimizer, int]:
    network, optimizer = small()
    state = load_checkpoint(folder, "t")
    assert state is not None
    step = read_progress(state, folder).step
    fill(network, optimizer, state, folder)
    return network, optimizer, step


def test_what_was_saved_is_what_is_read(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, checkpoint())
    network, optimizer, step = read(tmp_path)
    wanted = checkpoint()
    assert step == 1 and all(torch.equal(value, wanted["network"][key]) for key, value in network.state_dict().items())
    momentum = optimizer.state_dict()["state"][0]["momentum_buffer"]
    assert torch.equal(momentum, wanted["optimizer"]["state"][0]["momentum_buffer"])


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_one_clear_error_and_changes_nothing(tmp_path: Path, damage: str) -> None:
    spoil, words = DAMAGES[damage]
    state = checkpoint()
    spoil(state)
    save_checkpoint(tmp_path, state)
    with pytest.raises(CheckpointError, match=words):
        read(tmp_path)
    network, optimizer = small()
    if "network" in state and "progress" in state and "trial" not in damage and "step" not in damage:
        with pytest.raises(CheckpointError):
            fill(network, optimizer, state, tmp_path)
        assert torch.equal(network.weight, small()[0].weight) and not optimizer.state


def test_a_number_that_stands_for_many_is_copied(tmp_path: Path) -> None:
    """torch refuses to write to such a tensor, in the first step."""
    state, (network, optimizer) = checkpoint(), small()
    one = torch.full((1, 1), 0.5).expand(2, 3)
    state["optimizer"]["state"][0]["momentum_buffer"] = one
    fill(network, optimizer, state, tmp_path)
    assert torch.equal(optimizer.state_dict()["state"][0]["momentum_buffer"], one)
    network(torch.ones(1, 3)).sum().backward()
    optimizer.step()


def test_training_starts_anew_where_the_checkpoint_is_damaged(small_tree, tmp_path, capsys) -> None:
    trial = make_trial(small_tree, steps=3)
    city = read_city(small_tree, "ada")
    last = tmp_path / "checkpoint" / "last.pt"

    def trainer() -> Trainer:
        reader, graph = PlaceReader(trial, trial.train.image_size), city_graph(city, trial.data)
        network = build_network(trial, None)
        return Trainer(trial, network, [city], [graph], reader, CPU, tmp_path, lambda row: None)

    last.parent.mkdir()
    last.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(CheckpointError, match=r"Move the trial's folder away and run the sweep again"):
        trained_network(trial, tmp_path)
    made = trainer()
    assert made.progress.step == 0 and "trained anew from the start: the checkpoint was damaged" in made.notices[-1]
    assert "fell back: trained anew from the start" in capsys.readouterr().out
    assert [path.name for path in last.parent.iterdir()] == [".last.pt.broken"], "nobody takes it for progress"
    again = trainer()
    assert not again.notices, "said once"
    with torch.no_grad():
        next(again.network.units.parameters()).fill_(torch.nan)
    with pytest.raises(TrainingError, match=r"^step 1: .* Nothing was learnt yet, so that no other rate helps"):
        again.run()

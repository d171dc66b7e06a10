"""Checkpoints: everything a resumed run needs to go on as if nothing had happened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from vprdist.errors import CheckpointError, WeightsError, first_line
from vprdist.tensors import difference, is_state, load_tensors, save_tensors

FILE = "last.pt"
BROKEN = f".{FILE}.broken"
"""Where one that cannot be read is kept; nobody takes it for progress."""
VERSION = 1
REMEDY = "Move the trial's folder away and run the sweep again: it trains the trial anew."


@dataclass
class Progress:
    """Where training stands; saved with every checkpoint."""

    step: int = 0
    train_s: float = 0.0
    last_loss: float | None = None
    evaluated: int = 0
    """The last step that was evaluated on the way: a stop may come before the evaluation of its step, or during it."""


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Publish `state` (tensors and plain values only) as the folder's last checkpoint; one process writes there.

    Raises:
        OSError: the disk does not take it; the last checkpoint stays.
    """
    for torn in folder.glob(f".{FILE}.*.tmp"):  # a kill left it, and it is as large as a checkpoint
        torn.unlink(missing_ok=True)
    save_tensors(folder / FILE, {"version": VERSION, **state})


def load_checkpoint(folder: Path, trial_id: str) -> dict[str, Any] | None:
    """The folder's last checkpoint, on the CPU; None when there is none.

    Raises:
        CheckpointError: it is damaged.
        WeightsError: it is of another trial, or of another version.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        state = load_tensors(path, "a checkpoint must be readable", REMEDY)
    except WeightsError as error:
        raise CheckpointError(path, error.fault, error.value, REMEDY) from None
    if not isinstance(state, dict) or type(state.get("version")) is not int or type(state.get("trial_id")) is not str:
        raise CheckpointError(path, "a checkpoint must say of which trial it is", None, REMEDY)
    if state["version"] != VERSION or state["trial_id"] != trial_id:
        raise WeightsError(path, "the checkpoint must be of this trial and version", state["trial_id"], REMEDY)
    return state


def read_progress(state: Mapping[str, Any], folder: Path) -> Progress:
    """Where training stood.

    Raises:
        CheckpointError: the checkpoint does not say it.
    """
    try:
        found = Progress(**state["progress"])
        numbers = (found.step, found.evaluated, found.train_s, 0.0 if found.last_loss is None else found.last_loss)
        if [type(each) for each in numbers] == [int, int, float, float] and 0 <= found.evaluated <= found.step:
            return found
    except (KeyError, TypeError):  # another value than a mapping of these names
        pass
    raise CheckpointError(folder / FILE, "the checkpoint must say where training stood", state.get("progress"), REMEDY)


def fill_network(network: nn.Module, state: Mapping[str, Any], folder: Path) -> None:
    """Load the network of a checkpoint; nothing is changed where it does not fit.

    Raises:
        CheckpointError: it lacks a tensor, or is another network's.
    """
    network.load_state_dict(_network_of(network, state, folder))


def fill(network: nn.Module, optimizer: Optimizer, state: Mapping[str, Any], folder: Path) -> None:
    """Load the network and the optimizer of a checkpoint; nothing is changed where one of them does not fit.

    Raises:
        CheckpointError: one does not.
    """
    found = _network_of(network, state, folder)
    try:
        optimizer.load_state_dict({**state["optimizer"], "state": _state_of(optimizer, state["optimizer"])})
    except Exception as error:  # a damaged file can hold anything
        fault = "the checkpoint must hold the state of the trial's optimizer"
        raise CheckpointError(folder / FILE, fault, first_line(error), REMEDY) from None
    network.load_state_dict(found)


def _network_of(network: nn.Module, state: Mapping[str, Any], folder: Path) -> Mapping[str, Tensor]:
    found = state.get("network")
    unlike = difference(found, network.state_dict()) if is_state(found) else "no state of a network"
    if unlike is not None or not is_state(found):
        raise CheckpointError(folder / FILE, "the checkpoint must hold the trial's network", unlike, REMEDY)
    return found


def _state_of(optimizer: Optimizer, saved: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """What is kept of each parameter: torch looks at their number alone, and fails in the first step.

    Tensors are copied, since those of a damaged file may have one number in the place of many.

    Raises:
        ValueError: what is kept of a parameter has another shape, or parameters are in another order.
    """
    groups = optimizer.state_dict()["param_groups"]
    if [group["params"] for group in saved["param_groups"]] != [group["params"] for group in groups]:
        raise ValueError("its parameters are in another order")
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    found: dict[int, dict[str, Any]] = {}
    for index, kept in saved["state"].items():
        for name, value in kept.items():
            if isinstance(value, Tensor) and value.dim() and value.shape != parameters[index].shape:
                raise ValueError(f"{name} of parameter {index} is {tuple(value.shape)}")
        found[index] = {name: value.clone() if isinstance(value, Tensor) else value for name, value in kept.items()}
    return found

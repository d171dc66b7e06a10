"""The network that a finished trial left behind."""

from __future__ import annotations

from pathlib import Path

import torch

from vprdist.distributed.ranks import Ranks
from vprdist.errors import WeightsError
from vprdist.network.model import PlaceNetwork, build_network
from vprdist.spec.trial import TrialSpec
from vprdist.training.checkpoint import FILE, fill_network, load_checkpoint, read_progress
from vprdist.training.checks import initial_weights
from vprdist.training.start import start_aggregator

ALONE = Ranks(0, 1, torch.device("cpu"))


def trained_network(trial: TrialSpec, folder: Path) -> PlaceNetwork:
    """The network of the trial's last checkpoint, on the CPU; of a trial without steps, its initial one.

    Args:
        folder: the trial's.

    Raises:
        WeightsError: there is no checkpoint, or it is not this trial's.
    """
    if not trial.train.steps:
        weights, _ = initial_weights(trial)
        network = build_network(trial, weights)
        start_aggregator(network, trial, folder.parents[1], ALONE, lambda *stage: None, lambda said: None)
        return network
    network, _ = last_network(trial, folder)
    return network


def last_network(trial: TrialSpec, folder: Path) -> tuple[PlaceNetwork, int]:
    """The network of the trial's last checkpoint, on the CPU, and the step that it is of.

    Raises:
        WeightsError: there is no checkpoint, or it is not this trial's.
    """
    state = load_checkpoint(folder / "checkpoint", trial.trial_id)
    if state is None:
        remedy = (
            "Trials of no steps leave none, and `vprdist prune` removes them; a sweep in another run folder (--runs) "
            "trains the trial again."
        )
        raise WeightsError(folder / "checkpoint" / FILE, "the trial has no checkpoint", None, remedy)
    network = build_network(trial, None)
    fill_network(network, state, folder / "checkpoint")
    return network, read_progress(state, folder / "checkpoint").step

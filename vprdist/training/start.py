"""Aggregators that start from local features of training pictures: made by rank 0, kept for other trials, shared.

What is kept in the run folder is the aggregator's state, in a file whose name is a digest of all that it depends on: it
is never out of date, only unused. A trial that goes on from a checkpoint reads it too, which costs nothing, and then
has the checkpoint's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vprdist.distributed.ranks import Ranks
from vprdist.errors import WeightsError
from vprdist.files import digest_json, hold_for_making
from vprdist.network.checkpoints import is_backbones_alone
from vprdist.network.model import PlaceNetwork
from vprdist.spec.trial import TrialSpec
from vprdist.tensors import difference, is_state, load_tensors, not_finite, save_tensors
from vprdist.training.samples import samples_of

Stage = Callable[[str, int, int], None]
Say = Callable[[str], None]
ALGORITHM = 1
"""Raised by whoever changes what is drawn or computed: starts kept before are then unused."""
FAULT = "a kept start of an aggregator must be readable"


def start_aggregator(
    network: PlaceNetwork, trial: TrialSpec, runs: Path, ranks: Ranks, stage: Stage, say: Say
) -> None:  # fmt: skip
    """Start a network's aggregator from the training cities' features, where it wants that; equal on all ranks.

    Nothing is done where the initial weights are a checkpoint, which holds the aggregator's parameters.

    Args:
        network: as `build_network` made it.
        runs: the run folder.
        stage: told what is done, and how much of it.

    Raises:
        CacheError: the aggregator asks for classes, and the trial has no cache.
        TrainingError: there are too few features.
        Stopped: by `stage`.
    """
    pool: Any = network.pool
    if not starts_from_data(trial):
        return
    if ranks.is_first:
        pool.load_state_dict(_first_state(network, trial, runs, stage, say))
    # By way of the CPU: ranks that wait for the first one's work must not wait in a GPU's collective.
    state = {name: value.detach().cpu().clone() for name, value in pool.state_dict().items()}
    ranks.share_first(list(state.values()))
    pool.load_state_dict(state)


def starts_from_data(trial: TrialSpec) -> bool:
    """Whether a trial's aggregator starts from features: not where a checkpoint holds its parameters."""
    network = trial.network
    if not (network.pools and network.aggregator.starts_from_data and trial.data.train):
        return False
    return network.checkpoint is None or is_backbones_alone(Path(network.checkpoint), network)


def start_digest(trial: TrialSpec) -> str:
    """16 hex digits over all that the start depends on, which is less than what a trial is: how it is trained is not.

    Args:
        trial: resolved.
    """
    assert trial.digests is not None, "a trial is started after its digests are resolved"
    network = {key: value for key, value in trial.network.hashed().items() if key != "unfreeze"}
    digests = {key: value for key, value in trial.digests.hashed().items() if key != "labels"}
    what = [trial.input.hashed(), trial.data.train, trial.picture_size, trial.train.precision, trial.seed]
    return digest_json([ALGORITHM, network, digests, *what])


def _first_state(network: PlaceNetwork, trial: TrialSpec, runs: Path, stage: Stage, say: Say) -> Mapping[str, Tensor]:
    """The aggregator's state at the start, kept or made; the first who asks makes it, others wait for that."""
    place, title = runs / "data" / "starts" / f"{start_digest(trial)}.pt", trial.network.aggregator.title
    with contextlib.ExitStack() as stack:
        kept = _read(place, network, say)
        is_ours = kept is None and hold_for_making(stack, place)
        kept = _read(place, network, lambda message: None) if is_ours else kept  # somebody may have made it meanwhile
        if kept is not None:
            say(f"{title} starts from what an earlier run made of the training pictures: {place}")
            return kept
        pool: Any = network.pool
        where = f"kept in {place}" if is_ours else f"NOT kept: {place.parent} cannot be written to"
        say(f"{title} starts from features of the training pictures; what is made of them is {where}")
        samples = samples_of(network, trial, stage)
        pool.to("cpu").start_from(samples, lambda done, total: stage("clustering features", done, total))
        state: dict[str, Tensor] = {name: value.detach() for name, value in pool.state_dict().items()}
        if is_ours:
            _write(place, {name: value.clone() for name, value in state.items()}, say)
        pool.to(next(network.stem.buffers()).device)
    return state


def _read(place: Path, network: PlaceNetwork, say: Say) -> Mapping[str, Tensor] | None:
    """What is kept there; None where nothing is, or nothing that can be used, which is said."""
    if not place.exists():
        return None
    try:
        kept = load_tensors(place, FAULT, "Delete it.")
    except WeightsError as error:
        say(f"{place}: the kept start cannot be used and is made again ({error.fault})")
        return None
    wanted: Any = network.pool.state_dict()
    unlike = (difference(kept, wanted) or not_finite(kept)) if is_state(kept) else "no tensors by name"
    if unlike is not None:
        say(f"{place}: the kept start cannot be used and is made again ({unlike})")
        return None
    found: Mapping[str, Tensor] = kept
    return found


def _write(place: Path, state: dict[str, Tensor], say: Say) -> None:
    try:
        save_tensors(place, state)
    except OSError as error:
        say(f"{place}: the start could not be kept ({error.strerror})")

"""Whether the channels of `rgb+semantics` fit the memory: a class table may have hundreds of classes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vprdist.errors import SweepFileError
from vprdist.machine import usable_memory_gb
from vprdist.semantics.cache.format import read_manifest
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.trial import TrialSpec

EVALUATED_IMAGES = 32
"""Pictures that are described at once (`evaluation.descriptors.BATCH_IMAGES`, which loads torch)."""
LOADED_BATCHES = 2
"""Batches that each worker of a data loader holds ready."""
ENLARGED = 2
"""Float copies of the channels at the pictures' size: enlarged, and beside RGB."""


def check_channels(trials: Iterable[TrialSpec], profile: ClusterProfile) -> None:
    """The activations of a batch, as they are read and as the network is given them, fit the memory of a node.

    Where a cluster's profile tells no memory nothing is known, and nothing is refused.

    Raises:
        SweepFileError: they do not.
    """
    usable = usable_memory_gb() if profile.kind == "local" else profile.memory_gb
    for trial in trials:
        if not usable or trial.input.mode != "rgb+semantics" or trial.input.cache is None:
            continue
        made = read_manifest(Path(trial.input.cache))
        need = profile.ranks * channel_bytes(trial, (made.height, made.width)) / 1e9
        if need > usable:
            fault = (
                f"{trial.input.num_added} activations of each picture must fit the memory, "
                f"{usable:.3g} GB; a batch of them takes"
            )
            remedy = (
                "Choose smaller pictures (train.image_size, evaluate.image_size), fewer micro_pairs, or mode masked."
            )
            raise SweepFileError("trial.input.mode", fault, f"{need:.3g} GB", remedy)


def channel_bytes(trial: TrialSpec, size: tuple[int, int]) -> int:
    """What a rank holds of the added channels at once, in bytes, in training or in evaluation, whichever is more.

    Args:
        size: (h, w) of the activations.
    """
    steps = [(EVALUATED_IMAGES, trial.evaluate.image_size or trial.train.image_size)]
    steps += [(2 * trial.train.micro_pairs, trial.train.image_size)] if trial.train.steps else []
    read = size[0] * size[1] * (1 + LOADED_BATCHES * trial.run.workers)
    pixels = (count * (read + ENLARGED * 4 * height * width) for count, (height, width) in steps)
    return trial.input.num_added * max(pixels)

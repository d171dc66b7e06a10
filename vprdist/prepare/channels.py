"""Whether the maps of all classes that a batch holds fit the memory: a class table may have hundreds of classes."""

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


def check_channels(trials: Iterable[TrialSpec], profile: ClusterProfile, pooled_kinds: int = 0) -> None:
    """The activations of a batch, as they are read and as the network is given them, fit the memory of a node.

    Args:
        pooled_kinds: kinds of maps that each picture's sums are made of, where probes are pooled.

    Where a cluster's profile tells no memory nothing is known, and nothing is refused.

    Raises:
        SweepFileError: they do not.
    """
    usable = usable_memory_gb() if profile.kind == "local" else profile.memory_gb
    for trial in trials:
        if not usable or trial.input.cache is None:
            continue
        made = read_manifest(Path(trial.input.cache))
        found = _held(trial, (made.height, made.width), profile.ranks, pooled_kinds)
        if found is None:
            continue
        field, count, need, remedy = found
        if need > 1e9 * usable:
            fault = f"{count} activations of each picture must fit the memory, {usable:.3g} GB; a batch of them takes"
            raise SweepFileError(field, fault, f"{need / 1e9:.3g} GB", remedy)


def _held(trial: TrialSpec, size: tuple[int, int], ranks: int, pooled_kinds: int) -> tuple[str, int, float, str] | None:
    """Where many activations are held: the field that asks for them, how many a picture, their bytes, and a remedy."""
    if trial.input.mode == "rgb+semantics":
        remedy = "Choose smaller pictures (train.image_size, evaluate.image_size), fewer micro_pairs, or mode masked."
        return "trial.input.mode", trial.input.num_added, ranks * channel_bytes(trial, size), remedy
    classes = len(trial.input.table.classes)
    if trial.input.learnt.name != "none":
        remedy = "Choose a coarser cache, fewer micro_pairs or run.workers, or a smaller class table."
        return "trial.input.learnt", classes, ranks * learnt_bytes(trial, size), remedy
    if trial.taught:
        remedy = "Choose a coarser cache, fewer micro_pairs or run.workers, or a smaller class table."
        held = 2 * trial.train.micro_pairs * classes * (_read_bytes(trial, size) + ENLARGED * 4 * size[0] * size[1])
        return "trial.network.attention", classes, ranks * held, remedy
    if pooled_kinds and trial.input.at_features:  # of one process: many share a machine by its memory
        remedy = "Choose a coarser cache, fewer run.workers or placebos, or search.probes.how: each."
        count = classes * pooled_kinds
        return "search.probes.how", count, EVALUATED_IMAGES * count * _read_bytes(trial, size), remedy
    return None


def learnt_bytes(trial: TrialSpec, size: tuple[int, int]) -> int:
    """What a rank holds of all classes' maps at once where a mask is learnt: as they are read, and as floats."""
    images = max(EVALUATED_IMAGES, 2 * trial.train.micro_pairs if trial.train.steps else 0)
    return images * len(trial.input.table.classes) * (_read_bytes(trial, size) + ENLARGED * 4 * size[0] * size[1])


def _read_bytes(trial: TrialSpec, size: tuple[int, int]) -> int:
    """Bytes of one map: in hand, and in batches that are held ready."""
    return size[0] * size[1] * (1 + LOADED_BATCHES * trial.run.workers)


def channel_bytes(trial: TrialSpec, size: tuple[int, int]) -> int:
    """What a rank holds of the added channels at once, in bytes, in training or in evaluation, whichever is more.

    Args:
        size: (h, w) of the activations.
    """
    steps = [(EVALUATED_IMAGES, trial.evaluate.image_size or trial.train.image_size)]
    steps += [(2 * trial.train.micro_pairs, trial.train.image_size)] if trial.train.steps else []
    read = _read_bytes(trial, size)
    pixels = (count * (read + ENLARGED * 4 * height * width) for count, (height, width) in steps)
    return trial.input.num_added * max(pixels)

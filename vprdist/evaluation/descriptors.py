"""Descriptors of pictures: made by the ranks together, a batch at a time, and kept by rank 0 alone."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset

from vprdist.data.places import Side
from vprdist.disk import written
from vprdist.distributed.ranks import Ranks
from vprdist.errors import TrainingError, UserError
from vprdist.network.arriving import Answers, arriving
from vprdist.network.batch import Batch
from vprdist.network.folded import folded
from vprdist.network.inputs import PlaceReader, Reading, SideImages, stack_or_error
from vprdist.network.model import PlaceNetwork
from vprdist.spec.arms import Arm
from vprdist.spec.vocabulary import Storage

BATCH_IMAGES = 32
MAPPED_BYTES = 2**30
"""Larger arrays of descriptors lie in a temporary file."""
Rows = npt.NDArray[np.int64]
Values = npt.NDArray[np.floating[Any]]
Wanted = Sequence[tuple[Side, Rows]]


@dataclass(frozen=True)
class Descriptors:
    """Descriptors of some pictures of some cities.

    values_ND: (N, D) float32 or float16; may be mapped from a file.
    places: by city and side, for each CSV row its place in `values_ND`, -1 where the picture was not described.
    """

    values_ND: Values
    places: Mapping[tuple[str, str], Rows]

    def of(self, side: Side, rows: Rows) -> Rows:
        """The places of rows that were described."""
        found = self.places[side.city, side.side][rows]
        assert (found >= 0).all(), f"rows of {side.city}/{side.side} were not described"
        return found


def allocate(count: int, dimensions: int, storage: Storage) -> Values:
    """An empty (count, dimensions) array; a large one in a temporary file (TMPDIR), gone with the array."""
    dtype = np.dtype(storage)
    if count * dimensions * dtype.itemsize <= MAPPED_BYTES:
        return np.empty((count, dimensions), dtype)
    folder = Path(tempfile.gettempdir())
    with written(folder), tempfile.TemporaryFile(dir=folder) as stream:  # the mapping outlives it
        # Where a disk is full by the time that a mapping is written to, the process is killed without a word.
        os.posix_fallocate(stream.fileno(), 0, count * dimensions * dtype.itemsize)
        return np.memmap(stream, dtype, "w+", shape=(count, dimensions))


NOT_FINITE = (
    "A network that was trained diverged: lower trial.train.lr. One that was not has such initial weights: name others "
    "(trial.network.weights)."
)


def describe(
    network: PlaceNetwork, reader: PlaceReader, wanted: Wanted, ranks: Ranks, workers: int = 0,
    storage: Storage = "float32", advanced: Callable[[int], None] = lambda count: None,
) -> Descriptors | None:  # fmt: skip
    """Unit-length descriptors of the wanted rows on rank 0, None on the others; each side is wanted once.

    Ranks take whole batches in turn, so that batches, and with them the numbers, are those of a single rank. No rank
    holds more than a batch, but for rank 0's result. The network must be in evaluation mode; on a CPU a leaner copy of
    it describes (`folded`). `advanced` is told how many images of this rank were just done, on every rank at the same
    time.

    Raises:
        TrainingError: on every rank, when a descriptor is not finite.
    """
    found = describe_arms(network, reader, wanted, None, ranks, workers, storage, advanced)
    return None if found is None else found[0]


@torch.inference_mode()
def describe_arms(
    network: PlaceNetwork, reader: PlaceReader, wanted: Wanted, arms: Sequence[Arm] | None, ranks: Ranks,
    workers: int = 0, storage: Storage = "float32", advanced: Callable[[int], None] = lambda count: None,
) -> list[Descriptors] | None:  # fmt: skip
    """As `describe`, for each of some arms: pictures are read once, and described through each arm's mask.

    Args:
        arms: None: once, with the mask of the trial itself, if its mode has one.
    """
    images: ConcatDataset[Reading | UserError] = ConcatDataset(
        [SideImages(reader, side, rows.tolist(), arms) for side, rows in wanted]
    )
    total, turn = len(images), BATCH_IMAGES * ranks.world_size
    starts = range(ranks.rank * BATCH_IMAGES, total, turn)
    batches = [list(range(begin, min(begin + BATCH_IMAGES, total))) for begin in starts]
    views = range(1 if arms is None else len(arms))
    # A GPU waits for pictures, not for BatchNorm: no gain was measured there.
    described_by = folded(network) if ranks.device.type == "cpu" else network
    values = [allocate(total, network.dimensions, storage) for _ in views] if ranks.is_first else None
    described: Iterator[Batch] = arriving(images, workers, ranks.device, collate=stack_or_error, batch_sampler=batches)
    store = _Store(ranks.device)
    for begin in range(0, total, turn):
        batch = next(described, None)
        for view in views:
            # A rank whose turn is past the end sends an empty batch.
            mine = torch.zeros(BATCH_IMAGES, network.dimensions, device=ranks.device)
            if batch is not None:
                extra = batch.extra if arms is None or batch.extra is None else batch.extra[:, view : view + 1]
                outline = None if arms is None else arms[view].placebo == "outline"
                mine[: len(batch.image)] = described_by(batch.image, extra, outline)
            parts = ranks.gather_first(mine)
            advanced(0 if batch is None else len(batch.image))
            if values is not None and parts is not None:
                store.put(values[view][begin : begin + turn], parts)
    store.finish()
    (spoilt,) = ranks.any(not store.finite)
    if spoilt:
        bad = [_not_finite(each, wanted) for each in values or ()]
        raise TrainingError(
            next(filter(None, bad), "evaluation"), "descriptors must be finite", None, NOT_FINITE,
        )  # fmt: skip
    return None if values is None else [Descriptors(each, places_of(wanted)) for each in values]


class _Store(Answers[Values]):
    """Writes the parts of each turn where they belong; whether all of them were finite."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self.finite = True

    def take(self, place: Values, rows_ND: Tensor) -> None:
        rows = rows_ND.numpy()
        place[:] = rows
        self.finite &= bool(np.isfinite(rows).all())


def places_of(wanted: Wanted) -> dict[tuple[str, str], Rows]:
    """`Descriptors.places` where the wanted rows lie one side after the other."""
    out, begin = {}, 0
    for side, rows in wanted:
        out[side.city, side.side] = np.full(len(side), -1, np.int64)
        out[side.city, side.side][rows] = np.arange(begin, begin + len(rows))
        begin += len(rows)
    return out


def _not_finite(values: Values, wanted: Wanted) -> str:
    """The first picture whose descriptor is not finite; empty where all are."""
    place = next((place for place, row in enumerate(values) if not np.isfinite(row).all()), None)
    if place is None:
        return ""
    for side, rows in wanted:
        if place < len(rows):
            return f"{side.city}/{side.side} {side.keys[rows[place]]}"
        place -= len(rows)
    raise AssertionError("every place is of a side")

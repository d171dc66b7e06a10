"""Descriptors of pictures, sharded over the ranks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader

from vprdist.data.msls import Side
from vprdist.errors import TrainingError
from vprdist.network.inputs import PlaceReader, SideImages, stack
from vprdist.network.model import PlaceNetwork
from vprdist.ranks import Ranks

BATCH_IMAGES = 32


@torch.inference_mode()
def describe(
    network: PlaceNetwork, reader: PlaceReader, side: Side, rows: Sequence[int], ranks: Ranks, workers: int,
    advanced: Callable[[int], None] = lambda count: None,
) -> npt.NDArray[np.float32]:  # fmt: skip
    """(N, D) unit-length descriptors of `rows`, in order, the same on every rank.

    The network must be in evaluation mode. `advanced` is told how many images of this rank were just done.

    Raises:
        TrainingError: a descriptor is not finite.
    """
    mine = list(rows)[ranks.share(len(rows))]
    loader: DataLoader[Any] = DataLoader(
        SideImages(reader, side, mine), batch_size=BATCH_IMAGES, collate_fn=stack, num_workers=workers
    )
    parts = [torch.empty(0, network.dimensions, device=ranks.device)]
    for batch in loader:
        images = batch.to(ranks.device)
        parts.append(network(images.image, images.extra))
        advanced(len(images.image))
    descriptors = ranks.gather_rows(torch.cat(parts), len(rows)).float().cpu().numpy()
    if not np.isfinite(descriptors).all():
        bad = str(side.keys[list(rows)[int(np.flatnonzero(~np.isfinite(descriptors).all(axis=1))[0])]])
        raise TrainingError(
            f"{side.city}/{side.side}",
            "descriptors must be finite",
            bad,
            "Training diverged: lower the rate.",
        )
    return np.asarray(descriptors)

"""From pictures and activations on disk to what enters the network: one image at a time, or a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from vprdist.data.images import load_image
from vprdist.data.msls import Side
from vprdist.errors import CacheError
from vprdist.semantics.cache import Cache, open_cache
from vprdist.spec.trial import TrialSpec
from vprdist.spec.vocabulary import CLASSES


@dataclass(frozen=True)
class Batch:
    """B pictures, (B, 3, H, W) uint8, and what the mode adds, (B, C, h, w) float32 in [0, 1] or None."""

    image: Tensor
    extra: Tensor | None

    def to(self, device: torch.device) -> Batch:
        extra = None if self.extra is None else self.extra.to(device, non_blocking=True)
        return Batch(self.image.to(device, non_blocking=True), extra)

    def part(self, which: slice) -> Batch:
        return Batch(self.image[which], None if self.extra is None else self.extra[which])


class PlaceReader:
    """Reads pictures and what the input mode adds, one image at a time. Cheap to pickle for data loader workers."""

    def __init__(self, trial: TrialSpec, image_size: tuple[int, int]) -> None:
        self.input, self.image_size = trial.input, image_size
        self._cache: Cache | None = None
        if trial.input.needs_cache:
            if trial.input.cache is None:
                raise CacheError(
                    "trial.input.cache", f"mode {trial.input.mode} needs a cache of semantic activations", None,
                    "Import one: vprdist cache import SOURCE --data ROOT --out FOLDER.",
                )  # fmt: skip
            self._cache = open_cache(Path(trial.input.cache))

    def read(self, side: Side, row: int) -> tuple[Tensor, Tensor | None]:
        """(3, H, W) uint8 and (C, h, w) float32 or None."""
        image = load_image(side.image_path(row), *self.image_size)
        return torch.from_numpy(image.transpose(2, 0, 1).copy()), self._extra(side, row)

    def _extra(self, side: Side, row: int) -> Tensor | None:
        if self._cache is None:
            return None
        where = (side.city, side.side, str(side.keys[row]))
        if self.input.uses_mask:
            assert self.input.mask_reduce is not None
            mask = self._cache.mask(*where, self.input.class_names, self.input.mask_reduce)
            return torch.from_numpy(np.ascontiguousarray(mask))[None]
        return torch.from_numpy(self._cache.activations(*where, CLASSES).astype(np.float32) / 255)


def stack(items: Sequence[tuple[Tensor, Tensor | None]]) -> Batch:
    """One batch of single pictures."""
    extras = [extra for _, extra in items if extra is not None]
    return Batch(torch.stack([image for image, _ in items]), torch.stack(extras) if extras else None)


class SideImages(Dataset[tuple[Tensor, Tensor | None]]):
    """Some rows of one side, in order, for descriptors."""

    def __init__(self, reader: PlaceReader, side: Side, rows: Sequence[int]) -> None:
        self.reader, self.side, self.rows = reader, side, list(rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor | None]:
        return self.reader.read(self.side, self.rows[index])

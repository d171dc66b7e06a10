"""From pictures and activations on disk to what enters the network: one image at a time, or a batch."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from vprdist.data.images import loader_of
from vprdist.data.pack import PictureSource
from vprdist.data.places import Side
from vprdist.errors import CacheError, UserError
from vprdist.network.batch import Batch
from vprdist.network.picture_store import PictureStore
from vprdist.semantics.arms import masks_of, other_row
from vprdist.semantics.cache import Cache, open_cache
from vprdist.spec.arms import Arm
from vprdist.spec.trial import TrialSpec
from vprdist.spec.vocabulary import Grid, Placebo

Reading = tuple[Tensor, Tensor | None]
"""One picture and what the mode adds; see `Batch`."""
NOT_KEPT, PACKED = -1, -2
"""Places of pictures that are not in memory."""


class KeptPictures:
    """Decoded pictures of one size, kept where the first reader of each put them, for all workers of a rank.

    Args:
        trial: its computation says how pictures are read, and `run.keep_mb` how much memory they take at most; that
            grows with what is read. Forked workers share it.
        sides: whose pictures may be kept; those that do not fit, and other sides', are decoded every time.
        store: where other jobs left theirs; those take no memory here. Packed pictures (`trial.data.pack`) need none.
    """

    def __init__(
        self, trial: TrialSpec, sides: Sequence[Side], image_size: tuple[int, int], store: PictureStore | None = None
    ) -> None:
        self.image_size, self.store = image_size, store
        self.source = source_of(trial, image_size)
        picture_bytes = 3 * image_size[0] * image_size[1]
        capacity = min(sum(map(len, sides)), trial.run.keep_mb * 2**20 // picture_bytes)
        self._pixels = _mapped(capacity * picture_bytes).view(capacity, *image_size, 3)
        self._filled = _mapped(capacity)
        self._paths: list[Path | None] = []  # None: packed, and so not for the store
        self._places: dict[tuple[str, str], npt.NDArray[np.int64]] = {}
        for side in sides:
            packed = self.source.packed(side)
            places = self._places[side.city, side.side] = np.where(packed, PACKED, NOT_KEPT)
            # The page cache keeps packed pixels, for all ranks.
            for row in np.flatnonzero(~packed).tolist() if self.source.has_pixels else range(len(side)):
                if len(self._paths) == capacity:
                    break  # a side may have a million more
                path = None if packed[row] else side.image_path(row)
                if path is None or store is None or path not in store:
                    places[row] = len(self._paths)
                    self._paths.append(path)
        self._stored = np.zeros(capacity, np.uint8)

    def load(self, side: Side, row: int) -> Tensor:
        """(H, W, 3) uint8. Errors as `load_image`."""
        place = self._place(side, row)
        if place < 0:
            found = None if self.store is None or place == PACKED else self.store.load(side.image_path(row))
            return self._decoded(side, row) if found is None else found
        if not self._filled[place]:
            # Two workers may both decode it: they write the same bytes, and the mark comes after them.
            self._pixels[place] = self._decoded(side, row)
            self._filled[place] = 1
        return self._pixels[place]

    def share(self) -> None:
        """Keep what was decoded since the last call in the store, if any, for other jobs; but for packed pictures."""
        if self.store is None:
            return
        filled = self._filled.numpy().copy()
        fresh = [(place, self._paths[place]) for place in np.flatnonzero(filled > self._stored).tolist()]
        new = [(place, path) for place, path in fresh if path is not None]
        self.store.add([path for _, path in new], lambda i: self._pixels[new[i][0]])
        self._stored = filled

    def _place(self, side: Side, row: int) -> int:
        places = self._places.get((side.city, side.side))
        return NOT_KEPT if places is None else int(places[row])

    def _decoded(self, side: Side, row: int) -> Tensor:
        return torch.from_numpy(self.source.load(side, row).copy())


def source_of(trial: TrialSpec, image_size: tuple[int, int]) -> PictureSource:
    """Where a trial's pictures of a size come from: the one door to them, of training and of evaluation."""
    return PictureSource(loader_of(trial.computation), image_size, trial.computation, trial.data.pack)


def _mapped(count: int) -> Tensor:
    """(count,) uint8 zeros that forked processes share, without a file; a page takes memory when it is written to."""
    return torch.frombuffer(mmap.mmap(-1, max(1, count)), dtype=torch.uint8)[:count]


class PlaceReader:
    """Reads pictures and what the input mode adds, one image at a time. Cheap to pickle for data loader workers.

    Args:
        kept: where decoded pictures are kept, used where they are of the same size.
        teaches: it reads for training, which activations of all classes may teach (`TrialSpec.taught`).
    """

    def __init__(
        self, trial: TrialSpec, image_size: tuple[int, int], kept: KeptPictures | None = None, teaches: bool = False
    ) -> None:  # fmt: skip
        self.taught = teaches and trial.taught
        self.input, self.image_size, self.seed = trial.input, image_size, trial.seed
        self.source = source_of(trial, image_size)
        self.kept = kept if kept is not None and kept.image_size == image_size else None
        self._cache: Cache | None = None
        if trial.input.needs_cache or self.taught:
            if trial.input.cache is None:
                raise CacheError(
                    "trial.input.cache", f"{trial.who_needs_cache} needs a cache of semantic activations", None,
                    "Import one: vprdist cache import SOURCE --data ROOT --out FOLDER.",
                )  # fmt: skip
            self._cache = open_cache(Path(trial.input.cache))

    @property
    def grid(self) -> Grid:
        """How what the mode adds lies on the pictures."""
        return "cells" if self._cache is None else self._cache.grid

    def read(self, side: Side, row: int, arm: Arm | None = None) -> Reading:
        """(3, H, W) uint8, a view of (H, W, 3), and (C, h, w) whole numbers or None; see `Batch`.

        Args:
            arm: another mask than the trial's own.
        """
        if self._cache is None or not self.input.needs_cache:
            return self._picture(side, row), None
        if self.input.uses_mask:
            return self._picture(side, row), self._levels(side, row, [arm or self.input.arm])
        return self._picture(side, row), self.activations(side, row)

    def activations(self, side: Side, row: int) -> Tensor:
        """(K, h, w) uint8 of every class; of another picture where a placebo puts them in the place of its own."""
        assert self._cache is not None, "only modes with a cache have activations"
        if self.input.learns_mask and self.input.placebo == "image":
            row = other_row(side, row, self.seed)
        return self._activations(side, row)

    def teaching(self, side: Side, row: int) -> Tensor | None:
        """(K, h, w) uint8 of every class, of the picture itself, where training is taught by them; else None."""
        return self._activations(side, row) if self.taught else None

    def _activations(self, side: Side, row: int) -> Tensor:
        assert self._cache is not None, "only trials with a cache have activations"
        activations = self._cache.activations(side.city, side.side, str(side.keys[row]))
        return torch.from_numpy(activations)

    def read_arms(self, side: Side, row: int, arms: Sequence[Arm]) -> Reading:
        """The picture, and its masks under some arms, (A, h, w) whole numbers."""
        return self._picture(side, row), self._levels(side, row, arms)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the maps of `read_maps`."""
        assert self._cache is not None, "only modes with a mask have maps"
        return self._cache.manifest.classes

    def read_maps(self, side: Side, row: int, kinds: Sequence[Placebo]) -> Reading:
        """The picture, and the maps of all classes under each of some kinds of arms, (kinds classes, h, w) uint8."""
        assert self._cache is not None, "only modes with a mask have maps"
        masks = masks_of(self.input, self.seed, self._cache)
        return self._picture(side, row), torch.from_numpy(np.concatenate([masks.maps(side, row, k) for k in kinds]))

    def _picture(self, side: Side, row: int) -> Tensor:
        if self.kept is not None:
            pixels = self.kept.load(side, row)
        else:
            pixels = torch.from_numpy(self.source.load(side, row).copy())
        return pixels.permute(2, 0, 1)

    def _levels(self, side: Side, row: int, arms: Sequence[Arm]) -> Tensor:
        assert self._cache is not None, "only modes with a mask have arms"
        return torch.from_numpy(np.stack(masks_of(self.input, self.seed, self._cache).levels(side, row, arms)))


def stack(items: Sequence[tuple[Tensor, Tensor | None]]) -> Batch:
    """One batch of single pictures."""
    images = torch.stack([image.permute(1, 2, 0) for image, _ in items]).permute(0, 3, 1, 2)
    extras = [extra for _, extra in items if extra is not None]
    return Batch(images, torch.stack(extras) if extras else None)


class SideImages(Dataset[Reading | UserError]):
    """Some rows of one side, in order, for descriptors; with their masks under some arms, where there are arms, or with
    the maps of all classes under some kinds of arms.

    What a person can mend is handed over instead of raised: torch would wrap it, and its traceback, in another error.
    """

    def __init__(
        self, reader: PlaceReader, side: Side, rows: Sequence[int], arms: Sequence[Arm] | None = None,
        kinds: Sequence[Placebo] = (),
    ) -> None:  # fmt: skip
        self.reader, self.side, self.rows, self.arms, self.kinds = reader, side, list(rows), arms, kinds

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Reading | UserError:
        try:
            if self.kinds:
                return self.reader.read_maps(self.side, self.rows[index], self.kinds)
            if self.arms is not None:
                return self.reader.read_arms(self.side, self.rows[index], self.arms)
            return self.reader.read(self.side, self.rows[index])
        except UserError as error:
            return error


def stack_or_error(items: Sequence[Reading | UserError]) -> Batch | UserError:
    """One batch of what `SideImages` read, or the first error among it."""
    readings = []
    for item in items:
        if isinstance(item, UserError):
            return item
        readings.append(item)
    return stack(readings)

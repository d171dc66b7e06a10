"""Activations that are made when they are asked for: the pictures of a data set through a segmenter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from vprdist.data.images import BROKEN_REMEDY, load_image, missing_remedy
from vprdist.data.layouts import Layout, read_city_cached
from vprdist.data.pack import PictureSource
from vprdist.data.pictures import picture_sizes
from vprdist.data.places import Side
from vprdist.errors import CacheError, DataError
from vprdist.files import digest_json
from vprdist.semantics.masks import FULL, Activations
from vprdist.semantics.segmenters import open_segmenter
from vprdist.semantics.segmenters.weights import weights_digest
from vprdist.spec.base import Names
from vprdist.spec.class_table import CITYSCAPES, table_of
from vprdist.spec.computation import COMPUTATION
from vprdist.spec.segmenter import SegmenterSpec
from vprdist.spec.vocabulary import Grid

if TYPE_CHECKING:
    from pathlib import Path

    from vprdist.semantics.segmenters.base import Segmenter

BATCH_IMAGES = 8
LOADERS = 2


class SegmentedSource:
    """A source whose activations a network makes.

    `read` cuts batches from the keys that it is given, in their order, and nothing else decides the bytes: who asks
    for whole shards gets the same shards however they are spread over tasks. Planning (`has`, `fingerprint`, and
    `size` where the spec decides it) loads no torch.

    Args:
        data: whose pictures.
        spec: the segmenter.
        device: "cpu", "cuda" or "cuda:<index>". It is part of the fingerprint only where it changes the precision.
        batch_images: pictures a forward pass; in the fingerprint, since the last bit of a sum may depend on it.
        class_table: what the network answers with.
        pack: the folder of a pack of the same data, read in the place of files where it holds a picture.

    Raises:
        WeightsError: the weights are not there.
    """

    def __init__(
        self, data: Layout, spec: SegmenterSpec, device: str = "cpu", *, batch_images: int = BATCH_IMAGES,
        class_table: str | Names = CITYSCAPES, pack: str | None = None,
    ) -> None:  # fmt: skip
        self.path, self.data, self.spec, self.device, self.batch_images = data.root, data, spec, device, batch_images
        self.pack, self.weights = pack, weights_digest(spec)
        self.description = spec.words(self.weights, device)
        self.class_table = class_table
        self._segmenter: Segmenter | None = None
        self._known: dict[tuple[str, str], dict[str, Path]] = {}

    def has(self, city: str) -> bool:
        return city in self.data.names()

    def size(self, city: str, side: str, keys: Sequence[str]) -> tuple[int, int]:
        if self.spec.stored_size is not None:
            return self.spec.stored_size
        segmenter = self._open()
        return segmenter.output_size(segmenter.image_size)

    def classes(self, city: str, side: str) -> Names:
        """The table's; a network of others is refused when it is opened."""
        return table_of(self.class_table).classes

    def grid(self, city: str, side: str) -> Grid:
        """The network's own; windows and a chosen size are put together as cells."""
        if self.spec.size is not None or self.spec.window is not None or self.spec.facts.grid is not None:
            return self.spec.facts.grid or "cells"
        return self._open().grid

    def fingerprint(self, city: str, side: str, keys: Sequence[str]) -> str:
        """From the segmenter, the digest of its weights, and the pictures' names and sizes in bytes.

        Raises:
            DataError: a picture is missing or empty. Finding it here stops a gap before anything is computed.
        """
        paths = self._paths(city, side)
        sizes = picture_sizes([paths[key] for key in keys]).tolist()
        for key, size in zip(keys, sizes, strict=True):
            if not size:
                state = "empty" if paths[key].exists() else "missing"
                remedy = BROKEN_REMEDY if state == "empty" else missing_remedy(paths[key])
                raise DataError(paths[key], f"a key has no picture: it is {state}", None, remedy)
        what = [self.spec.identity(self.weights, self.device), self.batch_images]
        return digest_json(["segmented", what, [[key, size] for key, size in zip(keys, sizes, strict=True)]])

    def read(self, city: str, side: str, keys: Sequence[str]) -> Iterator[tuple[str, Activations]]:
        """(key, (C, h, w) uint8, softmax x 255 rounded) in the order of `keys`.

        Raises:
            DataError: a missing or cut picture.
            WeightsError: the segmenter cannot be opened.
        """
        segmenter, of_side = self._open(), self._side(city, side)
        rows = dict(zip(of_side.keys.tolist(), range(len(of_side)), strict=True))
        pictures = PictureSource(load_image, segmenter.image_size, COMPUTATION, self.pack)
        batches = [keys[first : first + self.batch_images] for first in range(0, len(keys), self.batch_images)]
        with ThreadPoolExecutor(LOADERS, thread_name_prefix="pictures") as loaders:

            def load(batch: Sequence[str]) -> list[Any]:
                return [loaders.submit(pictures.load, of_side, rows[key]) for key in batch]

            # Pictures are decoded while the network works on those before them: one batch ahead, and no more.
            waiting = [load(batch) for batch in batches[:1]]
            for index, batch in enumerate(batches):
                images_BHW3 = np.stack([image.result() for image in waiting.pop()])
                waiting = [load(following) for following in batches[index + 1 : index + 2]]
                yield from zip(batch, segment(segmenter, images_BHW3), strict=True)

    def _open(self) -> Segmenter:
        if self._segmenter is None:
            self._segmenter = open_segmenter(self.spec, self.device, self.class_table)
        return self._segmenter

    def _side(self, city: str, side: str) -> Side:
        return next(each for each in read_city_cached(self.data, city).sides if each.side == side)

    def _paths(self, city: str, side: str) -> dict[str, Path]:
        """Where the picture of each key lies."""
        if (city, side) not in self._known:
            found = self._side(city, side)
            self._known[city, side] = dict(zip(found.keys.tolist(), found.paths, strict=True))
        return self._known[city, side]


def segment(segmenter: Segmenter, images_BHW3: Activations) -> Activations:
    """(B, C, h, w) uint8, softmax x 255 rounded, of one batch of uint8 RGB pictures.

    Raises:
        CacheError: activations that are not finite, as where a network's numbers are beyond float16.
    """
    import torch

    pictures_B3HW = torch.from_numpy(images_BHW3).permute(0, 3, 1, 2).contiguous()
    with torch.inference_mode():
        probability_BCHW = segmenter(pictures_B3HW)
        if not probability_BCHW.isfinite().all():
            remedy = "Choose `precision: bfloat16` or float32; if it is float32, other weights."
            raise CacheError(segmenter.description, "activations must be finite", "NaN", remedy)
        found: Activations = probability_BCHW.mul(FULL).round().to(torch.uint8).cpu().numpy()
    return found

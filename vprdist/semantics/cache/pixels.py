"""The activations of one shard whose frame was checked: mapped, or decompressed class by class.

Both raise ValueError that says what is wrong with the bytes; the shard names itself and the remedy.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from vprdist.errors import first_line
from vprdist.semantics.cache.blocks import Block, buffer_at
from vprdist.semantics.masks import Activations
from vprdist.spec.vocabulary import CLASSES


class MappedPixels:
    """Uncompressed: one strided array a batch, over the file's own pages."""

    def __init__(self, pages: pa.Buffer, size: tuple[int, int], batch_images: int) -> None:
        reader = pa.ipc.open_file(pages)
        batches = [reader.get_batch(index) for index in range(reader.num_record_batches)]
        self._batches = [_strided(pages, batch, size) for batch in batches]
        self._batch_images = batch_images
        self.num_rows = _num_rows([len(batch) for batch in batches], batch_images)

    def planes(self, row: int, channels: slice | Sequence[int]) -> Activations:
        """(C, h, w) uint8; with a slice a read-only view."""
        batch, row = divmod(row, self._batch_images)
        planes: Activations = self._batches[batch][channels, row]
        return planes


class CompressedPixels:
    """Compressed: 16 bytes an image are held to find its buffers, and 76 to check them."""

    def __init__(
        self, pages: pa.Buffer, blocks: Sequence[Block], crc32: bytes, size: tuple[int, int], batch_images: int
    ) -> None:
        self._data, self._size, self._batch_images = memoryview(pages), size, batch_images
        self._tables, self._bodies = array("q", [b.table for b in blocks]), array("q", [b.body for b in blocks])
        self._codec = pa.Codec(blocks[0].compression)
        self._crc32 = np.frombuffer(crc32, "<u4")
        self.num_rows = _num_rows([block.num_rows for block in blocks], batch_images)
        if len(self._crc32) != len(CLASSES) * len(blocks):
            raise ValueError("the shard must have a check sum for every class of every batch")

    def planes(self, row: int, channels: slice | Sequence[int]) -> Activations:
        """(C, h, w) uint8, of these classes' bytes alone."""
        wanted = range(len(CLASSES))[channels] if isinstance(channels, slice) else channels
        batch, row = divmod(row, self._batch_images)
        num_rows = min(self._batch_images, self.num_rows - batch * self._batch_images)
        found: Activations = np.empty((len(wanted), *self._size), np.uint8)
        num_bytes = found[0].size if len(found) else 0
        for plane, channel in zip(found, wanted, strict=True):
            raw = self._raw(batch, channel, num_rows * num_bytes)
            plane.reshape(-1)[:] = np.frombuffer(raw, np.uint8, num_bytes, row * num_bytes)
        return found

    def _raw(self, batch: int, channel: int, num_bytes: int) -> Any:
        """One class of a batch. Its check sum is compared at every read: that costs a fifth of decompressing, and a
        flipped byte may decompress to anything."""
        stored = buffer_at(self._data, self._tables[batch], self._bodies[batch], channel)
        if zlib.crc32(stored) != self._crc32[len(CLASSES) * batch + channel]:
            raise self._error(batch, channel, "is not stored as it was written; its check sum differs")
        length = int.from_bytes(stored[:8], "little", signed=True)
        try:
            raw = stored[8:] if length == -1 else self._codec.decompress(stored[8:], num_bytes)
        except (pa.ArrowException, OSError) as error:
            raise self._error(batch, channel, f"cannot be decompressed ({first_line(error)})") from None
        if length not in (-1, num_bytes) or len(raw) != num_bytes:
            raise self._error(batch, channel, f"must have {num_bytes} bytes; it was written with {length}")
        return raw

    @staticmethod
    def _error(batch: int, channel: int, fault: str) -> ValueError:
        return ValueError(f"class {CLASSES[channel]!r} in batch {batch} {fault}")


def _num_rows(rows: Sequence[int], batch_images: int) -> int:
    """All rows of a shard whose batches have `batch_images` each, the last one maybe fewer."""
    if not rows or any(count != batch_images for count in rows[:-1]) or not 0 < rows[-1] <= batch_images:
        raise ValueError(f"the shard must hold its images in batches of {batch_images}; it has {list(rows)}")
    return sum(rows)


def _strided(pages: pa.Buffer, batch: pa.RecordBatch, size: tuple[int, int]) -> Activations:
    """(19, rows, h, w) over the pages of one uncompressed batch."""
    height, width = size
    num_bytes = len(batch) * height * width
    columns = [batch.column(name) for name in CLASSES]
    data = [column.buffers()[1] for column in columns]
    if any(c.null_count or c.offset or d is None or d.size < num_bytes for c, d in zip(columns, data, strict=True)):
        raise ValueError(f"a class column must have {height} x {width} bytes a row and no nulls")
    first = data[0].address
    step = data[1].address - first
    if step < num_bytes or any(d.address != first + step * index for index, d in enumerate(data)):
        raise ValueError("the class columns of a batch must lie at equal distances")
    pixels = np.frombuffer(pages, np.uint8, step * (len(CLASSES) - 1) + num_bytes, first - pages.address)
    shape, strides = (len(CLASSES), len(batch), height, width), (step, height * width, width, 1)
    return np.lib.stride_tricks.as_strided(pixels, shape, strides, writeable=False)

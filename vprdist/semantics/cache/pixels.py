"""The planes of one shard (see `form`) whose frame was checked: mapped, or decompressed one by one.

Either way bytes are compared with what was noted when they were written before anybody sees them. Both raise ValueError
that says what is wrong with the bytes; the shard names itself and the remedy.
"""

from __future__ import annotations

import functools
import hashlib
import struct
import zlib
from array import array
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vprdist.errors import first_line
from vprdist.semantics.cache.blocks import Block, buffer_at
from vprdist.semantics.cache.form import Form
from vprdist.semantics.cache.marks import Seen, private_marks
from vprdist.semantics.masks import Activations

if TYPE_CHECKING:
    import pyarrow as pa


def image_digest(activations_CHW: Activations) -> bytes:
    """The 32 bytes of an image's `sha256` column."""
    return hashlib.sha256(activations_CHW.tobytes()).digest()


class MappedPixels:
    """Uncompressed: one strided array a batch, over the file's own pages.

    A class of an image is compared with its check sum when it is read first: at every read that would take as long as
    the mask. Shards from before there were sums have digests of whole images: one is compared when any class of it is
    read first. `seen` says what was; see `cache.marks`.
    """

    def __init__(
        self,
        pages: pa.Buffer,
        blocks: Sequence[Block],
        crc32: bytes | None,
        digests: Callable[[], Sequence[bytes]],
        form: Form,
        batch_images: int,
        seen: Seen | None = None,
    ) -> None:
        self.num_rows = _num_rows([block.num_rows for block in blocks], batch_images)
        self._batches = [_strided(pages, block, form) for block in blocks]
        self._batch_images, self._digests = batch_images, functools.cache(digests)
        self._form, num_planes = form, len(form.planes)
        self._crc32 = None if crc32 is None else np.frombuffer(crc32, "<u4").reshape(-1, num_planes)
        if self._crc32 is not None and len(self._crc32) != self.num_rows:
            raise ValueError("the shard must have a check sum for every class of every image")
        self._seen = private_marks(self.num_rows, num_planes) if seen is None else seen
        # The same bytes once more: to look at a few of them takes a tenth of the time that an array takes.
        self._marks, self._num_planes = self._seen.view(np.uint8).reshape(-1).data, num_planes

    def planes(self, row: int, channels: slice | Sequence[int]) -> Activations:
        """(C, h, w) uint8; with a slice a read-only view."""
        batch, place = divmod(row, self._batch_images)
        if isinstance(channels, slice):
            start = row * self._num_planes
            marks = self._marks[start : start + self._num_planes][channels]
            if 0 in marks.tobytes():
                self._check(row, self._batches[batch][:, place], channels)
            view: Activations = self._batches[batch][channels, place]
            return view
        image: Activations = self._batches[batch][:, place]
        if not self._seen[row][channels].all():
            self._check(row, image, channels)
        planes: Activations = image[channels]
        return planes

    def _check(self, row: int, image: Activations, channels: slice | Sequence[int]) -> None:
        if self._crc32 is None:
            if image_digest(image) != self._digests()[row]:
                raise ValueError(f"image {row} is not stored as it was written; its digest differs")
            self._seen[row] = True
            return
        for channel in range(len(image))[channels] if isinstance(channels, slice) else channels:
            if zlib.crc32(image[channel]) != self._crc32[row, channel]:
                fault = "is not stored as it was written; its check sum differs"
                raise ValueError(f"{self._form.words_of(channel)} of image {row} {fault}")
            self._seen[row, channel] = True


class CompressedPixels:
    """Compressed: 16 bytes an image are held to find its buffers, and 4 a plane to check them (76 for 19 classes)."""

    def __init__(self, pages: pa.Buffer, blocks: Sequence[Block], crc32: bytes, form: Form, batch_images: int) -> None:
        import pyarrow as pa

        self._data, self._form, self._batch_images = memoryview(pages).cast("B"), form, batch_images
        self._num_planes = len(form.planes)
        self._tables, self._bodies = array("q", [b.table for b in blocks]), array("q", [b.body for b in blocks])
        self._codec, self._arrow_error = pa.Codec(blocks[0].compression), pa.ArrowException
        # A view whose numbers are Python's own: an array's take longer to compare than their bytes do.
        self._crc32 = np.frombuffer(crc32, "<u4").astype(np.uint32).data
        self.num_rows = _num_rows([block.num_rows for block in blocks], batch_images)
        if len(self._crc32) != self._num_planes * len(blocks):
            raise ValueError("the shard must have a check sum for every class of every batch")

    def planes(self, row: int, channels: slice | Sequence[int]) -> Activations:
        """(C, h, w) uint8, of these classes' bytes alone."""
        wanted = range(self._num_planes)[channels] if isinstance(channels, slice) else channels
        batch, row = divmod(row, self._batch_images)
        num_rows = min(self._batch_images, self.num_rows - batch * self._batch_images)
        num_bytes = self._form.size[0] * self._form.size[1]
        found: Activations = np.empty((len(wanted), num_bytes), np.uint8)
        # Views of bytes are copied in a third of the time that arrays of so few take.
        out, first = found.reshape(-1).data, row * num_bytes
        for start, channel in zip(range(0, found.size, num_bytes), wanted, strict=True):
            raw = self._raw(batch, channel, num_rows * num_bytes)
            out[start : start + num_bytes] = memoryview(raw)[first : first + num_bytes]
        return found.reshape(-1, *self._form.size)

    def _raw(self, batch: int, channel: int, num_bytes: int) -> Any:
        """One class of a batch. Its check sum is compared at every read: that costs a fifth of decompressing, and a
        flipped byte may decompress to anything."""
        stored = buffer_at(self._data, self._tables[batch], self._bodies[batch], channel)
        if zlib.crc32(stored) != self._crc32[self._num_planes * batch + channel]:
            raise self._error(batch, channel, "is not stored as it was written; its check sum differs")
        length = int.from_bytes(stored[:8], "little", signed=True)
        try:
            raw = stored[8:] if length == -1 else self._codec.decompress(stored[8:], num_bytes, asbytes=True)
        except (self._arrow_error, OSError) as error:
            raise self._error(batch, channel, f"cannot be decompressed ({first_line(error)})") from None
        if length not in (-1, num_bytes) or len(raw) != num_bytes:
            raise self._error(batch, channel, f"must have {num_bytes} bytes; it was written with {length}")
        return raw

    def _error(self, batch: int, channel: int, fault: str) -> ValueError:
        return ValueError(f"{self._form.words_of(channel)} in batch {batch} {fault}")


def _num_rows(rows: Sequence[int], batch_images: int) -> int:
    """All rows of a shard whose batches have `batch_images` each, the last one maybe fewer."""
    if not rows or any(count != batch_images for count in rows[:-1]) or not 0 < rows[-1] <= batch_images:
        raise ValueError(f"the shard must hold its images in batches of {batch_images}; it has {list(rows)}")
    return sum(rows)


def _strided(pages: pa.Buffer, block: Block, form: Form) -> Activations:
    """(planes, rows, h, w) over the pages of one uncompressed batch."""
    (height, width), num_planes = form.size, len(form.planes)
    num_bytes = block.num_rows * height * width
    found = [struct.unpack_from("<qq", pages, block.table + 32 * channel) for channel in range(num_planes)]
    first = found[0][0]
    step = found[1][0] - first if num_planes > 1 else num_bytes
    if any(length < num_bytes for _, length in found):
        raise ValueError(f"a class column must have {height} x {width} bytes a row and no nulls")
    if step < num_bytes or any(offset != first + step * index for index, (offset, _) in enumerate(found)):
        raise ValueError("the class columns of a batch must lie at equal distances")
    pixels = np.frombuffer(pages, np.uint8, step * (num_planes - 1) + num_bytes, block.body + first)
    shape, strides = (num_planes, block.num_rows, height, width), (step, height * width, width, 1)
    return np.lib.stride_tricks.as_strided(pixels, shape, strides, writeable=False)

"""Writing shards: whole or not at all, and the same bytes from the same activations."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vprdist.files import digest_file, publish
from vprdist.semantics.cache.blocks import Block, buffer_at, columns_of, find_blocks
from vprdist.semantics.cache.form import Form
from vprdist.semantics.cache.format import ShardEntry, SideName
from vprdist.semantics.cache.pixels import image_digest
from vprdist.semantics.cache.shard import frame_digest, leading_kinds, map_file, shard_metadata
from vprdist.semantics.cache.top_k import HEAD, pack, unpack
from vprdist.semantics.masks import Activations
from vprdist.spec.vocabulary import Compression

LEVEL = 6
"""The level of both compressors. Measured on lip6 at 96 x 120: lz4 a seventh smaller than at its default and read no
slower, for 2 ms an image; level 9 takes three times as long for one percent."""


def shard_schema(shard_id: str, form: Form, more: Mapping[str, str]) -> pa.Schema:
    """The schema of a shard, metadata included, with `more` of that; see `format`."""
    kinds = leading_kinds(form) + [pa.binary(form.size[0] * form.size[1])] * len(form.planes)
    columns = zip((*form.leading, *form.planes), kinds, strict=True)
    fields = [pa.field(name, kind, nullable=False) for name, kind in columns]
    return pa.schema(fields, metadata={**shard_metadata(shard_id, form), **more})


class Filling:
    """The planes of a shard that is put together image by image, (P, N, h, w) uint8, and what each image lost."""

    def __init__(self, form: Form, count: int) -> None:
        self.form = form
        # Plane first, as on disk: the columns are then written without another copy.
        self.planes_PNHW = np.empty((len(form.planes), count, *form.size), np.uint8)
        self.dropped_NR = None if form.top_k is None else np.zeros((count, HEAD + len(form.classes)), np.uint64)

    def put(self, row: int, activations_CHW: Activations) -> None:
        """All activations of one image."""
        if self.dropped_NR is None or self.form.top_k is None:
            self.planes_PNHW[:, row] = activations_CHW
        else:
            self.planes_PNHW[:, row], self.dropped_NR[row] = pack(activations_CHW, self.form.top_k)


def write_shard(
    folder: Path,
    file: str,
    shard_id: str,
    city: str,
    side: SideName,
    first: int,
    keys: Sequence[str],
    planes_PNHW: Activations,
    form: Form,
    dropped_NR: npt.NDArray[np.uint64] | None = None,
) -> ShardEntry:
    """Publish one shard and return its manifest entry.

    Args:
        folder: the cache's folder.
        file: the shard's name relative to it.
        shard_id: the digest of what the shard is to hold.
        first: index of the first image within its side.
        keys: the N keys in CSV order.
        planes_PNHW: (P, N, h, w) uint8; plane first, as the columns lie on disk; see `Filling`.
        form: what the planes are.
        dropped_NR: of storage `top_k`, the images' records.

    Raises:
        OSError: the disk does not take it; nothing half-written is left.
    """
    num_planes, count, height, width = planes_PNHW.shape
    assert (num_planes, count) == (len(form.planes), len(keys)), "a shard is filled before it is written"
    assert (height, width) == form.size and (dropped_NR is None) == (form.top_k is None), "and as its form says"
    digests = b"".join(image_digest(_activations(planes_PNHW[:, row], form)) for row in range(count))
    columns = [
        pa.array(keys, pa.utf8()),
        pa.array([city] * count, pa.utf8()),
        pa.array([side] * count, pa.utf8()),
    ]
    batch_images, compression = form.batch_images(count), form.compression
    columns.append(_fixed(np.frombuffer(digests, np.uint8), 32, count))
    if dropped_NR is not None:
        columns.append(_fixed(dropped_NR.astype("<u8"), 8 * dropped_NR.shape[1], count))
    columns += [_fixed(np.ascontiguousarray(plane), height * width, count) for plane in planes_PNHW]
    sums = _check_sums(planes_PNHW, batch_images, compression)
    more = {"vprdist.peak": str(_peak(planes_PNHW[: form.top_k])), "vprdist.crc32": base64.b64encode(sums).decode()}
    if compression != "none":
        more |= {"vprdist.keys": json.dumps(list(keys))}
    schema = shard_schema(shard_id, form, more)
    whole = pa.record_batch(columns, schema=schema)
    codec = None if compression == "none" else pa.Codec(compression, LEVEL)
    with publish(folder / file) as stream:
        with pa.ipc.new_file(stream, schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
            for row in range(0, count, batch_images):
                writer.write_batch(whole.slice(row, batch_images))
        stream.flush()
        written = Path(stream.name)
        sha256, pages = digest_file(written), map_file(written)
        blocks = find_blocks(pages, columns_of(form))
        spans = tuple(block.pixels for block in blocks)
        if compression != "none":
            _check_written(pages, blocks, sums, num_planes)
    return ShardEntry(
        file=file,
        id=shard_id,
        city=city,
        side=side,
        first=first,
        count=count,
        sha256=sha256,
        bytes=pages.size,
        pixels=spans if compression == "none" else (),
        frame=frame_digest(pages, spans),
    )


def _activations(planes_PHW: Activations, form: Form) -> Activations:
    """What a reader gets of an image: its digest is of that, however it is stored."""
    return planes_PHW if form.top_k is None else unpack(planes_PHW, form.top_k, len(form.classes))


def _peak(activations_CNHW: Activations) -> int:
    """The largest sum of a pixel's activations; image by image, since a shard's sums would take memory."""
    return max(
        int(np.add.reduce(activations_CNHW[:, row], axis=0, dtype=np.uint32).max())
        for row in range(activations_CNHW.shape[1])
    )


def _check_sums(planes_PNHW: Activations, batch_images: int, compression: Compression) -> bytes:
    """CRC-32 of each plane of each image; of a compressed shard of the buffers that Arrow is going to write, batch by
    batch: hence compressed once more here."""
    if compression == "none":
        images = np.ascontiguousarray(planes_PNHW).swapaxes(0, 1)
        return np.array([zlib.crc32(plane) for image in images for plane in image], "<u4").tobytes()
    codec, sums = pa.Codec(compression, LEVEL), []
    for row in range(0, planes_PNHW.shape[1], batch_images):
        for images in planes_PNHW[:, row : row + batch_images]:
            frame = codec.compress(np.ascontiguousarray(images), asbytes=True)
            sums.append(zlib.crc32(frame, zlib.crc32(images.size.to_bytes(8, "little"))))
    return np.array(sums, "<u4").tobytes()


def _check_written(pages: pa.Buffer, blocks: Sequence[Block], sums: bytes, num_planes: int) -> None:
    """The buffers of a compressed shard are those foreseen."""
    data, channels = memoryview(pages), range(num_planes)
    found = [zlib.crc32(buffer_at(data, block.table, block.body, channel)) for block in blocks for channel in channels]
    assert np.array(found, "<u4").tobytes() == sums, "Arrow compresses a buffer as its codec does"


def _fixed(data: np.ndarray, item_bytes: int, count: int) -> pa.Array:
    """A fixed-size binary column over the array's own memory."""
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(item_bytes), count, [None, pa.py_buffer(data)])

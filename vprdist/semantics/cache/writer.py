"""Writing shards: whole or not at all, and the same bytes from the same activations."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from vprdist.files import digest_file, publish
from vprdist.semantics.cache.blocks import Block, buffer_at, find_blocks
from vprdist.semantics.cache.format import ShardEntry, SideName, batch_images_of, version_of
from vprdist.semantics.cache.pixels import image_digest
from vprdist.semantics.cache.shard import frame_digest, map_file
from vprdist.semantics.masks import Activations
from vprdist.spec.vocabulary import CLASSES, Compression

LEVEL = 6
"""The level of both compressors. Measured on lip6 at 96 x 120: lz4 a seventh smaller than at its default and read no
slower, for 2 ms an image; level 9 takes three times as long for one percent."""


def shard_schema(shard_id: str, size: tuple[int, int], compression: Compression, more: Mapping[str, str]) -> pa.Schema:
    """The schema of a shard, metadata included, with `more` of that; see `format`."""
    height, width = size
    fields = [pa.field(name, pa.utf8(), nullable=False) for name in ("key", "city", "side")]
    fields.append(pa.field("sha256", pa.binary(32), nullable=False))
    fields += [pa.field(name, pa.binary(height * width), nullable=False) for name in CLASSES]
    metadata = {
        "vprdist.version": str(version_of(compression)),
        "vprdist.height": str(height),
        "vprdist.width": str(width),
        "vprdist.shard": shard_id,
        **more,
    }
    return pa.schema(fields, metadata=metadata)


def write_shard(
    folder: Path,
    file: str,
    shard_id: str,
    city: str,
    side: SideName,
    first: int,
    keys: Sequence[str],
    activations_CNHW: Activations,
    compression: Compression = "none",
) -> ShardEntry:
    """Publish one shard and return its manifest entry.

    Args:
        folder: the cache's folder.
        file: the shard's name relative to it.
        shard_id: the digest of what the shard is to hold.
        first: index of the first image within its side.
        keys: the N keys in CSV order.
        activations_CNHW: (19, N, h, w) uint8; class first, as the columns lie on disk.

    Raises:
        OSError: the disk does not take it; nothing half-written is left.
    """
    num_classes, count, height, width = activations_CNHW.shape
    assert (num_classes, count) == (len(CLASSES), len(keys)), "a shard is filled before it is written"
    digests = b"".join(image_digest(activations_CNHW[:, row]) for row in range(count))
    columns = [
        pa.array(keys, pa.utf8()),
        pa.array([city] * count, pa.utf8()),
        pa.array([side] * count, pa.utf8()),
    ]
    batch_images = batch_images_of(compression, (height, width), count)
    columns.append(_fixed(np.frombuffer(digests, np.uint8), 32, count))
    columns += [_fixed(np.ascontiguousarray(plane), height * width, count) for plane in activations_CNHW]
    sums = _check_sums(activations_CNHW, batch_images, compression)
    more = {"vprdist.peak": str(_peak(activations_CNHW)), "vprdist.crc32": base64.b64encode(sums).decode()}
    if compression != "none":
        more |= {"vprdist.keys": json.dumps(list(keys))}
    schema = shard_schema(shard_id, (height, width), compression, more)
    whole = pa.record_batch(columns, schema=schema)
    codec = None if compression == "none" else pa.Codec(compression, LEVEL)
    with publish(folder / file) as stream:
        with pa.ipc.new_file(stream, schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
            for row in range(0, count, batch_images):
                writer.write_batch(whole.slice(row, batch_images))
        stream.flush()
        written = Path(stream.name)
        sha256, pages = digest_file(written), map_file(written)
        blocks = find_blocks(pages)
        spans = tuple(block.pixels for block in blocks)
        if compression != "none":
            _check_written(pages, blocks, sums)
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


def _peak(activations_CNHW: Activations) -> int:
    """The largest sum of a pixel's activations; image by image, since a shard's sums would take memory."""
    return max(
        int(np.add.reduce(activations_CNHW[:, row], axis=0, dtype=np.uint16).max())
        for row in range(activations_CNHW.shape[1])
    )


def _check_sums(activations_CNHW: Activations, batch_images: int, compression: Compression) -> bytes:
    """CRC-32 of each class of each image; of a compressed shard of the buffers that Arrow is going to write, batch by
    batch: hence compressed once more here."""
    if compression == "none":
        images = np.ascontiguousarray(activations_CNHW).swapaxes(0, 1)
        return np.array([zlib.crc32(plane) for image in images for plane in image], "<u4").tobytes()
    codec, sums = pa.Codec(compression, LEVEL), []
    for row in range(0, activations_CNHW.shape[1], batch_images):
        for images in activations_CNHW[:, row : row + batch_images]:
            frame = codec.compress(np.ascontiguousarray(images), asbytes=True)
            sums.append(zlib.crc32(frame, zlib.crc32(images.size.to_bytes(8, "little"))))
    return np.array(sums, "<u4").tobytes()


def _check_written(pages: pa.Buffer, blocks: Sequence[Block], sums: bytes) -> None:
    """The buffers of a compressed shard are those foreseen."""
    data, channels = memoryview(pages), range(len(CLASSES))
    found = [zlib.crc32(buffer_at(data, block.table, block.body, channel)) for block in blocks for channel in channels]
    assert np.array(found, "<u4").tobytes() == sums, "Arrow compresses a buffer as its codec does"


def _fixed(data: np.ndarray, item_bytes: int, count: int) -> pa.Array:
    """A fixed-size binary column over the array's own memory."""
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(item_bytes), count, [None, pa.py_buffer(data)])

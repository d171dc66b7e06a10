"""Writing shards: whole or not at all, and the same bytes from the same activations."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from vprdist.files import digest_file, publish
from vprdist.semantics.cache.format import VERSION, ShardEntry, SideName
from vprdist.semantics.cache.shard import frame_digest, map_file, pixel_spans
from vprdist.semantics.masks import Activations
from vprdist.spec.vocabulary import CLASSES


def image_digest(activations_CHW: Activations) -> bytes:
    """The 32 bytes of an image's `sha256` column."""
    return hashlib.sha256(activations_CHW.tobytes()).digest()


def shard_schema(shard_id: str, size: tuple[int, int]) -> pa.Schema:
    """The schema of a shard, metadata included; see `format`."""
    height, width = size
    fields = [pa.field(name, pa.utf8(), nullable=False) for name in ("key", "city", "side")]
    fields.append(pa.field("sha256", pa.binary(32), nullable=False))
    fields += [pa.field(name, pa.binary(height * width), nullable=False) for name in CLASSES]
    metadata = {
        "vprdist.version": str(VERSION),
        "vprdist.height": str(height),
        "vprdist.width": str(width),
        "vprdist.shard": shard_id,
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
    columns.append(_fixed(np.frombuffer(digests, np.uint8), 32, count))
    columns += [_fixed(np.ascontiguousarray(plane), height * width, count) for plane in activations_CNHW]
    schema = shard_schema(shard_id, (height, width))
    with publish(folder / file) as stream:
        # One batch, so that the images of a class follow each other (see `format`).
        with pa.ipc.new_file(stream, schema) as writer:
            writer.write_batch(pa.record_batch(columns, schema=schema))
        stream.flush()
        written = Path(stream.name)
        sha256, pages = digest_file(written), map_file(written)
        spans = pixel_spans(pages)
    return ShardEntry(
        file=file,
        id=shard_id,
        city=city,
        side=side,
        first=first,
        count=count,
        sha256=sha256,
        bytes=pages.size,
        pixels=spans,
        frame=frame_digest(pages, spans),
    )


def _fixed(data: np.ndarray, item_bytes: int, count: int) -> pa.Array:
    """A fixed-size binary column over the array's own memory."""
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(item_bytes), count, [None, pa.py_buffer(data)])

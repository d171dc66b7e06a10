"""One shard as a memory map: numpy views of its classes, after the checks that keep wrong activations out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from vprdist.errors import CacheError
from vprdist.semantics.cache.format import LEADING, VERSION, ShardEntry
from vprdist.semantics.masks import Activations
from vprdist.spec.vocabulary import CLASSES


class MappedShard:
    """A shard's keys, image digests, and views of (h, w) uint8 straight into the file's pages (read-only).

    Raises:
        CacheError: missing, cut, no Arrow file, or the shard of another cache, city or side.
    """

    def __init__(self, folder: Path, entry: ShardEntry, size: tuple[int, int], batch_images: int) -> None:
        self.path = folder / entry.file
        check_size(folder, entry)
        self._entry, self._size, self._batch_images = entry, size, batch_images
        pages = map_file(self.path)
        if frame_digest(pages, entry.pixels) != entry.frame:
            raise self._error("structure and keys are as written; the shard was changed, or is of another cache")
        try:
            reader = pa.ipc.open_file(pages)
            self._check_schema(reader.schema)
            batches = [reader.get_batch(index) for index in range(reader.num_record_batches)]
            for batch in batches:
                for name in LEADING:
                    batch.column(name).validate(full=True)
        except (pa.ArrowException, OSError, KeyError) as error:
            raise self._error("a shard is an Arrow IPC file", str(error).splitlines()[0]) from None
        counts = [batch.num_rows for batch in batches]
        if sum(counts) != entry.count or any(count != batch_images for count in counts[:-1]):
            raise self._error(f"the shard holds {entry.count} images in batches of {batch_images}", counts)
        for name, value in (("city", entry.city), ("side", entry.side)):
            found = {word for batch in batches for word in batch.column(name).to_pylist()}
            if found != {value}:
                raise self._error(f"all rows are of {name} {value!r}", sorted(str(word) for word in found)[:3])
        self.keys: tuple[str, ...] = tuple(key for batch in batches for key in batch.column("key").to_pylist())
        self.digests: tuple[bytes, ...] = tuple(d for batch in batches for d in batch.column("sha256").to_pylist())
        self._planes = [[self._plane(batch, name) for name in CLASSES] for batch in batches]

    def view(self, row: int, channel: int) -> Activations:
        """(h, w) uint8 of one class (by its trainId) of one row: no copy, read-only."""
        batch, row = divmod(row, self._batch_images)
        view: Activations = self._planes[batch][channel][row]
        return view

    def _plane(self, batch: pa.RecordBatch, name: str) -> Activations:
        column = batch.column(name)
        height, width = self._size
        num_bytes = len(column) * height * width
        data = column.buffers()[1]
        if column.null_count or column.offset or data is None or data.size < num_bytes:
            raise self._error(f"column {name!r} has {height} x {width} bytes a row and no nulls")
        return np.frombuffer(data, np.uint8, num_bytes).reshape(len(column), height, width)

    def _check_schema(self, schema: pa.Schema) -> None:
        metadata = {
            key.decode(errors="replace"): value.decode(errors="replace")
            for key, value in (schema.metadata or {}).items()
        }
        height, width = self._size
        wanted = {
            "vprdist.version": str(VERSION),
            "vprdist.height": str(height),
            "vprdist.width": str(width),
            "vprdist.shard": self._entry.id,
        }
        for key, value in wanted.items():
            if metadata.get(key) != value:
                raise self._error(f"the shard's {key} is {value}; it belongs to another cache", metadata.get(key))
        if tuple(schema.names) != LEADING + CLASSES:
            raise self._error("the columns are those of the format", schema.names)
        if any(schema.field(name).type != pa.binary(height * width) for name in CLASSES):
            raise self._error(f"a class column holds {height * width} bytes a row")

    def _error(self, rule: str, value: object = None) -> CacheError:
        return CacheError(self.path, rule, value, remedy(self.path))


def check_size(folder: Path, entry: ShardEntry) -> None:
    """The file is there and as long as it was written.

    Raises:
        CacheError: it is not.
    """
    path = folder / entry.file
    try:
        found = path.stat().st_size
    except OSError:
        raise CacheError(path, "every shard of the manifest is there", "missing", remedy(path)) from None
    if found != entry.bytes:
        rule = f"the shard has {entry.bytes} bytes; it was cut or written over"
        raise CacheError(path, rule, found, remedy(path))


def remedy(path: Path) -> str:
    """What to do about one bad shard."""
    return f"Delete {path.name} and run `vprdist cache import` again: only this shard is made anew."


def pixel_spans(pages: pa.Buffer) -> tuple[tuple[int, int], ...]:
    """Where the class columns of each record batch lie in a shard: byte ranges [start, end)."""
    reader = pa.ipc.open_file(pages)
    spans = []
    for index in range(reader.num_record_batches):
        batch = reader.get_batch(index)
        first, last = (batch.column(name).buffers()[1] for name in (CLASSES[0], CLASSES[-1]))
        spans.append((first.address - pages.address, last.address + last.size - pages.address))
    return tuple(spans)


def frame_digest(pages: pa.Buffer, spans: Sequence[tuple[int, int]]) -> str:
    """SHA-256 of the bytes outside the spans; touches no page that lies wholly within one."""
    data, digest, position = memoryview(pages), hashlib.sha256(), 0
    for start, end in spans:
        digest.update(data[position:start])
        position = end
    digest.update(data[position:])
    return digest.hexdigest()


def map_file(path: Path) -> pa.Buffer:
    """The file's pages. The descriptor is closed at once (a large cache would run out of them); the map stays."""
    with pa.memory_map(str(path)) as source:
        return source.read_buffer()

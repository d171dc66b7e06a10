"""One shard as a memory map: its keys and activations, after the checks that keep wrong activations out."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vprdist.errors import CacheError, first_line
from vprdist.files import digest_file, file_stamp
from vprdist.semantics.cache.blocks import Block, columns_of, find_blocks
from vprdist.semantics.cache.form import DROPPED, Form
from vprdist.semantics.cache.format import ShardEntry
from vprdist.semantics.cache.marks import File, Seen
from vprdist.semantics.cache.pixels import CompressedPixels, MappedPixels
from vprdist.semantics.cache.top_k import HEAD, chosen, unpack
from vprdist.semantics.masks import Activations

if TYPE_CHECKING:
    import pyarrow as pa


def leading_kinds(form: Form) -> list[pa.DataType]:
    """The types of a shard's columns before its planes."""
    import pyarrow as pa

    kinds = [pa.utf8(), pa.utf8(), pa.utf8(), pa.binary(32)]
    return kinds if form.top_k is None else [*kinds, pa.binary(8 * (HEAD + len(form.classes)))]


def shard_metadata(shard_id: str, form: Form) -> dict[str, str]:
    """What the metadata of a shard must say: its form, and what it was to hold."""
    found = {
        "vprdist.version": str(form.version),
        "vprdist.height": str(form.size[0]),
        "vprdist.width": str(form.size[1]),
        "vprdist.shard": shard_id,
    }
    if not form.is_plain:
        found |= {"vprdist.classes": json.dumps(list(form.classes))}
    return found | ({} if form.top_k is None else {"vprdist.top_k": str(form.top_k)})


class MappedShard:
    """A shard's keys, and activations: uncompressed straight out of the file's pages (read-only).

    Raises:
        CacheError: missing, cut, no Arrow file, or the shard of another cache, city or side.
    """

    def __init__(
        self,
        folder: Path,
        entry: ShardEntry,
        form: Form,
        batch_images: int,
        marks: Mapping[File, Seen] | None = None,
    ) -> None:
        import pyarrow as pa

        self.path = folder / entry.file
        self._entry, self._form = entry, form
        seen = (marks or {}).get((entry.sha256, check_size(folder, entry)))
        try:
            self._pages = map_file(self.path)
        except OSError:
            # Removed since: a new manifest was published meanwhile, and this cache is the old one.
            raise _missing(self.path) from None
        blocks = self._checked_blocks()
        packed = form.compression != "none"
        try:
            metadata = self._checked_metadata(pa.ipc.open_file(self._pages).schema)
            # The frame's digest vouches for all rows; to decompress every batch's keys would take longer than masks.
            leading = self._leading(("key", "city", "side"), 1 if packed else None)
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            raise self._error("a shard must be an Arrow IPC file", first_line(error)) from None
        for name, value in (("city", entry.city), ("side", entry.side)):
            found = set(leading.column(name).unique().to_pylist())
            if found != {value}:
                raise self._error(f"all rows must be of {name} {value!r}", sorted(str(word) for word in found)[:3])
        try:
            # None: made by a vprdist that did not note it.
            self.peak = int(metadata["vprdist.peak"]) if "vprdist.peak" in metadata else None
            # None: made by a vprdist that noted the sums of compressed classes alone.
            sums = (
                base64.b64decode(metadata["vprdist.crc32"])
                if packed or not form.is_plain or "vprdist.crc32" in metadata
                else None
            )
            self._pixels: MappedPixels | CompressedPixels
            if sums is not None and packed:
                self.keys: tuple[str, ...] = _keys(metadata["vprdist.keys"])
                self._pixels = CompressedPixels(self._pages, blocks, sums, form, batch_images)
            else:
                self.keys = tuple(leading.column("key").to_pylist())
                self._pixels = MappedPixels(self._pages, blocks, sums, self.read_digests, form, batch_images, seen)
        except (ValueError, KeyError, RecursionError, struct.error) as error:
            raise self._error(first_line(error)) from None
        if not len(self.keys) == self._pixels.num_rows == entry.count:
            fault = f"the shard must hold {entry.count} images"
            raise self._error(fault, f"{len(self.keys)} keys, {self._pixels.num_rows} images")

    def planes(self, row: int, channels: slice | Sequence[int]) -> Activations:
        """(C, h, w) uint8 of some classes (by their place in the cache's table) of one row.

        Dense, uncompressed and with a slice: no copy, read-only. With a list of channels, or otherwise: a copy.

        Raises:
            CacheError: a class is not as it was written.
        """
        top_k, every = self._form.top_k, slice(0, len(self._form.planes))
        try:
            if top_k is None:
                return self._pixels.planes(row, channels)
            found: Activations = unpack(self._pixels.planes(row, every), top_k, len(self._form.classes))[channels]
            return found
        except ValueError as error:
            raise self._error(str(error)) from None

    def chosen(self, row: int, wanted_C: Activations) -> Activations:
        """(k, h, w) uint8 of storage `top_k`: what is stored of some classes (`top_k.chosen`). Errors as `planes`."""
        assert self._form.top_k is not None, "dense activations are read by planes"
        try:
            planes_PHW = self._pixels.planes(row, slice(0, len(self._form.planes)))
        except ValueError as error:
            raise self._error(str(error)) from None
        return chosen(planes_PHW, self._form.top_k, wanted_C)

    def read_dropped(self) -> npt.NDArray[np.uint64]:
        """(images, 4 + C) of storage `top_k`: the `dropped` column; see `cache.format`."""
        rows = self._leading((DROPPED,), None).column(DROPPED).to_pylist()
        return np.frombuffer(b"".join(rows), "<u8").reshape(-1, HEAD + len(self._form.classes))

    def read_digests(self) -> tuple[bytes, ...]:
        """The 32 bytes of each image's `sha256`."""
        return tuple(self._leading(("sha256",), None).column("sha256").to_pylist())

    def _leading(self, names: Sequence[str], num_batches: int | None) -> pa.Table:
        """Some of the columns before the classes, of the first batches or of all; the classes are not touched."""
        import pyarrow as pa

        places = [self._form.leading.index(name) for name in names]
        reader = pa.ipc.open_file(self._pages, options=pa.ipc.IpcReadOptions(included_fields=places, use_threads=False))
        count = reader.num_record_batches if num_batches is None else num_batches
        table = pa.Table.from_batches([reader.get_batch(index) for index in range(count)], reader.schema)
        table.validate(full=True)
        return table

    def _checked_blocks(self) -> list[Block]:
        """Where the batches of the shard lie, after its frame was found to be as written."""
        fault = "structure and keys must be as written; the shard was changed, or is of another cache"
        try:
            blocks = find_blocks(self._pages, columns_of(self._form))
        except ValueError as error:
            raise self._error(fault, str(error)) from None
        spans = tuple(block.pixels for block in blocks)
        if self._entry.pixels not in ((), spans) or frame_digest(self._pages, spans) != self._entry.frame:
            raise self._error(fault)
        for block in blocks:
            if block.compression != (wanted := self._form.compression):
                raise self._error(f"the shard's compression must be the manifest's, {wanted}", block.compression)
        if (found := sum(block.num_rows for block in blocks)) != self._entry.count:
            raise self._error(f"the shard must hold {self._entry.count} images", found)
        return blocks

    def _checked_metadata(self, schema: pa.Schema) -> dict[str, str]:
        import pyarrow as pa

        metadata = {
            key.decode(errors="replace"): value.decode(errors="replace")
            for key, value in (schema.metadata or {}).items()
        }
        form, num_bytes = self._form, self._form.size[0] * self._form.size[1]
        wanted = shard_metadata(self._entry.id, form)
        for key, value in wanted.items():
            if metadata.get(key) != value:
                raise self._error(f"the shard's {key} must be {value}; it belongs to another cache", metadata.get(key))
        if tuple(schema.names) != form.leading + form.planes:
            raise self._error("the columns must be those of the format", schema.names[:30])
        kinds = [schema.field(index).type for index in range(len(form.leading))]
        if kinds != leading_kinds(form):
            raise self._error("the columns before the classes must be those of the format", [str(t) for t in kinds])
        if any(field.type != pa.binary(num_bytes) for field in list(schema)[len(form.leading) :]):
            raise self._error(f"a class column must hold {num_bytes} bytes a row")
        return metadata

    def _error(self, fault: str, value: object = None) -> CacheError:
        return CacheError(self.path, fault, value, remedy(self.path))


def check_size(folder: Path, entry: ShardEntry) -> int:
    """The file is there and as long as it was written; its `files.file_stamp`.

    Raises:
        CacheError: it is not.
    """
    path = folder / entry.file
    try:
        found = path.stat()
    except OSError:
        raise _missing(path) from None
    if found.st_size != entry.bytes:
        fault = f"the shard must have {entry.bytes} bytes; it was cut or written over"
        raise CacheError(path, fault, found.st_size, remedy(path))
    return file_stamp(found)


def check_digest(folder: Path, entry: ShardEntry, where: Path | None = None) -> None:
    """Every byte of a shard is as it was written.

    Args:
        where: the cache that is named; None: `folder`.

    Raises:
        CacheError: it is not.
    """
    if (found := digest_file(folder / entry.file)) != entry.sha256:
        path = (where or folder) / entry.file
        raise CacheError(path, f"the shard's SHA-256 must be {entry.sha256[:16]}…", f"{found[:16]}…", remedy(path))


def _keys(text: str) -> tuple[str, ...]:
    """The key column, as it stands once more in a compressed shard's metadata."""
    keys = json.loads(text)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ValueError("vprdist.keys must be a list of keys")
    return tuple(keys)


def _missing(path: Path) -> CacheError:
    return CacheError(path, "a shard of the manifest is missing", None, remedy(path))


def remedy(path: Path) -> str:
    """What to do about one bad shard."""
    return f"Delete {path.name} and run `vprdist cache import` (or `build`) again: only this shard is made anew."


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
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        return source.read_buffer()

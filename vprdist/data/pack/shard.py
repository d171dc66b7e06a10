"""One shard of a pack: written whole or not at all, read out of the pages of its file."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vprdist.data.pack.format import SHARDS, ShardEntry, SideName
from vprdist.errors import DataError, first_line
from vprdist.files import publish

if TYPE_CHECKING:
    import pyarrow as pa

TEXTS = ("city", "side", "key", "name")
NUMBERS = {"size": "int64", "stamp": "uint64", "content": "uint64", "crc32": "uint32"}
ID = b"vprdist.pack"


@dataclass(frozen=True)
class Packed:
    """One picture as it goes into a shard: what its file was, and what is kept of it."""

    key: str
    name: str
    size: int
    stamp: int
    content: int
    data: bytes


@dataclass(frozen=True)
class Place:
    """What names a shard: its file and id, and which pictures of which side it holds."""

    file: str
    id: str
    city: str
    side: SideName
    first: int


def write_shard(folder: Path, place: Place, pictures: Iterator[Packed], room: int) -> ShardEntry:
    """Publish a shard.

    Args:
        folder: the pack's.
        room: bytes that the pictures take at most.

    Raises:
        OSError: a full disk.
    """
    import pyarrow as pa

    data, ends, rows = bytearray(room), [0], list[tuple[str, str, int, int, int, int]]()
    for picture in pictures:
        end = ends[-1] + len(picture.data)
        data[ends[-1] : end] = picture.data
        ends.append(end)
        crc = zlib.crc32(picture.data)
        rows.append((picture.key, picture.name, picture.size, picture.stamp, picture.content, crc))
    keys, names, *numbers = zip(*rows, strict=True)
    columns = {
        "city": pa.array([place.city] * len(rows), pa.utf8()),
        "side": pa.array([place.side] * len(rows), pa.utf8()),
        "key": pa.array(keys, pa.utf8()),
        "name": pa.array(names, pa.utf8()),
        **{name: pa.array(np.array(each, kind)) for (name, kind), each in zip(NUMBERS.items(), numbers, strict=True)},
        "bytes": pa.LargeBinaryArray.from_buffers(
            pa.large_binary(), len(rows), [None, pa.py_buffer(np.array(ends, np.int64)), pa.py_buffer(data)[: ends[-1]]]
        ),
    }  # fmt: skip
    batch = pa.record_batch(columns).replace_schema_metadata({ID: place.id.encode()})
    path = folder / SHARDS / place.file
    with publish(path) as stream, pa.ipc.new_file(stream, batch.schema) as file:
        file.write_batch(batch)
    return _entry(path, place, batch)


def index_digest(batch: pa.RecordBatch) -> str:
    """SHA-256 of what a shard says but for the pictures' bytes.

    Its id; each column of texts, a zero byte after each text; each column of numbers, little-endian; and where each
    picture begins and ends in the last column's bytes, int64.
    """
    digest = hashlib.sha256((batch.schema.metadata or {}).get(ID, b"-"))
    for name in TEXTS:
        digest.update("".join(f"{text}\0" for text in batch.column(name).to_pylist()).encode())
    for name, kind in NUMBERS.items():
        digest.update(batch.column(name).to_numpy().astype(np.dtype(kind).newbyteorder("<")).tobytes())
    digest.update(_ends(batch.column("bytes")).astype("<i8").tobytes())
    return digest.hexdigest()


def _ends(column: pa.Array) -> npt.NDArray[np.int64]:
    """(N + 1,) where pictures begin and end in the column's bytes."""
    offsets = column.buffers()[1]
    return np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1]


class MappedShard:
    """A shard's pictures, straight out of the pages of its file, which all processes of a machine share.

    Args:
        folder: the pack's.
        each: bytes of every picture; None: they differ.

    Raises:
        DataError: missing, cut, no Arrow file, changed, or the shard of another pack.
    """

    def __init__(self, folder: Path, entry: ShardEntry, each: int | None = None) -> None:
        self.path, self.entry = folder / SHARDS / entry.file, entry
        batch = self._checked_batch()
        column = batch.column("bytes")
        self._ends, self._data = _ends(column), memoryview(column.buffers()[2]) if len(column) else memoryview(b"")
        if each is not None and not (np.diff(self._ends) == each).all():
            raise self._error(f"every picture of the shard must have {each} bytes")
        self._crc32: npt.NDArray[np.uint32] = batch.column("crc32").to_numpy()
        self._batch, self._seen = batch, np.zeros(len(batch), bool)

    @property
    def keys(self) -> list[str]:
        """(N,) the key of each picture."""
        return list(self._batch.column("key").to_pylist())

    def numbers(self, name: str) -> npt.NDArray[np.uint64]:
        """(N,) one of the columns of numbers."""
        found: npt.NDArray[np.uint64] = self._batch.column(name).to_numpy()
        return found

    def picture(self, row: int) -> memoryview:
        """What is kept of a picture, which is not to be written to. Its check sum is compared once a process.

        Raises:
            DataError: the disk changed it.
        """
        data = self._data[self._ends[row] : self._ends[row + 1]]
        if not self._seen[row]:
            if zlib.crc32(data) != self._crc32[row]:
                raise self._error(f"picture {row} of the shard must be as it was written, and is not")
            self._seen[row] = True
        return data

    def _checked_batch(self) -> pa.RecordBatch:
        import pyarrow as pa

        try:
            found = self.path.stat().st_size
        except OSError:
            raise self._error("a shard of the pack is missing") from None
        if found != self.entry.bytes:
            fault = f"the shard must have {self.entry.bytes} bytes; it was cut or written over"
            raise self._error(fault, found)
        try:
            batch = open_batch(self.path)
            is_whole = index_digest(batch) == self.entry.index and len(batch) == self.entry.count
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
            raise self._error("a shard must be an Arrow file of the pack", first_line(error)) from None
        if not is_whole:
            raise self._error("the shard's index must be as it was written; it was changed, or is of another pack")
        return batch

    def _error(self, fault: str, value: object = None) -> DataError:
        remedy = f"Delete {self.path.name} and run `vprdist data pack` again: only this shard is made anew."
        return DataError(self.path, fault, value, remedy)


def open_batch(path: Path) -> pa.RecordBatch:
    """What an Arrow file of a shard's columns holds, in its pages.

    Raises:
        pa.ArrowException, OSError, ValueError, KeyError, TypeError: it is no such file.
    """
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:  # the descriptor is closed, the map stays
        reader = pa.ipc.open_file(source.read_buffer())
    if reader.num_record_batches != 1:
        raise ValueError(f"{reader.num_record_batches} batches instead of one")
    batch = reader.get_batch(0)
    batch.validate(full=True)
    _check_columns(batch)
    return batch


def entry_of(path: Path, place: Place, pictures: Sequence[tuple[str, str, int, int]]) -> ShardEntry | None:
    """The entry of a shard that lies there with every byte as it was written, of these pictures in this state; else
    None.

    Args:
        pictures: key, name, size and stamp of each.
    """
    import pyarrow as pa

    try:
        batch = open_batch(path)
        held = (batch.column(name).to_pylist() for name in ("key", "name", "size", "stamp"))
        if (batch.schema.metadata or {}).get(ID) != place.id.encode() or list(zip(*held, strict=True)) != [*pictures]:
            return None
        entry = _entry(path, place, batch)
        shard = MappedShard(path.parents[1], entry)
        for row in range(len(batch)):
            shard.picture(row)
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, DataError):
        return None
    return entry


def _entry(path: Path, place: Place, batch: pa.RecordBatch) -> ShardEntry:
    return ShardEntry(
        file=place.file, id=place.id, city=place.city, side=place.side, first=place.first, count=len(batch),
        bytes=path.stat().st_size, index=index_digest(batch),
    )  # fmt: skip


def _check_columns(batch: pa.RecordBatch) -> None:
    """The columns are those of the format.

    Raises:
        ValueError: they are not.
    """
    kinds = {**dict.fromkeys(TEXTS, "string"), **NUMBERS, "bytes": "large_binary"}
    found = {field.name: str(field.type) for field in batch.schema}
    if found != kinds:
        raise ValueError(f"columns {found}")
    if any(batch.column(name).null_count for name in kinds):
        raise ValueError("a column has nulls")


def rows_of(shards: Sequence[MappedShard]) -> list[str]:
    """The keys of all pictures of some shards, in order."""
    return [key for shard in shards for key in shard.keys]

"""Where the buffers of a shard lie, read from the Arrow file's own structure.

pyarrow decompresses whole record batches, as large as they say they are, and tells no addresses; a mask wants some
buffers of one batch. The few tables of Arrow's flatbuffers that say where they are (Footer, Block, Message,
RecordBatch, BodyCompression) are read here by hand, before any digest was compared: whatever the bytes are, the outcome
is addresses within the file or `ValueError`.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from vprdist.semantics.cache.form import LEADING, Form
from vprdist.spec.vocabulary import CLASSES, Compression

if TYPE_CHECKING:
    import pyarrow as pa

MAGIC: Final = b"ARROW1"
RECORD_BATCH: Final = 3
CODECS: Final[dict[int, Compression]] = {0: "lz4", 1: "zstd"}
FIRST_BUFFER: Final = 11
"""Buffers before the planes': three each of key, city and side, two of sha256. Further leading columns have two each,
as every plane has: validity, which is empty, and data."""
LEADING_BYTES: Final = 2**20
"""So many bytes may a row have in a buffer before the classes': a key, a name or a digest."""


class Columns(NamedTuple):
    """How many buffers a batch has before its planes, and how many planes."""

    first_buffer: int = FIRST_BUFFER
    planes: int = len(CLASSES)

    @property
    def buffers(self) -> int:
        return self.first_buffer + 2 * self.planes


CITYSCAPES: Final = Columns()
"""Those of the 19, as all shards had them once."""


def columns_of(form: Form) -> Columns:
    """The columns of a shard of this form."""
    return Columns(FIRST_BUFFER + 2 * (len(form.leading) - len(LEADING)), len(form.planes))


class Block(NamedTuple):
    """One record batch: positions in the file, in bytes."""

    table: int
    """Where the entry of the first plane's data lies in the batch's list of buffers."""
    body: int
    """Where the list counts from."""
    pixels: tuple[int, int]
    """[start, end) of the planes."""
    num_rows: int
    compression: Compression


def find_blocks(pages: pa.Buffer, columns: Columns = CITYSCAPES) -> list[Block]:
    """The record batches of an Arrow file with the columns of `format`; of the 19 classes where nobody says others.

    Raises:
        ValueError: the bytes are no such file.
    """
    data = memoryview(pages)
    try:
        return _find(data, columns)
    except (struct.error, IndexError, OverflowError) as error:
        raise ValueError(f"an address lies outside the file ({error})") from None


def buffer_at(data: memoryview, table: int, body: int, channel: int) -> memoryview:
    """The stored bytes of one plane (of a class, by its trainId) of the batch with this table and body."""
    offset, length = struct.unpack_from("<qq", data, table + 32 * channel)
    return data[body + offset : body + offset + length]


def _find(data: memoryview, columns: Columns) -> list[Block]:
    if bytes(data[:6]) != MAGIC or bytes(data[-6:]) != MAGIC:
        raise ValueError("no ARROW1 at both ends")
    end = len(data) - 10
    (length,) = struct.unpack_from("<i", data, end)
    start = end - length
    if not 8 <= start < end:
        raise ValueError("the footer lies outside the file")
    vector = _follow(data, _field(data, _follow(data, start), 3))
    (count,) = struct.unpack_from("<I", data, vector)
    if vector + 4 + 24 * count > end:
        raise ValueError("the list of batches is longer than the footer")
    blocks, free = [], 8
    for index in range(count):
        offset, metadata, body_length = struct.unpack_from("<qixxxxq", data, vector + 4 + 24 * index)
        # In order, none within another, none in the footer: so no structure can lie within pixels.
        if offset < free or metadata < 8 or body_length < 0 or offset + metadata + body_length > start:
            raise ValueError(f"batch {index} lies outside its place")
        free = offset + metadata + body_length
        blocks.append(_block(data, columns, offset, (offset + metadata, free)))
    return blocks


def _block(data: memoryview, columns: Columns, offset: int, place: tuple[int, int]) -> Block:
    body, end = place
    message = _follow(data, offset + 8)
    if data[_field(data, message, 1)] != RECORD_BATCH:
        raise ValueError("a block must be a record batch")
    batch = _follow(data, _field(data, message, 2))
    length = _field(data, batch, 0, absent=-1)
    count = struct.unpack_from("<q", data, length)[0] if length >= 0 else 0
    buffers = _follow(data, _field(data, batch, 2))
    if struct.unpack_from("<I", data, buffers)[0] != columns.buffers:
        raise ValueError("a batch has other columns")
    compression = _compression(data, batch)
    if compression != "none":
        _check_leading(data, buffers + 4, body, (count, columns.first_buffer))
    table = buffers + 4 + 16 * (columns.first_buffer + 1)
    first, last = (struct.unpack_from("<qq", data, table + 32 * channel) for channel in (0, columns.planes - 1))
    pixels = body + first[0], body + last[0] + last[1]
    if not (offset < buffers and buffers + 4 + 16 * columns.buffers <= body <= pixels[0] <= pixels[1] <= end):
        raise ValueError("class columns lie outside their batch")
    return Block(table, body, pixels, count, compression)


def _compression(data: memoryview, batch: int) -> Compression:
    at = _field(data, batch, 3, absent=-1)
    if at < 0:
        return "none"
    codec = _field(data, _follow(data, at), 0, absent=-1)
    code = data[codec] if codec >= 0 else 0  # flatbuffers leave out a field at its default, LZ4
    if code not in CODECS:
        raise ValueError(f"codec {code} is neither lz4 nor zstd")
    return CODECS[code]


def _check_leading(data: memoryview, table: int, body: int, counts: tuple[int, int]) -> None:
    """pyarrow allocates what a compressed buffer says it will be: a few bytes may say any number."""
    num_rows, num_buffers = counts
    for index in range(num_buffers):
        offset, length = struct.unpack_from("<qq", data, table + 16 * index)
        said = struct.unpack_from("<q", data, body + offset)[0] if length else 0
        if not -1 <= said <= LEADING_BYTES * (max(num_rows, 0) + 1):
            raise ValueError(f"buffer {index} of a batch of {num_rows} rows says that it has {said} bytes")


def _follow(data: memoryview, position: int) -> int:
    """Where an offset leads that is stored at this position."""
    return position + int(struct.unpack_from("<I", data, position)[0])


def _field(data: memoryview, table: int, number: int, absent: int | None = None) -> int:
    """Where a table's field lies; `absent` where the table leaves it out."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    (size,) = struct.unpack_from("<H", data, max(vtable, 0))
    slot = 4 + 2 * number
    offset = struct.unpack_from("<H", data, vtable + slot)[0] if slot < size else 0
    if offset:
        return table + int(offset)
    if absent is None:
        raise ValueError(f"field {number} is missing")
    return absent

"""Where the buffers of a shard lie, read from the Arrow file's own structure.

pyarrow decompresses whole record batches, as large as they say they are, and tells no addresses; a mask wants some
buffers of one batch. The few tables of Arrow's flatbuffers that say where they are (Footer, Block, Message,
RecordBatch, BodyCompression) are read here by hand, before any digest was compared: whatever the bytes are, the outcome
is addresses within the file or `ValueError`.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

import pyarrow as pa

from vprdist.spec.vocabulary import CLASSES, Compression

MAGIC: Final = b"ARROW1"
RECORD_BATCH: Final = 3
CODECS: Final[dict[int, Compression]] = {0: "lz4", 1: "zstd"}
FIRST_BUFFER: Final = 11
"""Buffers before the classes': three each of key, city and side, two of sha256."""
NUM_BUFFERS: Final = FIRST_BUFFER + 2 * len(CLASSES)
"""Each class has two: validity, which is empty, and data."""
LEADING_BYTES: Final = 2**20
"""So many bytes may a row have in a buffer before the classes': a key, a name or a digest."""


class Block(NamedTuple):
    """One record batch: positions in the file, in bytes."""

    table: int
    """Where the entry of the first class's data lies in the batch's list of buffers."""
    body: int
    """Where the list counts from."""
    pixels: tuple[int, int]
    """[start, end) of the class columns."""
    num_rows: int
    compression: Compression


def find_blocks(pages: pa.Buffer) -> list[Block]:
    """The record batches of an Arrow file with the columns of `format`.

    Raises:
        ValueError: the bytes are no such file.
    """
    data = memoryview(pages)
    try:
        return _find(data)
    except (struct.error, IndexError, OverflowError) as error:
        raise ValueError(f"an address lies outside the file ({error})") from None


def buffer_at(data: memoryview, table: int, body: int, channel: int) -> memoryview:
    """The stored bytes of one class (by its trainId) of the batch with this table and body."""
    offset, length = struct.unpack_from("<qq", data, table + 32 * channel)
    return data[body + offset : body + offset + length]


def _find(data: memoryview) -> list[Block]:
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
        blocks.append(_block(data, offset, offset + metadata, free))
    return blocks


def _block(data: memoryview, offset: int, body: int, end: int) -> Block:
    message = _follow(data, offset + 8)
    if data[_field(data, message, 1)] != RECORD_BATCH:
        raise ValueError("a block must be a record batch")
    batch = _follow(data, _field(data, message, 2))
    length = _field(data, batch, 0, absent=-1)
    count = struct.unpack_from("<q", data, length)[0] if length >= 0 else 0
    buffers = _follow(data, _field(data, batch, 2))
    if struct.unpack_from("<I", data, buffers)[0] != NUM_BUFFERS:
        raise ValueError("a batch has other columns")
    compression = _compression(data, batch)
    if compression != "none":
        _check_leading(data, buffers + 4, body, count)
    table = buffers + 4 + 16 * (FIRST_BUFFER + 1)
    first, last = (struct.unpack_from("<qq", data, table + 32 * channel) for channel in (0, len(CLASSES) - 1))
    pixels = body + first[0], body + last[0] + last[1]
    if not (offset < buffers and buffers + 4 + 16 * NUM_BUFFERS <= body <= pixels[0] <= pixels[1] <= end):
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


def _check_leading(data: memoryview, table: int, body: int, num_rows: int) -> None:
    """pyarrow allocates what a compressed buffer says it will be: a few bytes may say any number."""
    for index in range(FIRST_BUFFER):
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

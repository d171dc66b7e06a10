"""Arrays of `.npy` and `.npz` files, whoever made them: nothing is allocated before the bytes for it are found there.

numpy evaluates a header as Python, allocates what it says, and has a dozen kinds of errors for what is wrong with it.
Here the outcome is the array that numpy would read, or `ValueError` with the fault.
"""

from __future__ import annotations

import ast
import contextlib
import errno
import math
import os
import re
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from vprdist.errors import first_line
from vprdist.files import NotAFile, open_file
from vprdist.machine import usable_memory_gb

MAGIC, ZIP_MAGIC = b"\x93NUMPY", b"PK\x03\x04"
HEADER_BYTES = 2**16
LOCAL_LENGTHS = 26
"""Where a zip archive says, before each member, how long its name and the rest of that header are."""
PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""The ways of numpy; others may ask for gigabytes to unpack a byte."""


class TooLarge(ValueError):
    """An array that does not fit this machine's memory; its file may be whole."""


@dataclass(frozen=True)
class Header:
    """What an array is.

    Attributes:
        start: where its values begin, in bytes.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran_order: bool
    start: int

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def kind_of(path: Path) -> str:
    """ ".npy" or ".npz", by the first bytes; "" for anything else.

    Raises:
        OSError: the file cannot be read.
    """
    with open_file(path) as stream:
        head = stream.read(len(MAGIC))
    return ".npy" if head == MAGIC else ".npz" if head.startswith(ZIP_MAGIC) else ""


def map_npy(path: Path) -> npt.NDArray[Any]:
    """The array of a `.npy` file, of which pages are read as they are used.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such array.
    """
    with _refused(), open_file(path) as stream:
        header = _read_header(stream, os.fstat(stream.fileno()).st_size)
        order = "F" if header.fortran_order else "C"
        return np.memmap(stream, header.dtype, "r", header.start, header.shape, order)  # type: ignore[call-overload,no-any-return]


def map_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    """All arrays of a `.npz` file whose values are not compressed, of which pages are read as they are used.

    Their check sums are compared first, which reads the whole file once.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such archive, or damaged.
    """
    out: dict[str, npt.NDArray[Any]] = {}
    with _refused(), open_file(path) as file, zipfile.ZipFile(file) as archive:
        if (spoilt := archive.testzip()) is not None:
            raise ValueError(f"{spoilt!r} is spoilt")
        for info in archive.infolist():
            if info.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{info.filename!r} is compressed")
            with archive.open(info) as stream:
                header = _read_header(stream, info.file_size)
            file.seek(info.header_offset + LOCAL_LENGTHS)
            name_bytes, extra_bytes = (int.from_bytes(file.read(2), "little") for _ in range(2))
            start = info.header_offset + LOCAL_LENGTHS + 4 + name_bytes + extra_bytes + header.start
            order: Any = "F" if header.fortran_order else "C"
            out[info.filename.removesuffix(".npy")] = (
                np.memmap(file, header.dtype, "r", start, header.shape, order)
                if header.num_bytes
                else np.empty(header.shape, header.dtype)
            )
    return out


def npz_header(path: Path, name: str) -> Header:
    """What an array of a `.npz` file is, from its first bytes. Errors as `read_npz`."""
    with _member(path, name) as (stream, size):
        return _read_header(stream, size)


def npz_names(path: Path) -> frozenset[str]:
    """What arrays a `.npz` file holds. Errors as `read_npz`."""
    with _refused(), open_file(path) as file, zipfile.ZipFile(file) as archive:
        return frozenset(name.removesuffix(".npy") for name in archive.namelist())


def read_npz(path: Path, name: str, share: float = 0.5) -> npt.NDArray[Any]:
    """An array of a `.npz` file, whose check sum is compared.

    Args:
        share: of this machine's memory that it may take; more than half where one array is held at a time.

    Raises:
        KeyError: the file has no array of this name.
        OSError: the file cannot be read.
        TooLarge: it does not fit this machine's memory.
        ValueError: it is no archive, or holds no such array.
    """
    with _member(path, name) as (stream, size):
        header = _read_header(stream, size)
        if header.num_bytes > usable_memory_gb() * share * 1e9:
            raise TooLarge(f"{name!r} has {header.num_bytes} bytes, more than {share:.0%} of this machine's memory")
        values = np.empty(header.num_bytes, np.uint8)
        left = values.data
        while left:
            if not (count := stream.readinto(left)):  # type: ignore[attr-defined]
                raise ValueError(f"{name!r} is cut: {len(left)} bytes are missing")
            left = left[count:]
        stream.read(1)  # the end, where the check sum is compared
        order: Any = "F" if header.fortran_order else "C"
        if header.dtype.kind == "U" and values.size:
            codes = values.view(f"{header.dtype.byteorder}u4".replace("|", "="))
            if codes.max() > sys.maxunicode:
                raise ValueError(f"{name!r} is spoilt: it has numbers that are no characters")
        return values.view(header.dtype).reshape(header.shape, order=order)


@contextlib.contextmanager
def _member(path: Path, name: str) -> Iterator[tuple[IO[bytes], int]]:
    """An array's bytes in an archive, and how many the archive says they are."""
    with _refused(), open_file(path) as file, zipfile.ZipFile(file) as archive:
        if f"{name}.npy" not in archive.namelist():
            raise KeyError(name)
        info = archive.getinfo(f"{name}.npy")
        if info.compress_type not in PLAIN:
            raise ValueError(f"{name!r} is compressed in another way than numpy's")
        with archive.open(info) as stream:
            yield stream, info.file_size


@contextlib.contextmanager
def _refused() -> Iterator[None]:
    """What numpy, zipfile and Python's parser raise over such files, as ValueError."""
    try:
        yield
    except (KeyError, ValueError, NotAFile):
        raise
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # EINVAL: an address before the file's begin
            raise
        raise ValueError(first_line(error)) from None
    except Exception as error:
        raise ValueError(first_line(error)) from None


def _read_header(stream: IO[bytes], size: int) -> Header:
    """The header at the beginning of `size` bytes, which the values fill to the end."""
    head = stream.read(len(MAGIC) + 2)
    if head[:-2] != MAGIC or head[-2] not in (1, 2, 3):
        raise ValueError("it does not begin as numpy's arrays do")
    wide = 2 if head[-2] == 1 else 4
    length = int.from_bytes(stream.read(wide), "little")
    if length > HEADER_BYTES:
        raise ValueError(f"its header says that it has {length} bytes")
    text = stream.read(length)
    shape, dtype, fortran_order = _told(text.decode("utf-8" if head[-2] == 3 else "latin1"))
    header = Header(shape, dtype, fortran_order, len(head) + wide + length)
    if header.start + header.num_bytes != size:
        told, there = header.num_bytes, size - header.start
        raise ValueError(f"its header and its values do not fit each other: {told} and {there} bytes")
    return header


def _told(text: str) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
    """Shape, dtype, and whether the first index runs fastest."""
    try:
        told = ast.literal_eval(re.sub(r"(?<=\d)L\b", "", text).strip())  # Python 2 wrote 3L
        shape, fortran_order = told["shape"], told["fortran_order"]
        dtype = np.lib.format.descr_to_dtype(told["descr"])
    except Exception:  # Python's parser has many words, and MemoryError for brackets
        raise ValueError(f"its header cannot be read: {text[:60]!r}") from None
    if not isinstance(shape, tuple) or not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError(f"its header has no shape: {str(shape)[:60]}")
    if not isinstance(fortran_order, bool):
        raise ValueError(f"its header has no order: {str(fortran_order)[:60]}")
    if dtype.hasobject:
        raise ValueError("it holds pickled objects")
    if not dtype.itemsize:
        raise ValueError("its values have no bytes")
    return shape, dtype, fortran_order

"""Files that appear whole or not at all, digests, JSON lines, locks."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import math
import os
import re
import stat
import struct
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO

from vprdist.disk import lock, written
from vprdist.errors import UserError

MASK = 2**64 - 1
MOST_DIGITS = 20
MOST_JSON, MOST_LINES = 64 * 2**20, 512 * 2**20
"""Bytes of a JSON file, and of the new JSON lines of a file: many times what the largest sweeps write."""
HALF_CHARACTER = re.compile(r"\\u[dD][89a-fA-F]")
NO_FILES = {
    stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}  # fmt: skip

NEVER_FILES = (errno.ENXIO, errno.ELOOP, errno.ENAMETOOLONG)
"""What the system says of sockets, of links that lead round in a circle, and of names that no file can have."""


class NotAFile(OSError):
    """Something else lies where a file should: a folder, a named pipe, a device, a socket."""


def open_file(path: Path) -> BinaryIO:
    """A file, opened for reading its bytes. Nothing is waited for: a named pipe would wait for a writer for ever.

    Raises:
        NotAFile: something else lies there.
        OSError: it is missing, or cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # links are followed
    except OSError as error:
        if error.errno not in NEVER_FILES:
            raise
        raise NotAFile(error.errno, f"no file lies there ({error.strerror})", str(path)) from None
    kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
    if kind == stat.S_IFREG:
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise NotAFile(errno.EINVAL, f"{NO_FILES.get(kind, 'something else')} lies where a file should", str(path))


def mistaken(head: bytes) -> tuple[str, str] | None:
    """What often lies in the place of a file that was fetched, by its first bytes, and the remedy; None: neither."""
    if head.startswith(b"version https://git-lfs.github.com/"):
        return "a Git LFS pointer", "Fetch what it points to: `git lfs pull` in its repository."
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page", "Fetch the file itself, not the page about it: a browser shows what was saved."
    return None


def mistaken_file(path: Path) -> tuple[str, str] | None:
    """The same of a file that is there. Errors as `open_file`."""
    with open_file(path) as stream:
        return mistaken(stream.read(1024))


@contextlib.contextmanager
def publish(path: Path, mode: str = "wb", rights: int = 0o664) -> Iterator[IO[Any]]:
    """Write a file so that readers see the old one or the whole new one, even after a power cut.

    A temporary file beside `path` is renamed over it after fsync; on an exception it is removed and `path` is
    untouched. The parent folder is made when missing.

    Args:
        rights: of the file, less what the umask takes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        # Text is written as it is: UTF-8, newlines untouched.
        text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
        with written(path), open(temporary, mode, opener=_new(rights), **text) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _new(rights: int) -> Callable[[str, int], int]:
    """Opens a file that is not there yet: neither one that others put there, nor what their link leads to."""
    return lambda path, flags: os.open(path, flags | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, rights)


def open_no_link(path: Path, flags: int) -> int:
    """A descriptor of a file that we write to or lock, made where it is missing; a link in its place is not followed.

    Raises:
        UserError: there is a link.
        OSError: it cannot be opened.
    """
    try:
        return os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o664)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        remedy = "Look who made it, and delete it."
        raise UserError(path, "a link may not lie where a file is written", str(path.readlink()), remedy) from None


def _sync_folder(folder: Path) -> None:
    """Make a rename durable: the folder's own entry must reach the disk too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def at_home(path: str | Path) -> Path:
    """With `~` filled in; that of nobody here stays as it is, and is then no folder that anybody finds."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 (expanduser raises there)


def write_text(path: Path, text: str) -> None:
    """Publish a text file."""
    with publish(path, "w") as stream:
        stream.write(text)


def write_private_json(path: Path, value: object) -> None:
    """Publish a value as readable JSON that its user alone can read."""
    with publish(path, "w", rights=0o600) as stream:
        json.dump(value, stream, indent=1, allow_nan=False)


def write_json(path: Path, value: object) -> None:
    """Publish a value as readable JSON; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_bytes(path: Path, most: int) -> bytes:
    """What a file holds.

    Raises:
        NotAFile: something else lies there.
        OSError: it is missing, cannot be opened, or holds more than `most` bytes.
    """
    with open_file(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        data = stream.read(most + 1) if size <= most else b""  # one more: somebody may be writing
    if max(size, len(data)) > most:
        raise OSError(errno.EFBIG, f"the file holds {size:,} bytes, more than any of its kind", str(path))
    return data


def read_json(path: Path) -> Any:
    """The value of a JSON file.

    Raises:
        ValueError: it is no JSON, or says what `write_json` never does (`parse_json`).
        OSError: see `read_bytes`.
    """
    return parse_json(read_bytes(path, MOST_JSON))


def parse_json(data: bytes) -> Any:
    """The value of a JSON text in UTF-8.

    Raises:
        ValueError: it is no JSON, or holds what can be no one's: NaN, a number beyond 64 bits, half a character, a key
            twice in one object, a hundred thousand brackets.
    """
    return _parse_json(data, {"parse_constant": _no_number, "object_pairs_hook": _each_once})


def _parse_json(data: bytes, strictness: Mapping[str, Any]) -> Any:
    text = data.decode("utf-8")
    try:
        value = json.loads(text, parse_float=_finite, parse_int=_whole, **strictness)
    except RecursionError:
        raise ValueError("brackets are nested too deeply") from None
    if HALF_CHARACTER.search(text):  # two halves beside each other are one character
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    return value


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number")


def _finite(text: str) -> float:
    if math.isinf(value := float(text)):
        raise ValueError(f"{text[:40]} is too large for a number")
    return value


def _whole(text: str) -> int:
    if len(text) > MOST_DIGITS or abs(value := int(text)) > MASK:
        raise ValueError(f"{text[:40]} is beyond 64 bits")
    return value


def _each_once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{next(key for key in keys if keys.count(key) > 1)!r} stands twice")
    return value


def append_json_line(path: Path, row: Mapping[str, object], durable: bool = False) -> None:
    """Append one row as one line, in one write where the disk has room for it.

    Args:
        durable: it is on the disk when this returns.

    Raises:
        OSError: it could not be written, or not the whole of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    data = (json.dumps(row) + "\n").encode()
    with written(path), os.fdopen(open_no_link(path, os.O_RDWR | os.O_APPEND), "a+b", buffering=0) as stream:
        if stream.seek(0, os.SEEK_END):
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b"\n":  # a line was cut, by a full disk or a node's death: this is not its end
                data = b"\n" + data
        while data:  # the system writes a part of a line that does not fit, and says why only when asked again
            data = data[stream.write(data) :]
        if durable:
            os.fsync(stream.fileno())


def read_json_lines(path: Path, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """The whole rows from byte `offset` on, and the offset after them.

    A half-written last line waits; one that was cut for good (`append_json_line`) or damaged is left out.

    Raises:
        OSError: no file lies there, or one that is longer than any.
    """
    try:
        with open_file(path) as stream:
            if os.fstat(stream.fileno()).st_size - offset > MOST_LINES:
                raise OSError(errno.EFBIG, "the file is longer than any of its kind", str(path))
            stream.seek(offset)
            data = stream.read(MOST_LINES)
    except FileNotFoundError:
        return [], offset
    data = data[: data.rfind(b"\n") + 1]
    return [row for line in data.split(b"\n") if (row := _row(line)) is not None], offset + len(data)


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = _parse_json(line, {}) if line.strip() else None  # a measure that went wrong is NaN there
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def canonical_json(value: object) -> str:
    """One text for one value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def digest_json(value: object, length: int = 16) -> str:
    """The first `length` hex digits of the SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:length]


def digest_file(path: Path, length: int = 64) -> str:
    """The first `length` hex digits of the SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:length]


def content_number(path: Path) -> int:
    """64 bits of a digest of a file's bytes, never 0: much quicker to keep by the million than SHA-256."""
    with path.open("rb") as stream:
        return number_of_content(stream.read())


def number_of_content(data: bytes) -> int:
    """`content_number` of a file that was read already."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest()) or 1


def file_stamp(found: os.stat_result) -> int:
    """64 bits that stay as they are while nobody writes to the file, never 0.

    They come from its size and both of its times. Whoever sets the time of writing back (`touch -d`, `cp -p`) changes
    the other one, which the system alone sets.
    """
    written = struct.pack("<QQQ", found.st_size, found.st_mtime_ns & MASK, found.st_ctime_ns & MASK)
    return int.from_bytes(hashlib.blake2b(written, digest_size=8).digest()) or 1


@contextlib.contextmanager
def locked(path: Path, blocking: bool = True, shared: bool = False) -> Iterator[bool]:
    """Hold an exclusive lock on a file while the block runs; the kernel frees it when the process dies.

    Yields False instead of waiting when `blocking` is off and somebody else holds it.

    Args:
        shared: others may hold it too, as long as they share it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = open_no_link(path, os.O_RDWR)
    try:
        try:
            kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
            lock(descriptor, kind | (0 if blocking else fcntl.LOCK_NB), path)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)


def hold_for_making(stack: contextlib.ExitStack, place: Path) -> bool:
    """Hold a file that is not there yet for the one who makes it, until the stack is left.

    Returns:
        False where it cannot be written to, or its folder has no locks: it is made, and not kept.
    """
    try:
        stack.enter_context(locked(place.with_suffix(".lock")))
    except (OSError, UserError):
        return False
    return True

"""Builders of one cache, in different processes, do not get in each other's way."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from vprdist.disk import lock_range
from vprdist.files import open_no_link
from vprdist.semantics.planning import PlannedShard

HELD = (BlockingIOError, PermissionError)
"""What the system says of a lock that somebody else has."""


class Builders:
    """The builders in a folder: byte ranges of `.lock`, freed by the kernel when their process dies.

    Byte 0 is held shared by every builder, byte 1 alone while the manifest is published, and one byte further on by
    whoever makes a shard. They are the process's: two builders of one process do not see each other.
    """

    SHARDS = 16

    def __init__(self, out: Path) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self._path = out / ".lock"
        self._file = open_no_link(self._path, os.O_RDWR)

    def __enter__(self) -> Builders:
        lock_range(self._file, fcntl.LOCK_SH, 0, self._path)
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._file)

    def is_last(self) -> bool:
        """Whether no other builder is left, asked when this one's work is done; none can come before it is gone."""
        # Each lets go before it asks: several that ask at once are not in each other's way.
        lock_range(self._file, fcntl.LOCK_UN, 0, self._path)
        try:
            lock_range(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 0, self._path)
        except HELD:
            return False
        return True

    @contextlib.contextmanager
    def publishing(self) -> Iterator[None]:
        """One publishes at a time."""
        lock_range(self._file, fcntl.LOCK_EX, 1, self._path)
        try:
            yield
        finally:
            lock_range(self._file, fcntl.LOCK_UN, 1, self._path)

    @contextlib.contextmanager
    def making(self, shard: PlannedShard) -> Iterator[bool]:
        """Yields False when somebody else makes this shard."""
        at = self.SHARDS + int(shard.id[:12], 16)
        try:
            lock_range(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, at, self._path)
        except HELD:
            yield False
            return
        try:
            yield True
        finally:
            lock_range(self._file, fcntl.LOCK_UN, at, self._path)

"""Builders of one cache, in different processes, do not get in each other's way."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from vprdist.semantics.planning import PlannedShard


class Builders:
    """The builders in a folder: byte ranges of `.lock`, freed by the kernel when their process dies.

    Byte 0 is held shared by every builder, byte 1 alone while the manifest is published, and one byte further on by
    whoever makes a shard. They are the process's: two builders of one process do not see each other.
    """

    SHARDS = 16

    def __init__(self, out: Path) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self._file = os.open(out / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def __enter__(self) -> Builders:
        fcntl.lockf(self._file, fcntl.LOCK_SH, 1, 0)
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._file)

    def is_last(self) -> bool:
        """Whether no other builder is left, asked when this one's work is done; none can come before it is gone."""
        # Each lets go before it asks: several that ask at once are not in each other's way.
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, 0)
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 0)
        except OSError:
            return False
        return True

    @contextlib.contextmanager
    def publishing(self) -> Iterator[None]:
        """One publishes at a time."""
        fcntl.lockf(self._file, fcntl.LOCK_EX, 1, 1)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, 1)

    @contextlib.contextmanager
    def making(self, shard: PlannedShard) -> Iterator[bool]:
        """Yields False when somebody else makes this shard."""
        at = self.SHARDS + int(shard.id[:12], 16)
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, at)
        except OSError:
            yield False
            return
        try:
            yield True
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, at)

"""What a disk refuses: it is full, or its file system has no locks. The system's own words name neither remedy nor,
often, the path."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from vprdist.errors import UserError

FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "no larger files are allowed here",
}
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class DiskError(UserError):
    """A disk that is full, or a folder without locks."""


@contextlib.contextmanager
def written(path: Path) -> Iterator[None]:
    """A full disk is told of with the path while the block writes there: system calls on open files name none."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def full_disk(error: OSError, after: str) -> DiskError | None:
    """A full disk in our words; None where it is something else.

    Args:
        after: what happens then, in sentences.
    """
    if error.errno not in FULL:
        return None
    where = error.filename or "a disk"
    remedy = f"Make room{_free(where)}: vprdist prune removes what no leaderboard needs. {after}"
    return DiskError(where, FULL[error.errno], None, remedy)


def _free(path: str) -> str:
    """How much is free where the path leads, where that can be told: disks run out of files too."""
    place = Path(path)
    while not place.is_dir() and place != place.parent:
        place = place.parent
    try:
        found = os.statvfs(place)
    except OSError:
        return ""
    files = f" and {found.f_favail:,} files" if found.f_files else ""  # some file systems do not count them
    return f" ({found.f_bavail * found.f_frsize / 1e6:,.1f} MB{files} are free now)"


def lock(descriptor: int, kind: int, path: Path) -> None:
    """`fcntl.flock`, on the open file of that path.

    Raises:
        BlockingIOError: somebody else has the lock, and `kind` says not to wait.
        DiskError: there are no locks in that folder.
    """
    with _locking(path):
        fcntl.flock(descriptor, kind)


def lock_range(descriptor: int, kind: int, at: int, path: Path) -> None:
    """`fcntl.lockf`, on one byte of the open file of that path; raises as `lock` does."""
    with _locking(path):
        fcntl.lockf(descriptor, kind, 1, at)


@contextlib.contextmanager
def _locking(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        fault = "files cannot be locked in this folder"
        remedy = (
            "Jobs and drivers would get in each other's way: choose a folder whose file system has locks (a local "
            "disk, NFS 4, Lustre mounted with `-o flock`), or ask the operators for them."
        )
        raise DiskError(path.parent, fault, error.strerror, remedy) from None

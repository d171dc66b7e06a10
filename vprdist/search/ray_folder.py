"""Where Ray's files lie while it runs, and who sees to it that nothing of them stays behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from vprdist.errors import UserError
from vprdist.files import locked
from vprdist.machine import machine_name
from vprdist.search import reaper

PREFIX = "vpr-ray-"
OTHERS = ("/tmp", "/var/tmp")
"""Where Ray's files go if TMPDIR is not set, or not fit."""
OPEN = "r"
"""Ray's own folder in ours: Ray lets everybody write there, and ours lets nobody else in."""
LONGEST = 107 - len(f"/{PREFIX}12345678/{OPEN}/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store")
"""Bytes of a path below which Ray's sockets fit: the kernel takes 107 bytes for the name of one."""
ROOM_BYTES = 16_000_000
"""Ray's logs and Tune's notes take a hundredth of it in a sweep of hundreds of trials."""
SHARED_MEMORY = Path("/dev/shm")


class NoRoom(Exception):
    """No temporary folder is fit for Ray's files; the text names each, and why."""


@contextlib.contextmanager
def ray_folder(tell: Callable[[str], None], object_bytes: int) -> Iterator[Path]:
    """An empty folder of our own, and a process that ends whoever is left in it; both go with the block.

    Args:
        tell: told once where it lies if that is not where TMPDIR says.
        object_bytes: of Ray's object store, which lies there too where the shared memory is too small.

    Raises:
        NoRoom: no temporary folder can be written to.
    """
    folder = _make(tell, object_bytes)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        lock = os.open(folder / reaper.LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        stack.callback(os.close, lock)
        fcntl.flock(lock, fcntl.LOCK_EX)
        (folder / "machine").write_text(machine_name())
        watcher = subprocess.Popen(
            [sys.executable, "-I", reaper.__file__, str(folder), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C at a terminal is not for it
            pass_fds=[lock],  # the lock is free when both are gone
        )
        assert watcher.stdin is not None
        stack.callback(watcher.wait)
        stack.callback(watcher.stdin.close)
        yield folder


def _make(tell: Callable[[str], None], object_bytes: int) -> Path:
    wished = os.environ.get("TMPDIR")
    room = ROOM_BYTES + (0 if _fits_shared_memory(object_bytes) else object_bytes)
    faults = []
    for base in dict.fromkeys((wished, *OTHERS) if wished else OTHERS):
        there = Path(base).resolve()  # as /proc names it, where the watcher looks for who uses it
        _clear(there)
        try:
            folder = _make_in(there, room)
        except OSError as error:
            faults.append(f"{base}: {error.strerror or error}")
            continue
        if faults and wished:
            tell(f"Ray's files are in {base}: {'; '.join(faults)}")
        return folder
    raise NoRoom("; ".join(faults))


def _make_in(base: Path, room: int) -> Path:
    """A new folder there that can hold so many bytes."""
    if len(os.fsencode(base)) > LONGEST:
        raise OSError(0, f"its path is longer than the {LONGEST} bytes that Ray's sockets leave")
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
    try:
        with (folder / "room").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, room)  # asks for quotas and limits too, not for free blocks alone
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise OSError(error.errno, f"{error.strerror} ({room / 1e6:.0f} MB are wanted)") from None
    (folder / "room").unlink()
    return folder


def _fits_shared_memory(object_bytes: int) -> bool:
    try:
        stat = os.statvfs(SHARED_MEMORY)
    except OSError:
        return False
    return stat.f_bavail * stat.f_frsize > object_bytes


def _clear(base: Path) -> None:
    """Remove what drivers left there that were killed together with their watcher, as SLURM kills a whole job.

    The lock says that both are dead; it can be believed only where the same kernel has seen the lock. A live watcher
    would end whoever has anything but the lock open.
    """
    for folder in base.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError, UserError):  # where there are no locks, nothing is known to be dead
            ours = folder.stat(follow_symlinks=False).st_uid == os.getuid()
            if not ours:
                continue
            with locked(folder / reaper.LOCK, blocking=False) as dead:
                if dead and (folder / "machine").read_text() == machine_name():
                    shutil.rmtree(folder, ignore_errors=True)

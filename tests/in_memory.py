"""Where tests write: a folder in memory where there is room, for a disk takes three times as long to make and remove
thousands of files. A run that passed leaves nothing; what a failed one left stays until the next one begins."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import psutil

MEMORY = Path("/dev/shm")
ROOM = 12 * 10**9
"""Bytes that must be free; a whole run takes some 3 GB of them at once."""
PREFIX = "vpr-"
"""Then the process's number; short, since paths of sockets have at most 107 characters."""
_ours: Path | None = None


def write_there() -> None:
    """All that this process and those below it call temporary lies there from here on, unless TMPDIR is named."""
    global _ours
    if "TMPDIR" in os.environ or not MEMORY.is_dir():
        return
    for left in MEMORY.glob(f"{PREFIX}[0-9]*"):
        if not psutil.pid_exists(int(left.name.removeprefix(PREFIX))):
            shutil.rmtree(left, ignore_errors=True)
    if shutil.disk_usage(MEMORY).free >= ROOM:
        _ours = MEMORY / f"{PREFIX}{os.getpid()}"
        _ours.mkdir(mode=0o700)
        os.environ["TMPDIR"] = tempfile.tempdir = str(_ours)


def clear(passed: bool) -> None:
    """At the end of the process that made the folder."""
    if _ours is not None and passed and _ours.name == f"{PREFIX}{os.getpid()}":
        shutil.rmtree(_ours, ignore_errors=True)

"""What a program started and left behind: it would go on writing into a folder that the next start has."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from vprdist.machine import pid_start

LEAVE_S = 3.0
"""How long what remains has between SIGTERM and SIGKILL."""


def remains(folder: Path, rank: int) -> list[int]:
    """Processes on this node that have the variables of this rank's program, whoever their parent is by now.

    A shell that was killed leaves what it had started; a job whose rank was killed, what its program had started.
    """
    wanted = {f"VPRDIST_FOLDER={folder}".encode(), f"VPRDIST_RANK={rank}".encode()}
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):  # another user's, or gone
            if wanted <= set((entry / "environ").read_bytes().split(b"\0")):
                found.append(int(entry.name))
    return found


def end_remains(folder: Path, rank: int, whose: str) -> None:
    """End them, and say how many there were."""
    started = {pid: pid_start(pid) for pid in remains(folder, rank)}
    if not started:
        return
    print(f"{len(started)} process(es) that {whose} left behind are ended", flush=True)
    for number, patience_s in ((signal.SIGTERM, LEAVE_S), (signal.SIGKILL, LEAVE_S)):
        for pid, start in started.items():
            if start is not None and pid_start(pid) == start:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        deadline = time.monotonic() + patience_s
        while any(start is not None and pid_start(pid) == start for pid, start in started.items()):
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        else:
            return

"""Ends what Ray started when its driver dies, however it dies; run by path, with nothing of the package loaded.

The kernel ends Ray's servers with the driver, but not the agents that its raylet has started a moment before: they
were measured to live on for a minute and more. This process waits for the end of its standard input, which only
the driver holds open, then kills every process of this user that has a file of Ray's folder open or names it in
its command line, and removes the folder. Whoever has no more than the folder's lock open is the next driver, which
looks whether the last one is dead.
"""

import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path

QUIET_S = 0.5
PATIENCE_S = 10.0
LOCK = "lock"
"""The driver's own file in the folder: another driver that looks whether it is held is none of Ray's processes."""


def users_of(folder: str, driver: int) -> list[int]:
    """Pids of other processes of this user that use the folder; a driver that ends politely still has files open."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) in (os.getpid(), driver):
            continue
        try:
            if entry.stat().st_uid == os.getuid() and _uses(entry, folder):
                found.append(int(entry.name))
        except OSError:  # it ended while we looked
            continue
    return found


def _uses(entry: Path, folder: str) -> bool:
    # The folder's name ends in random letters, so that only Ray's own processes can name it.
    if folder.encode() in (entry / "cmdline").read_bytes():
        return True
    for file in (entry / "fd").iterdir():
        with contextlib.suppress(OSError):
            place = str(file.readlink())
            if place.startswith(folder + "/") and place != f"{folder}/{LOCK}":
                return True
    return False


def reap(folder: str, driver: int) -> None:
    """Kill until nobody has used the folder for half a second: a dying parent may just have started a child."""
    deadline, quiet_since = time.monotonic() + PATIENCE_S, time.monotonic()
    while time.monotonic() < deadline and time.monotonic() - quiet_since < QUIET_S:
        for pid in users_of(folder, driver):
            quiet_since = time.monotonic()
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # SLURM sends them to every process of a job that it ends
    sys.stdin.buffer.read()  # returns when the driver has gone
    reap(sys.argv[1], driver=int(sys.argv[2]))

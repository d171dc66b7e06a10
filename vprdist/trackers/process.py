"""`python -m vprdist.trackers.process`: sends a sweep to one tracker, in a process of its own.

A driver is never held up by a tracker's server, nor loads its package. The order comes as JSON in the first line of
standard input; when that is closed, the one that asked is done, or dead: what is missing is sent as far as it goes.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from vprdist.spec.doors import TrackerName
from vprdist.store.manifest import sweep_folder
from vprdist.store.tracked import TrackFolder
from vprdist.trackers.base import Place, Tracker
from vprdist.trackers.follower import Follower

LOOK_S = 2.0
"""Seconds between two looks, and five times what a look takes where that is more."""
AGAIN_S, LONGEST_S = 5.0, 60.0
"""Seconds until a tracker that failed is asked again: at first, and at most."""
ORPHAN_S = 120.0
"""Seconds that a process goes on whose driver was killed, so that no hanging server keeps it for ever."""
LAST_LOOKS = 3
"""Looks in vain before one that leaves gives up."""


def order_of(runs: Path, sweep: str, choice: TrackerName, orphan_s: float = ORPHAN_S) -> str:
    """What the process is told."""
    order = {"runs": str(runs), "sweep": sweep, "choice": choice.model_dump(mode="json"), "orphan_s": orphan_s}
    return json.dumps(order) + "\n"


def main() -> int:
    """Returns 0 when the tracker has everything."""
    order = json.loads(sys.stdin.readline())
    gone = threading.Event()
    threading.Thread(target=_wait_for_end, args=(gone, float(order["orphan_s"])), daemon=True).start()
    runs, sweep, choice = Path(order["runs"]), order["sweep"], TrackerName.model_validate(order["choice"])
    place = TrackFolder(sweep_folder(runs, sweep), choice.title)
    while True:
        with place.sending() as alone:
            if alone:
                follower = Follower(runs, sweep, place, lambda: _made(choice, sweep, place))
                return _follow(follower, gone)
        if gone.wait(LOOK_S):
            return 1  # another process sends, and goes on


def _made(choice: TrackerName, sweep: str, place: TrackFolder) -> Tracker:
    made: Any = choice.make(place=Place(sweep=sweep, folder=place.store.absolute()))
    tracker: Tracker = made
    return tracker


def _wait_for_end(gone: threading.Event, orphan_s: float) -> None:
    """Standard input ends with the driver, however that ends."""
    sys.stdin.read()
    gone.set()
    time.sleep(orphan_s)
    os.killpg(0, signal.SIGKILL)  # with what the package has started: this process leads its group


def _follow(follower: Follower, gone: threading.Event) -> int:
    again_s, in_vain = AGAIN_S, 0
    if not gone.is_set():
        follower.make()  # while there is time: packages take long to load
    while True:
        leaving, began, before = gone.is_set(), time.monotonic(), follower.account
        everything = follower.look(leaving)
        if leaving and everything:
            return 0
        failed = bool(follower.account.fault)
        again_s = min(2 * again_s, LONGEST_S) if failed else AGAIN_S
        if not leaving:
            gone.wait(again_s if failed else max(LOOK_S, 5 * (time.monotonic() - began)))
            continue
        got_on = (before.points, before.left) != (follower.account.points, follower.account.left)
        in_vain = 0 if got_on else in_vain + 1
        if in_vain >= LAST_LOOKS:
            return 1
        time.sleep(LOOK_S)


def _quiet() -> None:
    """Packages print where runs can be seen, and what they were sent: nobody reads it, and logs keep no secrets."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(nothing, number)


if __name__ == "__main__":
    _quiet()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    code = main()
    sys.stdout.flush()
    os._exit(code)  # threads of packages may wait for servers

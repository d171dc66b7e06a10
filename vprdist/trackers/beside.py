"""Trackers beside a driver: a process for each, which the driver never waits for longer than a moment at its end."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vprdist.console import Console
from vprdist.spec.doors import TrackerName
from vprdist.store.manifest import sweep_folder
from vprdist.store.tracked import Account, TrackFolder
from vprdist.trackers.process import order_of

STILL_S = 30.0
"""Seconds without anything sent after which an ended driver, or `vprdist track`, waits no longer."""
HURRY_S = 3.0
"""The same for a driver that was told to leave."""
END_S = 120.0
"""Seconds that a driver waits in all, while trackers get on."""
TRACK_STILL_S = 180.0
"""The wait of `vprdist track`: longer than a package takes to give up a server by itself."""


@dataclass(frozen=True)
class Beside:
    """The process of one tracker."""

    runs: Path
    sweep: str
    choice: TrackerName
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, runs: Path, sweep: str, choice: TrackerName) -> Beside:
        """Begin to send."""
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "vprdist.trackers.process"],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died at once: seen when it is waited for
            process.stdin.write(order_of(runs, sweep, choice).encode())
            process.stdin.flush()
        return cls(runs, sweep, choice, process)

    @property
    def place(self) -> TrackFolder:
        """Its tracker's folder."""
        return TrackFolder(sweep_folder(self.runs, self.sweep), self.choice.title)

    @property
    def account(self) -> Account | None:
        """How far it has come; None: it said nothing yet."""
        found = self.place.account()
        return found if found is not None and found.pid == self.process.pid else None

    def let_go(self) -> None:
        """Say that nothing more comes: it sends what is missing, and ends."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    def wait(self, still_s: float, end_s: float) -> bool:
        """Whether it has sent everything; it is ended where it stands still, or takes too long.

        Args:
            still_s: seconds without anything new.
            end_s: seconds in all.
        """
        began, last, seen = time.monotonic(), time.monotonic(), None
        try:
            while self.process.poll() is None:
                account, now = self.account, time.monotonic()
                if account != seen:
                    seen, last = account, now
                if now - last > still_s or now - began > end_s:
                    break
                time.sleep(0.1)
        finally:
            self.end()
        return self.process.returncode == 0

    def end(self) -> None:
        """End it with all that it started, at once: it keeps nothing that is not on the disk."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def say(self, done: bool, console: Console) -> None:
        """One line: what was sent and where it is, or what is missing and how it is sent."""
        account, word = self.account, self.choice.title
        if account is None and self.place.is_sending:
            console.print(f"{word}: another process sends this sweep, and goes on")
        elif done and account is not None:
            look = f"; look: {account.look}" if account.look else ""
            console.print(f"{word}: {account.runs} run(s) are at {account.where or 'it'}{look}", soft_wrap=True)
        else:
            missing = f"{account.left} of {account.runs} run(s)" if account and account.runs else "the sweep"
            why = account.fault if account and account.fault else "no answer"
            command = f"vprdist track {shlex.quote(self.sweep)} --tracker {word}"
            text = f"{word}: {missing} not sent whole: {why}. Nothing is lost: {command} sends what is missing."
            console.print(text, style="yellow", soft_wrap=True)


@contextlib.contextmanager
def tracked(runs: Path, sweep: str, choices: Sequence[TrackerName], console: Console) -> Iterator[None]:
    """Send a sweep to its trackers while the block runs, and say at its end what was sent."""
    every = [Beside.start(runs, sweep, choice) for choice in choices]
    still_s, end_s = HURRY_S, HURRY_S
    try:
        yield
        still_s, end_s = STILL_S, END_S
    finally:
        for one in every:
            one.let_go()
        began = time.monotonic()
        try:
            for one in every:
                one.say(one.wait(still_s, end_s - (time.monotonic() - began)), console)
        finally:
            for one in every:
                one.end()


def send(runs: Path, sweep: str, choices: Sequence[TrackerName], console: Console) -> int:
    """Send what is missing of a sweep, one tracker after the other.

    Returns:
        0 when every tracker has everything, else 1.
    """
    code = 0
    for choice in choices:
        one = Beside.start(runs, sweep, choice)
        one.let_go()
        done = one.wait(TRACK_STILL_S, float("inf"))
        one.say(done, console)
        code = code if done else 1
    return code

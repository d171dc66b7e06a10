"""Leaving a node when the cluster wants it back: at preemption and before the time limit, SLURM sends USR2."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from vprdist.files import open_no_link
from vprdist.store.journal import JobRecord

BE_KILLED_S = 60.0
"""How long the other ranks wait for the end that rank 0 has asked for."""


class Leaving(Protocol):
    """What a rank asks: whether its job is asked to leave; and how it does so once all is saved."""

    @property
    def asked(self) -> bool:
        """Whether the cluster wants the node back."""

    def listen(self) -> None:
        """The trial's function is about to begin."""

    def now(self, rank: int) -> None:
        """Everything is saved: go."""

    def close(self) -> None:
        """The trial function has ended, one way or another."""


class Leave:
    """Turns USR2 into a flag. No collective runs in a signal handler: ranks agree at a step boundary.

    submitit's own handler, which was there before, is called once the trial has saved itself: on rank 0 it pickles
    the call anew and requeues the job. Where nobody looks at the flag within half of the warning's lead, a timer
    calls it all the same; the last periodic checkpoint must do then.
    """

    def __init__(self, record: JobRecord, logs: Path) -> None:
        self.asked = False
        self.requeue, self.patience_s = is_requeued(record), patience_s(record)
        self.mark = left_mark(logs)
        self._submitit: Any = None
        self._timer: threading.Timer | None = None
        self._once = threading.Lock()
        self._pid = 0

    def listen(self) -> None:
        """From here on USR2 is ours."""
        self._pid = os.getpid()
        self._submitit = signal.signal(signal.SIGUSR2, self._on_signal)

    def close(self) -> None:
        """The trial function has ended, one way or another."""
        if self._timer is not None:
            self._timer.cancel()

    def now(self, rank: int) -> None:
        """Everything is saved: go. Rank 0 requeues, or says that it left; the others wait to be ended with it."""
        if rank == 0:
            self._go()
        else:
            time.sleep(BE_KILLED_S)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.asked or os.getpid() != self._pid:  # a data loader's worker inherits the handler, and is not asked
            return
        self.asked = True
        os.write(1, b"USR2: the cluster wants this node back; saving and leaving.\n")
        self._timer = threading.Timer(self.patience_s, self._go)
        self._timer.daemon = True
        self._timer.start()

    def _go(self) -> None:
        if not self._once.acquire(blocking=False):
            return
        if not self.requeue:
            leave_mark(self.mark)
            raise SystemExit(f"left after USR2; the profile says `requeue: false` ({self.mark})")
        if callable(self._submitit):
            self._submitit(signal.SIGUSR2, None)


def is_requeued(record: JobRecord) -> bool:
    """Whether a job that leaves puts itself back into the queue."""
    return "no-requeue" not in record.parameters.get("additional_parameters", {})


def patience_s(record: JobRecord) -> float:
    """For how long a job that is asked to leave may save what it has."""
    return float(record.parameters.get("signal_delay_s", 60)) / 2


def left_mark(logs: Path) -> Path:
    """A file that says that a trial left, and is not in the queue again."""
    return logs / "left"


def leave_mark(mark: Path) -> None:
    """The driver submits again, and counts no attempt."""
    os.close(open_no_link(mark, os.O_WRONLY))

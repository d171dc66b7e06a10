"""How a driver leaves: at a signal, while its jobs go on."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from vprdist.launch.dispatcher import Dispatcher
from vprdist.launch.driver_job import in_driver_job

LEAVING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)


class SearchInterrupted(KeyboardInterrupt):
    """Ctrl-C or a signal: the driver left, the jobs go on. Its text tells the person how to come back."""

    def __init__(self, text: str, number: signal.Signals = signal.SIGINT) -> None:
        super().__init__(text)
        self.signal = number


class Stopped(BaseException):
    """Leaves Tune's loop at once: it only cleans up slowly after an Exception."""


class Interrupted:
    """Which signal asked the driver to leave, if one did."""

    number: signal.Signals | None = None


@contextlib.contextmanager
def interruptible(sweep_name: str, dispatcher: Dispatcher) -> Iterator[Interrupted]:
    """Turn the first SIGINT, SIGTERM or (in a job of its own) USR2 into a polite end; the second one ends at once."""
    interrupted = Interrupted()
    before: dict[signal.Signals, Any] = {}

    def stop(number: int, frame: FrameType | None) -> None:
        if interrupted.number is not None:
            raise KeyboardInterrupt
        interrupted.number = signal.Signals(number)
        dispatcher.comes_back = number == signal.SIGUSR2 and in_driver_job()
        os.write(2, b"\nStopping; the jobs go on.\n")  # at once: a look at a slow disk may come first

    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, stop) for number in LEAVING}
    try:
        yield interrupted
    except Stopped:
        raise SearchInterrupted(
            f"Sweep {sweep_name}: stopped watching. {dispatcher.num_going_on()} job(s) go on by themselves; start the "
            "same command again to come back to them. Nothing is run twice.",
            interrupted.number or signal.SIGINT,
        ) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

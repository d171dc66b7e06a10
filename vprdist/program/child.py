"""The process of a user's program: started, asked to stop when the job is, never left behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from vprdist.errors import LaunchError
from vprdist.machine import die_with_parent, signal_name
from vprdist.spec.program import ProgramSpec

LOOK_S = 0.1


class Ending(NamedTuple):
    """How a program ended: its exit code (a signal's is negative), whether it was asked to stop before, and when the
    job itself was last sent SIGTERM (of `time.monotonic`)."""

    code: int
    asked: bool
    sigterm: float | None = None

    @property
    def words(self) -> str:
        """For a person."""
        if self.code >= 0:
            return f"exit code {self.code}"
        name = signal_name(-self.code)
        return f"{name}, often for want of memory" if name == "SIGKILL" else name


def command_of(job: ProgramSpec) -> list[str]:
    """The words of the program's process; a function is called by `vprdist.client` in a Python of its own."""
    if job.function is not None:
        return [sys.executable, "-u", "-m", "vprdist.client", job.function]
    return list(job.command or ())


def run_child(job: ProgramSpec, environment: Mapping[str, str], stop: Path, should_stop: Callable[[], bool]) -> Ending:
    """Run the program to its end. Once the job is asked to leave, the program is: by a file, and a signal if it wants.

    It stays in the job's process group, so that whoever ends the job ends it too; and it dies with this process.

    Raises:
        LaunchError: it cannot be started.
    """
    words = command_of(job)

    def before() -> None:
        die_with_parent()
        # SLURM signals a whole process group. A program that knows nothing of USR2 would die of it instead of going on.
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)

    try:
        process = subprocess.Popen(words, env=dict(environment), cwd=job.folder, preexec_fn=before)
    except OSError as error:
        remedy = "Install it on the node, or name its path: trial.job.command."
        raise LaunchError(f"program {words[0]}", "it cannot be started", error.strerror, remedy) from None
    asked = False
    with _sigterm_noted() as times:
        while (code := process.poll()) is None:
            if should_stop() and not asked:
                asked = True
                stop.parent.mkdir(parents=True, exist_ok=True)
                stop.touch()
                if job.stop_signal != "none":
                    process.send_signal(getattr(signal, f"SIG{job.stop_signal}"))
            time.sleep(LOOK_S)
    return Ending(code, asked or should_stop(), times[-1] if times else None)


@contextmanager
def _sigterm_noted() -> Iterator[list[float]]:
    """The times at which this process is sent SIGTERM, which it outlives, as submitit's handler lets every rank.

    SLURM sends it to every process of a job that it is about to end: a program that is none the wiser dies of it.
    """
    times: list[float] = []
    if threading.current_thread() is not threading.main_thread():
        yield times
        return
    before = signal.getsignal(signal.SIGTERM)

    def note(number: int, frame: FrameType | None) -> None:
        times.append(time.monotonic())
        if callable(before):
            before(number, frame)

    signal.signal(signal.SIGTERM, note)
    try:
        yield times
    finally:
        signal.signal(signal.SIGTERM, before)

"""Processes of ours that begin at once: children of a Python that has loaded torch and our modules already.

Loading torch, torchvision and what a trial needs takes some four seconds of a core, as long as a small trial computes.
A driver on this machine starts one such Python with its first job (`warm_server`); helpers, jobs and workers are its
children from then on, each a process of its own, in a session of its own where it is told so. It loads and waits, and
does nothing else: it has no threads, no CUDA, nothing of any trial.

It is asked through a socket that it inherited, so that nobody else can ask, and ends when the last one who could ask is
gone. Its children stay.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

SERVER = "vprdist.launch.warm_server"
JOB_MODULES = ("vprdist.launch.local", "vprdist.launch.forked")
"""What submits and becomes jobs on this machine."""
ANSWER_S = 300.0
"""How long a Python that loads may take until it answers."""
ANSWER = struct.Struct("q")
"""How it answers: with the pid, and with the exit code in the end."""
LENGTH = struct.Struct("Q")
_here: WarmPython | None = None
_kept: Sequence[str] = ()


class WarmPython:
    """A Python that has loaded what its children need.

    Args:
        modules: what it loads.
        environment: its own: what Python and numerical libraries read when they are loaded is said here.
        server: the module that it is.
    """

    def __init__(self, modules: Sequence[str], environment: Mapping[str, str], server: str = SERVER) -> None:
        self.asked, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-P", "-m", server, *modules]
            self.process: subprocess.Popen[bytes] | None = subprocess.Popen(
                command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, env=dict(environment)
            )

    @classmethod
    def behind(cls, asked: socket.socket) -> WarmPython:
        """One that somebody else has started."""
        python = cls.__new__(cls)
        python.asked, python.process = asked, None
        return python

    @property
    def is_gone(self) -> bool:
        """Whether it has ended."""
        return self.process is not None and self.process.poll() is not None

    def start(
        self, module: str, words: Sequence[str], files: Sequence[int], environment: Mapping[str, str], *,
        pass_fds: Sequence[int] = (), new_session: bool = False, new_group: bool = False, safe_path: bool = False,
        folder: Path | None = None,
    ) -> WarmProcess:  # fmt: skip
        """What `python -m MODULE WORDS` would be.

        Args:
            files: descriptors of its standard input, output and error.
            environment: all of it.
            pass_fds: further ones; they have the same numbers there.
            new_session: of its own; else it is of this session, and with `new_group` of a group of its own in it.
            folder: where it works; None: in this one.
            safe_path: modules of the working folder are none for it (`python -P`).

        Raises:
            OSError: nobody answers there any more.
        """
        said = {
            "module": module, "words": list(words), "environment": dict(environment), "safe_path": safe_path,
            "folder": str(folder or Path.cwd()), "numbers": [0, 1, 2, *pass_fds],
            "group": None if new_session else 0 if new_group else os.getpgrp(),
        }  # fmt: skip
        text = json.dumps(said).encode()
        mine, theirs = socket.socketpair()
        try:
            with theirs:
                socket.send_fds(self.asked, [b"+"], [theirs.fileno()])
            # The files come with the length: the text may be longer than one message.
            socket.send_fds(mine, [LENGTH.pack(len(text))], [*files, *pass_fds])
            mine.sendall(text)
            mine.settimeout(ANSWER_S)
            if (pid := _answer(mine)) is None:
                raise OSError("the Python that was to start a process is gone")
        except BaseException:
            mine.close()
            raise
        return WarmProcess(pid, mine)

    def kill(self) -> None:
        """It is to start nothing more, what it was asked for included; what it started goes on."""
        self.asked.close()
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def close(self) -> None:
        """Nobody asks any more: it ends, and what it started goes on."""
        self.asked.close()
        if self.process is not None:
            self.process.wait()


class WarmProcess:
    """A process that a warm Python started; as `subprocess.Popen`, as far as that is needed."""

    def __init__(self, pid: int, answered: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._answered, self._reading = answered, threading.Lock()
        answered.settimeout(None)

    def poll(self) -> int | None:
        """Its exit code, a signal's number below zero, or None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0.0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended.

        Raises:
            subprocess.TimeoutExpired: it still runs after so many seconds.
        """
        if not self._reading.acquire(timeout=-1 if timeout is None else timeout):
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)  # another thread waits for the same
        try:
            if self.returncode is None:
                if timeout is not None and not select.select([self._answered], [], [], timeout)[0]:
                    raise subprocess.TimeoutExpired(str(self.pid), timeout)
                code = _answer(self._answered)
                self.returncode = -signal.SIGKILL if code is None else code  # whoever watched it was killed too
                self._answered.close()
            return self.returncode
        finally:
            self._reading.release()

    def send_signal(self, number: int) -> None:
        """As `kill`, where it still runs."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


def _answer(answered: socket.socket) -> int | None:
    said = b""
    while len(said) < ANSWER.size:
        try:
            more = answered.recv(ANSWER.size - len(said))
        except ConnectionResetError:
            more = b""
        if not more:
            return None
        said += more
    return int(ANSWER.unpack(said)[0])


def warm_python(modules: Sequence[str], environment: Mapping[str, str]) -> WarmPython:
    """The one that this process asks; started where there is none, or it is gone."""
    if _here is None or _here.is_gone:
        use(WarmPython(modules, environment))
    assert _here is not None
    return _here


def use(python: WarmPython | None) -> None:
    """From here on this process asks that one; None: it has to start one."""
    global _here
    _here = python


@contextlib.contextmanager
def kept(modules: Sequence[str]) -> Iterator[None]:
    """Within it every process of ours that loads torch is a child of a warm Python, which the first of them starts. It
    ends with it, for whoever asked may live for days, as a notebook does; what it started goes on.

    Args:
        modules: what it loads; none: each process has a Python of its own.
    """
    global _kept
    before, there = _kept, _here
    _kept = modules
    try:
        yield
    finally:
        _kept = before
        if _here is not None and _here is not there:
            _here.kill()
            use(there)


def run_module(
    module: str, words: Sequence[str], told: str, heard: Callable[[str], None] = lambda line: None
) -> subprocess.CompletedProcess[str]:
    """`python -m MODULE WORDS` to its end, a child of the warm Python where there is one.

    Args:
        told: on its standard input.
        heard: takes each line that it prints, as soon as it does.
    """
    hears, says = os.pipe()
    with tempfile.TemporaryFile() as order, tempfile.TemporaryFile() as complaints, os.fdopen(hears) as answers:
        with os.fdopen(says, "wb") as answering:
            order.write(told.encode())
            order.seek(0)
            files = (order.fileno(), answering.fileno(), complaints.fileno())
            process = start_module(module, words, files, os.environ)
        lines = list[str]()
        for line in answers:
            lines.append(line)
            heard(line)
        code = process.wait()
        complaints.seek(0)
        said = complaints.read().decode(errors="replace")
    return subprocess.CompletedProcess([module, *words], code, "".join(lines), said)


def start_module(
    module: str, words: Sequence[str], files: Sequence[int], environment: Mapping[str, str], *,
    loaded: Sequence[str] | None = (), pass_fds: Sequence[int] = (), new_session: bool = False,
    safe_path: bool = False,
) -> WarmProcess | subprocess.Popen[bytes]:  # fmt: skip
    """`python -m MODULE WORDS`; see `WarmPython.start`.

    Args:
        loaded: what the warm Python loads where there is none yet; empty: only one that is there, or is to be kept, is
            asked. None: a Python of its own. That is also what becomes of it where the warm one is gone, for want of
            memory maybe: slower, and else the same.
    """
    loaded = _kept if loaded == () else loaded
    if loaded or (loaded is not None and _here is not None):
        python = warm_python(loaded, environment)
        try:
            return python.start(
                module, words, files, environment, pass_fds=pass_fds, new_session=new_session, safe_path=safe_path
            )
        except OSError:
            python.kill()
            use(None)
    return subprocess.Popen(
        [sys.executable, *(["-P"] if safe_path else []), "-m", module, *words], stdin=files[0], stdout=files[1],
        stderr=files[2], env=dict(environment), pass_fds=pass_fds, start_new_session=new_session,
    )  # fmt: skip

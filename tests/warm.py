"""Commands as a user types them, in processes that need not load torch first: tests start hundreds.

Each is a real process, with a session or group of its own where it wants one, files, environment, folder and exit code.
What it does not do is load modules: what loads when is for tests that start a Python of their own. Drivers among them
ask one warm Python for their jobs, which is there as long as the tests are.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import fcntl
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT, CompletedProcess
from typing import IO, Any

from vprdist.launch.warm import JOB_MODULES, WarmProcess, WarmPython, use
from vprdist.launch.warm_server import load, serve
from vprdist.machine import GIVEN_BACK_FROM, MAPPED_FROM

MODULES = (
    *JOB_MODULES, "submitit.core.submission", "vprdist.training.run", "vprdist.semantics.worker",
    "vprdist.probes.worker", "vprdist.cli.commands", "vprdist.driver.start", "vprdist.search.driver",
    "vprdist.program.run", "ray.tune", "ray.dag", "optuna", "faiss", "pandas", "scipy.stats", "jinja2", "torch.optim",
    "efficientnet_lite_pytorch",
)  # fmt: skip
REPO = Path(__file__).resolve().parents[1]
HIGH = 700
"""Above the numbers of all files of a process that asks."""
MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(MAPPED_FROM[1]), "MALLOC_TRIM_THRESHOLD_": str(GIVEN_BACK_FROM[1])}
"""What glibc is told: a network's weights go back to the kernel, and come again, with each network that tests build."""
HUGE = 2 << 20
"""Bytes of a huge page."""
COLLAPSE = 25
"""`MADV_COLLAPSE` of Linux' `madvise`."""
STACKS, STACKS_S = signal.SIGRTMIN + 7, 3.0
"""At this signal a process of the tests complains where each of its threads is, within so many seconds."""


_asked: WarmPython | None = None


def ask(python: WarmPython | None) -> None:
    """From here on the tests of this process ask that one; None: one of their own."""
    global _asked
    _asked = python


def _python() -> WarmPython:
    """One for all tests of this process."""
    if _asked is None:
        ask(WarmPython(MODULES, environment(), server=__name__))
    assert _asked is not None
    return _asked


def environment() -> dict[str, str]:
    """That of a Python which takes vprdist and the tests from here."""
    path = [str(REPO), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**MEMORY, **os.environ, "PYTHONPATH": os.pathsep.join(path)}


class OfTests:
    """The warm Python of the tests, in the place of one that the code under test would start in their process."""

    is_gone = False

    def start(self, *words: Any, **options: Any) -> WarmProcess:
        return _python().start(*words, **options)

    def kill(self) -> None:
        _python().kill()
        ask(None)


class Popen:
    """As `subprocess.Popen` of `[sys.executable, "-m", MODULE, …]`, of a script, or of code (`-c`)."""

    def __init__(
        self, command: Sequence[object], *, cwd: Path | str | None = None, env: Mapping[str, str] | None = None,
        stdin: Any = None, stdout: Any = None, stderr: Any = None, text: bool = False, process_group: int | None = None,
        start_new_session: bool = False, pass_fds: Sequence[int] = (),
    ) -> None:  # fmt: skip
        python, *words = map(str, command)
        assert python == sys.executable, command
        words = words[1:] if words[0] == "-m" else [__name__, "code" if words[0] == "-c" else "script", *words]
        assert process_group in (None, 0)
        self.args, self.text = list(command), text
        with contextlib.ExitStack() as stack:
            ends = [self._end(number, given, stack, text) for number, given in enumerate((stdin, stdout, stderr))]
            files = [ends[1 if number == 2 and stderr is STDOUT else number][0] for number in range(3)]
            self.stdin, self.stdout, self.stderr = (end[1] for end in ends)
            self.process: WarmProcess = _python().start(
                words[0], words[1:], files, os.environ if env is None else env, folder=Path(cwd or Path.cwd()),
                new_group=process_group == 0, new_session=start_new_session, pass_fds=pass_fds,
            )  # fmt: skip
        self.pid, self.wait, self.poll = self.process.pid, self.process.wait, self.process.poll
        self.send_signal, self.terminate, self.kill = (
            self.process.send_signal, self.process.terminate, self.process.kill,
        )  # fmt: skip

    @staticmethod
    def _end(number: int, given: Any, stack: contextlib.ExitStack, text: bool) -> tuple[int, IO[Any] | None]:
        """The descriptor that the process has, and what is held here of a pipe."""
        if given is None or given is STDOUT:
            return number, None
        if given is DEVNULL:
            return stack.enter_context(Path(os.devnull).open("r+b")).fileno(), None
        if given is not PIPE:
            return given if isinstance(given, int) else given.fileno(), None
        hears, says = os.pipe()
        theirs, ours = (hears, says) if number == 0 else (says, hears)
        stack.callback(os.close, theirs)
        return theirs, os.fdopen(ours, ("w" if number == 0 else "r") + ("" if text else "b"))

    @property
    def returncode(self) -> int | None:
        return self.process.returncode

    def communicate(self, input: Any = None, timeout: float | None = None) -> tuple[Any, Any]:
        """Say `input`, hear everything, wait. Whoever waited in vain hears what was said until then, and where the
        process is."""
        streams = [stream for stream in (self.stdout, self.stderr) if stream is not None]
        heard: dict[Any, list[Any]] = {stream: [] for stream in streams}
        threads = [threading.Thread(target=lambda s=each: heard[s].extend(s), daemon=True) for each in streams]
        for thread in threads:
            thread.start()
        if self.stdin is not None:
            with contextlib.suppress(BrokenPipeError), self.stdin:
                self.stdin.write(input or type(input)())
        try:
            self.wait(timeout)
        except subprocess.TimeoutExpired as error:
            self.send_signal(STACKS)
            time.sleep(STACKS_S)
            error.add_note("\n".join(f"it said: {self._all(heard[stream])}" for stream in streams))
            raise
        for thread in threads:
            thread.join(timeout)
        out, err = (None if stream is None else self._all(heard[stream]) for stream in (self.stdout, self.stderr))
        return out, err

    def _all(self, lines: list[Any]) -> Any:
        return ("" if self.text else b"").join(lines)

    def __enter__(self) -> Popen:
        return self

    def __exit__(self, *error: object) -> None:
        for stream in (self.stdout, self.stderr, self.stdin):
            if stream is not None:
                stream.close()
        self.wait()


def run(
    command: Sequence[object], *, capture_output: bool = False, check: bool = False, timeout: float | None = None,
    input: str | None = None, **options: Any,
) -> CompletedProcess[Any]:  # fmt: skip
    """As `subprocess.run`."""
    if capture_output:
        options |= {"stdout": PIPE, "stderr": PIPE}
    if input is not None:
        options["stdin"] = PIPE
    process = Popen(command, **options)
    try:
        out, err = process.communicate(input, timeout)
    except BaseException:
        process.kill()
        raise
    done = CompletedProcess(process.args, process.returncode or 0, out, err)
    if check:
        done.check_returncode()
    return done


def main(modules: Sequence[str]) -> None:
    """Load, and serve the tests."""
    load(modules)
    gather_pages()
    tell_of_stacks()
    with socket.socket(fileno=os.dup(0)) as asked:
        _serve(asked)


def tell_of_stacks() -> None:
    """This process's children, and theirs, answer to `STACKS`."""
    faulthandler.register(STACKS, file=2)


def gather_pages() -> None:
    """Have this process's memory in huge pages, where the kernel (6.1 and later) can: a fork copies a table of all
    pages, some 130,000 of them, and takes 15 ms in the place of 35."""
    madvise = ctypes.CDLL(None).madvise
    for line in Path("/proc/self/maps").read_text().splitlines():
        where, rights, _, _, node, *_ = line.split()
        if rights.startswith("rw") and node == "0":
            begin, end = (int(number, 16) for number in where.split("-"))
            for address in range(-(-begin // HUGE) * HUGE, end - HUGE + 1, HUGE):
                madvise(ctypes.c_void_p(address), ctypes.c_size_t(HUGE), COLLAPSE)


def fork_server(left: socket.socket) -> int:
    """Fork who serves tests what this process has loaded; the descriptor at which it is asked.

    Args:
        left: where this process alone is asked.
    """
    asks, asked = _pair()
    if os.fork() == 0:
        left.close()
        os.close(asks)
        _serve(asked)
        os._exit(0)
    asked.close()
    return asks


def _serve(asked: socket.socket) -> None:
    """Fork who serves drivers, and serve the tests until nobody can ask any more."""
    asks, asked_by_drivers = _pair()
    if os.fork() == 0:
        asked.close()
        os.close(asks)
        if (request := serve(asked_by_drivers)) is not None:
            request.run()
        os._exit(0)
    asked_by_drivers.close()
    if (request := serve(asked, keep=[asks])) is not None:
        use(WarmPython.behind(socket.socket(fileno=asks)))
        request.run()


def _pair() -> tuple[int, socket.socket]:
    """Two ends: a descriptor to ask at, and where that is heard."""
    mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with mine:
        return fcntl.fcntl(mine.fileno(), fcntl.F_DUPFD_CLOEXEC, HIGH), theirs


if __name__ == "__main__":
    if sys.argv[1] == "code":
        del sys.argv[:2]
        exec(compile(sys.argv.pop(1), "<string>", "exec"), {"__name__": "__main__"})
    elif sys.argv[1] == "script":
        del sys.argv[:2]
        sys.path.insert(0, str(Path(sys.argv[0]).parent))
        runpy.run_path(sys.argv[0], run_name="__main__")
    else:
        main(sys.argv[1:])

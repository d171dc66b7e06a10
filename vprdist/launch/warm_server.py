"""`python -P -m vprdist.launch.warm_server MODULES`: load them, then fork for whoever asks (`warm`)."""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import runpy
import signal
import socket
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from vprdist.launch.own_code import SEARCH_PATH
from vprdist.launch.warm import ANSWER, LENGTH, use
from vprdist.machine import load_for_good, use_huge_pages
from vprdist.source import running_source

MOST_FILES = 200
"""A process is handed at most so many."""
_is_child = False


def is_child() -> bool:
    """Whether this process was forked here: what it forks itself has loaded what it needs."""
    return _is_child


@dataclass(frozen=True)
class Request:
    """What a child is to be: see `WarmPython.start`."""

    module: str
    words: Sequence[str]
    environment: Mapping[str, str]
    folder: str
    numbers: Sequence[int]
    group: int | None
    safe_path: bool

    def become(self, files: Sequence[int], keep: Sequence[int]) -> None:
        """Take on its session, files, folder, environment and modules; it keeps no other files than those to `keep`."""
        global _is_child
        _is_child = True
        if self.group is None:
            os.setsid()
        else:
            with contextlib.suppress(OSError):  # that is of another session, or over
                os.setpgid(0, self.group)
        use(None)
        _place(files, self.numbers, keep)
        os.chdir(self.folder)
        tempfile.tempdir = None  # that of this environment, as soon as somebody asks
        os.environ.clear()
        os.environ.update(self.environment)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        named = self.environment.get(SEARCH_PATH, "").split(os.pathsep)
        sys.path[:0] = [folder for folder in named if folder and folder not in sys.path]
        if not self.safe_path:
            sys.path.insert(0, self.folder)
        if (random := sys.modules.get("numpy.random")) is not None:
            random.seed()  # as in a Python that begins: no two of them draw the same numbers
        sys.modules.pop(self.module, None)
        sys.argv = [self.module, *self.words]

    def run(self) -> None:
        """As `python -m` does."""
        to_the_end(lambda: runpy.run_module(self.module, run_name="__main__", alter_sys=True))


def to_the_end(work: Callable[[], object]) -> NoReturn:
    """Do it, and end this process as Python does, but for taking itself apart, which takes longer than a small job."""
    code: object = 1
    is_interrupted = False
    try:
        work()
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        is_interrupted = isinstance(error, KeyboardInterrupt)
    threading._shutdown()  # type: ignore[attr-defined]  # tells pools of threads to end, and waits for all but daemons
    atexit._run_exitfuncs()
    if not (code is None or isinstance(code, int)):
        print(code, file=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    if is_interrupted:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(code & 0xFF if isinstance(code, int) else int(code is not None))


def _place(files: Sequence[int], numbers: Sequence[int], keep: Sequence[int]) -> None:
    """Give files the numbers that they had, and close all others."""
    above = max(*files, *numbers) + 1
    for index, file in enumerate(files):
        os.dup2(file, above + index)
    for index, number in enumerate(numbers):
        os.dup2(above + index, number)
    begin = 3
    for number in sorted({number for number in (*numbers, *keep) if number >= begin}):
        os.closerange(begin, number)
        begin = number + 1
    os.closerange(begin, os.sysconf("SC_OPEN_MAX"))


def serve(asked: socket.socket, keep: Sequence[int] = ()) -> Request | None:
    """Fork for whoever asks. Returns in each child what it is; in this process None, when nobody can ask any more.

    Args:
        keep: descriptors above those of any process that asks; children have them.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # whoever watches a child is watched by nobody
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        message, files, _, _ = socket.recv_fds(asked, 1, 1)
        if not message:
            return None
        if os.fork() == 0:
            asked.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            return _watched(socket.socket(fileno=files[0]), keep)
        os.close(files[0])


def _watched(answered: socket.socket, keep: Sequence[int]) -> Request:
    """Fork what was asked for, which returns; whoever forked it tells how it ends, and ends too."""
    length, files, _, _ = socket.recv_fds(answered, LENGTH.size, MOST_FILES)
    if len(length) < LENGTH.size:
        os._exit(0)
    text = bytearray()
    while len(text) < LENGTH.unpack(length)[0]:
        text += answered.recv(1 << 20)
    request = Request(**json.loads(text))
    if (pid := os.fork()) == 0:
        answered.close()
        request.become(files, keep)
        return request
    for file in (*files, 0, 1, 2):  # an end of a pipe that is held here would never close
        with contextlib.suppress(OSError):
            os.close(file)
    with contextlib.suppress(OSError):  # whoever asked may be gone
        answered.sendall(ANSWER.pack(pid))
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(OSError):
        answered.sendall(ANSWER.pack(os.waitstatus_to_exitcode(status)))
    os._exit(0)


def load(modules: Sequence[str]) -> None:
    """What cannot be loaded each child says itself."""
    use_huge_pages()
    for module in modules:
        with contextlib.suppress(Exception):
            load_for_good(module)
    for finalizer in weakref.finalize._registry:  # type: ignore[attr-defined]
        finalizer.atexit = False  # torch's operators: children would take apart, one by one, what ends with them
    running_source()  # the code that children run, whatever becomes of its files from here on
    gc.collect()
    gc.freeze()


def main() -> Callable[[], None] | None:
    """Returns what is to be done in a child."""
    load(sys.argv[1:])
    with socket.socket(fileno=os.dup(0)) as asked:
        request = serve(asked)
    return None if request is None else request.run


if __name__ == "__main__":
    # The module that others import, whose facts are those of the process, and not its copy that is run here.
    from vprdist.launch.warm_server import main as begin

    if (run := begin()) is not None:
        run()

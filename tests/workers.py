"""xdist's workers, forked from one Python that has imported every test module.

Each worker would spend some 17 s of a core on importing the same modules and rewriting the same asserts. The first one
that starts tests does it once, in a process of its own; a worker begins as that process's child and collects in a
second. It is a worker as any other from there on, with standard input and output to the one that started it.

    python -P tests/workers.py DOOR -u -c CODE      what xdist starts in the place of `python -u -c CODE`
"""

from __future__ import annotations

import gc
import os
import shlex
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path.insert(0, str(REPO))

from vprdist.launch.warm import WarmPython  # noqa: E402


class Nursery:
    """The process that workers are forked from, and the door where they are asked for.

    Args:
        collected: what pytest is to collect: paths, or a test's id.
        environment: that of the process; what libraries read when they are loaded is said here.
    """

    def __init__(self, collected: Sequence[str], environment: dict[str, str]) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="vprdist-workers-", dir="/tmp")  # a socket's path is short
        self.python = WarmPython(collected, environment, server=__name__)
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(f"{self.folder.name}/door")
        self.listening.listen()
        threading.Thread(target=self._open, daemon=True).start()

    @property
    def command(self) -> str:
        """In the place of `python`, for execnet."""
        return shlex.join([sys.executable, "-P", str(Path(__file__).resolve()), f"{self.folder.name}/door"])

    def _open(self) -> None:
        """Whoever knocks may ask: the folder is this user's alone."""
        while True:
            try:
                visitor, _ = self.listening.accept()
            except OSError:
                return
            with visitor:
                socket.send_fds(visitor, [b"+"], [self.python.asked.fileno()])

    def close(self) -> None:
        self.listening.close()
        self.folder.cleanup()
        self.python.asked.close()


def knock(door: str, *words: str) -> int:
    """Be the worker's process as far as xdist sees: its exit code, once it has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the worker is of this group, and hears it
    try:
        with socket.socket(socket.AF_UNIX) as visitor:
            visitor.connect(door)
            _, (asked,), _, _ = socket.recv_fds(visitor, 1, 1)
        python = WarmPython.behind(socket.socket(fileno=asked))
        worker = python.start("tests.workers", ["work", words[-1]], [0, 1, 2], os.environ, folder=Path.cwd())
    except OSError as error:
        print(f"no worker can be forked ({error}): this one imports what it needs itself", file=sys.stderr)
        os.execv(sys.executable, [sys.executable, *words])
    return worker.wait()


def main(collected: Sequence[str]) -> None:
    """Collect, fork whoever serves commands of tests, and serve workers."""
    import pytest

    from tests import warm
    from vprdist.launch import warm_server

    gc.disable()  # `load` freezes what is there, once; to look through it while it grows takes seconds
    pytest.main([*collected, "--collect-only", "-q", "-p", "no:cacheprovider", "-n0"])
    warm_server.load(warm.MODULES)
    gc.enable()
    gc.set_threshold(50_000)
    warm.gather_pages()
    warm.tell_of_stacks()
    with socket.socket(fileno=os.dup(0)) as asked:
        asks = warm.fork_server(asked)
        if (request := warm_server.serve(asked, keep=[asks])) is not None:
            warm.ask(WarmPython.behind(socket.socket(fileno=asks)))
            warm_server._is_child = False  # drivers in a worker ask for processes, as those of a cold Python do
            request.run()


if __name__ == "__main__":
    if sys.argv[1] == "work":
        sys.argv, code = ["-c"], sys.argv[2]
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
    elif Path(sys.argv[1]).is_socket():
        sys.exit(knock(*sys.argv[1:]))
    else:
        main(sys.argv[1:])

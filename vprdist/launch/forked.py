"""A job on this machine without a new Python: submitit's controller and its ranks are forked, and load nothing."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from submitit.core.utils import JobPaths
from submitit.local.local import Controller

from vprdist.launch import enter
from vprdist.launch.warm_server import to_the_end


def fork_controller(folder: Path, command: str, parameters: Mapping[str, Any]) -> int:
    """Start submitit's controller of a job; it outlives this process.

    Args:
        folder: of the job's logs and pickles.
        command: what each rank is, a shell's; only its words for `enter` are used.
        parameters: as submitit's executor has them.

    Returns:
        The controller's pid, which is the job's id.
    """
    gpus = parameters.get("visible_gpus", ())[: parameters.get("gpus_per_node", 0)]
    environment = {
        "SUBMITIT_LOCAL_NTASKS": str(parameters.get("tasks_per_node", 1)),
        "SUBMITIT_LOCAL_COMMAND": command,
        "SUBMITIT_LOCAL_TIMEOUT_S": str(int(60 * parameters.get("timeout_min", 2.0))),
        "SUBMITIT_LOCAL_SIGNAL_DELAY_S": str(int(parameters.get("signal_delay_s", 30))),
        "SUBMITIT_LOCAL_NODEID": "0",
        "SUBMITIT_LOCAL_JOB_NUM_NODES": "1",
        "SUBMITIT_STDERR_TO_STDOUT": "1" if parameters.get("stderr_to_stdout") else "",
        "SUBMITIT_EXECUTOR": "local",
        "CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus)),
        "SUBMITIT_LOCAL_WITH_SHELL": "",
    }
    sys.stdout.flush()
    sys.stderr.flush()
    if (pid := os.fork()) == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # the locks of the submission among them
        os.environ.update(environment)
        to_the_end(lambda: _Controller(folder).run())
    return pid


class _Controller(Controller):  # type: ignore[misc]
    """submitit's, which restarts, warns and ends its tasks; they are forked."""

    def start_tasks(self) -> None:
        """One a rank, each with its log."""
        self.folder.mkdir(exist_ok=True)
        words = self.command[self.command.index(enter.__name__) + 1 :]
        for rank in range(self.ntasks):
            paths = JobPaths(self.folder, self.pid, rank)
            files = [paths.stdout] if self.stderr_to_stdout else [paths.stdout, paths.stderr]
            self.tasks.append(_Task(words, files, {
                "SUBMITIT_LOCAL_LOCALID": str(rank), "SUBMITIT_LOCAL_GLOBALID": str(rank),
                "SUBMITIT_LOCAL_JOB_ID": self.pid,
            }))  # fmt: skip


class _Task:
    """A rank; as `subprocess.Popen`, as far as the controller needs one.

    Args:
        words: for `enter`.
        files: where it prints, and where it complains if that is elsewhere.
    """

    def __init__(self, words: Sequence[str], files: Sequence[Path], environment: Mapping[str, str]) -> None:
        run = multiprocessing.get_context("fork").Process(target=_rank, args=(words, files, environment))
        run.start()
        self._process = run

    def poll(self) -> int | None:
        """Its exit code, or None."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """As `kill`."""
        if self._process.is_alive():
            os.kill(int(self._process.pid or 0), number)


def _rank(words: Sequence[str], files: Sequence[Path], environment: Mapping[str, str]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the controller hands it on
    for number, file in ((1, files[0]), (2, files[-1])):
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(descriptor, number)
        os.close(descriptor)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(write_through=True)  # type: ignore[union-attr]
    os.environ.update(environment)
    sys.argv = [enter.__name__, *words]
    sys.exit(enter.main())

"""Jobs on this machine: submitit's controller in a session of its own, judged by pid and kernel start time."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from vprdist.launch.cluster import ALIVE, GONE, UNKNOWN, Sight
from vprdist.launch.enter import entry
from vprdist.launch.permit import Permit
from vprdist.machine import machine_name, pid_start, process_alive
from vprdist.store.batch_folder import BatchFolder
from vprdist.store.journal import JobRecord
from vprdist.store.trial_folder import TrialFolder, held

END_S = 5.0
"""How long a job that was killed is waited for."""


class LocalCluster:
    """This machine. Nothing is polled but /proc and locks, so every look is fresh."""

    confirm_s = 0.5
    batch = 1  # a helper's process group is its job's: cancelling kills the group

    def refresh(self, records: Iterable[JobRecord], now: float) -> None:
        """Nothing to do: `look` asks the kernel."""

    def look(self, folder: TrialFolder, record: JobRecord, now: float) -> Sight:
        """Alive while it is being submitted, while its controller lives, or while its rank 0 holds the lock.

        The lock tells the truth also for a controller that was killed, and from another machine on shared disks.
        """
        if held(folder.submit_lock) or folder.is_submitting_together(record):
            return UNKNOWN
        if record.machine == machine_name() and process_alive(record.pid, record.pid_start):
            return ALIVE
        return ALIVE if folder.is_running else GONE

    def silent_s(self, now: float) -> float:
        """The kernel always answers."""
        return 0.0

    def cancel(self, folder: TrialFolder, record: JobRecord) -> bool:
        """Kill the job's process group. Checkpoints appear by rename, so that nothing is torn by it.

        A job that others of its trials want goes on; it ends the process of this one, whose journal says so.

        submitit's own cancel is a SIGINT, which ranks started by a background process ignore; and its ranks
        ignore SIGTERM.
        """
        if record.machine != machine_name():
            return False
        if folder.others_wanted(record):
            _wait_until(lambda: not folder.is_running)
            return not folder.is_running
        groups = {record.process_group} if process_alive(record.pid, record.pid_start) else set()
        groups |= {_group_of_rank(folder, record)}
        for group in groups - {None, os.getpgrp()}:
            assert group is not None
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        _wait_until(lambda: not process_alive(record.pid, record.pid_start) and not folder.is_running)
        return not folder.is_running


def _wait_until(is_over: Callable[[], bool]) -> None:
    deadline = time.monotonic() + END_S
    while time.monotonic() < deadline and not is_over():
        time.sleep(0.02)


def _group_of_rank(folder: TrialFolder, record: JobRecord) -> int | None:
    """The process group of the rank 0 that started last, when it is of this submission and alive."""
    rows = [row for row in folder.starts() if row.get("token") == record.token]
    if not rows or not process_alive(rows[-1]["pid"], rows[-1]["pid_start"]):
        return None
    try:
        return os.getpgid(int(rows[-1]["pid"]))
    except ProcessLookupError:
        return None


def submit_here(folder: TrialFolder, record: JobRecord, logs: Path, permit: Permit) -> JobRecord:
    """Start submitit's controller; called in the helper, whose session the job keeps."""
    from vprdist.launch.executor import LocalExecutor
    from vprdist.launch.node import NodeJob

    executor = LocalExecutor(logs, command=entry("trial", logs, permit))
    executor.update_parameters(**record.parameters)
    job = executor.submit(NodeJob(record.job), str(folder.path), record.token)
    return record.updated(**_started(job))


def submit_pack_here(
    batch: BatchFolder, jobs: Sequence[Sequence[str]], record: JobRecord, permit: Permit
) -> list[dict[str, Any]]:
    """The same for several trials in one job.

    Args:
        jobs: the folders of its trials, one list.
        record: of any of them.

    Returns:
        What their journals say from now on.
    """
    from vprdist.launch.executor import LocalExecutor
    from vprdist.launch.pack import PackJob

    executor = LocalExecutor(batch.path, command=entry("pack", batch.path, permit))
    executor.update_parameters(**record.parameters)
    return [_started(executor.submit(PackJob(), tuple(jobs[0]), record.token))]


def _started(job: Any) -> dict[str, Any]:
    pid = int(job.job_id)
    return {
        "state": "submitted", "job_id": job.job_id, "pid": pid, "pid_start": pid_start(pid),
        "process_group": os.getpgrp(), "submitted_at": time.time(),
    }  # fmt: skip

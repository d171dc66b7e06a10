"""What the dispatcher asks of a cluster, and the one way a job is submitted: a helper that outlives the driver."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from vprdist.errors import LaunchError
from vprdist.launch.folder import TrialFolder
from vprdist.launch.journal import JobRecord, machine_name

SUBMIT_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Sight:
    """One look at a job. Unknown is not dead: an unanswered question changes nothing.

    Args:
        state: `alive` (queued or running), `gone`, or `unknown`.
        job_id: its id where the cluster found one; a job is adopted by it.
        reason: the cluster's word for how it ended.
    """

    state: Literal["alive", "gone", "unknown"]
    job_id: str | None = None
    reason: str = ""


ALIVE, GONE, UNKNOWN = Sight("alive"), Sight("gone"), Sight("unknown")


class Cluster(Protocol):
    """A place where jobs run: this machine, or SLURM."""

    confirm_s: float
    """Seconds between the two looks after which a job is taken for dead."""

    def refresh(self, records: Iterable[JobRecord], now: float) -> None:
        """Look at the whole queue once, if the last look is old enough."""

    def look(self, folder: TrialFolder, record: JobRecord, now: float) -> Sight:
        """What the last look says about one job."""

    def cancel(self, folder: TrialFolder, record: JobRecord) -> None:
        """End the job, with everything that it started."""


def submit(folder: TrialFolder, record: JobRecord, environment: Mapping[str, str]) -> None:
    """Journal the intent, then submit in a helper process of its own session.

    The helper finishes its submission and its journal whatever becomes of the driver, and holds the submit lock
    (inherited, so that there is no moment without it) while it does: an intent whose lock is free was never
    submitted, or its helper was killed.

    Raises:
        LaunchError: the cluster refused the job; the message ends with its words.
    """
    log = folder.attempt_log(record) / "submission.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    record = record.updated(state="intent", machine=machine_name(), job_id=None, submitted_at=None)
    lock = _take(folder.submit_lock)
    if lock is None:
        return
    try:
        folder.write_job(record)
        code = _run_helper(folder, record, environment, log, lock)
    finally:
        os.close(lock)
    if code != 0:
        said = log.read_text(errors="replace").strip().splitlines()
        raise LaunchError(f"job {record.name}", "the cluster accepts the job", None, " | ".join(said[-3:]))


def _run_helper(folder: TrialFolder, record: JobRecord, environment: Mapping[str, str], log: Path, lock: int) -> int:
    """The helper's exit status; 0 too when it takes too long: it holds the lock, and journals in the end."""
    with log.open("ab") as output:
        helper = subprocess.Popen(
            [sys.executable, "-m", "vprdist.launch.submit", str(folder.path), record.token],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=(lock,),
            env=dict(environment),
        )
    try:
        return helper.wait(SUBMIT_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return 0


def _take(path: Path) -> int | None:
    """A locked descriptor that a child may inherit (the lock is the description's, not the process's)."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor

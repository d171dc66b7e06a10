"""What the dispatcher asks of a cluster, and the one way jobs are submitted: a helper that outlives the driver."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from vprdist.disk import lock
from vprdist.errors import LaunchError
from vprdist.files import open_no_link
from vprdist.launch.own_code import with_own_code
from vprdist.launch.permit import PACKAGE, Permit
from vprdist.launch.warm import JOB_MODULES, start_module
from vprdist.machine import machine_name
from vprdist.private import OURSELVES, Trust
from vprdist.store.journal import JobRecord
from vprdist.store.trial_folder import TrialFolder

SUBMIT_TIMEOUT_S = 300.0
Cause = Literal["job", "cluster", "time", "preempted", "person"]
BLAMED = ("job", "cluster")
"""Causes that speak against the node."""


@dataclass(frozen=True)
class Sight:
    """One look at a job. Unknown is not dead: an unanswered question changes nothing.

    Args:
        state: `alive` (queued or running), `gone`, or `unknown`.
        job_id: its id where the cluster found one; a job is adopted by it.
        reason: the cluster's word for how it ended, or why it waits.
        cause: of an end: the `job` itself, the `cluster` (a failed node), its `time` limit, the cluster's other users
            (`preempted`), or a `person` who cancelled it.
        node: where it ran, when that was one node.
        alone: this trial's process ended, and its job goes on: the job itself has said so, and need not be asked twice.
        held: still in the queue, where it will never start: it is cancelled before another is submitted.
        waits: the cluster's word for why it has not started yet; empty where it runs.
    """

    state: Literal["alive", "gone", "unknown"]
    job_id: str | None = None
    reason: str = ""
    cause: Cause = "job"
    node: str = ""
    held: bool = False
    waits: str = ""
    alone: bool = False


ALIVE, GONE, UNKNOWN = Sight("alive"), Sight("gone"), Sight("unknown")


class Cluster(Protocol):
    """A place where jobs run: this machine, or SLURM."""

    confirm_s: float
    """Seconds between the two looks after which a job is taken for dead."""
    batch: int
    """Jobs that one helper may submit."""

    def refresh(self, records: Iterable[JobRecord], now: float) -> None:
        """Look at the whole queue once, if the last look is old enough."""

    def look(self, folder: TrialFolder, record: JobRecord, now: float) -> Sight:
        """What the last look says about one job."""

    def cancel(self, folder: TrialFolder, record: JobRecord) -> bool:
        """End the job, with everything that it started; False when the cluster did not take the order."""

    def silent_s(self, now: float) -> float:
        """For how long the cluster has not answered; 0 when it did."""


class Submission(NamedTuple):
    """One job to submit, its trial's folder, and whom the profile trusts with that."""

    folder: TrialFolder
    record: JobRecord
    trust: Trust = OURSELVES


@dataclass(frozen=True)
class _Order:
    """Submissions that one sbatch makes, and the lock that says that it is under way."""

    submissions: Sequence[Submission]
    lock: int

    def to_json(self) -> dict[str, Any]:
        """For the helper."""
        first, calls = self.submissions[0], {each.record.job for each in self.submissions}
        job = next((call for call in sorted(calls) if not call.startswith(PACKAGE)), first.record.job)
        return {
            "token": first.record.token, "lock": self.lock,
            "permit": Permit.calling(job, first.trust).to_json(),  # the driver's own word, not the journal's
            "folders": [str(each.folder.path) for each in self.submissions],
            "batch": str(batch.path) if (batch := first.folder.batch(first.record)) is not None else None,
        }  # fmt: skip


def submit(wanted: Sequence[Submission], environment: Mapping[str, str]) -> dict[str, LaunchError]:
    """Journal the intents, then submit in a helper process of its own session.

    The helper finishes its submissions and their journals whatever becomes of the driver, and holds the submit locks
    (inherited, so that there is no moment without them) while it does: an intent whose lock is free was never
    submitted, or its helper was killed. A trial that was finished, cancelled or taken meanwhile is left alone.

    Args:
        wanted: those whose records have `members` are submitted together with all others of the same token.

    Returns:
        What the cluster refused, by trial id; the message ends with its words.
    """
    groups: dict[str, list[Submission]] = {}
    for submission in wanted:
        groups.setdefault(submission.record.token, []).append(submission)
    with contextlib.ExitStack() as locks:
        orders = list[_Order]()
        for group in groups.values():
            order = _take_together(group, locks) if group[0].record.members else _take_alone(group[0], locks)
            if order is not None:
                orders.append(order)
        if orders:
            _run_helper(orders, environment, locks.close)
    entries = [entry for order in orders for entry in order.submissions]
    return {entry.folder.trial_id: error for entry in entries if (error := _refusal(entry)) is not None}


def _take_alone(submission: Submission, locks: contextlib.ExitStack) -> _Order | None:
    lock = _take(submission.folder.submit_lock)
    if lock is None:
        return None
    locks.callback(os.close, lock)
    if submission.folder.is_over:  # a person may have cancelled it a moment ago
        return None
    return _Order([_journal(submission)], lock)


def _take_together(group: Sequence[Submission], locks: contextlib.ExitStack) -> _Order | None:
    """One lock for all, of their submission's folder: a grid may have more trials than a process may have open files.

    Each trial's own lock is held while its intent is journalled: from then on the journal leads to the other one.
    """
    batch = group[0].folder.batch(group[0].record)
    assert batch is not None
    batch.path.mkdir(parents=True, exist_ok=True)
    lock = _take(batch.lock)
    assert lock is not None  # nobody else knows the token
    locks.callback(os.close, lock)
    jobs: dict[int, tuple[str, ...]] = {each.record.task or 0: each.record.members for each in group}
    batch.write_members([jobs[task] for task in sorted(jobs)])
    taken = []
    for submission in group:
        mine = _take(submission.folder.submit_lock)
        if mine is None:
            continue
        try:
            if not submission.folder.is_over:
                taken.append(_journal(submission))
        finally:
            os.close(mine)
    return _Order(taken, lock) if taken else None


def _journal(submission: Submission) -> Submission:
    folder, record, trust = submission
    folder.attempt_log(record).mkdir(parents=True, exist_ok=True)
    record = record.updated(state="intent", machine=machine_name(), job_id=None, submitted_at=None)
    folder.write_job(record)
    return Submission(folder, record, trust)


def _run_helper(orders: Sequence[_Order], environment: Mapping[str, str], let_go: Callable[[], None]) -> None:
    """Returns when the helper has ended, or takes too long: it holds the locks, and journals in the end.

    Args:
        let_go: closes the driver's own descriptors of the locks. Each is free when the helper is done with its trial:
            who cancels the first of a batch does not wait for the last.
    """
    first = orders[0].submissions[0]
    log = submission_log(first.folder, first.record)
    with os.fdopen(open_no_link(log, os.O_WRONLY | os.O_APPEND), "ab") as output, tempfile.TemporaryFile() as told:
        told.write(json.dumps([order.to_json() for order in orders]).encode())
        told.seek(0)
        helper = start_module(
            "vprdist.launch.submit", (), (told.fileno(), output.fileno(), output.fileno()),
            with_own_code(environment, first.trust), loaded=_loaded(first.record),
            pass_fds=[order.lock for order in orders], new_session=True, safe_path=True,
        )  # fmt: skip
    let_go()
    with contextlib.suppress(subprocess.TimeoutExpired):
        helper.wait(SUBMIT_TIMEOUT_S)


def _loaded(record: JobRecord) -> Sequence[str] | None:
    """What a job on this machine, and whoever submits it, need not load again."""
    if record.cluster != "local":
        return None
    return (*JOB_MODULES, *([record.job.partition(":")[0]] if record.job.startswith(PACKAGE) else []))


def submission_log(folder: TrialFolder, record: JobRecord) -> Path:
    """What was said while the job was submitted."""
    batch = folder.batch(record)
    return folder.attempt_log(record) / "submission.log" if batch is None else batch.submission_log


def _refusal(entry: Submission) -> LaunchError | None:
    """Why the helper has ended and the journal still says intent; None when all is well or still under way."""
    folder, record, _ = entry
    now = folder.job()
    if now is None or now.token != record.token or now.state != "intent" or folder.is_submitting:
        return None
    try:
        said = submission_log(folder, record).read_text(errors="replace").strip().splitlines()
    except FileNotFoundError:
        said = ["the helper that submits jobs ended early; see the submission.log of the sweep's other trials"]
    said = said[-3:]
    if len(said) > 1 and all(" ".join(line.split()) in said[-1] for line in said[:-1]):
        said = said[:-1]  # submitit's error says sbatch's words once more
    return LaunchError(f"job {record.name}", "the cluster refuses the job", None, " | ".join(said))


def _take(path: Path) -> int | None:
    """A locked descriptor that a child may inherit (the lock is the description's, not the process's)."""
    descriptor = open_no_link(path, os.O_RDWR)
    try:
        lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, path)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor

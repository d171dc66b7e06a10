"""Ending trials for a person, safely beside a driver that lives here or elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

from vprdist.files import locked
from vprdist.launch.array_folder import Array, array_id
from vprdist.launch.local import LocalCluster
from vprdist.launch.queue_rows import ALIVE_STATES, QueueRow, queue_name
from vprdist.launch.slurm import ask_queue, cancel_jobs
from vprdist.machine import current_user
from vprdist.store.journal import Failure, JobRecord
from vprdist.store.trial_folder import TrialFolder

Cancelled = Literal["cancelled", "was cancelled before", "had no job", "done meanwhile", "had failed"]
MAY_LIVE = ("cancelled", "unreadable")
"""Kinds of failures whose job may live: the cancel was cut, or nobody can tell how the trial ended."""
PATIENCE_S = 60.0
LOOK_S = 2.0


def mark_cancelled(folders: Sequence[TrialFolder], by: str) -> list[tuple[Cancelled, JobRecord | None]]:
    """Say on the disk that these trials are not wanted any more; returns for each its job, if one may live.

    All failures are written first: from then on no driver submits for any of these trials. Those without a job come
    before the others, or a driver would give one of them the place of a job that ends here. Then each submit lock is
    waited for, so that no submission is between its intent and its journal; a rank that starts later finds the
    journal cancelled.
    """
    over: dict[str, Cancelled] = {}
    for folder in sorted(folders, key=_has_job):
        outcome = _write_cancellation(folder, by)
        if outcome is not None:
            over[folder.trial_id] = outcome
    return [_cancel_job(each) if each.trial_id not in over else (over[each.trial_id], None) for each in folders]


def _has_job(folder: TrialFolder) -> bool:
    record = folder.job()
    return record is not None and record.state != "cancelled"


def _write_cancellation(folder: TrialFolder, by: str) -> Cancelled | None:
    """None where the trial is cancelled now, and its job is still to be."""
    if folder.has_result:
        return "done meanwhile"
    failure = folder.failure()
    if failure is not None:
        return None if failure.kind in MAY_LIVE else "had failed"
    folder.path.mkdir(parents=True, exist_ok=True)
    record = folder.job()
    attempts = 0 if record is None else record.attempt
    folder.write_failure(Failure(reason=f"cancelled by {by}", attempts=attempts, kind="cancelled"))
    return None


def _cancel_job(folder: TrialFolder) -> tuple[Cancelled, JobRecord | None]:
    with locked(folder.submit_lock), _submitted_together(folder):
        record = folder.job()
        if record is None:
            return "had no job", None
        if record.state == "cancelled":
            return "was cancelled before", record  # it may live all the same: SLURM did not answer then
        folder.write_job(record.updated(state="cancelled"))
    return "cancelled", record


@contextlib.contextmanager
def _submitted_together(folder: TrialFolder) -> Iterator[None]:
    """A submission of the trial together with others that had begun is through, and no other begins meanwhile: that
    would need the trial's own lock."""
    record = folder.job()
    batch = folder.batch(record) if record is not None and record.state == "intent" else None
    if batch is None or not batch.path.exists():
        yield
        return
    with locked(batch.lock):
        yield


def cancelled_job(folder: TrialFolder) -> JobRecord | None:
    """The journal of a trial that was cancelled before; its job may live: the cancel was cut, or SLURM was silent."""
    failure = None if folder.has_result else folder.failure()
    return folder.job() if failure is not None and failure.kind in MAY_LIVE else None


@contextlib.contextmanager
def first_jobs_taken(places: Sequence[TrialFolder]) -> Iterator[list[tuple[TrialFolder, JobRecord]]]:
    """Those first jobs that no driver watches, while the block runs: none adopts or submits one then.

    What is gone afterwards is for the block to journal (`TrialFolder.write_job`): one that stays is found again.
    """
    with contextlib.ExitStack() as stack:
        taken = []
        for folder in places:
            try:
                if not stack.enter_context(folder.locked_by_driver()):
                    continue  # whoever waits for it ends it
            except PermissionError:  # somebody else's
                continue
            with locked(folder.submit_lock):  # a submission that had begun is through
                record = folder.job()
            if record is not None and record.state != "cancelled":
                taken.append((folder, record))
        yield taken


def end_jobs(
    jobs: Sequence[tuple[TrialFolder, JobRecord]], tell: Callable[[str], None], arrays: Sequence[Array] = ()
) -> list[str]:
    """End the jobs of cancelled trials, and cancelled arrays; wait until they are gone.

    On SLURM they are looked for by name and told apart by token, so that an orphan whose id nobody knows is found
    too, and the same trial's job of another run folder is left alone.

    Returns:
        The names of jobs that are still there.
    """
    here = LocalCluster()
    for folder, record in jobs:
        if record.cluster == "local":
            here.cancel(folder, record)
    for array in arrays:
        with array.locked():
            pass  # a submission that had begun is through: from here on the queue shows it
    left = [record.name for folder, record in jobs if record.cluster == "local" and folder.is_running]
    trials: dict[str, list[tuple[TrialFolder, JobRecord]]] = {}
    for folder, record in jobs:
        if record.cluster == "slurm":
            trials.setdefault(record.name, []).append((folder, record))
    names = [queue_name(record) for some in trials.values() for _, record in some]
    names += [array.queue_name for array in arrays]
    if not names:
        return left
    deadline, told = time.monotonic() + PATIENCE_S, ""
    alive = {each.name for each in names}
    while time.monotonic() < deadline:
        answer = ask_queue(current_user(), names)
        if answer is not None:
            alive = _end_rows([row for row in answer if row.state in ALIVE_STATES], trials, arrays)
            if not alive:
                return left
        text = "waiting for SLURM to answer" if answer is None else f"{len(alive)} job(s) are still ending"
        if text != told:
            tell(told := text)
        time.sleep(LOOK_S)
    return left + sorted(alive)


def _end_rows(
    rows: Sequence[QueueRow], trials: Mapping[str, Sequence[tuple[TrialFolder, JobRecord]]], arrays: Sequence[Array]
) -> set[str]:
    """Ask for the end of what is ours; the names of jobs that are there. A job whose other trials are wanted goes on,
    and ends this one's process by itself."""
    whole = [row for row in rows if any(array.job == row.name and array.owns(row) for array in arrays)]
    ending, alive = list[QueueRow](), {row.name for row in whole}
    for row in rows:
        ours = [each for each in trials.get(row.name, ()) if _is_of(row, *each)]
        if ours and not any(folder.others_wanted(record) for folder, record in ours):
            ending.append(row)
            alive.add(row.name)
        elif any(folder.is_running for folder, _ in ours):
            alive.add(row.name)
    wanted_tasks = {array_id(row) for row in rows if row not in ending}
    for clusters in {row.clusters for row in (*whole, *ending)}:
        cancel_jobs([row.job_id for row in whole if row.clusters == clusters], clusters)
        mine = [row for row in ending if row.clusters == clusters]
        # An array is ended as one where nobody wants any of its tasks.
        ids = {row.job_id if array_id(row) in wanted_tasks else array_id(row) for row in mine}
        cancel_jobs(ids, clusters, tasks=True)
    return alive


def _is_of(row: QueueRow, folder: TrialFolder, record: JobRecord) -> bool:
    return folder.has_submitted(row.token) and record.task in (None, row.task)

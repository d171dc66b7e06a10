"""Ending trials for a person, safely beside a driver that lives here or elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Literal

from vprdist.files import locked
from vprdist.launch.array import Array
from vprdist.launch.folder import TrialFolder
from vprdist.launch.journal import Failure, JobRecord, current_user
from vprdist.launch.local import LocalCluster
from vprdist.launch.slurm import ALIVE_STATES, ask, cancel_jobs, parse_squeue, squeue_command

Cancelled = Literal["cancelled", "had no job", "done meanwhile", "had failed"]
PATIENCE_S = 60.0
LOOK_S = 2.0


def mark_cancelled(folder: TrialFolder, by: str) -> tuple[Cancelled, JobRecord | None]:
    """Say on the disk that the trial is not wanted any more; returns its job, if one may live.

    The failure is written first: from then on no driver submits for this trial. The submit lock is waited for, so
    that no submission is between its intent and its journal; a rank that starts later finds the journal cancelled.
    """
    if folder.has_result:
        return "done meanwhile", None
    if folder.failure_file.exists():
        return "had failed", None
    folder.path.mkdir(parents=True, exist_ok=True)
    record = folder.job()
    attempts = 0 if record is None else record.attempt
    folder.write_failure(Failure(reason=f"cancelled by {by}", attempts=attempts, kind="cancelled"))
    with locked(folder.submit_lock):
        record = folder.job()
        if record is None or record.state == "cancelled":
            return "had no job", None
        folder.write_job(record.updated(state="cancelled"))
    return "cancelled", record


def end_jobs(
    jobs: Sequence[tuple[TrialFolder, JobRecord]], tell: Callable[[str], None], arrays: Sequence[Array] = ()
) -> list[str]:
    """End the jobs of cancelled trials, and cancelled arrays; wait until they are gone.

    On SLURM they are looked for by name, so that an orphan whose id nobody knows is found too: every job of a
    cancelled trial goes.

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
    names = sorted([record.name for _, record in jobs if record.cluster == "slurm"] + [each.job for each in arrays])
    if not names:
        return left
    deadline, told = time.monotonic() + PATIENCE_S, ""
    alive = set(names)
    while time.monotonic() < deadline:
        answer = ask(squeue_command(current_user(), names))
        if answer is not None:
            rows = [row for row in parse_squeue(answer) if row.state in ALIVE_STATES]
            if not rows:
                return left
            alive = {row.name for row in rows}
            cancel_jobs(row.job_id for row in rows)
        text = "waiting for SLURM to answer" if answer is None else f"jobs of {len(alive)} name(s) are still ending"
        if text != told:
            tell(told := text)
        time.sleep(LOOK_S)
    return left + sorted(alive)

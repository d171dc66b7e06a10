"""Jobs on SLURM: one squeue a sweep and interval, sacct only where squeue no longer knows, adoption by name."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vprdist.launch.cluster import UNKNOWN, Sight
from vprdist.launch.endings import last_word
from vprdist.launch.enter import Kind, entry
from vprdist.launch.params import job_environment
from vprdist.launch.paths import check_folder
from vprdist.launch.permit import PACKAGE_ALONE, Permit
from vprdist.launch.queue_rows import (
    GONE_STATES,
    JobKey,
    QueueName,
    QueueRow,
    at,
    key_of,
    parse_sacct,
    parse_squeue,
    queue_name,
    sacct_command,
    squeue_command,
)  # fmt: skip
from vprdist.machine import current_user
from vprdist.spec.profile import ClusterProfile
from vprdist.store.batch_folder import BatchFolder
from vprdist.store.journal import JobRecord
from vprdist.store.trial_folder import TrialFolder, held

COMMAND_TIMEOUT_S = 30.0
UNTOLD = (None, "CANCELLED")
"""What squeue says of jobs that accounting knows more of."""
SACCT_AGAIN_S = 600.0
SCANCEL_BATCH = 200
MAX_ARRAY_SIZE = 1001
"""SLURM's own default."""


def ask_queue(users: str, jobs: Iterable[QueueName]) -> list[QueueRow] | None:
    """The rows of jobs by name, with one question for each cluster; None where one of them is not answered."""
    names: dict[str | None, set[str]] = {}
    for job in jobs:
        names.setdefault(job.clusters, set()).add(job.name)
    rows: list[QueueRow] = []
    for clusters, mine in names.items():
        if (answer := ask(squeue_command(users, mine, clusters))) is None:
            return None
        rows += parse_squeue(answer, clusters)
    return rows


class SlurmCluster:
    """The queue as it was at the last look."""

    def __init__(self, profile: ClusterProfile) -> None:
        self.poll_s = profile.poll_s
        self.confirm_s = max(profile.poll_s, 5.0)
        self.batch = 32
        self._asked: frozenset[str] = frozenset()
        self._rows: dict[JobKey, list[QueueRow]] = {}
        self._listed: set[tuple[str, str]] = set()  # names and tokens
        self._looked_at = 0.0  # 0: there is no answer yet, or the last question failed
        self._tried_at = 0.0
        self._silent_since = 0.0
        self._no_sacct_until = 0.0

    def refresh(self, records: Iterable[JobRecord], now: float) -> None:
        """One squeue for all jobs that were ever journalled, at most every `poll_s`."""
        known = list(records)
        if not known or now - self._tried_at < self.poll_s:
            return
        self._tried_at = now
        rows = ask_queue(current_user(), map(queue_name, known))
        if rows is None:
            self._looked_at, self._silent_since = 0.0, self._silent_since or now
            return
        self._silent_since = 0.0
        self._rows = {}
        for row in rows:
            self._rows.setdefault(row.key, []).append(row)
        self._listed = {(row.name, row.token) for row in rows}
        self._ask_accounting(known, now)
        self._asked, self._looked_at = frozenset(record.name for record in known), now

    def silent_s(self, now: float) -> float:
        """Since the first question that was not answered."""
        return now - self._silent_since if self._silent_since else 0.0

    def _ask_accounting(self, known: Sequence[JobRecord], now: float) -> None:
        """What became of jobs that squeue has forgotten, and who cancelled those that it calls cancelled."""
        shown = {key_of(record): self._shown(record) for record in known}
        untold = [record for record in known if record.job_id and shown[key_of(record)] in UNTOLD]
        for clusters in {record.clusters for record in untold} if now >= self._no_sacct_until else ():
            asked = {record.job_id: record for record in untold if record.clusters == clusters and record.job_id}
            # An array by its own id: waiting tasks that were cancelled are one row, which none of their numbers finds.
            answer = ask(sacct_command({job_id.split("_")[0] for job_id in asked}, clusters))
            if answer is None:  # there is none here, or it is down: squeue alone must do for a while
                self._no_sacct_until = now + SACCT_AGAIN_S
                return
            self._take_accounting(answer, asked, shown)

    def _shown(self, record: JobRecord) -> str | None:
        rows = self._rows_of(record)
        return rows[-1].state if rows else None

    def _rows_of(self, record: JobRecord) -> list[QueueRow]:
        """Those of a submission's job. An array that was cancelled before any task began is one row, without tasks."""
        rows = self._rows.get(key_of(record), [])
        if rows or record.task is None:
            return rows
        whole = [row for row in self._rows.get((record.name, record.token, None), ()) if row.state in GONE_STATES]
        return [replace(row, job_id=record.id_of_task(row.job_id)) for row in whole]

    def _take_accounting(self, answer: str, asked: Mapping[str, JobRecord], shown: Mapping[JobKey, str | None]) -> None:
        by_array: dict[str, list[JobRecord]] = {}
        for job_id, record in asked.items():
            by_array.setdefault(job_id.split("_")[0] if record.task is not None else "", []).append(record)
        for row in parse_sacct(answer):
            of_row = [asked[row.job_id]] if row.job_id in asked else by_array.get(row.job_id, [])
            for record in of_row:
                # Job ids are used again; not every site keeps comments, and what squeue shows is newer.
                if record.name != row.name or row.token not in ("", record.token):
                    continue
                if shown[key_of(record)] in (None, row.state):
                    mine = replace(row, job_id=str(record.job_id), token=record.token)
                    self._rows.setdefault(key_of(record), []).insert(0, mine)

    def look(self, folder: TrialFolder, record: JobRecord, now: float) -> Sight:
        """This submission's row; a submission younger than the last look is unknown."""
        stale = record.name not in self._asked or self._looked_at <= (record.submitted_at or record.intended_at)
        if held(folder.submit_lock) or folder.is_submitting_together(record) or not self._looked_at or stale:
            return UNKNOWN
        rows = [row for row in self._rows_of(record) if record.job_id in (None, row.job_id)]
        sights = [(row.sight, row) for row in rows]
        for state in ("alive", "unknown", "gone"):
            for sight, row in sights:
                if sight.state == state and not (state == "alive" and self._doomed(folder, record, sight)):
                    # One without a node waited when it was cancelled: what its log holds is of an earlier run.
                    asks_log = sight.cause == "person" and row.nodes
                    return last_word(sight, folder.end_lines(record)) if asks_log else sight
        # A queue that forgot a job whose rank 0 still holds the lock is wrong.
        if folder.is_running:
            return Sight("alive", record.job_id)
        return self._taken_out(folder, record) or Sight("gone", reason="SLURM knows no such job")

    def _taken_out(self, folder: TrialFolder, record: JobRecord) -> Sight | None:
        """A waiting task that a person cancels leaves no trace: its array is in the queue without it."""
        batch = folder.batch(record)
        if record.task is None or batch is None or (record.name, record.token) not in self._listed:
            return None
        if folder.last_node(record) or batch.job_logs(record.job_id):
            return None  # it ran
        return Sight("gone", record.job_id, "SLURM took the waiting task out of its array", "person")

    def _doomed(self, folder: TrialFolder, record: JobRecord, sight: Sight) -> bool:
        """Cancel an orphan that waits for its pickled call in vain: the helper died before it moved the file."""
        if record.state == "submitted":
            return False
        batch = folder.batch(record)
        calls = folder.attempt_log(record) if batch is None else batch.path
        if (calls / f"{sight.job_id}_submitted.pkl").exists():
            return False
        scancel(_scancel_words(record, str(sight.job_id), record.clusters))
        return True

    def cancel(self, folder: TrialFolder, record: JobRecord) -> bool:
        """End the jobs of this submission, and of no other: its token finds them, also one whose id nobody knows.

        scancel by id and name together: ids start again on a fresh cluster; the queue is asked for a task's. A job that
        others of its trials want goes on; it ends the process of this one, whose journal says so.
        """
        if folder.others_wanted(record):
            return True
        rows = self._rows_of(record)
        if not rows or record.task is not None:
            if (answer := ask_queue(current_user(), [queue_name(record)])) is None:
                return False
            rows = [row for row in answer if row.is_of(record)]
        orders = [_scancel_words(record, row.job_id, row.clusters) for row in rows if row.state not in GONE_STATES]
        return all(list(map(scancel, orders)))  # a list: every one is asked for


def _scancel_words(record: JobRecord, job_id: str, clusters: str | None) -> list[str]:
    """A job by its name too; not so a task of an array: together they end all of its tasks that wait."""
    return [*at(clusters), *([f"--name={record.name}"] if record.task is None else []), job_id]


def max_array_size(clusters: str | None = None) -> int:
    """Tasks that a job array may have; 0: the site has none."""
    answer = ask(["scontrol", *at(clusters), "show", "config"]) or ""
    rows = (line.partition("=") for line in answer.splitlines())
    found = [value.strip() for key, _, value in rows if key.strip() == "MaxArraySize"]
    return int(found[0]) if found and found[0].isdecimal() else MAX_ARRAY_SIZE


def cancel_jobs(job_ids: Iterable[str], clusters: str | None = None, *, tasks: bool = False) -> bool:
    """scancel; whether it went through.

    Args:
        tasks: of an array, those tasks alone; else arrays are cancelled whole.
    """
    wanted = sorted({job_id if tasks else job_id.split("_")[0] for job_id in job_ids})
    starts = range(0, len(wanted), SCANCEL_BATCH)
    batches = [[*at(clusters), *wanted[begin : begin + SCANCEL_BATCH]] for begin in starts]
    return all(list(map(scancel, batches)))  # a list: every batch is asked for, whatever became of those before


def commands_environment() -> dict[str, str]:
    """For SLURM's commands: a person's own SQUEUE_PARTITION or SLURM_CLUSTERS would hide jobs, which then look dead."""
    return {**job_environment(os.environ, None), "SLURM_BITSTR_LEN": "0"}  # all tasks of an array are named


def scancel(words: Sequence[str]) -> bool:
    """Whether SLURM took the order; a job that is over needs none."""
    try:
        done = subprocess.run(
            ["scancel", *words], capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False,
            env=commands_environment(),
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return False
    said = done.stderr.lower()
    return done.returncode == 0 or "already complet" in said or "invalid job id" in said


def ask(command: list[str]) -> str | None:
    """What one of SLURM's commands prints; None when it is missing, fails or hangs."""
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=True, env=commands_environment()
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout


def job_script(
    parameters: dict[str, Any], logs: Path, permit: Permit = PACKAGE_ALONE, kind: Kind = "trial", tasks: int = 1
) -> str:
    """The sbatch script of one job, word for word as `submit_to_slurm` submits it; nothing is written or asked.

    Args:
        tasks: of a job array; 1: it is none.

    Raises:
        LaunchError: the folder cannot stand in it.
    """
    from submitit.slurm.slurm import _make_sbatch_string

    check_folder(logs, "slurm")
    python, told = python_and_rest(parameters)
    if tasks > 1:
        told["map_count"] = tasks
    text: str = _make_sbatch_string(command=entry(kind, logs, permit, python), folder=logs, **told)
    return text


def python_and_rest(parameters: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The shell's words that start Python, and what submitit is told.

    Without srun they begin with `exec`: Python becomes the job's own process, which is the one that `--signal=B:`
    reaches.
    """
    told = {key: value for key, value in parameters.items() if key != "python"}
    python = shlex.join(parameters.get("python", [sys.executable]))
    return python if told.get("use_srun", True) else f"exec {python}", told


def slurm_executor(kind: Kind, logs: Path, parameters: dict[str, Any], permit: Permit, max_requeues: int) -> Any:
    """submitit's executor of a job or an array."""
    from vprdist.launch.executor import SlurmExecutor

    python, told = python_and_rest(parameters)
    executor = SlurmExecutor(logs, command=entry(kind, logs, permit, python), max_num_timeout=max_requeues)
    executor.update_parameters(**told)
    return executor


def submit_to_slurm(folder: TrialFolder, record: JobRecord, logs: Path, permit: Permit = PACKAGE_ALONE) -> JobRecord:
    """sbatch by submitit; called in the helper.

    Raises:
        LaunchError: the folder cannot stand in a job's script.
    """
    from vprdist.launch.node import NodeJob

    check_folder(logs, "slurm")
    executor = slurm_executor("trial", logs, record.parameters, permit, record.max_requeues)
    job = executor.submit(NodeJob(record.job), str(folder.path), record.token)
    return record.updated(state="submitted", job_id=job.job_id, submitted_at=time.time())


def submit_pack_to_slurm(
    batch: BatchFolder, jobs: Sequence[Sequence[str]], record: JobRecord, permit: Permit
) -> list[dict[str, Any]]:
    """One sbatch for several trials: a job, or an array of as many tasks; called in the helper.

    Args:
        jobs: the folders of the trials of each.
        record: of any of the trials.

    Returns:
        What the journals of each job's trials say from now on.

    Raises:
        LaunchError: the folder cannot stand in a job's script.
    """
    from vprdist.launch.pack import PackJob

    check_folder(batch.path, "slurm")
    executor = slurm_executor("pack", batch.path, record.parameters, permit, record.max_requeues)
    calls = [tuple(folders) for folders in jobs]
    if record.task is None:
        sent = [executor.submit(PackJob(), calls[0], record.token)]
    else:
        sent = executor.map_array(PackJob(), calls, [record.token] * len(calls))
    return [{"state": "submitted", "job_id": str(job.job_id), "submitted_at": time.time()} for job in sent]

"""What is known of each trial of a sweep at one moment, from its folder and one look at the queue."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from vprdist.errors import UserError
from vprdist.launch.cluster import ALIVE
from vprdist.launch.local import LocalCluster
from vprdist.launch.queue_rows import GONE_STATES, JobKey, QueueName, QueueRow, key_of, queue_name
from vprdist.launch.slurm import ask_queue
from vprdist.machine import current_user, user_name
from vprdist.store.batch_folder import read_end
from vprdist.store.driving import Preparing
from vprdist.store.journal import JobRecord
from vprdist.store.result_file import RUN_AGAIN, glance_at_result
from vprdist.store.rows import own_numbers
from vprdist.store.trial_folder import TrialFolder, held

REASONS = {
    "None": "about to start",
    "Resources": "waiting for free nodes",
    "Priority": "other jobs come first",
    "Dependency": "waits for another job",
    "BeginTime": "requeued a moment ago; starts again soon",
    "JobHeldUser": "held by you: scontrol release JOB",
    "JobHeldAdmin": "held by an operator",
    "Licenses": "waiting for a licence",
    "ReqNodeNotAvail": "the nodes asked for are down or reserved",
    "Reservation": "waiting for its reservation",
    "PartitionDown": "the partition is down",
    "PartitionInactive": "the partition is closed",
    "PartitionTimeLimit": "its time limit is above the partition's",
    "PartitionNodeLimit": "it asks for more nodes than the partition gives",
    "QOSMaxJobsPerUserLimit": "you have as many jobs running as the QOS allows",
    "QOSMaxGRESPerUser": "you use as many GPUs as the QOS allows",
    "QOSGrpGRES": "all GPUs of the QOS are in use",
    "AssocGrpGRES": "all GPUs of the account are in use",
    "AssocMaxJobsLimit": "you have as many jobs running as the account allows",
    "AssocGrpBillingMinutes": "the account's budget is spent",
    "launch failed requeued held": "its node could not start it; the driver submits it anew",
}
JOBS_AT_ONCE = frozenset(REASONS[word] for word in ("QOSMaxJobsPerUserLimit", "AssocMaxJobsLimit"))
"""Reasons that end with a job of one's own."""


@dataclass
class Facts:
    """One trial. Hours count devices: GPUs, or ranks where the job has no GPU. Times in seconds; None: unknown."""

    trial: str
    name: str
    state: str
    stage: str = ""
    step: int | None = None
    steps: int | None = None
    objective: float | None = None
    left_s: float | None = None
    node: str = ""
    spent_h: float = 0.0
    wasted_h: float = 0.0
    why: str = ""
    attempt: int | None = None
    job_id: str | None = None
    watched: bool = False
    gpus: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Queue:
    """One look at SLURM. `rows` is None when it was not asked, or did not answer (`silent`)."""

    rows: dict[str, list[QueueRow]] | None
    silent: bool = False

    @cached_property
    def _by_job(self) -> dict[JobKey, list[QueueRow]]:
        found: dict[JobKey, list[QueueRow]] = {}
        for row in (row for some in (self.rows or {}).values() for row in some):
            found.setdefault(row.key, []).append(row)
        return found

    def of(self, record: JobRecord) -> list[QueueRow]:
        """The rows of that submission's job."""
        return self._by_job.get(key_of(record), [])


def look_at_queue(folders: Iterable[TrialFolder], others: Iterable[QueueName] = ()) -> Queue:
    """One squeue for every unfinished trial whose job is on SLURM; none where there is no such trial.

    Args:
        others: further jobs that the same question is about.
    """
    names, users = set(others), {current_user()}
    for folder in folders:
        record = None
        with contextlib.suppress(UserError):  # `read_facts` says so
            record = None if folder.is_over else folder.job()
        if record is not None and record.cluster == "slurm":
            names.add(queue_name(record))
            users.add(user_name(folder.job_file.stat().st_uid))  # somebody else's sweep may be looked at
    if not names:
        return Queue(None)
    answer = ask_queue(",".join(sorted(users)), names)
    if answer is None:
        return Queue(None, silent=True)
    rows: dict[str, list[QueueRow]] = {}
    for row in answer:
        rows.setdefault(row.name, []).append(row)
    return Queue(rows)


def read_facts(
    folder: TrialFolder, name: str, objective: str, queue: Queue, stopped: Mapping[str, Mapping[str, Any]], now: float
) -> Facts:
    """Everything about one trial. A file of it that cannot be read costs it what the file tells: `why` names the file,
    and a trial of which nobody can say how far it is is `unreadable`.

    Args:
        stopped: what a scheduler stopped early, by trial id.
    """
    record: JobRecord | None = None
    facts = Facts(trial=folder.trial_id, name=name, state="waiting")
    try:
        record = folder.job() if folder.path.exists() else None
        if record is not None:
            facts.attempt, facts.job_id = record.attempt, record.job_id
            facts.gpus = bool(record.num_node_gpus)
        facts.watched = folder.path.exists() and not folder.has_result and held(folder.driver_lock)
        _state(facts, folder, record, queue, stopped.get(folder.trial_id), now)
    except UserError as error:
        facts.state, facts.why = "done" if folder.has_result else "unreadable", str(error)
    said = glance_at_result(folder.result_file) if folder.has_result else {}
    if folder.has_result and not said:
        facts.state, facts.why = "unreadable", f"{folder.result_file}: a result must be readable. {RUN_AGAIN}"
    try:
        _progress(facts, folder, record, objective, now, said)
    except UserError as error:
        facts.why = facts.why or str(error)
    return facts


def _state(
    facts: Facts,
    folder: TrialFolder,
    record: JobRecord | None,
    queue: Queue,
    stop: Mapping[str, Any] | None,
    now: float,
) -> None:
    failure = None if folder.has_result else folder.failure()
    if folder.has_result:
        facts.state = "done"
    elif failure is not None:
        facts.state = failure.kind if failure.kind in ("cancelled", "unreadable") else "failed"
        facts.why = failure.reason
    elif stop is not None:
        facts.state, facts.why = "stopped", f"stopped early by the scheduler at step {stop.get('step')}"
    elif record is None or record.state == "cancelled":
        facts.why = "no job yet: waits for its turn" if facts.watched else "no job yet"
    elif folder.is_submitting:
        facts.state = "submitting"
    elif record.cluster == "local":
        alive = LocalCluster().look(folder, record, now) == ALIVE
        facts.state = "running" if alive else "ended"
        _turn_in_job(facts, folder, record)
    else:
        _state_on_slurm(facts, folder, record, queue)
    if facts.state == "ended":
        facts.why = "its job ended without a result; " + (
            "the driver tries it again" if facts.watched else "start the same command again"
        )


def _state_on_slurm(facts: Facts, folder: TrialFolder, record: JobRecord, queue: Queue) -> None:
    if queue.rows is None:
        facts.state, facts.why = ("running", "") if folder.is_running else ("unknown", "SLURM does not answer")
        return
    live = [row for row in queue.of(record) if row.state not in GONE_STATES]
    if not live:
        facts.state = "running" if folder.is_running else "ended"
        return
    row = live[-1]
    facts.job_id, facts.node = row.job_id, row.nodes
    if row.state == "RUNNING":
        facts.state = "running"
        _turn_in_job(facts, folder, record)
    elif row.state == "PENDING":
        facts.state, facts.why = "queued", explain(row.reason)
    else:
        facts.state, facts.why = row.state.lower(), explain(row.reason) if row.reason != "None" else ""


def _turn_in_job(facts: Facts, folder: TrialFolder, record: JobRecord) -> None:
    """A job that runs may run other trials now, and may have lost this one."""
    if facts.state != "running" or not record.members or folder.is_running:
        return
    if read_end(folder.attempt_log(record)) is not None:
        facts.state = "ended"
    elif len(record.members) > 1 and not any(row.get("token") == record.token for row in folder.starts()):
        facts.state, facts.why = "queued", f"its job runs; it comes after others of its {len(record.members)}"


def may_live(folder: TrialFolder, record: JobRecord, queue: Queue) -> bool:
    """Whether a cancelled trial's job is there, for all that is known; unknown is not dead.

    Args:
        queue: a look that asked for the job's name too.
    """
    if record.state != "cancelled" or folder.is_running:
        return True
    if record.cluster == "local":
        return LocalCluster().look(folder, record, time.time()) == ALIVE
    if folder.others_wanted(record):
        return False  # its job goes on without it
    rows = (queue.rows or {}).get(record.name, [])
    rows = [row for row in rows if folder.has_submitted(row.token) and record.task in (None, row.task)]
    return queue.rows is None or any(row.state not in GONE_STATES for row in rows)


def explain(reason: str) -> str:
    """Why a job waits, in plain words where they are known; SLURM's own word otherwise."""
    word = reason.strip("()").split(",")[0].replace("_", " ").strip()
    return REASONS.get(word.replace(" ", ""), REASONS.get(word, reason))


def _progress(
    facts: Facts, folder: TrialFolder, record: JobRecord | None, objective: str, now: float, said: Mapping[str, Any]
) -> None:  # fmt: skip
    starts = folder.all_starts()
    if not starts:
        return
    facts.node = facts.node or str(starts[-1].get("host", ""))
    rows = folder.rows()[0]
    train = [row for row in rows if row.get("kind") == "train"]
    if train:
        facts.step, facts.steps = int(train[-1]["step"]), int(train[-1]["steps"])
    last = rows[-1] if rows else {}
    if facts.state == "running":
        facts.stage = str(last.get("stage", "training")) if last.get("kind") == "stage" else "training"
        facts.left_s = _time_left(train)
    measured = [row for row in rows if row.get("kind") == "evaluate"]
    if measured and not train:  # a program that logs its numbers alone
        facts.step, facts.steps = int(measured[-1]["step"]), measured[-1].get("steps")
    values = [found[objective] for row in measured if objective in (found := own_numbers(row, every=True))]
    facts.objective = values[-1] if values else None
    if folder.has_result:
        value = folder.objective(objective, said)
        facts.objective = None if math.isnan(value) else value
    spent, wasted = hours(starts, rows, _end(folder, facts, now, said), done=folder.has_result)
    devices = _devices(record)
    facts.spent_h, facts.wasted_h = spent * devices, wasted * devices


def _end(folder: TrialFolder, facts: Facts, now: float, said: Mapping[str, Any]) -> float | None:
    """When the last start ended: now if it runs, with the result if there is one, unknown (its last row) otherwise."""
    if folder.has_result:
        written, starts, wall_s = folder.result_file.stat().st_mtime, folder.starts(), folder.wall_s(said)
        told = starts[0]["time"] + wall_s if starts and wall_s is not None else written
        # A copy of a run folder has files of the day that it was made; a result cannot be older than its last start.
        return min(written, told) if not starts or told > starts[-1]["time"] else written
    return now if facts.state == "running" else None


def hours(
    starts: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]], end: float | None, done: bool
) -> tuple[float, float]:
    """Hours that the job ran, and of them those whose work was lost: after the last checkpoint of a start that died.

    A start that died leaves no word of when: it lasted until its last row.
    """
    spent = wasted = 0.0
    times = [float(start["time"]) for start in starts]
    for index, begin in enumerate(times):
        following = times[index + 1] if index + 1 < len(times) else None
        mine = [row for row in rows if "time" in row and begin <= row["time"] < (following or float("inf"))]
        last_row = max((float(row["time"]) for row in mine), default=begin)
        final = following is None
        until = end if final and end is not None else last_row
        spent += max(0.0, until - begin)
        if not (final and (done or end is not None)):
            saved = [float(row["time"]) for row in mine if row.get("kind") in ("checkpoint", "untrained")]
            wasted += max(0.0, until - max(saved, default=begin))
    return spent / 3600, wasted / 3600


def _devices(record: JobRecord | None) -> float:
    """Those that it has for itself; trials side by side have a part of one each."""
    if record is None:
        return 1
    devices = int(record.parameters.get("nodes", 1)) * (record.num_node_gpus or record.num_node_ranks)
    return devices / record.share if record.num_node_gpus else devices


def _time_left(train: Sequence[Mapping[str, Any]]) -> float | None:
    """Steps to go at the pace of the last rows."""
    recent = [row for row in train[-20:] if "time" in row]
    if len(recent) < 2 or recent[-1]["step"] <= recent[0]["step"]:
        return None
    pace = (recent[-1]["time"] - recent[0]["time"]) / (recent[-1]["step"] - recent[0]["step"])
    return float(pace * (recent[-1]["steps"] - recent[-1]["step"]))


def dump(facts: Sequence[Facts], probes: Mapping[str, Any] | None, preparing: Preparing | None = None) -> str:
    """For other programs.

    Args:
        probes: how far those of the sweep's networks are; None where there are none.
        preparing: what is made before there are trials; None: nothing.
    """
    trials = [each.to_json() for each in facts]
    before = None if preparing is None else preparing.model_dump(mode="json")
    return json.dumps({"time": time.time(), "trials": trials, "probes": probes, "preparing": before}, indent=1)

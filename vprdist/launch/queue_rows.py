"""What SLURM's queue and accounting say of our jobs, and the questions: pure, nothing is asked here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from vprdist.launch.cluster import Cause, Sight
from vprdist.launch.endings import contradicts, who
from vprdist.store.journal import JobRecord, is_job_name, token_of

# fmt: off
ALIVE_STATES = frozenset((
    "PENDING", "RUNNING", "SUSPENDED", "COMPLETING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD",
    "REQUEUE_FED", "RESIZING", "SIGNALING", "SPECIAL_EXIT", "STAGE_OUT", "STOPPED", "RESV_DEL_HOLD",
))
GONE_STATES = frozenset((
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY",
    "PREEMPTED", "TIMEOUT", "REVOKED",
))
# fmt: on
IDLE_STATES = frozenset(
    ("SUSPENDED", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "STOPPED", "RESV_DEL_HOLD")
)
"""Alive, and nothing of it runs."""
CAUSES: dict[str, Cause] = {
    **dict.fromkeys(("BOOT_FAIL", "NODE_FAIL"), "cluster"),
    **dict.fromkeys(("PREEMPTED", "REVOKED"), "preempted"),
    **dict.fromkeys(("DEADLINE", "TIMEOUT"), "time"),
    "CANCELLED": "person",
}
"""To whom an end is due; all others are the job's own."""
HELD_FOR_EVER = "launch failed requeued held"
"""A job that could not be started on its node: SLURM keeps it, and never tries again by itself."""
SQUEUE_FORMAT = "%i|%j|%T|%r|%N|%k"
TASKS = re.compile(r"(\d+)_\[([\d,:-]+)(?:%\d+)?\]")
"""Tasks of a job array that wait, as one: `12_[0-3,7%4]`."""
JobKey = tuple[str, str, int | None]
"""A job's name, its submission's token, and which task of an array it is."""


class QueueName(NamedTuple):
    """A job's name, and the cluster that it is on where that is not the one at hand."""

    name: str
    clusters: str | None = None


def queue_name(record: JobRecord) -> QueueName:
    """What the queue is asked about a submission."""
    return QueueName(record.name, record.clusters)


@dataclass(frozen=True)
class QueueRow:
    """One job as SLURM lists it. `token` is the job's comment: which submission of the trial it is. `by`: the user who
    cancelled it, where SLURM says."""

    job_id: str
    name: str
    state: str
    reason: str
    nodes: str
    token: str
    by: str = ""
    clusters: str | None = None

    @property
    def task(self) -> int | None:
        """Which task of a job array it is; None: it is no array's, or of several."""
        number = self.job_id.partition("_")[2]
        return int(number) if number.isdecimal() else None

    @property
    def key(self) -> JobKey:
        """What it is found by (`key_of`)."""
        return self.name, self.token, self.task

    def is_of(self, record: JobRecord) -> bool:
        """Whether it is that submission; the same trial of another run folder has jobs of the same name."""
        return self.key == key_of(record)

    @property
    def sight(self) -> Sight:
        """The row as the dispatcher understands it; a word that we do not know is unknown, not dead."""
        node = self.nodes if self.nodes and not set(self.nodes) & set("[,(") else ""
        if self.state in ALIVE_STATES and self.reason.strip("()").replace("_", " ") == HELD_FOR_EVER:
            return Sight("gone", self.job_id, f"SLURM says {HELD_FOR_EVER}", "cluster", node, held=True)
        if self.state in ALIVE_STATES:
            return Sight("alive", self.job_id, self.reason, waits=self.waits)
        if self.state in GONE_STATES:
            by = f" by {who(self.by)}" if self.state == "CANCELLED" else ""
            reason = f"SLURM says {self.state}{by}" + (f" on {self.nodes}" if self.nodes else "")
            return Sight("gone", self.job_id, reason, CAUSES.get(self.state, "job"), node)
        return Sight("unknown", self.job_id, self.state)

    @property
    def waits(self) -> str:
        """SLURM's word for why a job has not started, or does not go on; empty where it does."""
        if self.state == "PENDING":
            reason = self.reason.strip("()")
            return "no reason yet" if reason in ("", "None") else reason
        return self.state.lower() if self.state in IDLE_STATES else ""


def key_of(record: JobRecord) -> JobKey:
    """What a submission's job is found by in the queue."""
    return record.name, record.token, record.task


def single_ids(job_id: str) -> Iterator[str]:
    """The id of each task of a job id that stands for several; any other as it is."""
    if (found := TASKS.fullmatch(job_id)) is None:
        yield job_id
        return
    for part in found[2].split(","):
        span, _, step = part.partition(":")
        first, _, last = span.partition("-")
        for task in range(int(first), int(last or first) + 1, int(step or 1)):
            yield f"{found[1]}_{task}"


def parse_squeue(text: str, clusters: str | None = None) -> list[QueueRow]:
    """The rows of our jobs in squeue's answer; other people's job names and comments may hold anything."""
    rows = []
    for line in text.splitlines():
        fields = [field.strip() for field in line.strip().split("|", 5)]
        if len(fields) == 6 and is_job_name(fields[1]):
            job_id, name, state, reason, nodes, comment = fields
            row = QueueRow(job_id, name, state, reason, nodes, token_of(comment), clusters=clusters)
            rows += [replace(row, job_id=each) for each in single_ids(job_id)]
    return rows


def parse_sacct(text: str) -> list[QueueRow]:
    """Our jobs in sacct's answer (`JobID|JobName|State|NodeList|ExitCode|Comment`), `CANCELLED by 0` too.

    A job that was requeued has a row for each of its runs where sites say so: the last is how it stands. One that was
    preempted, requeued and run to its end may be called PREEMPTED for ever: its batch step knows better.
    """
    rows: dict[str, QueueRow] = {}
    for line in text.splitlines():
        fields = [field.strip() for field in line.split("|", 5)]
        if len(fields) < 4 or not fields[2]:
            continue
        (job_id, _, step), (state, *more) = fields[0].partition("."), fields[2].split()
        state, code, token = state.rstrip("+"), *(*fields[4:], "", "")[:2]
        if not step and is_job_name(fields[1]):
            row = QueueRow(job_id, fields[1], state, "", fields[3], token_of(token), "".join(more[1:2]))
            rows |= {each: replace(row, job_id=each) for each in single_ids(job_id)}
        elif step == "batch" and job_id in rows and rows[job_id].state == "PREEMPTED" and contradicts(state, code):
            rows[job_id] = replace(rows[job_id], state=state)
    return list(rows.values())


def squeue_command(user: str, names: Iterable[str], clusters: str | None = None) -> list[str]:
    """The one question of an interval: all of the sweep's jobs, the ones that ended a moment ago too."""
    what = [f"--user={user}", f"--name={','.join(sorted(names))}", f"--format={SQUEUE_FORMAT}"]
    return ["squeue", *at(clusters), "--noheader", "--array", "--states=all", *what]


def sacct_command(job_ids: Iterable[str], clusters: str | None = None) -> list[str]:
    """What became of jobs that squeue has forgotten; bounded to a week, so that accounting is not searched whole."""
    ids = ",".join(sorted(job_ids))
    fields = "--format=JobID,JobName%80,State%24,NodeList%80,ExitCode,Comment%80"
    return ["sacct", *at(clusters), "--noheader", "--parsable2", f"--jobs={ids}", fields, "--starttime=now-7days"]


def at(clusters: str | None) -> list[str]:
    """What one of SLURM's commands is told to ask another cluster than the one at hand."""
    return [f"--clusters={clusters}"] if clusters else []

"""What a trial's folder remembers of its jobs: the journal of the last submission, and why it was given up."""

from __future__ import annotations

import re
import time
import uuid
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from vprdist.spec.base import Spec
from vprdist.spec.gres import num_gpus

NAME_PREFIX = "vprdist-"
UnixTime = Annotated[float, Field(ge=0, lt=2.5e11)]
"""Seconds since 1970, before the year 9892: clocks and calendars end there."""
MemberName = Annotated[str, Field(pattern=r"^[0-9A-Za-z_-]{1,100}$")]
"""The id of a trial, as a part of a path."""


class JobRecord(Spec):
    """`job.json`. It says `intent`, on the disk, before anything is submitted, so that no submission is forgotten."""

    state: Literal["intent", "submitted", "cancelled"]
    cluster: Literal["local", "slurm"]
    name: str = Field(description="the job's name on the cluster; adoption goes by it and by the token")
    token: str = Field(
        pattern=r"^[^/\x00]{1,100}$",
        description="names this one submission; a job whose token is not the journal's leaves at once",
    )
    attempt: int = Field(ge=1)
    lost: int = Field(default=0, ge=0, description="submissions before this one that the cluster took away")
    max_requeues: int = Field(default=100, ge=0, description="times that it may run into its time limit and go on")
    job: str = Field(description="module:function that the ranks call")
    parameters: dict[str, Any] = Field(description="what submitit is told")
    num_threads: int | None = None
    gpus: tuple[int, ...] = ()
    avoided: tuple[str, ...] = Field(default=(), description="nodes left out because jobs died there")
    ports: tuple[int, int] | None = None
    scratch: str | None = Field(default=None, description="node-local folder; its $VARIABLES are the node's")
    members: tuple[MemberName, ...] = Field(
        default=(), description="trials of the same job, this one too, where it was submitted together with others"
    )
    task: int | None = Field(default=None, ge=0, description="of the job array that it was submitted in")
    share: int = Field(default=1, ge=1, description="trials of the job that run at once, on one device")
    machine: str = Field(description="where a local job's pid means something")
    job_id: str | None = None
    pid: int | None = Field(default=None, gt=1, lt=2**31)
    pid_start: int | None = Field(default=None, description="kernel start time of the pid: pids are used again")
    process_group: int | None = Field(default=None, gt=1, lt=2**31)
    intended_at: UnixTime = Field(default_factory=time.time)
    submitted_at: UnixTime | None = None

    @field_validator("parameters")
    @classmethod
    def _counted(cls, told: dict[str, Any]) -> dict[str, Any]:
        """What others reckon with is a number; the rest is submitit's."""
        for name in ("nodes", "ntasks_per_node", "tasks_per_node"):
            if not isinstance(told.get(name, 1), int):
                raise ValueError(f"{name} must be a whole number")
        more = told.get("additional_parameters", {})
        if not isinstance(more, dict) or not isinstance(more.get("clusters"), (str, type(None))):
            raise ValueError("additional_parameters must be options of sbatch")
        return told

    @property
    def num_node_ranks(self) -> int:
        """Ranks on each node."""
        return int(self.parameters.get("ntasks_per_node", self.parameters.get("tasks_per_node", 1)))

    @property
    def num_node_gpus(self) -> int:
        """GPUs that it asked for on each node, in whichever words of sbatch: `4` and `a100:4` are counts."""
        told = self.parameters
        if told.get("gpus_per_node"):
            return num_gpus(f"gpu:{told['gpus_per_node']}")
        if told.get("gpus_per_task"):
            return self.num_node_ranks * num_gpus(f"gpu:{told['gpus_per_task']}")
        return num_gpus(str(told.get("gres", "")))

    @property
    def job_key(self) -> tuple[str, int | None]:
        """Names the job: trials of one pack have the same, tasks of one array have not."""
        return self.token, self.task

    @property
    def clusters(self) -> str | None:
        """The cluster that it was submitted to, where that is not the one at hand."""
        found: str | None = self.parameters.get("additional_parameters", {}).get("clusters")
        return found

    def id_of_task(self, job_id: str) -> str:
        """The job's id, told that of the submission."""
        return job_id if self.task is None else f"{job_id}_{self.task}"

    def updated(self, **changes: Any) -> JobRecord:
        """The same record with other values."""
        return self.model_copy(update=changes)


Ending = Literal["died", "refused", "mistake", "cancelled", "unreadable"]


class Failure(Spec):
    """`failure.json`: the trial was given up; the same command started again tries anew.

    `kind`: its jobs `died` too often, the cluster `refused` them, the job found a `mistake` that no second attempt
    mends, or a person `cancelled` it. `unreadable` is in no file: a file lies there, and nobody can tell which it was.
    """

    reason: str
    attempts: int
    log_lines: tuple[str, ...] = ()
    kind: Ending = "died"
    at: UnixTime = Field(default_factory=time.time)


def job_name(trial_id: str, prefix: str | None = None) -> str:
    """The name of a trial's job on the cluster; `prefix` is what the site wants before it."""
    return (prefix or "") + NAME_PREFIX + trial_id


def is_job_name(name: str) -> bool:
    """Whether it may be the name of one of our jobs, with a site's prefix or without."""
    return NAME_PREFIX in name


def token_of(comment: str) -> str:
    """The token in a job's comment, which ends with it."""
    found = re.search(r"[0-9a-f]{16}$", comment)
    return found[0] if found else comment


def new_token() -> str:
    """A name for one submission."""
    return uuid.uuid4().hex[:16]

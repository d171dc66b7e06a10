"""A profile: the facts of one cluster, or of this machine. Site facts live here, intent in sweep files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, PrivateAttr, field_validator, model_validator

from vprdist.errors import LaunchError, RuleError, nearest
from vprdist.private import Trust
from vprdist.spec.base import Spec
from vprdist.spec.names import is_name, name_remedy
from vprdist.spec.read import Origin, read_yaml, validate

PLAIN = re.compile(r"[A-Za-z0-9_.,:@%+=/-]*")
LISTS = re.compile(r"[A-Za-z0-9_.,&|()*\[\]-]*")
"""SLURM's own grammar of constraints and node lists; quoted like every value before it meets a shell."""
PLAIN_FIELDS = (
    *("partition", "account", "qos", "shared", "srun_args", "mail_user", "reservation"),
    *("trusted_group", "trusted_users"),
)
MailType = Literal["BEGIN", "END", "FAIL", "REQUEUE", "TIME_LIMIT", "TIME_LIMIT_90", "ALL"]
Port = Annotated[int, Field(ge=1024, le=65535)]


class DriverJob(Spec):
    """What `--detach` asks for: a small CPU job that drives the sweep, requeues and resumes."""

    partition: str | None = Field(default=None, description="as sbatch takes it; null: the profile's own")
    cpus: int = Field(default=2, ge=1, description="CPUs of the job")
    memory_gb: float | None = Field(
        default=None, gt=0, description="its memory; null: what the trials at once need, measured"
    )
    time_limit_min: int = Field(default=24 * 60, ge=2, description="limit of one start of it; it goes on after it")

    @field_validator("partition")
    @classmethod
    def _plain(cls, value: str | None) -> str | None:
        return _plain_words(value)


class ClusterProfile(Spec):
    """How a job is launched. Values are plain words; only `setup` lines are shell, by purpose."""

    kind: Literal["local", "slurm"] = Field(description="local: this machine, without a scheduler")
    ranks: int = Field(default=1, ge=1, description="tasks a node, one rank each")
    nodes: int = Field(default=1, ge=1, description="nodes a trial")
    gpus_per_node: int = Field(default=0, ge=0, description="GPUs a node; one a rank, or none")
    cpus_per_task: int | None = Field(
        default=None, ge=1, description="CPUs a rank; null: the site's own, on this machine a share of its cores"
    )
    memory_gb: float | None = Field(default=None, gt=0, description="memory a node; null: the site's own")
    time_limit_min: int = Field(default=24 * 60, ge=1, description="limit of one start of a job; it goes on after it")
    signal_lead_s: int = Field(default=120, ge=1, description="seconds of warning (USR2) before the time limit")
    requeue: bool = Field(default=True, description="SLURM may put a preempted job, or one of a failed node, back")
    max_requeues: int = Field(default=100, ge=0, description="times a job may run into its time limit and go on")
    max_concurrent: int | None = Field(default=None, ge=1, description="trials at once; null: what the machine bears")
    max_attempts: int = Field(default=3, ge=1, description="submissions of one trial before it is given up")
    array_limit: int = Field(default=64, ge=1, description="tasks of one job array that may run at once")
    poll_s: float = Field(
        # A queue that many people share is asked seldom; results are seen at once all the same.
        default_factory=lambda before: 30.0 if before.get("kind") == "slurm" else 1.0,
        gt=0,
        description="seconds between two looks at the queue; by default 30 on SLURM",
    )
    exclude_after: int = Field(default=2, ge=0, description="deaths on a node in a row before it is avoided; 0 never")
    partition: str | None = Field(default=None, description="as sbatch takes it; sinfo -s lists them")
    account: str | None = Field(default=None, description="as sbatch takes it, where there is accounting")
    qos: str | None = Field(default=None, description="quality of service, as sbatch takes it")
    constraint: str | None = Field(default=None, description="features that a node must have, as sbatch takes them")
    reservation: str | None = Field(default=None, description="as sbatch takes it")
    exclude: tuple[str, ...] = Field(default=(), description="nodes that are never used")
    mail_user: str | None = Field(default=None, description="who gets mail; together with mail_types")
    mail_types: tuple[MailType, ...] = Field(default=(), description="what mail is sent for, as sbatch takes them")
    ports: tuple[Port, Port] | None = Field(
        default=None, description="first and last port at which rank 0 may be met; null: any free one"
    )
    shared: tuple[str, ...] = Field(
        default=(), description="folders that compute nodes see; runs, data and cache must lie in one. Empty: unchecked"
    )
    trusted_group: str | None = Field(
        default=None, description="group whose members may write to run folders, and so run code as you; null: nobody"
    )
    trusted_users: tuple[str, ...] = Field(
        default=(), description="users beside you and root who may own folders that run folders lie in"
    )
    scratch: str | None = Field(
        default=None, description="node-local folder for copies of cache shards; $VARIABLES are the node's"
    )
    srun_args: tuple[str, ...] = Field(default=(), description="further words for srun, e.g. --container-image=…")
    setup: tuple[str, ...] = Field(default=(), description="shell lines before Python starts: modules, containers")
    driver: DriverJob = Field(default=DriverJob(), description="what --detach asks for: the driver as a small job")

    _origin: Origin | None = PrivateAttr(default=None)

    def where(self, name: str) -> str:
        """The line of its file that a key stands in, for messages."""
        return f"profile: {name}" if self._origin is None else self._origin.where((name,))

    @field_validator(*PLAIN_FIELDS)
    @classmethod
    def _plain(cls, value: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        return _plain_words(value)

    @field_validator("constraint", "exclude")
    @classmethod
    def _lists(cls, value: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        return _plain_words(value, LISTS)

    @field_validator("scratch")
    @classmethod
    def _scratch(cls, value: str | None) -> str | None:
        _plain_words(value.translate({ord(c): None for c in "${}"}) if value else None)
        return value

    @model_validator(mode="after")
    def _whole(self) -> ClusterProfile:
        if self.ports and self.ports[0] > self.ports[1]:
            raise RuleError("ports", "the first port must not be above the last", list(self.ports))
        if bool(self.mail_user) != bool(self.mail_types):
            raise RuleError("mail_user", "mail needs both mail_user and mail_types", None, "Set both, or none.")
        if 0 < self.gpus_per_node < self.ranks:
            fault = f"every rank needs a GPU of its own: {self.ranks} ranks a node"
            raise RuleError("gpus_per_node", fault, self.gpus_per_node, "Ask for as many, or lower `ranks`.")
        if self.signal_lead_s >= 60 * self.time_limit_min:
            fault = f"the warning must come after the start: less than the time limit, {60 * self.time_limit_min} s"
            raise RuleError("signal_lead_s", fault, self.signal_lead_s)
        return self

    @property
    def trust(self) -> Trust:
        """The users whom run folders are shared with."""
        return Trust(self.trusted_users, self.trusted_group)

    @property
    def num_ranks(self) -> int:
        """The world size of one trial."""
        return self.nodes * self.ranks


Words = TypeVar("Words", str | None, str | tuple[str, ...] | None)


def _plain_words(value: Words, allowed: re.Pattern[str] = PLAIN) -> Words:
    for word in value if isinstance(value, tuple) else [value or ""]:
        if not allowed.fullmatch(word):
            raise ValueError("this must be a plain word; shell belongs into `setup`")
    return value


def profile_folders() -> tuple[Path, ...]:
    """Where profiles are looked for: the working folder's slurm/profiles, then the checkout's."""
    checkout = Path(__file__).resolve().parents[2] / "slurm" / "profiles"
    return (Path("slurm/profiles"), checkout)


def read_profile(name: str, where: str = "cluster") -> ClusterProfile:
    """The profile of that name, or at that path.

    Args:
        where: what names it, for messages.

    Raises:
        LaunchError: no such profile.
        SweepFileError: the file breaks a rule.
    """
    is_path = name.endswith((".yaml", ".yml"))
    if not is_path and not is_name(name):
        raise LaunchError(where, "a profile must be a name, or the path of a .yaml file", name, name_remedy(name))
    candidates = [Path(name)] if is_path else [f / f"{name}.yaml" for f in profile_folders()]
    for path in candidates:
        if path.is_file():
            values, origin = read_yaml(path)
            profile = validate(ClusterProfile, values, origin)
            profile._origin = origin
            return profile
    known = sorted({p.stem for folder in profile_folders() for p in folder.glob("*.yaml")})
    raise LaunchError(where, "no such file of slurm/profiles", name, nearest(name, known))

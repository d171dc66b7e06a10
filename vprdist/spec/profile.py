"""A profile: the facts of one cluster, or of this machine. Site facts live here, intent in sweep files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, PrivateAttr, field_validator, model_validator

from vprdist.errors import LaunchError, nearest
from vprdist.private import Trust, owner_of_container
from vprdist.shipped import shipped_root
from vprdist.spec.base import Spec
from vprdist.spec.gres import num_gpus
from vprdist.spec.names import is_name, name_remedy
from vprdist.spec.profile_rules import check_profile
from vprdist.spec.read import Origin, read_yaml, validate
from vprdist.spec.sbatch_options import check_setup, options_of

PLAIN = re.compile(r"[A-Za-z0-9_.,:@%+=/-]*")
LISTS = re.compile(r"[A-Za-z0-9_.,&|()*?\[\]-]*")
"""SLURM's own grammar of constraints and node lists; quoted like every value before it meets a shell."""
REQUESTS = re.compile(r"[A-Za-z0-9_.,:@%+=/?|()-]*")
"""SLURM's own grammar of licences and dependencies."""
COMMENT = re.compile(r"[^\x00-\x1f\x7f'\"\\|]*")
PLAIN_FIELDS = (
    "partition", "account", "qos", "shared", "srun_args", "mail_user", "reservation", "gres", "gpu_type", "wckey",
    "python", "cluster_name", "trusted_group", "trusted_users",
)  # fmt: skip
MailType = Literal["BEGIN", "END", "FAIL", "REQUEUE", "TIME_LIMIT", "TIME_LIMIT_90", "ALL"]
Port = Annotated[int, Field(ge=1024, le=65535)]


Size = Annotated[str, Field(pattern=r"^\d+[KMGT]$")]


class DriverJob(Spec):
    """What `--detach` asks for: a small CPU job that drives the sweep, requeues and resumes."""

    partition: str | None = Field(default=None, description="as sbatch takes it; null: the profile's own")
    cpus: int = Field(default=2, ge=1, description="CPUs of the job")
    memory_gb: float | None = Field(
        default=None, gt=0, description="its memory; null: what the trials at once need, measured"
    )
    time_limit_min: int = Field(default=24 * 60, ge=2, description="limit of one start of it; it goes on after it")
    sbatch_args: tuple[str, ...] | None = Field(
        default=None, description="further options of its own for sbatch; null: the profile's"
    )

    @field_validator("sbatch_args")
    @classmethod
    def _options(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        options_of(value or ())
        return value

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
    gpus_per_task: int | None = Field(
        default=None, ge=1, description="GPUs a rank, for sites that bind them to tasks; null: as `gpus_per_node` says"
    )
    gpu_type: str | None = Field(default=None, description="the type of these GPUs, as sbatch takes it: a100")
    gres: str | None = Field(
        default=None, description="generic resources a node, as sbatch takes them: gpu:a100:4,nvme:1"
    )
    cpus_per_task: int | None = Field(
        default=None, ge=1, description="CPUs a rank; null: the site's own, on this machine a share of its cores"
    )
    cpus_per_gpu: int | None = Field(default=None, ge=1, description="CPUs a GPU, in the place of `cpus_per_task`")
    memory_gb: float | None = Field(
        default=None, ge=0, description="memory a node; null: the site's own, 0: all that a node has"
    )
    mem_per_cpu: Size | None = Field(default=None, description="in the place of `memory_gb`, as sbatch takes it: 4G")
    mem_per_gpu: Size | None = Field(default=None, description="in the place of `memory_gb`, as sbatch takes it: 60G")
    time_limit_min: int = Field(default=24 * 60, ge=1, description="limit of one start of a job; it goes on after it")
    signal_lead_s: int = Field(default=120, ge=1, description="seconds of warning (USR2) before the time limit")
    requeue: bool = Field(default=True, description="SLURM may put a preempted job, or one of a failed node, back")
    max_requeues: int = Field(default=100, ge=0, description="times a job may run into its time limit and go on")
    max_concurrent: int | None = Field(default=None, ge=1, description="jobs at once; null: what the machine bears")
    trials_per_job: int = Field(default=1, ge=1, description="trials that one job runs, one after another")
    side_by_side: int = Field(
        default=1, ge=1, description="how many of a job's trials run at once, on the GPU that the job has"
    )
    arrays: bool = Field(
        default=False, description="the jobs of a plain grid are job arrays; `max_concurrent` is then the limit of each"
    )
    max_attempts: int = Field(default=3, ge=1, description="submissions of one trial before it is given up")
    array_limit: int = Field(default=64, ge=1, description="tasks of one job array that may run at once")
    poll_s: float = Field(
        # A queue that many people share is asked seldom; results are seen at once all the same.
        default_factory=lambda before: 30.0 if before.get("kind") == "slurm" else 1.0,
        gt=0,
        description="seconds between two looks at the queue; by default 30 on SLURM",
    )
    check: bool = Field(
        default=True, description="on SLURM, a job of seconds first where the profile, Python or run folder is new"
    )
    exclude_after: int = Field(default=2, ge=0, description="deaths on a node in a row before it is avoided; 0 never")
    partition: str | None = Field(default=None, description="as sbatch takes it; sinfo -s lists them")
    account: str | None = Field(default=None, description="as sbatch takes it, where there is accounting")
    qos: str | None = Field(default=None, description="quality of service, as sbatch takes it")
    constraint: str | None = Field(default=None, description="features that a node must have, as sbatch takes them")
    reservation: str | None = Field(default=None, description="as sbatch takes it")
    exclude: tuple[str, ...] = Field(default=(), description="nodes that are never used")
    nodelist: tuple[str, ...] = Field(default=(), description="nodes that each job must have, as sbatch takes them")
    exclusive: bool | Literal["user", "mcs"] = Field(default=False, description="whole nodes, as sbatch takes it")
    licenses: str | None = Field(default=None, description="as sbatch takes them: name:count")
    nice: int | None = Field(default=None, description="as sbatch takes it: higher is later")
    hint: Literal["compute_bound", "memory_bound", "multithread", "nomultithread"] | None = Field(
        default=None, description="as sbatch takes it"
    )
    dependency: str | None = Field(default=None, description="what each job waits for, as sbatch takes it")
    wckey: str | None = Field(default=None, description="as sbatch takes it, where accounting wants one")
    clusters: str | None = Field(default=None, description="one other cluster to submit to, as sbatch takes it (-M)")
    comment_prefix: str | None = Field(
        default=None, description="what a job's comment begins with; the submission's token follows"
    )
    job_name_prefix: str | None = Field(default=None, description="what stands before `vprdist-` in a job's name")
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
    sbatch_args: tuple[str, ...] = Field(
        default=(), description="further options for sbatch, those without a key here: --switches=1"
    )
    use_srun: bool = Field(default=True, description="start the ranks by srun; false needs one rank")
    python: str | tuple[str, ...] | None = Field(
        default=None,
        description="the jobs' Python, or the words of a command that starts one; null: the one that submits",
    )
    setup: tuple[str, ...] = Field(default=(), description="shell lines before Python starts: modules, containers")
    teardown: tuple[str, ...] = Field(default=(), description="shell lines after the ranks ended by themselves")
    hosts: tuple[str, ...] = Field(
        default=(), description="`cluster: auto` takes this profile on these hosts: login*.site.org"
    )
    cluster_name: str | None = Field(
        default=None, description="`cluster: auto` takes this profile on the cluster whose ClusterName this is"
    )
    driver: DriverJob = Field(default=DriverJob(), description="what --detach asks for: the driver as a small job")

    _origin: Origin | None = PrivateAttr(default=None)

    @property
    def file(self) -> Path | None:
        """Where it was read."""
        return None if self._origin is None else self._origin.path

    def where(self, name: str) -> str:
        """The line of its file that a key stands in, for messages."""
        return f"profile: {name}" if self._origin is None else self._origin.where((name,))

    @field_validator(*PLAIN_FIELDS)
    @classmethod
    def _plain(cls, value: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        return _plain_words(value)

    @field_validator("constraint", "exclude", "nodelist", "hosts")
    @classmethod
    def _lists(cls, value: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        return _plain_words(value, LISTS)

    @field_validator("scratch")
    @classmethod
    def _scratch(cls, value: str | None) -> str | None:
        _plain_words(value.translate({ord(c): None for c in "${}"}) if value else None)
        return value

    @field_validator("licenses", "dependency")
    @classmethod
    def _requests(cls, value: str | None) -> str | None:
        return _plain_words(value, REQUESTS)

    @field_validator("clusters")
    @classmethod
    def _one_cluster(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[A-Za-z0-9_-]+", value):
            raise ValueError("this must be the name of one cluster: a job's id means something on one alone")
        return value

    @field_validator("job_name_prefix")
    @classmethod
    def _name(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[A-Za-z0-9_.-]{1,40}", value):
            raise ValueError("this must be letters, digits, `_`, `.` and `-`, at most 40")
        return value

    @field_validator("comment_prefix")
    @classmethod
    def _comment(cls, value: str | None) -> str | None:
        if value is not None and not COMMENT.fullmatch(value):
            raise ValueError("this must be one line without quotes, backslashes and `|`")
        return value

    @field_validator("sbatch_args")
    @classmethod
    def _options(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        options_of(value)
        return value

    @field_validator("setup")
    @classmethod
    def _setup(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        check_setup(value)
        return value

    @model_validator(mode="after")
    def _whole(self) -> ClusterProfile:
        check_profile(self)
        return self

    @property
    def trust(self) -> Trust:
        """The users whom run folders are shared with."""
        host = self.host_user
        return Trust(self.trusted_users if host is None else (*self.trusted_users, host), self.trusted_group)

    @property
    def host_user(self) -> str | None:
        """The number of the user whom root of a container stands for; None elsewhere, and for jobs of a cluster."""
        return owner_of_container() if self.kind == "local" else None

    @property
    def num_ranks(self) -> int:
        """The world size of one trial."""
        return self.nodes * self.ranks

    @property
    def num_node_gpus(self) -> int:
        """GPUs of one node, whichever key asks for them."""
        return self.gpus_per_node or self.ranks * (self.gpus_per_task or 0) or num_gpus(self.gres or "")

    @property
    def rank_cpus(self) -> int | None:
        """CPUs of one rank, whichever key asks for them; None: the site's own."""
        if self.cpus_per_gpu is None:
            return self.cpus_per_task
        return max(1, self.cpus_per_gpu * self.num_node_gpus // self.ranks)


Words = TypeVar("Words", str | None, str | tuple[str, ...] | None)


def _plain_words(value: Words, allowed: re.Pattern[str] = PLAIN) -> Words:
    for word in value if isinstance(value, tuple) else [value or ""]:
        if not allowed.fullmatch(word):
            raise ValueError("this must be a plain word; shell belongs into `setup`")
    return value


def profile_folders() -> tuple[Path, ...]:
    """Where profiles are looked for: the working folder's slurm/profiles, then those that came with vprdist."""
    return (Path("slurm/profiles"), shipped_root() / "slurm" / "profiles")


def profile_names() -> list[str]:
    """Every profile that can be called by its name."""
    return sorted({path.stem for folder in profile_folders() for path in folder.glob("*.yaml")})


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
    raise LaunchError(where, "no such file of slurm/profiles", name, nearest(name, profile_names()))

"""Is this a cluster that can run these jobs? Asked before anything is submitted, with at most three commands."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vprdist.errors import LaunchError, nearest
from vprdist.launch.params import submission_parameters
from vprdist.launch.permit import Permit
from vprdist.launch.queue_rows import at
from vprdist.launch.refusals import is_impossible, is_wrong, keys_of
from vprdist.launch.slurm import commands_environment, job_script
from vprdist.machine import current_user
from vprdist.spec.gres import num_gpus
from vprdist.spec.profile import ClusterProfile
from vprdist.store.journal import job_name

COMMANDS = ("sbatch", "srun", "squeue", "scancel", "sinfo", "scontrol")
ANSWER_S = 10.0
SINFO_FORMAT = "%P|%D|%c|%m|%G|%l|%f"
UNLIMITED_MIN = 10**9


@dataclass(frozen=True)
class NodeKind:
    """Nodes of one partition that are alike. Memory in MB, the partition's time limit in minutes."""

    partition: str
    default: bool
    count: int
    cpus: int
    memory_mb: int
    gpus: int
    limit_min: int
    features: frozenset[str]


def check_cluster(profile: ClusterProfile, paths: Sequence[Path]) -> tuple[str, ...]:
    """SLURM is there, and has the partition, account, nodes and time that the profile asks for.

    Args:
        paths: what a job reads and writes: runs, data, cache.

    Returns:
        What could not be checked, and what SLURM says of such a job. Unknown is no reason to refuse.

    Raises:
        LaunchError: something is missing or impossible; nothing was submitted.
    """
    if profile.kind == "local":
        return ()
    _, notes = check_site(profile, paths)
    return (*notes, ask_only(profile))


def check_site(profile: ClusterProfile, paths: Sequence[Path]) -> tuple[list[NodeKind], list[str]]:
    """As `check_cluster`, but sbatch is not asked.

    Returns:
        The nodes that a job may get, and what could not be checked.

    Raises:
        LaunchError: something is missing or impossible.
    """
    missing = [name for name in COMMANDS if shutil.which(name) is None]
    if missing:
        remedy = "Start this on a login node of the cluster, or choose `cluster: local`."
        raise LaunchError("PATH", f"SLURM's commands are missing: {', '.join(missing)}", None, remedy)
    notes = check_shared(profile, (*paths, *_python_folder(profile)))
    kinds = parse_sinfo(_answer(["sinfo", *at(profile.clusters), "--noheader", "--exact", f"--format={SINFO_FORMAT}"]))
    return check_partition(profile, kinds), [*notes, *_check_account(profile)]


def _python_folder(profile: ClusterProfile) -> tuple[Path, ...]:
    """Where the jobs' Python is installed; nothing where a command starts it: it may be inside an image."""
    if profile.python is None:
        return (Path(sys.prefix),)
    return (Path(profile.python).parent.parent,) if isinstance(profile.python, str) else ()


def check_shared(profile: ClusterProfile, paths: Sequence[Path]) -> tuple[str, ...]:
    """What jobs use lies in folders that the profile says compute nodes see.

    Raises:
        LaunchError: something does not.
    """
    if not profile.shared:
        return ("that compute nodes see the run folder, data and Python: the profile does not say what is `shared`",)
    folders = [Path(folder).resolve() for folder in profile.shared]
    for path in paths:
        if not any(path.resolve().is_relative_to(folder) for folder in folders):
            shared = ", ".join(profile.shared)
            fault = f"compute nodes may not see it: it must lie in one of the profile's shared folders, {shared}"
            remedy = "Move it, choose another (--runs FOLDER), or add its file system to `shared`."
            raise LaunchError(path, fault, str(path.resolve()), remedy)
    return ()


def parse_sinfo(text: str) -> list[NodeKind]:
    """The rows of `sinfo --exact --format=SINFO_FORMAT`."""
    kinds = []
    for line in text.splitlines():
        fields = [field.strip() for field in line.split("|")]
        if len(fields) == 7:
            name, count, cpus, memory, gres, limit, features = fields
            kinds.append(
                NodeKind(
                    name.rstrip("*"), name.endswith("*"), int(count), int(cpus.rstrip("+")), int(memory.rstrip("+")),
                    num_gpus(gres), parse_limit(limit), frozenset(features.split(",")) - {"(null)"},
                )
            )  # fmt: skip
    return kinds


def parse_limit(text: str) -> int:
    """Minutes of `1-02:00:00`, `30:00`, `infinite`."""
    if not text[:1].isdecimal():
        return UNLIMITED_MIN
    days, _, clock = text.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    hours, minutes = (parts[0], parts[1]) if len(parts) == 3 else (0, parts[0])
    return int(days or 0) * 1440 + hours * 60 + minutes


def check_partition(profile: ClusterProfile, kinds: Sequence[NodeKind]) -> list[NodeKind]:
    """Some node of the partition has what a job asks of each of its nodes.

    Returns:
        The partition's nodes with the features that are asked for.

    Raises:
        LaunchError: which rule no node meets, and the largest value there is.
    """
    known = sorted({kind.partition for kind in kinds})
    wanted = profile.partition.split(",") if profile.partition else [k.partition for k in kinds if k.default][:1]
    if not wanted:
        fault = "the cluster has no default partition, and the profile names none"
        raise LaunchError(profile.where("partition"), fault, None, nearest("", known))
    for name in wanted:
        if name not in known:
            where, fault = profile.where("partition"), "the cluster has no such partition"
            raise LaunchError(where, fault, name, nearest(name, known))
    here = [kind for kind in kinds if kind.partition in wanted]
    where = f"partition {','.join(wanted)}"
    faults = list[LaunchError]()
    if profile.constraint and profile.constraint.replace("_", "").replace("-", "").isalnum():
        features = sorted(set().union(*(kind.features for kind in here)))
        if profile.constraint in features:
            here = [kind for kind in here if profile.constraint in kind.features]
        else:
            remedy = nearest(profile.constraint, features) if features else "Leave it out: none has a feature."
            fault = f"no node of {where} has this feature"
            faults.append(LaunchError(profile.where("constraint"), fault, profile.constraint, remedy))
    faults += _too_much(profile, here, where)
    if faults:  # all at once: a profile that was copied from another site has many
        first, *more = faults
        remedy = "\n".join([first.remedy, *(f"And {each}" for each in more)])
        raise LaunchError(first.where, first.fault, first.value, remedy)
    return here


def _too_much(profile: ClusterProfile, here: Sequence[NodeKind], where: str) -> Iterator[LaunchError]:
    """What a job asks for and no node of these has, in the units of the profile."""
    gpus = "gres" if num_gpus(profile.gres or "") else "gpus_per_task" if profile.gpus_per_task else "gpus_per_node"
    cpus = "cpus_per_gpu" if profile.cpus_per_gpu else "cpus_per_task"
    memory_mb = max((k.memory_mb for k in here), default=0)
    fits = round((profile.memory_gb or 0) * 1024) <= memory_mb
    memory_gb = (profile.memory_gb or 0) if fits else math.floor(memory_mb / 102.4) / 10  # rounded, it would not fit
    asked = {
        gpus: (profile.num_node_gpus, max((k.gpus for k in here), default=0), "GPUs"),
        cpus: (profile.ranks * (profile.rank_cpus or 1), max((k.cpus for k in here), default=0), "CPUs"),
        "memory_gb": (profile.memory_gb or 0, memory_gb, "GB"),
        "nodes": (profile.nodes, sum(k.count for k in here), "nodes"),
        "time_limit_min": (profile.time_limit_min, max((k.limit_min for k in here), default=0), "minutes"),
    }
    for field, (value, most, unit) in asked.items():
        if value > most:
            each = "a job" if field in ("nodes", "time_limit_min") else "a node"
            fault = f"must be at most {most:g} {unit} {each} in {where}"
            a_rank = f"That is {value // profile.ranks:g} for each of {profile.ranks} ranks. "
            remedy = "Ask for less, or choose another partition."
            of_ranks = profile.ranks > 1 and field in ("cpus_per_task", "cpus_per_gpu", "gpus_per_task")
            found = int(value) if value == int(value) else value
            yield LaunchError(profile.where(field), fault, found, a_rank + remedy if of_ranks else remedy)


def _check_account(profile: ClusterProfile) -> list[str]:
    """The user may charge the account; where accounting does not answer that is a note."""
    if profile.account is None and profile.qos is None:
        return []
    command = ["sacctmgr", "--noheader", "--parsable2", "show", "associations", f"user={current_user()}"]
    try:
        text = _answer([*command, "format=account,qos"])
    except LaunchError:
        return ["account and qos: accounting does not answer"]
    rows = [line.split("|") for line in text.splitlines() if "|" in line]
    accounts, qos = {row[0] for row in rows}, {name for row in rows for name in row[1].split(",") if name}
    for field, value, known in (("account", profile.account, accounts), ("qos", profile.qos, qos)):
        if value is not None and known and value not in known:
            fault = f"user {current_user()} may not use this {field}"
            raise LaunchError(profile.where(field), fault, value, nearest(value, sorted(known)))
    return [] if rows else [f"account and qos: accounting knows nothing of user {current_user()}"]


def ask_only(profile: ClusterProfile, text: str | None = None) -> str:
    """What sbatch says of one job of this profile without submitting it.

    Args:
        text: the job's script; None: that of a trial.

    Raises:
        LaunchError: it would be refused.
    """
    parameters = submission_parameters(profile, "test-only", "test-only")
    with tempfile.TemporaryDirectory(prefix="vprdist-check-") as folder:
        script = Path(folder) / "job.sbatch"
        script.write_text(text or job_script(parameters, Path(folder), Permit(profile.trust)))
        try:
            # As a job is submitted: SBATCH_ variables win over the script, and jobs are not told of them.
            done = subprocess.run(
                ["sbatch", "--test-only", str(script)], capture_output=True, text=True, timeout=ANSWER_S, check=False,
                env=commands_environment(),
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"sbatch --test-only: no answer within {ANSWER_S:g} s"
    said = " ".join((done.stderr + done.stdout).split())
    if done.returncode and (is_wrong(said) or is_impossible(said)):
        remedy = f"sbatch --test-only: {said}"
        for key in keys_of(said):
            if value := getattr(profile, key):
                shown = ", ".join(value) if isinstance(value, tuple) else value
                raise LaunchError(profile.where(key), "the cluster refuses a job with this", shown, remedy)
        raise LaunchError(f"job {job_name('…')}", "the cluster refuses such a job", None, remedy)
    return f"sbatch --test-only: {said}"


def _answer(command: list[str]) -> str:
    """What one of SLURM's commands prints.

    Raises:
        LaunchError: it fails, or does not answer in time.
    """
    remedy = "Nothing was submitted. Try again in a while, or ask the operators."
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=ANSWER_S, check=False, env=commands_environment()
        )
    except subprocess.TimeoutExpired:
        raise LaunchError(command[0], f"no answer within {ANSWER_S:g} s", None, remedy) from None
    except OSError as error:
        raise LaunchError(command[0], "it cannot be started", error.strerror, remedy) from None
    if done.returncode != 0:
        raise LaunchError(command[0], "it failed", " ".join(done.stderr.split())[:300], remedy)
    return done.stdout

"""`vprdist plan --check`: one profile by itself, against the cluster at hand. Nothing is submitted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from vprdist.launch.capacity import local_capacity
from vprdist.launch.check import UNLIMITED_MIN, NodeKind, ask_only, check_site
from vprdist.launch.driver_job import driver_script
from vprdist.launch.params import submission_parameters
from vprdist.launch.permit import Permit
from vprdist.launch.slurm import job_script
from vprdist.plan.driver_cost import driver_job_gb
from vprdist.spec.profile import ClusterProfile

DRIVER_GB = driver_job_gb()
"""For the question alone; a sweep's own driver asks for what `plan` prints."""


def profile_findings(name: str, profile: ClusterProfile, paths: Sequence[Path], runs: Path) -> Iterator[str]:
    """What is found, line by line.

    Args:
        paths: what a job reads and writes.
        runs: the run folder.

    Raises:
        LaunchError: the cluster would refuse such jobs.
    """
    yield f"profile {name}: {profile.file}, kind {profile.kind}"
    if profile.kind == "local":
        room = local_capacity(profile)
        gpus = f"{room.gpus_per_trial} GPU(s)" if room.gpus_per_trial else "no GPU"
        yield f"this machine bears {room.concurrent} job(s) at once: {room.threads} thread(s) a rank, {gpus} a job"
        return
    here, unchecked = check_site(profile, paths)
    yield "nodes that a job may get:"
    yield from (f"  {_nodes(kind)}" for kind in here)
    yield "the sbatch script of one job:"
    logs = runs / "trials" / "ID" / "log" / "attempt-1-TOKEN"
    script = job_script(submission_parameters(profile, "ID", "TOKEN"), logs, Permit(profile.trust))
    yield from (f"  {line}" for line in script.splitlines())
    yield f"a job: {ask_only(profile)}"
    sweep = runs / "sweeps" / "NAME"
    yield f"the driver's job (--detach): {ask_only(profile, driver_script(sweep, runs, profile, DRIVER_GB))}"
    yield from (f"not checked: {note}" for note in unchecked)


def _nodes(kind: NodeKind) -> str:
    features = f", {', '.join(sorted(kind.features))}" if kind.features else ""
    limit = "no time limit" if kind.limit_min >= UNLIMITED_MIN else f"at most {kind.limit_min} minutes"
    size = f"{kind.cpus} CPUs, {kind.memory_mb / 1024:.3g} GB, {kind.gpus} GPU(s)"
    return f"partition {kind.partition}: {kind.count} node(s) of {size}{features}; {limit}"

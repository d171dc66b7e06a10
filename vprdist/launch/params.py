"""Profile and trial to what submitit is told. Pure: `plan` prints it, the dispatcher submits it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vprdist.errors import LaunchError
from vprdist.machine import THREAD_VARIABLES
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.sbatch_options import options_of
from vprdist.store.journal import job_name

FOREIGN_PREFIXES = (
    "RAY_", "TUNE_", "SUBMITIT_", "SLURM_", "SBATCH_", "SRUN_", "SQUEUE_", "SACCT_", "SCANCEL_", "SINFO_"
)  # fmt: skip
OURS = ("SLURM_CONF",)


def submission_parameters(
    profile: ClusterProfile, trial_id: str, token: str, gpus: Sequence[int] = ()
) -> dict[str, Any]:
    """The parameters of one job, for submitit's local or SLURM executor.

    Args:
        profile: where it runs.
        trial_id: what runs.
        token: this submission's name (SLURM keeps it as the job's comment).
        gpus: on this machine, the GPUs that the job may use.

    Raises:
        LaunchError: the profile asks for what its kind of cluster cannot do.
    """
    if profile.kind == "local":
        return _local(profile, gpus)
    return _slurm(profile, trial_id, token)


def _local(profile: ClusterProfile, gpus: Sequence[int]) -> dict[str, Any]:
    if profile.nodes != 1:
        remedy = "Set `nodes: 1`, or `kind: slurm`."
        raise LaunchError(profile.where("nodes"), "a local profile must have one node", profile.nodes, remedy)
    parameters: dict[str, Any] = {
        "timeout_min": profile.time_limit_min,
        "signal_delay_s": profile.signal_lead_s,
        "tasks_per_node": profile.ranks,
        "stderr_to_stdout": True,
    }
    if gpus:
        parameters |= {"gpus_per_node": len(gpus), "visible_gpus": list(gpus)}
    if profile.setup:
        parameters["setup"] = list(profile.setup)
    return parameters


def _slurm(profile: ClusterProfile, trial_id: str, token: str) -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "job_name": job_name(trial_id, profile.job_name_prefix),
        "comment": (profile.comment_prefix or "") + token,
        "time": profile.time_limit_min,
        "signal_delay_s": profile.signal_lead_s,
        "nodes": profile.nodes,
        "ntasks_per_node": profile.ranks,
        "stderr_to_stdout": True,
        "array_parallelism": profile.array_limit,
        "wckey": profile.wckey,  # submitit has one of its own where nothing is said
        "use_srun": profile.use_srun,
    }
    further = {
        # Both words are flags: sites differ in what they do without one.
        "requeue" if profile.requeue else "no-requeue": True,
        "reservation": profile.reservation,
        "cpus-per-gpu": profile.cpus_per_gpu,
        "licenses": profile.licenses,
        "hint": profile.hint,
        # Without srun the warning must reach the one process there is, which the rank has become (`job_script`).
        "signal": None if profile.use_srun else f"B:USR2@{profile.signal_lead_s}",
        **site_options(profile),
        **options_of(profile.sbatch_args),
    }
    optional: dict[str, Any] = {
        "cpus_per_task": profile.cpus_per_task,
        "gpus_per_node": typed_gpus(profile, profile.gpus_per_node),
        "gpus_per_task": typed_gpus(profile, profile.gpus_per_task),
        "gres": profile.gres,
        "mem": memory_words(profile.memory_gb),
        "mem_per_cpu": profile.mem_per_cpu,
        "mem_per_gpu": profile.mem_per_gpu,
        "partition": profile.partition,
        "account": profile.account,
        "qos": profile.qos,
        "constraint": profile.constraint,
        "exclude": ",".join(profile.exclude) or None,
        "nodelist": ",".join(profile.nodelist) or None,
        "exclusive": profile.exclusive or None,
        "dependency": profile.dependency,
        "mail_user": profile.mail_user,
        "mail_type": ",".join(profile.mail_types) or None,
        "srun_args": _srun_words(profile) if profile.use_srun else None,
        "setup": list(_setup(profile)) or None,
        "teardown": list(_teardown(profile)) or None,
        "python": None if profile.python is None else python_words(profile),
        "additional_parameters": {key: value for key, value in further.items() if value is not None},
    }
    return parameters | {key: value for key, value in optional.items() if value is not None}


def site_options(profile: ClusterProfile) -> dict[str, str | int | None]:
    """What a site wants of every job, a driver's too, beyond what submitit has a name for."""
    return {"nice": profile.nice, "clusters": profile.clusters}


def typed_gpus(profile: ClusterProfile, count: int | None) -> str | int | None:
    """GPUs as sbatch takes them: `4`, or `a100:4`; None for none."""
    return f"{profile.gpu_type}:{count}" if count and profile.gpu_type else count or None


def memory_words(gb: float | None) -> str | None:
    """Memory of a node as sbatch takes it; `0` is all that it has."""
    return None if gb is None else f"{round(gb * 1024)}MB" if gb else "0"


def python_words(profile: ClusterProfile) -> list[str]:
    """The command that starts Python on a node."""
    python = profile.python or sys.executable
    return [python] if isinstance(python, str) else list(python)


def _srun_words(profile: ClusterProfile) -> list[str]:
    """What srun is told. It does not inherit the CPUs of a rank from sbatch in SLURM 22.05 to 23.02, or those of a GPU
    while GPUs are counted by the node: every version is told how many they are."""
    # A rank that dies takes the others along: they would wait for it until a timeout.
    words = ["--kill-on-bad-exit=1"]
    if profile.rank_cpus:
        words.append(f"--cpus-per-task={profile.rank_cpus}")
    return [*words, *profile.srun_args]


def _setup(profile: ClusterProfile) -> Iterator[str]:
    yield from profile.setup
    if profile.cpus_per_gpu and profile.use_srun:
        yield "unset SLURM_CPUS_PER_GPU  # srun takes one of both, and is told the CPUs of a rank"


def _teardown(profile: ClusterProfile) -> Iterator[str]:
    """The job ends as its ranks did, whatever these lines do."""
    if profile.teardown:
        yield from ("vprdist_ended=$?", *profile.teardown, "exit $vprdist_ended")


def job_environment(environ: Mapping[str, str], num_threads: int | None) -> dict[str, str]:
    """The environment a job is submitted from: none of Ray's variables, and the thread count of its share.

    A driver that is a job itself does not hand its own job's facts down: sbatch would take them for options.
    """
    clean = {key: value for key, value in environ.items() if key in OURS or not key.startswith(FOREIGN_PREFIXES)}
    for key in THREAD_VARIABLES:
        clean.pop(key, None)
        if num_threads is not None:
            clean[key] = str(num_threads)
    return clean

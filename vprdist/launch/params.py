"""Profile and trial to what submitit is told. Pure: `plan` prints it, the dispatcher submits it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vprdist.errors import LaunchError
from vprdist.spec.profile import ClusterProfile
from vprdist.store.journal import job_name

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
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
        "job_name": job_name(trial_id),
        "comment": token,
        "time": profile.time_limit_min,
        "signal_delay_s": profile.signal_lead_s,
        "nodes": profile.nodes,
        "ntasks_per_node": profile.ranks,
        "stderr_to_stdout": True,
        "array_parallelism": profile.array_limit,
        # Both words are flags: sites differ in what they do without one.
        "additional_parameters": {"requeue" if profile.requeue else "no-requeue": True},
    }
    if profile.reservation:
        parameters["additional_parameters"]["reservation"] = profile.reservation
    optional: dict[str, Any] = {
        "cpus_per_task": profile.cpus_per_task,
        "gpus_per_node": profile.gpus_per_node or None,
        "mem": None if profile.memory_gb is None else f"{round(profile.memory_gb * 1024)}MB",
        "partition": profile.partition,
        "account": profile.account,
        "qos": profile.qos,
        "constraint": profile.constraint,
        "exclude": ",".join(profile.exclude) or None,
        "mail_user": profile.mail_user,
        "mail_type": ",".join(profile.mail_types) or None,
        # A rank that dies takes the others along: they would wait for it until a timeout.
        "srun_args": ["--kill-on-bad-exit=1", *profile.srun_args],
        "setup": list(profile.setup) or None,
    }
    return parameters | {key: value for key, value in optional.items() if value is not None}


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

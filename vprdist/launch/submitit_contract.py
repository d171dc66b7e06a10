"""What this room uses of submitit that submitit does not promise to keep; looked at before anything starts."""

from __future__ import annotations

from collections.abc import Iterator

from vprdist.contract import Contract, lacking

SUBMITIT = Contract("submitit", "submitit", "1.5.4", "1.6")
SLURM, LOCAL = "submitit:SlurmExecutor", "submitit:LocalExecutor"
PATHS, ENVIRONMENT = "submitit.core.utils:JobPaths", "submitit.core.job_environment:JobEnvironment"
CONTROLLER = "submitit.local.local:Controller"
CALL = "submitit.core.utils:DelayedSubmission"
SCRIPT = "submitit.slurm.slurm:_make_sbatch_string"
NEEDED: dict[str, tuple[str, ...]] = {
    SCRIPT: (
        "command", "folder", "job_name", "partition", "time", "nodes", "ntasks_per_node", "cpus_per_task",
        "gpus_per_node", "gpus_per_task", "qos", "setup", "teardown", "mem", "mem_per_gpu", "mem_per_cpu",
        "signal_delay_s", "comment", "constraint", "exclude", "account", "gres", "mail_type", "mail_user", "nodelist",
        "dependency", "exclusive", "array_parallelism", "wckey", "stderr_to_stdout", "map_count",
        "additional_parameters", "srun_args", "use_srun",
    ),
    SLURM: ("folder", "max_num_timeout"),
    f"{SLURM}._submitit_command_str": (),
    f"{SLURM}._get_job_id_from_submission_command": ("string",),
    f"{SLURM}._internal_process_submissions": ("delayed_submissions",),
    f"{SLURM}._submit_command": ("command",),
    "submitit:SlurmJob": ("folder", "job_id", "tasks"),
    "submitit:SlurmJob.num_tasks": (),
    LOCAL: ("folder",),
    f"{LOCAL}._submitit_command_str": (),
    f"{LOCAL}._submit_command": ("command",),
    "submitit:LocalJob": ("folder", "job_id", "tasks"),
    CONTROLLER: ("folder",),
    f"{CONTROLLER}.start_tasks": (),
    f"{CONTROLLER}.run": (),
    PATHS: ("folder", "job_id", "task_id"),
    f"{PATHS}.stdout": (),
    f"{PATHS}.stderr": (),
    # What `LocalExecutor` takes is not said in its signatures; this is what it is handed on to.
    "submitit.local.local:start_controller": (
        "tasks_per_node", "cuda_devices", "timeout_min", "signal_delay_s", "stderr_to_stdout", "setup",
    ),
    f"{PATHS}.get_first_id_independent_folder": ("folder",),
    f"{PATHS}.move_temporary_file": ("tmp_path", "name"),
    f"{PATHS}.submitted_pickle": (),
    "submitit.core.utils:FailedSubmissionError": (),
    CALL: ("function",),
    f"{CALL}.set_timeout": ("timeout_min", "max_num_timeout"),
    f"{CALL}.dump": ("filepath",),
    "submitit.core.submission:process_job": ("folder",),
    f"{ENVIRONMENT}.paths": (),
    f"{ENVIRONMENT}.job_id": (),
    f"{ENVIRONMENT}.global_rank": (),
    f"{ENVIRONMENT}._handle_signals": ("paths", "submission"),
}  # fmt: skip
"""Names, and the parameters that are given by name, or stand where ours stand."""
SET_IN_INIT = {
    "submitit.core.core:Executor": ("folder", "parameters"),
    "submitit.core.core:PicklingExecutor": ("max_num_timeout",),
    CONTROLLER: ("folder", "ntasks", "command", "pid", "tasks", "stderr_to_stdout"),
}
"""Attributes that `__init__` makes, which ours read."""


def check_submitit() -> None:
    """See at once whether it is a version that is known to do; only another one is loaded and looked at.

    Raises:
        LaunchError: it is not there, or lacks what is used.
    """
    if not SUBMITIT.is_known():
        SUBMITIT.check(missing)


def missing() -> Iterator[str]:
    """What the installed submitit lacks, a line each; submitit is loaded."""
    yield from lacking(NEEDED, SET_IN_INIT)

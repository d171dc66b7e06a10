"""The driver as a job of its own: a small CPU job that drives a sweep, requeues itself and resumes.

A login node kills what runs long or large on it. The job runs the sweep's own command, and whatever ends it (its time
limit, preemption, a failed node) SLURM puts it back: started again, it finds its trials by journal and name.
"""

from __future__ import annotations

import contextlib
import math
import os
import shlex
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from vprdist.errors import LaunchError
from vprdist.files import digest_json, locked, write_text
from vprdist.launch.enter import entry
from vprdist.launch.own_code import with_own_code
from vprdist.launch.params import job_environment, python_words, site_options
from vprdist.launch.paths import check_folder
from vprdist.launch.permit import Permit
from vprdist.launch.queue_rows import ALIVE_STATES, QueueName, QueueRow
from vprdist.launch.sbatch import PARSABLE, job_id_in
from vprdist.launch.slurm import ask, ask_queue
from vprdist.machine import current_user
from vprdist.private import Trust
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.sbatch_options import options_of
from vprdist.store.driving import DriverRecord, driver_folder, had_driver, read_driver, write_driver
from vprdist.store.journal import NAME_PREFIX, job_name
from vprdist.store.manifest import sweep_file

SIGNAL_LEAD_S = 120
"""Seconds before the time limit: a full queue of submissions takes some to leave."""
SBATCH_S = 60.0
GONE_S = 60.0
"""Seconds that a driver has to leave in: SLURM kills it half a minute after scancel where it does not."""


def driver_name(sweep: Path, prefix: str | None = None) -> str:
    """The name of the driver's job on the cluster; `prefix` is what the site wants before it."""
    return job_name(f"driver-{sweep.name}", prefix)


def driver_words(sweep: Path, runs: Path) -> list[str]:
    """What the job gives `vprdist.sweep`: the resolved sweep file, so that an edit of the original changes nothing."""
    return [str(sweep_file(sweep)), "--runs", str(runs)]


def driver_script(sweep: Path, runs: Path, profile: ClusterProfile, memory_gb: float) -> str:
    """The sbatch script. Pure: `plan` may print it.

    `exec` makes Python the job's own process, which is the one that `--signal=B:` reaches; there is no srun, since a
    job started through srun cannot submit jobs.

    Raises:
        LaunchError: the sweep's folder, or the working folder, cannot stand in it.
    """
    from submitit.slurm.slurm import _make_sbatch_string

    for folder in (driver_folder(sweep), Path.cwd()):
        check_folder(folder, "slurm")
    driver = profile.driver
    args = profile.sbatch_args if driver.sbatch_args is None else driver.sbatch_args
    further = {**site_options(profile), **options_of(args)}
    python = shlex.join(python_words(profile))
    text: str = _make_sbatch_string(
        command="exec " + entry("driver", sweep, Permit(profile.trust), python, driver_words(sweep, runs)),
        folder=driver_folder(sweep),
        job_name=driver_name(sweep, profile.job_name_prefix),
        wckey=profile.wckey,
        partition=driver.partition or profile.partition,
        account=profile.account,
        qos=profile.qos,
        time=driver.time_limit_min,
        nodes=1,
        ntasks_per_node=1,
        cpus_per_task=driver.cpus,
        mem=f"{round(memory_gb * 1024)}MB",
        comment=(profile.comment_prefix or "") + _mark(sweep),
        exclude=",".join(profile.exclude) or None,
        setup=list(profile.setup) or None,
        mail_user=profile.mail_user,
        mail_type=",".join(profile.mail_types) or None,
        stderr_to_stdout=True,
        use_srun=False,
        additional_parameters={
            "requeue": True,
            "signal": f"B:USR2@{min(SIGNAL_LEAD_S, 30 * driver.time_limit_min)}",
            "output": str(driver_folder(sweep) / "driver.log"),
            "chdir": str(Path.cwd()),
            **{key: value for key, value in further.items() if value is not None},
        },
    )
    return text


def check_detachable(profile: ClusterProfile) -> None:
    """The driver can be a job.

    Raises:
        LaunchError: the profile is of this machine.
    """
    if profile.kind != "slurm":
        fault, remedy = (
            "a cluster of this kind cannot run the driver as a job",
            "Leave out --detach, or choose a cluster.",
        )
        raise LaunchError("--detach", fault, profile.kind, remedy)


def submit_driver(sweep: Path, runs: Path, profile: ClusterProfile, memory_gb: float) -> tuple[DriverRecord, bool]:
    """Submit the driver, unless it is queued or running already.

    Returns:
        Its record, and whether it is new.

    Raises:
        LaunchError: the profile is not of SLURM, SLURM does not answer, or it refuses the job.
    """
    check_detachable(profile)
    folder = driver_folder(sweep)
    with locked(folder / "lock"):
        name = QueueName(driver_name(sweep, profile.job_name_prefix), profile.clusters)
        if (row := _in_queue(sweep, name)) is not None:
            record = _record(sweep, row.job_id, QueueName(row.name, row.clusters))
            if _known(sweep) != record:
                write_driver(sweep, record)
            return record, False
        script = folder / "driver.sbatch"
        write_text(script, driver_script(sweep, runs, profile, memory_gb))
        record = _record(sweep, _sbatch(script, profile.trust), name)
        write_driver(sweep, record)
        return record, True


def find_driver(sweep: Path) -> QueueRow | None:
    """The sweep's detached driver, if it is queued or runs; SLURM is asked only where there was one.

    Raises:
        LaunchError: SLURM does not answer.
    """
    return _in_queue(sweep) if had_driver(sweep) else None


def wait_until_gone(sweep: Path) -> None:
    """Until the sweep's detached driver has left the queue, and its locks with it; not for ever."""
    deadline = time.monotonic() + GONE_S
    with contextlib.suppress(LaunchError):  # SLURM does not answer: what it holds stays held
        while find_driver(sweep) is not None and time.monotonic() < deadline:
            time.sleep(1.0)


def driver_queue_name(sweep: Path) -> QueueName:
    """What the queue is asked about a driver's job: what its record says, or what it is called everywhere."""
    record = _known(sweep)
    return QueueName(driver_name(sweep)) if record is None else QueueName(record.name, record.clusters)


def is_driver(sweep: Path, row: QueueRow) -> bool:
    """Whether a row of the queue is the sweep's detached driver, waiting or running."""
    return row.name.endswith(driver_name(sweep)) and row.token == _mark(sweep) and row.state in ALIVE_STATES


def requeue_self() -> None:
    """Inside the driver's job: put it back into the queue; SLURM ends this process for it.

    Raises:
        LaunchError: SLURM refused.
    """
    job_id = os.environ["SLURM_JOB_ID"]
    if ask(["scontrol", "requeue", job_id]) is None:
        raise LaunchError(
            f"job {job_id}", "the driver cannot be requeued", None, "Start the same command with --detach."
        )


def in_driver_job() -> bool:
    """Whether this process is the main process of a detached driver's job."""
    return f"{NAME_PREFIX}driver-" in os.environ.get("SLURM_JOB_NAME", "") and "SLURM_JOB_ID" in os.environ


def asked_at(sweep: Path) -> float:
    """When a person last asked for the sweep, as Unix time: what failed or was cancelled later is not wanted again.

    Infinite where a person asks now. Nobody asks for a driver's job that SLURM starts again: for it that is when the
    job was submitted.
    """
    try:
        record = read_driver(sweep) if in_driver_job() else None
    except LaunchError:  # nobody knows when it was: what failed or was cancelled stays so
        return 0.0
    return record.submitted_at if record and record.job_id == os.environ["SLURM_JOB_ID"] else math.inf


def _mark(sweep: Path) -> str:
    """Tells sweeps of one name in two run folders apart."""
    return digest_json(str(sweep), 16)


def _in_queue(sweep: Path, *names: QueueName) -> QueueRow | None:
    """The driver's job, if it is queued or runs, by its journal and by further names."""
    answer = ask_queue(current_user(), {*names, driver_queue_name(sweep)})
    if answer is None:
        fault = "no answer whether the driver is there already"
        raise LaunchError("squeue", fault, None, "Nothing was changed. Try again in a while.")
    rows = [row for row in answer if is_driver(sweep, row)]
    return rows[0] if rows else None


def _record(sweep: Path, job_id: str, name: QueueName) -> DriverRecord:
    known = _known(sweep)
    if known is not None and known.job_id == job_id:
        return known
    log = str(driver_folder(sweep) / "driver.log")
    return DriverRecord(job_id=job_id, name=name.name, log=log, submitted_at=time.time(), clusters=name.clusters)


def _known(sweep: Path) -> DriverRecord | None:
    """The record, None where there is none that can be read: the queue says which job it is."""
    try:
        return read_driver(sweep)
    except LaunchError:
        return None


def _sbatch(script: Path, trust: Trust, command: Sequence[str] = ("sbatch", "--parsable")) -> str:
    environment = with_own_code(job_environment(os.environ, None), trust)
    try:
        done = subprocess.run(
            [*command, str(script)], capture_output=True, text=True, timeout=SBATCH_S, check=False, env=environment
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        remedy = f"{error}. The same command again finds the job, should it have been made."
        raise LaunchError("sbatch", "no answer whether it took the driver's job", None, remedy) from None
    if done.returncode != 0:
        raise LaunchError("sbatch", "it refuses the driver's job", None, " | ".join(done.stderr.split("\n")[:3]))
    if (job_id := job_id_in(done.stdout, PARSABLE)) is None:
        remedy = "The same command again finds the job, should it have been made."
        raise LaunchError("sbatch", "it does not say which job it took", done.stdout.strip()[-200:], remedy)
    return job_id

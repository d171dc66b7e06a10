"""What runs on the node, in every rank of a job. Only here does launch reach into training, and only by name."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from vprdist.disk import full_disk
from vprdist.distributed.world import World
from vprdist.errors import LaunchError, ProgramError, Stopped, TrainingError, UserError, WorkersHang
from vprdist.files import locked
from vprdist.launch.leave import Leave, Leaving
from vprdist.launch.permit import permit_here
from vprdist.machine import THREAD_VARIABLES, load_for_good, pid_start
from vprdist.private import Guard, use_private_compiler_cache
from vprdist.spec.elsewhere import code_of
from vprdist.spec.own_code import own_files
from vprdist.spec.trial import TrialSpec
from vprdist.store.journal import Failure, JobRecord
from vprdist.store.trial_folder import TrialFolder

DEFAULT_JOB = "vprdist.training.run:run_trial"
FIRST_JOB = "vprdist.launch.first_words:say_what_is_here"
"""It tells what its node has; it runs no trial, and is loaded in no other job."""
PROGRAM_JOB = "vprdist.program.run:run_program"
OLD_COPY_S = 20.0
"""How long a requeued job waits for its old copy to die before it leaves the trial to it."""
RANK_ZERO_S = 180.0
"""How long the other ranks wait for rank 0 to start."""


class TrialFunction(Protocol):
    """Runs one trial in one rank: resumes from `checkpoint/`, and on rank 0 writes `result.json` at the end.

    It raises `Stopped` when `world.should_stop()` has become true and what it did so far is saved.
    """

    def __call__(self, trial: TrialSpec, folder: Path, world: World) -> object: ...


class NodeJob:
    """The call that submitit pickles: a name instead of a function, so that nothing of the driver travels along."""

    def __init__(self, job: str) -> None:
        self.job = job

    def __call__(self, folder: str, token: str, requeues: int = 0) -> None:
        try:
            permit_here().check_call(self.job)
        except LaunchError as error:
            refuse(TrialFolder(Path(folder)), error)
            raise
        run_job(folder, token, self.job, requeues)

    def checkpoint(self, folder: str, token: str, requeues: int = 0) -> Any:
        """At preemption or the time limit: the same call once more; the trial resumes from its last checkpoint."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, folder, token, requeues + 1)


def run_job(folder: str, token: str, job: str = DEFAULT_JOB, requeues: int = 0, leave: Leaving | None = None) -> None:
    """Run a trial in this rank, if this submission is still the one that is wanted, and no other copy runs.

    A `UserError` is final, on a cluster when the second attempt meets one too: it is written to `failure.json`, since
    no further attempt would mend it. At the signal (preemption, time limit) the trial saves itself, and the job goes
    back into the queue.

    Args:
        leave: hears the signal; None: this process listens, and leaves, by itself.
    """
    import submitit

    place = TrialFolder(Path(folder))
    world = submitit.JobEnvironment()
    record = place.job()
    if record is None or record.token != token or record.state == "cancelled":
        print(f"Submission {token} of {place.trial_id} is not wanted any more (the journal has another); leaving.")
        return
    if job == FIRST_JOB:
        give_gpus()
        find_function(job)(place, record, world.global_rank, node_name())
        return
    # One name for one start, that all ranks know without talking: a rendezvous file must never be met again.
    start = f"{token[:8]}-{requeues}-{os.environ.get('SLURM_RESTART_COUNT', '0')}"
    if world.global_rank != 0:
        if _rank_zero_started(place, start):
            _call(place, record, job, start, world, leave)
        return
    with _only_copy(place) as alone:
        if not alone:
            print(f"Another copy of {place.trial_id} runs (running.lock is held); this duplicate leaves.")
        elif place.has_result:
            print(f"{place.trial_id} already has its result; leaving.")
        else:
            place.add_start(_start_row(record, start, world))
            _call(place, record, job, start, world, leave)
            if not place.has_result:
                raise RuntimeError(f"{job} returned without writing {place.result_file}")


def job_of(trial: TrialSpec) -> str:
    """What the ranks of a trial call: vprdist's own training, or what runs a program of the user's own."""
    return DEFAULT_JOB if trial.job is None else PROGRAM_JOB


def refuse(place: TrialFolder, error: UserError, attempts: int = 1) -> None:
    """The job does not start, and no further attempt mends that: the driver is told."""
    place.write_failure(Failure(reason=str(error), attempts=attempts, kind="mistake"))


@contextmanager
def _only_copy(place: TrialFolder) -> Iterator[bool]:
    """Hold the running lock. Somebody who only probes it lets go at once; a dying old copy takes seconds."""
    deadline = time.monotonic() + OLD_COPY_S
    while True:
        with locked(place.running_lock, blocking=False) as alone:
            if alone:
                yield True
                return
        if time.monotonic() > deadline:
            yield False
            return
        time.sleep(0.1)


def _rank_zero_started(place: TrialFolder, start: str) -> bool:
    deadline = time.monotonic() + RANK_ZERO_S
    while time.monotonic() < deadline:
        if any(row.get("start") == start for row in place.starts()):
            return True
        time.sleep(0.1)
    print(f"Rank 0 did not start within {RANK_ZERO_S:g} s; this rank leaves.")
    return False


def _start_row(record: JobRecord, start: str, world: Any) -> dict[str, object]:
    pid = os.getpid()
    return {
        "start": start,
        "attempt": record.attempt,
        "token": record.token,
        "job_id": world.job_id,
        "pid": pid,
        "pid_start": pid_start(pid),
        "host": node_name(),
        "time": time.time(),
    }


def _call(
    place: TrialFolder, record: JobRecord, job: str, start: str, world: Any, listener: Leaving | None
) -> None:  # fmt: skip
    num_threads = use_threads(record, _ranks_here(world))
    give_gpus()
    trial = place.trial()
    guard = Guard(permit_here().trust)
    guard.check(*own_files(each.name for each in trial.own_code.values()), *code_of(trial.network.backbone))
    guard.check(*(trial.job.paths if trial.job is not None else ()))
    if trial.trial_id != place.trial_id:
        fault = f"the folder must be that of trial {trial.trial_id}"
        raise LaunchError(place.trial_file, fault, place.trial_id, "Run driver and jobs with one version of vprdist.")
    if trial.run.compile and (why := use_private_compiler_cache()) is not None:
        print(why, flush=True)
    leave = listener or Leave(record, place.attempt_log(record))
    leave.listen()
    mine = World(
        rank=world.global_rank,
        world_size=world.num_tasks,
        local_rank=world.local_rank,
        rendezvous=place.log / f"rendezvous-{start}",
        ports=record.ports,
        num_threads=num_threads,
        scratch=Path(os.path.expandvars(record.scratch)) if record.scratch else None,
        trust=permit_here().trust,
        device_share=1 / record.share,
        should_stop=lambda: leave.asked,
    )
    try:
        run: TrialFunction = find_function(job)
        run(trial, place.path, mine)
    except Stopped:
        leave.now(rank=mine.rank)
    except ProgramError as error:  # the program's own last words stand above: a traceback of ours would hide them
        print(f"{ProgramError.__module__}.{ProgramError.__name__}: {error}", flush=True)
        raise SystemExit(1) from None
    except UserError as error:
        if _is_final(error, record):
            place.write_failure(Failure(reason=str(error), attempts=record.attempt, kind="mistake"))
        raise
    except OSError as error:
        if (full := full_disk(error, "The job is tried again, some times, from its last checkpoint.")) is None:
            raise
        raise full from None  # of no trial's making: it is no final mistake
    finally:
        leave.close()


def use_threads(record: JobRecord, num_ranks: int = 1) -> int:
    """Tell libraries, before they are loaded, how many threads a rank has; returns that."""
    num_threads = record.num_threads or max(1, len(os.sched_getaffinity(0)) // (num_ranks * record.share))
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(num_threads)))
    return num_threads


def _is_final(error: UserError, record: JobRecord) -> bool:
    """Data, cache and weights were right when the job was submitted: one that finds them wrong may be on a node that
    has lost a disk. It dies of it, and the node is blamed; the second attempt is made elsewhere. Training is the
    trial's own; workers that hang are nobody's, and any attempt may fare better."""
    if isinstance(error, (WorkersHang, ProgramError)):
        return False
    return record.cluster == "local" or record.attempt > 1 or isinstance(error, TrainingError)


def node_name() -> str:
    """This node as SLURM calls it; elsewhere the machine's own name."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def give_gpus() -> None:
    """Let this process see the GPUs that SLURM gave it, and no others."""
    if (gpus := visible_gpus(os.environ)) is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus


def visible_gpus(environ: Mapping[str, str]) -> str | None:
    """What CUDA_VISIBLE_DEVICES must become; None when it is right, or SLURM gave no GPUs.

    With cgroups SLURM hides other jobs' GPUs; without them only this variable keeps jobs of one node apart. SLURM
    sets it for the step or for each task; a site's prolog or container may lose it, but not SLURM's own variables.
    """
    if "CUDA_VISIBLE_DEVICES" in environ:
        return None
    return environ.get("SLURM_STEP_GPUS") or environ.get("SLURM_JOB_GPUS") or None


def _ranks_here(world: Any) -> int:
    return max(1, int(world.num_tasks) // max(1, int(world.num_nodes)))


def find_function(name: str) -> Callable[..., object]:
    """The function of a `module:function` name.

    Raises:
        LaunchError: there is no such function.
    """
    module, _, function = name.partition(":")
    try:
        found: Callable[..., object] = getattr(load_for_good(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise LaunchError(f"job {name}", "a job must be module:function, importable on the node", str(error)) from None
    return found

"""One trial that is a user's own program, from its start to its result: what a job does on its node."""

from __future__ import annotations

import os
import platform
import resource
import socket
import time
from pathlib import Path
from typing import Any

from vprdist import __version__
from vprdist.distributed.world import World
from vprdist.errors import OwnCodeError, ProgramError, RuleError, Stopped
from vprdist.machine import visible_gpus
from vprdist.program.child import Ending, run_child
from vprdist.program.environment import stop_file, variables
from vprdist.program.leaves import read_left
from vprdist.program.remains import end_remains
from vprdist.source import running_source
from vprdist.spec.program import ProgramSpec
from vprdist.spec.result import GPU_MISSING, NO_GPU, ResultRow
from vprdist.spec.trial import TrialSpec
from vprdist.store.trial_folder import TrialFolder

ALONE = World()
END_S = 600.0
"""How long after SIGTERM a cluster may take to end a job: SLURM's GraceTime or KillWait."""


def run_program(trial: TrialSpec, folder: Path, world: World = ALONE) -> None:
    """Run the program in this rank; rank 0 evaluates what it left, and publishes `result.json` last.

    A program that is asked to stop and ends without a result goes on after a requeue, from its own checkpoint.

    Args:
        trial: resolved, with its digests and `job`.
        folder: the trial's folder on shared storage.
        world: this process among the ranks of its job.

    Raises:
        UserError: the program died, left nothing, or something else than it was to leave.
        Stopped: asked to leave.
    """
    place, job = TrialFolder(folder), trial.job
    assert job is not None, "the trial is a program"
    began = time.time()
    notes = _look(trial, job, place, world)
    stop = stop_file(place, world)
    end_remains(place.path, world.rank, "an earlier start of the job")
    if world.rank == 0:
        place.checkpoint.mkdir(parents=True, exist_ok=True)
        place.finished_file.unlink(missing_ok=True)  # what an earlier start said counts no more
        print(f"program: {job.title}", flush=True)
    environment = variables(place, world, os.environ)
    try:
        ending = run_child(job, environment, stop, world.should_stop)
    finally:
        end_remains(place.path, world.rank, "the program")
        if world.world_size == 1:  # the programs of other ranks may not have seen it yet
            stop.unlink(missing_ok=True)
    finished = place.finished_file.exists()
    if not finished and (ending.asked or _asked_after(ending, world)):
        raise Stopped
    if ending.code and not (finished and world.rank == 0):
        raise ProgramError(job.title, "the program died", ending.words, "Its log says more.")
    if world.rank == 0:
        _publish(trial, place, world, (*notes, *_end_notes(ending)), began)


def _asked_after(ending: Ending, world: World) -> bool:
    """Where the job was sent SIGTERM and the program left: wait for what comes, the end or the signal to leave.

    What the program did then was no fault of its own, and what it logged last is no result. The end is SLURM's, which
    puts a preempted job back into the queue; a job that failed before would cost an attempt.
    """
    if ending.sigterm is None:
        return False
    print(f"SIGTERM: the cluster ends this job; the program left ({ending.words}).", flush=True)
    while time.monotonic() < ending.sigterm + END_S:
        if world.should_stop():
            return True
        time.sleep(0.1)
    return False


def _look(trial: TrialSpec, job: ProgramSpec, place: TrialFolder, world: World) -> tuple[str, ...]:
    """Code and data are what they were when the trial got its id.

    Raises:
        UserError: they are not.
    """
    if world.rank:
        return ()
    assert trial.digests is not None and trial.digests.code is not None, "the trial is resolved"
    try:
        digest, wanted = job.digest(), trial.digests.code["job"]
    except RuleError as error:
        raise OwnCodeError(job.title, error.fault, error.value, error.remedy) from None
    if digest != wanted:
        fault = f"a file of the program was changed since the trial was submitted; its digest must be {wanted}"
        raise OwnCodeError(job.title, fault, digest, "Run the sweep again: another text is another trial.")
    if trial.measures_itself:
        return ()
    from vprdist.data.unchanged import check_unchanged

    return tuple(check_unchanged(trial.data, trial.cities, place.path.parents[1]))


def _end_notes(ending: Ending) -> tuple[str, ...]:
    return (f"after its last word the program ended with {ending.words}",) if ending.code else ()


def _publish(trial: TrialSpec, place: TrialFolder, world: World, notes: tuple[str, ...], began: float) -> None:
    job = trial.job
    assert job is not None, "the trial is a program"
    left = read_left(place, job)
    measured: dict[str, Any] = {"protocol": None, "metrics": dict(left.metrics), "city_metrics": {}}
    if left.files:
        from vprdist.program.evaluating import evaluated

        measured = evaluated(trial, place, left)
        notes += measured.pop("notes")
    starts = [float(row["time"]) for row in place.starts()] or [began]
    steps = [int(row["step"]) for row in place.rows()[0] if row["kind"] == "evaluate"]
    device, fell = _device(place)
    row = ResultRow(
        trial_id=trial.trial_id,
        trial=trial,
        **measured,
        not_finite=left.not_finite,
        steps=max(steps, default=0),
        final_loss=None,
        wall_s=round(time.time() - starts[0], 2),
        train_s=0.0,
        num_ranks=world.world_size,
        device=device,
        peak_memory_mb=round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, 1),
        starts=len(starts),
        fallbacks=(*notes, *left.notes, *fell),
        environment=_environment(),
        source=running_source(),
    )
    place.write_result(row)


def _device(place: TrialFolder) -> tuple[str, tuple[str, ...]]:
    """What the program could compute on; what it does compute on, it alone knows."""
    if gpus := visible_gpus():
        return f"cuda ({len(gpus)} visible)", ()
    record = place.job()
    asked = record is not None and bool(record.num_node_gpus)
    return "cpu", (GPU_MISSING if asked else NO_GPU,)


def _environment() -> dict[str, Any]:
    return {
        "vprdist": __version__, "python": platform.python_version(), "host": socket.gethostname(),
        "threads": int(os.environ.get("OMP_NUM_THREADS", "0")) or None, "slurm_job": os.environ.get("SLURM_JOB_ID"),
    }  # fmt: skip

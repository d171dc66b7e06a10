"""`python -P -m vprdist.launch.enter`: the door through which every job of ours starts.

A job's call waits as a pickle in the run folder while the job queues, beside the journal and the trial: whoever may
write there runs code as us. So here, before anything is loaded, every file and folder on the way is looked at. `-P`
keeps Python from taking modules from the working folder before that was looked at too.
"""

from __future__ import annotations

import contextlib
import os
import runpy
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from vprdist.errors import LaunchError
from vprdist.files import write_json
from vprdist.launch.node import node_name, refuse
from vprdist.launch.permit import Permit, carry
from vprdist.machine import use_huge_pages
from vprdist.private import Guard, narrow_umask
from vprdist.store.batch_folder import BatchFolder
from vprdist.store.trial_folder import TrialFolder, trial_of_log

Kind = Literal["trial", "pack", "array", "driver"]
CALL_S = 60.0
"""How long a job waits for its call: it may start before whoever submitted it has moved the file to its place."""
MISTAKES = "mistake-"
"""How files begin that tell of a mistake of the user's; one for each node that found one."""
REFUSED = 2


def entry(kind: Kind, folder: Path, permit: Permit, python: str | None = None, words: Sequence[str] = ()) -> str:
    """The shell command of a job.

    Args:
        folder: of its logs, or of the sweep that it drives.
        python: how Python is started, in shell; None: as it runs here.
        words: for the program that it becomes.
    """
    more = [*permit.words(), kind, str(folder), *words]
    return f"{python or shlex.quote(sys.executable)} -u -P -m vprdist.launch.enter {shlex.join(more)}"


def main() -> int:
    """Check, then become the job."""
    kind, folder, permit, words = _ordered()
    use_huge_pages()
    narrow_umask(permit.trust)
    carry(permit)
    guard = Guard(permit.trust)
    try:
        _take_modules_from_here(guard)
        if kind == "driver":
            from vprdist.store.manifest import sweep_file

            guard.check(sweep_file(folder))
        else:
            guard.check(folder)
            if (call := _call_of(folder)) is None:
                return 1
            guard.check(call)
        if kind == "trial":
            guard.check(*trial_of_log(folder).loaded)
    except LaunchError as error:
        print(error, file=sys.stderr, flush=True)
        _tell_the_driver(kind, folder, error)
        return REFUSED
    if kind == "driver":
        sys.argv = ["vprdist.sweep", *words]
        runpy.run_module("vprdist.sweep", run_name="__main__", alter_sys=True)
        return 0
    from submitit.core.submission import process_job

    process_job(folder)
    return 0


def _ordered() -> tuple[Kind, Path, Permit, list[str]]:
    given = sys.argv[1:]
    at = next(at for at, word in enumerate(given) if word in get_args(Kind))
    kind: Kind = given[at]  # type: ignore[assignment]
    return kind, Path(given[at + 1]), Permit.of_words(given[:at]), given[at + 2 :]


def _take_modules_from_here(guard: Guard) -> None:
    """As `python -m` would, so that a user's own modules are found; unless others may put some there too."""
    here = Path.cwd()
    try:
        guard.check(here)
    except LaunchError as error:
        print(f"No modules are taken from the working folder: {error}", flush=True)
        return
    sys.path.insert(0, str(here))


def _call_of(folder: Path) -> Path | None:
    """The pickled call of this job, once it is there; None: whoever submits was ended before, and comes again."""
    from submitit.core.job_environment import JobEnvironment

    os.environ["SUBMITIT_FOLDER"] = str(folder)
    call = Path(JobEnvironment().paths.submitted_pickle)
    end = time.monotonic() + CALL_S
    while not call.exists():
        if time.monotonic() > end:
            print(f"Waited for {CALL_S:g} seconds but could not find {call}.", file=sys.stderr)
            return None
        time.sleep(0.2)
    return call


def _tell_the_driver(kind: Kind, folder: Path, error: LaunchError) -> None:
    """No further attempt mends it, so it is final, whatever the journal says of attempts."""
    with contextlib.suppress(OSError, LookupError):
        if kind == "trial":
            refuse(trial_of_log(folder), error, attempts=int(folder.name.split("-")[1]))
        elif kind == "pack":
            _refuse_all(BatchFolder(folder), error)
        elif kind == "array":
            write_json(folder / f"{MISTAKES}{node_name()}.json", error.to_json())


def _refuse_all(batch: BatchFolder, error: LaunchError) -> None:
    """Every trial of this job."""
    task = int(os.environ.get("SLURM_ARRAY_TASK_ID", "0"))
    for trial_id in batch.members()[task]:
        place = TrialFolder.of(batch.runs, trial_id)
        if place.is_wanted(batch.token):
            refuse(place, error)


if __name__ == "__main__":
    sys.exit(main())

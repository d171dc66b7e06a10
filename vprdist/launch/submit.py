"""`python -m vprdist.launch.submit`: submit the jobs whose intents stand in their trials' journals.

Orders come as JSON on standard input: folder, token, and the descriptor of the submit lock that this process
inherited. The dispatcher starts this in a session of its own. It survives the driver's Ctrl-C and kill -9, so that a
job that was submitted is a job that was journalled.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from vprdist.files import open_no_link
from vprdist.launch.cluster import submission_log
from vprdist.launch.permit import Permit
from vprdist.launch.refusals import LATE
from vprdist.private import narrow_umask
from vprdist.store.trial_folder import TrialFolder

ANSWER_S = 120
"""How long one sbatch may take."""


def main() -> int:
    """Submit and journal; 0 when every order was carried out."""
    refused = 0
    for order in json.load(sys.stdin):
        permit = Permit.from_json(order["permit"])
        narrow_umask(permit.trust)
        refused += not _carry_out(TrialFolder(Path(order["folder"])), str(order["token"]), permit)
        os.close(int(order["lock"]))  # from here on the trial may be cancelled, or submitted again
    return int(refused > 0)


def _carry_out(folder: TrialFolder, token: str, permit: Permit) -> bool:
    record = folder.job()
    if record is None or record.token != token or record.state != "intent":
        print(f"The journal of {folder.trial_id} no longer asks for submission {token}; nothing was submitted.")
        return False
    if record.cluster == "local":
        from vprdist.launch.local import submit_here as submit
    else:
        from vprdist.launch.slurm import submit_to_slurm as submit
    try:
        with _deadline(ANSWER_S):
            permit.check_call(record.job)
            logs = folder.attempt_log(record)
            folder.write_job(submit(folder, record, logs, permit))
    except Exception as error:  # whatever sbatch or submitit says goes to the person in one line
        words = " ".join(f"{type(error).__name__}: {error}".split())
        with os.fdopen(open_no_link(submission_log(folder, record), os.O_WRONLY | os.O_APPEND), "a") as log:
            log.write(words + "\n")
        return False
    return True


@contextlib.contextmanager
def _deadline(seconds: int) -> Iterator[None]:
    """An sbatch that hangs must not hold the lock for ever; a job that it makes later is found by its name."""

    def late(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"{LATE} within {seconds} s")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


if __name__ == "__main__":
    sys.exit(main())

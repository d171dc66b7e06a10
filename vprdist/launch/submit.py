"""`python -m vprdist.launch.submit`: submit the jobs whose intents stand in their trials' journals.

Orders come as JSON on standard input: the folders of one submission, its token, and the descriptor of the submit lock
that this process inherited. The dispatcher starts this in a session of its own. It survives the driver's Ctrl-C and
kill -9, so that a job that was submitted is a job that was journalled.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from vprdist.files import open_no_link
from vprdist.launch.cluster import submission_log
from vprdist.launch.permit import Permit
from vprdist.launch.refusals import LATE
from vprdist.private import narrow_umask
from vprdist.store.batch_folder import BatchFolder
from vprdist.store.journal import JobRecord
from vprdist.store.trial_folder import TrialFolder

ANSWER_S = 120
"""How long one sbatch may take."""


def main() -> int:
    """Submit and journal; 0 when every order was carried out."""
    refused = 0
    for order in json.load(sys.stdin):
        permit = Permit.from_json(order["permit"])
        narrow_umask(permit.trust)
        folders = [TrialFolder(Path(folder)) for folder in order["folders"]]
        if order["batch"] is None:
            refused += not _carry_out(folders[0], str(order["token"]), permit)
        else:
            refused += not _carry_out_together(BatchFolder(Path(order["batch"])), folders, permit)
        os.close(int(order["lock"]))  # from here on the trials may be cancelled, or submitted again
    return int(refused > 0)


def _carry_out(folder: TrialFolder, token: str, permit: Permit) -> bool:
    if (record := _asked_for(folder, token)) is None:
        return False
    if record.cluster == "local":
        from vprdist.launch.local import submit_here as submit
    else:
        from vprdist.launch.slurm import submit_to_slurm as submit
    with _refusals_go_to(submission_log(folder, record)):
        permit.check_call(record.job)
        logs = folder.attempt_log(record)
        folder.write_job(submit(folder, record, logs, permit))
        return True
    return False


def _carry_out_together(batch: BatchFolder, folders: Sequence[TrialFolder], permit: Permit) -> bool:
    """One sbatch for all of them, whose journals have one token. Those of the array's tasks of which no trial asks any
    more are there all the same: their numbers are in the journals."""
    asking = [(folder, record) for folder in folders if (record := _asked_for(folder, batch.token)) is not None]
    if not asking:
        return False
    first = asking[0][1]
    wanted = {folder.trial_id: str(folder.path) for folder, _ in asking}
    jobs = [[wanted[trial] for trial in trials if trial in wanted] for trials in batch.members()]
    if first.cluster == "local":
        from vprdist.launch.local import submit_pack_here as submit
    else:
        from vprdist.launch.slurm import submit_pack_to_slurm as submit
    with _refusals_go_to(batch.submission_log):
        for _, record in asking:
            permit.check_call(record.job)
        sent = submit(batch, jobs, first, permit)
        for folder, record in asking:
            folder.write_job(record.updated(**sent[record.task or 0]))
        return True
    return False


def _asked_for(folder: TrialFolder, token: str) -> JobRecord | None:
    record = folder.job()
    if record is None or record.token != token or record.state != "intent":
        print(f"The journal of {folder.trial_id} no longer asks for submission {token}; nothing was submitted.")
        return None
    return record


@contextlib.contextmanager
def _refusals_go_to(log: Path) -> Iterator[None]:
    """Whatever sbatch or submitit says goes to the person in one line."""
    try:
        with _deadline(ANSWER_S):
            yield
    except Exception as error:
        words = " ".join(f"{type(error).__name__}: {error}".split())
        with os.fdopen(open_no_link(log, os.O_WRONLY | os.O_APPEND), "a") as stream:
            stream.write(words + "\n")


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

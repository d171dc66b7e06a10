"""`runs/batches/<token>`: the folder of one submission of several trials, and how one of a job's trials ended alone.

The trials' own words lie with the trials. Here are those of the submission: its script, the pickled calls, what was
said while it was submitted, and what a job printed before it came to a trial.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

from vprdist.errors import UserError
from vprdist.files import read_json, write_json, write_text
from vprdist.machine import signal_name
from vprdist.spec.base import Spec
from vprdist.store.reading import read_spec

PACK, ARRAY = "pack-", "array-"
"""How the jobs of batches are called, before their token's beginning."""


def batches_folder(runs: Path) -> Path:
    """Where the submissions of several trials lie, each in a folder of its token."""
    return runs / "batches"


class BatchFolder:
    """One submission of several trials: a job that runs them, or a job array."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.token, self.runs = self.path.name, self.path.parents[1]
        self.lock = self.path / "submit.lock"
        self.submission_log = self.path / "submission.log"
        self._members_file = self.path / "members.json"

    @classmethod
    def of(cls, runs: Path, token: str) -> BatchFolder:
        """The folder of that submission below a `runs` folder."""
        return cls(batches_folder(runs) / token)

    def write_members(self, jobs: Sequence[Sequence[str]]) -> None:
        """Note which trials each job runs, in the order of the array."""
        write_json(self._members_file, {"jobs": [list(each) for each in jobs]})

    def members(self) -> list[list[str]]:
        """The trials of each job; none where the note cannot be read."""
        try:
            return [[str(trial) for trial in each] for each in read_json(self._members_file)["jobs"]]
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return []

    def job_logs(self, job_id: str | None) -> list[Path]:
        """What a job printed outside of its trials."""
        return sorted(self.path.glob(f"{job_id}_*_log.*")) if job_id else []


class MemberEnd(Spec):
    """A trial's process ended, while its job went on. `exit_code` is below zero where a signal ended it."""

    exit_code: int
    beside: int = 0

    @property
    def words(self) -> str:
        """For a person."""
        if self.exit_code >= 0:
            return f"its process in the job ended with exit code {self.exit_code}"
        text = f"its process in the job was ended by {signal_name(-self.exit_code)}"
        if self.exit_code != -signal.SIGKILL:
            return text
        beside = f", while {self.beside} other(s) ran beside it" if self.beside else ""
        return f"{text}, as the kernel does where memory is short{beside}"


def write_end(log: Path, end: MemberEnd) -> None:
    """Note the end of a trial's process beside its log."""
    write_text(_end_file(log), end.model_dump_json() + "\n")


def read_end(log: Path) -> MemberEnd | None:
    """How the trial's process of that log ended by itself; None where its job says nothing of it."""
    path = _end_file(log)
    if not path.exists():
        return None
    try:
        return read_spec(path, MemberEnd, "the end of a trial's process", "")
    except (FileNotFoundError, UserError):  # it ended, and nobody knows how
        return MemberEnd(exit_code=1)


def _end_file(log: Path) -> Path:
    return log / "process-ended.json"


def batches(runs: Path) -> Iterator[BatchFolder]:
    """Every submission of several trials."""
    yield from (BatchFolder(path) for path in sorted(batches_folder(runs).glob("*")) if path.is_dir())

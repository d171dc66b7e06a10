"""The folder of a trial: where everything about it lies, and small readers. Nobody else spells these names."""

from __future__ import annotations

import contextlib
import errno
import fcntl
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from vprdist.errors import LaunchError, UserError
from vprdist.files import append_json_line, locked, open_file, read_json_lines, write_json, write_text
from vprdist.source import Source
from vprdist.spec.computation import FIRST
from vprdist.spec.names import is_name, name_remedy
from vprdist.spec.result import ResultRow
from vprdist.spec.trial import TrialSpec
from vprdist.store.batch_folder import BatchFolder
from vprdist.store.journal import Failure, JobRecord
from vprdist.store.reading import found_in, read_spec
from vprdist.store.result_file import RUN_AGAIN, glance_at_result, read_result
from vprdist.store.rows import sound_rows, sound_starts

NOTHING_SAID = (ValueError, LookupError, TypeError, AttributeError, OverflowError)
"""What a result raises that lacks a number, or has something else in its place."""
TAIL_BYTES = 64 * 1024
RESULT = "result.json"


def trials_folder(runs: Path) -> Path:
    """Where the trials of a `runs` folder lie, each in a folder of its id."""
    return runs / "trials"


def results_in(runs: Path) -> Iterator[Path]:
    """The results of the trials of a `runs` folder, in no order."""
    return trials_folder(runs).glob(f"*/{RESULT}")


class _Inside:
    """A path inside a trial's folder, made when it is asked for: a view looks at thousands of folders."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, folder: TrialFolder, kind: type | None = None) -> Path:
        return folder.path / self.name


class TrialFolder:
    """`runs/trials/<trial id>`. `result.json` exists if and only if the trial is done."""

    trial_file = _Inside("trial.json")
    job_file = _Inside("job.json")
    metrics_file = _Inside("metrics.jsonl")
    result_file = _Inside(RESULT)
    checkpoint = _Inside("checkpoint")
    finished_file = _Inside("finished.json")
    failure_file = _Inside("failure.json")
    predictions = _Inside("predictions")
    sheet_picture = _Inside("predictions/sheet.png")
    masks_picture = _Inside("predictions/masks.png")
    augmented_picture = _Inside("predictions/augmented.png")
    rendezvous_file = _Inside("rendezvous.json")
    log = _Inside("log")
    starts_file = _Inside("log/starts.jsonl")
    driver_lock = _Inside("lock")
    running_lock = _Inside("running.lock")
    submit_lock = _Inside("submit.lock")

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.trial_id = self.path.name

    @classmethod
    def of(cls, runs: Path, trial_id: str) -> TrialFolder:
        """The folder of that trial below a `runs` folder.

        Raises:
            LaunchError: a path in the place of its id.
        """
        if not is_name(trial_id):
            raise LaunchError(runs, "a trial must be called by its id, not by a path", trial_id, name_remedy(trial_id))
        return cls(trials_folder(runs) / trial_id)

    @property
    def loaded(self) -> tuple[Path, ...]:
        """What its job loads, or goes by: the trial, its journal and starts, and the checkpoint it goes on from."""
        saved = sorted(self.checkpoint.iterdir()) if self.checkpoint.is_dir() else []
        return (self.trial_file, self.job_file, self.starts_file, self.checkpoint, *saved)

    @property
    def has_result(self) -> bool:
        """Whether the trial is done."""
        return self.result_file.exists()

    @property
    def is_over(self) -> bool:
        """Whether there is a result or a failure: nothing is submitted for it any more."""
        return self.has_result or self.failure_file.exists()

    def result(self) -> ResultRow:
        """The trial's result.

        Raises:
            UserError: the file is not a result of this version.
        """
        return read_result(self.result_file)

    def write_result(self, row: ResultRow) -> None:
        """Publish the result: the trial is done."""
        write_json(self.result_file, row.model_dump(mode="json", by_alias=True))

    def objective(self, metric: str, said: Mapping[str, Any] | None = None) -> float:
        """One metric of the result; NaN when the trial has none of that name, or no result that can be read.

        Args:
            said: what was read of the result just now.
        """
        try:
            return float((glance_at_result(self.result_file) if said is None else said)["metrics"][metric])
        except NOTHING_SAID:  # null is NaN too
            return float("nan")

    def wall_s(self, said: Mapping[str, Any] | None = None) -> float | None:
        """Seconds from the first start of the last attempt to the result; None where the result does not say.

        Args:
            said: what was read of the result just now.
        """
        try:
            return float((glance_at_result(self.result_file) if said is None else said)["wall_s"])
        except NOTHING_SAID:
            return None

    def source(self) -> Source | None:
        """The code that computed the result; None where the result does not say."""
        try:
            return Source.of_json(glance_at_result(self.result_file)["source"])
        except NOTHING_SAID:
            return None

    def computation(self) -> int | None:
        """The computation of the result; None where there is none that can be read."""
        try:
            return int(glance_at_result(self.result_file)["protocol"].get("computation", FIRST))
        except NOTHING_SAID:
            return None

    def job(self) -> JobRecord | None:
        """The journal: the trial's last submission, None when there never was one.

        Raises:
            LaunchError: it cannot be read: nobody knows whether a job of the trial lives.
        """
        try:
            return read_spec(self.job_file, JobRecord, "the journal of a job", "")
        except FileNotFoundError:
            return None
        except UserError as error:
            remedy = f"Make sure that no job {self.trial_id} runs, then delete the file."
            raise LaunchError(error.where, error.fault, error.value, remedy) from None

    def write_job(self, record: JobRecord) -> None:
        """Publish the journal; it is on the disk when this returns."""
        write_text(self.job_file, record.model_dump_json(indent=1) + "\n")

    def trial(self) -> TrialSpec:
        """The trial as it was submitted.

        Raises:
            UserError: it never was, or the file cannot be read.
        """
        try:
            return read_spec(self.trial_file, TrialSpec, "a trial", RUN_AGAIN)
        except FileNotFoundError:
            raise UserError(self.trial_file, "no such file", None, "The sweep's next run writes it.") from None

    def write_trial(self, trial: TrialSpec) -> None:
        """Publish the resolved trial for its job."""
        write_json(self.trial_file, trial.to_json())

    def failure(self) -> Failure | None:
        """Why the trial was given up, None when it was not.

        A file that cannot be read is a failure of the kind `unreadable`: unknown is not dead, so that nothing is
        submitted beside a job that may live, and views go on.
        """
        return read_failure(self.failure_file, "vprdist retry puts the file away, and runs the trial again.")

    def write_failure(self, failure: Failure) -> None:
        """Publish why the trial was given up; the first to say so is right."""
        if not self.failure_file.exists():
            write_text(self.failure_file, failure.model_dump_json(indent=1) + "\n")

    def retire_failure(self) -> None:
        """Put an earlier failure and its journal among the logs: the trial starts anew, with all its attempts."""
        if not self.failure_file.exists():
            return
        self.log.mkdir(parents=True, exist_ok=True)
        number = len(list(self.log.glob("failure-*.json"))) + 1
        self.job_file.unlink(missing_ok=True)
        # The starts of the failed attempts too: a trial's wall time begins with the start that led to its result.
        with contextlib.suppress(FileNotFoundError):
            self.starts_file.rename(self.log / f"starts-{number}.jsonl")
        self.failure_file.rename(self.log / f"failure-{number}.json")

    def rows(self, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
        """The metrics rows from a byte offset on, and the offset after them; damaged lines are left out.

        Raises:
            UserError: no file lies there.
        """
        rows, end = _read_lines(self.metrics_file, offset)
        return sound_rows(rows), end

    def new_rows(self, offset: int) -> tuple[list[dict[str, Any]], int]:
        """The same for those who follow a trial: none where no file lies there."""
        try:
            return self.rows(offset)
        except UserError:
            return [], offset

    def starts(self) -> list[dict[str, Any]]:
        """One row for each time the job's rank 0 started.

        Raises:
            UserError: no file lies there.
        """
        return sound_starts(_read_lines(self.starts_file)[0])

    def all_starts(self) -> list[dict[str, Any]]:
        """Those of attempts that were given up too, oldest first."""
        rows = [row for path in self.earlier_starts() for row in sound_starts(_read_lines(path)[0])]
        return sorted([*rows, *self.starts()], key=lambda row: float(row["time"]))

    def earlier_starts(self) -> Iterator[Path]:
        """The files of those, in no order."""
        return self.log.glob("starts-*.jsonl")

    def add_start(self, row: dict[str, object]) -> None:
        """Record that the job's rank 0 started."""
        append_json_line(self.starts_file, row)

    def locked_by_driver(self) -> AbstractContextManager[bool]:
        """The lock of the one driver that submits and watches this trial; yields False when another has it."""
        return locked(self.driver_lock, blocking=False)

    @property
    def is_running(self) -> bool:
        """Whether some process holds the running lock: rank 0 lives, whatever a queue says."""
        return held(self.running_lock)

    @property
    def is_submitting(self) -> bool:
        """Whether a driver or its helper is between intent and submission."""
        if held(self.submit_lock):
            return True
        with contextlib.suppress(UserError):  # a journal that cannot be read leads to no other lock
            return self.is_submitting_together(self.job())
        return False

    def is_submitting_together(self, record: JobRecord | None) -> bool:
        """The same of a submission with other trials, whose lock is one for all."""
        if record is None or record.state != "intent" or (batch := self.batch(record)) is None:
            return False
        return held(batch.lock)

    def batch(self, record: JobRecord) -> BatchFolder | None:
        """The folder of a submission together with other trials; None where it was one of this trial alone."""
        return BatchFolder.of(self.path.parents[1], record.token) if record.members else None

    def others_wanted(self, record: JobRecord) -> bool:
        """Whether another trial of the same job is to go on: then the job is not ended with this one."""
        others = [TrialFolder(self.path.parent / trial) for trial in record.members if trial != self.trial_id]
        return any(other.is_wanted(record.token) for other in others)

    def is_wanted(self, token: str) -> bool:
        """Whether a job of that submission is to run the trial, now or later; so it is where nobody knows."""
        if self.is_over:
            return False
        try:
            record = self.job()
        except UserError:
            return True
        return record is not None and record.token == token and record.state != "cancelled"

    def last_node(self, record: JobRecord) -> str:
        """Where rank 0 of this submission started last; empty when it never did."""
        hosts = [str(row.get("host", "")) for row in self.starts() if row.get("token") == record.token]
        return hosts[-1] if hosts else ""

    def progressed(self, record: JobRecord) -> bool:
        """Whether a checkpoint came after this submission's last start."""
        starts = [float(row["time"]) for row in self.starts() if row.get("token") == record.token]
        saved = [path.lstat().st_mtime for path in self.checkpoint.glob("[!.]*")]  # whole ones
        return bool(starts and saved) and max(saved) > starts[-1]

    def attempt_log(self, record: JobRecord) -> Path:
        """The log folder of one submission: never shared, since job ids start again and a stale pickle would run."""
        return self.log / f"attempt-{record.attempt}-{record.token[:8]}"

    def has_submitted(self, token: str) -> bool:
        """Whether a submission of that name was made from here: other run folders may have the same trial."""
        record = self.job()
        tokens = {path.name.rpartition("-")[2] for path in self.log.glob("attempt-*")}
        return bool(token) and (token[:8] in tokens or (record is not None and token == record.token))

    def last_lines(self, record: JobRecord, count: int = 20) -> tuple[str, ...]:
        """The last log lines of one submission: its ranks', or where they have none, the submission's own."""
        folder, batch = self.attempt_log(record), self.batch(record)
        for files in (
            sorted(folder.glob("*_log.out")), sorted(folder.glob("*_log.err")),
            [] if batch is None else batch.job_logs(record.job_id),
            [folder / "submission.log" if batch is None else batch.submission_log],
        ):  # fmt: skip
            share = max(3, count // max(1, len(files)))
            lines = list[str]()
            for path in files:
                with contextlib.suppress(OSError):  # of logs only
                    lines += tail(path, share)
            if lines:
                return tuple(lines)
        return ()

    def end_lines(self, record: JobRecord) -> tuple[str, ...]:
        """Where the cluster says why it ended the job: its own log where it ran several trials."""
        batch = self.batch(record)
        if batch is None:
            return self.last_lines(record)
        return tuple(line for path in batch.job_logs(record.job_id) for line in tail(path, 20))

    def job_lines(self, record: JobRecord, count: int) -> tuple[str, ...] | None:
        """The last lines that the job of one submission printed; None where it has no log."""
        logs, batch = sorted(self.attempt_log(record).glob("*_log.*")), self.batch(record)
        if not logs and batch is not None:
            logs = batch.job_logs(record.job_id)
        return tuple(line for path in logs for line in tail(path, count))[-count:] if logs else None

    def first_lines(self, record: JobRecord, count: int) -> list[str]:
        """The first lines of rank 0's log: what the job's script said comes before what Python says."""
        logs = sorted(self.attempt_log(record).glob("*_0_log.out"))
        if not logs:
            return []
        with open_file(logs[0]) as stream:
            text = stream.read(TAIL_BYTES).decode(errors="replace")
        return [line.rstrip() for line in text.splitlines() if line.strip()][:count]

    def shared_logs(self, attempt: Path) -> list[Path]:
        """What lies with the submission of an `attempt_log`, where it was one of several trials."""
        record = self.job()
        if record is None or self.attempt_log(record) != attempt or (batch := self.batch(record)) is None:
            return []
        return batch.job_logs(record.job_id) or [path for path in [batch.submission_log] if path.exists()]


def trial_of_log(folder: Path) -> TrialFolder:
    """The trial of an `attempt_log`."""
    return TrialFolder(folder.parents[1])


def read_failure(path: Path, remedy: str) -> Failure | None:
    """What a failure's file says, None where there is none; of the kind `unreadable` where it says nothing."""
    try:
        return read_spec(path, Failure, "a failure", remedy)
    except FileNotFoundError:
        return None
    except UserError as error:
        with contextlib.suppress(OSError):
            return Failure(reason=str(error), attempts=0, kind="unreadable", at=max(0.0, path.lstat().st_mtime))
        return Failure(reason=str(error), attempts=0, kind="unreadable")


def _read_lines(path: Path, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    try:
        return read_json_lines(path, offset)
    except OSError as error:
        remedy = "Move it away: the curve, or the hours that it tells of, are lost; the result is not."
        raise UserError(path, "rows must be readable", found_in(error), remedy) from None


def held(path: Path) -> bool:
    """Whether somebody holds the lock on that file, which may be somebody else's, to be read alone.

    Raises:
        LaunchError: no file lies there, so that nobody can tell.
    """
    if not path.exists():
        return False
    try:
        with locked(path, blocking=False) as free:
            return not free
    except OSError as error:
        if error.errno in (errno.EISDIR, errno.ENXIO, errno.ELOOP):
            remedy = f"Make sure that nobody works on {path.parent}, then move it away."
            raise LaunchError(path, "a lock must be a file", found_in(error), remedy) from None
        if error.errno not in (errno.EACCES, errno.EROFS):
            raise
    with open_file(path) as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # NFS locks for writing what is open for writing alone: unknown
            return False
    return False


def tail(path: Path, count: int) -> Iterator[str]:
    """The last lines of a log that may be long, without empty ones."""
    with open_file(path) as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - TAIL_BYTES))
        text = stream.read().decode(errors="replace")
    yield from [line.rstrip() for line in text.splitlines() if line.strip()][-count:]

"""One trial from wanted to done: what the journal and the cluster say, and what follows from it."""

from __future__ import annotations

import contextlib
from typing import Literal

from vprdist.errors import LaunchError
from vprdist.launch.cluster import Cluster, Sight
from vprdist.launch.folder import TrialFolder
from vprdist.launch.journal import Failure, JobRecord
from vprdist.spec.trial import TrialSpec

Phase = Literal["locked", "waiting", "running", "done"]
Next = Literal["nothing", "submit", "submit again"]


class Watch:
    """The driver's view of one trial. It decides; the dispatcher submits.

    `phase` is `locked` while another driver has the trial, `waiting` before a job is submitted, `running` while a
    job is queued or runs, `done` when there is a result or a failure.
    """

    def __init__(self, trial: TrialSpec, folder: TrialFolder, max_attempts: int) -> None:
        self.trial = trial
        self.folder = folder
        self.max_attempts = max_attempts
        self.phase: Phase = "locked"
        self.record: JobRecord | None = None
        self.refusals = 0
        self._gone_since: float | None = None
        self._lock = contextlib.ExitStack()

    def take(self) -> bool:
        """Become the trial's only driver; False while another one is."""
        if self.phase != "locked":
            return True
        if self.folder.has_result:
            self.finish()
            return True
        self.folder.path.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as attempt:
            if not attempt.enter_context(self.folder.locked_by_driver()):
                return False
            self._lock = attempt.pop_all()
        self.phase, self.record = "waiting", self.folder.job()
        return True

    def finish(self) -> None:
        """There is nothing more to do; let other drivers have the folder."""
        self.phase = "done"
        self._lock.close()

    def tick(self, cluster: Cluster, now: float) -> Next:
        """Look once; say whether a job is to be submitted: `again` when the last one died."""
        if self.phase == "done" or not self.take():
            return "nothing"
        if self._is_over():
            self.finish()
            return "nothing"
        record = self.record
        if record is None or record.state == "cancelled":
            # Its rank 0 may still be dying, after a failure of its own or a cancel.
            return "nothing" if self.folder.is_running else "submit"
        sight = cluster.look(self.folder, record, now)
        if record.state == "intent":
            record = self.record = self.folder.job() or record  # the helper may have journalled meanwhile
        if sight.state == "gone":
            return self._gone(record, sight, cluster.confirm_s, now)
        self._gone_since, self.phase = None, "running"
        if record.state == "intent" and sight.job_id is not None:
            self.record = record.updated(state="submitted", job_id=sight.job_id, submitted_at=now)
            self.folder.write_job(self.record)
        return "nothing"

    def _is_over(self) -> bool:
        return self.folder.has_result or self.folder.failure_file.exists()

    def _gone(self, record: JobRecord, sight: Sight, confirm_s: float, now: float) -> Next:
        """The second look decides; the result is looked for after it, since a job writes it and is gone."""
        if self._gone_since is None:
            self._gone_since = now
        if now - self._gone_since < confirm_s:
            return "nothing"
        self.phase = "waiting"
        if self._is_over():
            self.finish()
            return "nothing"
        started = any(row.get("token") == record.token for row in self.folder.starts())
        if record.state == "intent" and not started:
            return "submit"  # it never was a job
        if record.attempt >= self.max_attempts:
            ended = sight.reason or "its process ended"
            self.give_up(f"The job ended without a result ({ended})", record)
            return "nothing"
        return "submit again"

    def refused(self, error: LaunchError, record: JobRecord) -> None:
        """The cluster did not take the job: try again some times, then give the trial up."""
        self.refusals += 1
        self.record = record
        if self.refusals >= self.max_attempts:
            self.give_up(str(error), record)

    def give_up(self, reason: str, record: JobRecord) -> None:
        """Record why, with the last log lines; the sweep goes on."""
        lines = self.folder.last_lines(record)
        self.folder.write_failure(Failure(reason=reason, attempts=record.attempt, log_lines=lines))
        self.finish()

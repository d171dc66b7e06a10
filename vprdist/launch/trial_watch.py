"""One trial from wanted to done: what the journal and the cluster say, and what follows from it."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Literal

from vprdist.errors import LaunchError, UserError
from vprdist.launch.cluster import Cluster, Sight
from vprdist.launch.endings import own_words
from vprdist.launch.leave import left_mark
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.trial import TrialSpec
from vprdist.store.batch_folder import read_end
from vprdist.store.journal import Ending, Failure, JobRecord
from vprdist.store.trial_folder import TrialFolder

Phase = Literal["locked", "waiting", "running", "done"]
Next = Literal["nothing", "submit", "submit after loss", "submit again"]
"""After a loss (preempted, a failed node, the time limit) the attempt is the same; again is one attempt more."""


KILLED_BY_USR2 = "User defined signal 2"


class Watch:
    """The driver's view of one trial. It decides; the dispatcher submits.

    `phase` is `locked` while another driver has the trial, `waiting` before a job is submitted, `running` while a
    job is queued or runs, `done` when there is a result or a failure. `waits` is why a job is queued, in the cluster's
    word. `death` is how the last job ended, once, until the dispatcher has taken note of it.

    Args:
        asked_now: a person has just asked for the trial; not so where SLURM starts a detached driver again.
    """

    def __init__(
        self, trial: TrialSpec, folder: TrialFolder, profile: ClusterProfile, *, asked_now: bool = True
    ) -> None:
        self.trial = trial
        self.folder, self.asked_now = folder, asked_now
        self.max_attempts, self.max_losses = profile.max_attempts, profile.max_requeues
        self.phase: Phase = "locked"
        self.record: JobRecord | None = None
        self.waits = ""
        self.death: Sight | None = None
        self.refusals = 0
        self._gone_since: float | None = None
        self._mourned = ""
        # The token of a job that was there when a person asked for the trial, and was not seen alive since.
        self._earlier = ""
        self._not_before = 0.0
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
        if self.asked_now and self.record is not None:
            self._earlier = self.record.token
        return True

    def finish(self) -> None:
        """There is nothing more to do; let other drivers have the folder."""
        self.phase = "done"
        self._lock.close()

    def tick(self, cluster: Cluster, now: float) -> Next:
        """Look once; say whether a job is to be submitted."""
        if self.phase == "done" or not self.take():
            return "nothing"
        if self.folder.is_over:
            self.finish()
            return "nothing"
        record = self.record
        if record is None or record.state == "cancelled":
            self.phase = "waiting"  # not `running` for ever, where somebody had the lock when it was to be submitted
            # Its rank 0 may still be dying, after a failure of its own or a cancel.
            return "nothing" if self.folder.is_running or now < self._not_before else "submit"
        sight = self._ended_alone(record) or cluster.look(self.folder, record, now)
        if record.state == "intent":
            record = self.record = self.folder.job() or record  # the helper may have journalled meanwhile
        if sight.state == "gone":
            return self._gone(record, sight, cluster, now)
        self._gone_since, self.phase = None, "running"
        if sight.state == "alive":
            self.waits, self._earlier = sight.waits, ""
        if record.state == "intent" and sight.job_id is not None:
            self.record = record.updated(state="submitted", job_id=sight.job_id, submitted_at=now)
            self.folder.write_job(self.record)
        return "nothing"

    def _gone(self, record: JobRecord, sight: Sight, cluster: Cluster, now: float) -> Next:
        """The second look decides; the result is looked for after it, since a job writes it and is gone."""
        if self._gone_since is None:
            self._gone_since = now
        if now - self._gone_since < cluster.confirm_s and not sight.alone:
            return "nothing"
        self.phase = "waiting"
        if self.folder.is_over:
            self.finish()
            return "nothing"
        if now < self._not_before:
            return "nothing"
        if sight.held:
            _mark_ended(self.folder, record).touch()  # first: that it is called cancelled then is no person's doing
            cluster.cancel(self.folder, record)
        started = self._has_started(self.folder, record)
        if record.state == "intent" and not started:
            return "submit"  # it never was a job
        sight = self._with_own_knowledge(record, sight)
        if self._mourned != record.token:  # while there is no room for another attempt, this is said again and again
            self._mourned, self.death = record.token, sight
        if sight.cause == "person":
            self.give_up(f"cancelled, but not by vprdist ({sight.reason})", record, "cancelled")
            return "nothing"
        if sight.cause in ("cluster", "preempted") or (sight.cause == "time" and self.folder.progressed(record)):
            if record.lost < self.max_losses:
                return "submit after loss"
        elif record.attempt < self.max_attempts:
            return "submit again"
        why = f"The job ended without a result ({sight.reason or 'its process ended'})"
        self.give_up(" ".join(filter(None, (own_words(self.folder.last_lines(record)), why))), record)
        return "nothing"

    def _ended_alone(self, record: JobRecord) -> Sight | None:
        """What the job of several trials says of this one's end; None while it says nothing."""
        end = read_end(self.folder.attempt_log(record)) if record.members else None
        if end is None or self.folder.is_running:
            return None
        return Sight("gone", record.job_id, end.words, node=self.folder.last_node(record), alone=True)

    def _was_never_begun(self, record: JobRecord) -> bool:
        """The job ended before it came to this trial, of some others that it had begun."""
        if self._has_started(self.folder, record):
            return False
        for trial in record.members:
            with contextlib.suppress(UserError):  # it costs that trial what it tells, and no other
                if self._has_started(TrialFolder(self.folder.path.parent / trial), record):
                    return True
        return False

    @staticmethod
    def _has_started(folder: TrialFolder, record: JobRecord) -> bool:
        return any(row.get("token") == record.token for row in folder.starts())

    def _with_own_knowledge(self, record: JobRecord, sight: Sight) -> Sight:
        """What no cluster knows of the end: the job left when it was asked to, the driver ended it itself, or a person
        cancelled it and has asked for the trial again since."""
        if sight.cause == "person" and self._earlier == record.token:
            return replace(sight, cause="preempted")
        left = left_mark(self.folder.attempt_log(record)).exists() or _mark_ended(self.folder, record).exists()
        if not left and sight.cause in ("job", "time") and self._was_never_begun(record):
            return replace(sight, cause="preempted", reason=f"{sight.reason}, before it came to this trial")
        if not left and (sight.cause == "person" or not self._left_while_starting(record)):
            return sight
        return sight if sight.cause == "cluster" else replace(sight, cause="preempted")

    def _left_while_starting(self, record: JobRecord) -> bool:
        """USR2 met a Python that had no handler for it yet, and ended it: srun says so in the log."""
        if self._has_started(self.folder, record):
            return False
        return any(KILLED_BY_USR2 in line for line in self.folder.last_lines(record))

    def has_new_job(self) -> bool:
        """Whether a job was submitted, or is being submitted, of which nobody has told this watch."""
        try:
            record = self.folder.job()
        except UserError:
            return False  # a journal that cannot be read tells of none
        if record is None or (self.record is not None and record.token == self.record.token):
            return False
        under_way = self.folder.is_submitting or self.folder.is_submitting_together(record)
        return record.state == "submitted" or under_way

    def submitted(self) -> None:
        """The dispatcher's submission went through, or is under way."""
        self.record, self.phase, self._gone_since, self.waits = self.folder.job(), "running", None, ""

    def refused(self, error: LaunchError, record: JobRecord, now: float, *, wait_s: float, final: bool) -> None:
        """The cluster did not take the job: try again after a while, some times, then give the trial up."""
        self.record, self._not_before = record.updated(state="intent"), now + wait_s
        self.refusals += 1
        if final or self.refusals >= self.max_attempts:
            self.give_up(str(error), record, "refused")

    def postponed(self, record: JobRecord, now: float, wait_s: float) -> None:
        """The cluster takes no more jobs of this user for the moment, or does not answer: no fault of anybody's."""
        self.record, self._not_before = record.updated(state="intent"), now + wait_s

    def unsubmitted(self) -> None:
        """The cluster did not take the job, and said so: the journal says again what it said before."""
        if self.record is None:
            self.folder.job_file.unlink(missing_ok=True)
        else:
            self.folder.write_job(self.record)

    def wait_until(self, moment: float) -> None:
        """Nothing is submitted before."""
        self._not_before = moment

    def forget(self) -> None:
        """The last job says nothing of the trial: the next driver begins with its first attempt."""
        with self.folder.locked_by_driver() if self.phase == "done" else contextlib.nullcontext(True) as mine:
            record = self.folder.job()
            if mine and record is not None:
                self.folder.write_job(record.updated(state="cancelled"))
                self.folder.retire_failure()
        self.finish()

    def give_up(self, reason: str, record: JobRecord, kind: Ending = "died") -> None:
        """Record why, with the last log lines; the sweep goes on."""
        lines = self.folder.last_lines(record)
        self.folder.write_failure(Failure(reason=reason, attempts=record.attempt, log_lines=lines, kind=kind))
        if kind == "cancelled":
            self.folder.write_job(record.updated(state="cancelled"))
        self.finish()


def _mark_ended(folder: TrialFolder, record: JobRecord) -> Path:
    """There once the driver has ended a job of its own accord."""
    return folder.attempt_log(record) / "ended"

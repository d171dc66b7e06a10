"""The first job of a profile that is new or changed: seconds long, the same script, before any trial or array.

Twenty trials behind a `setup` line that fails are sixty dead jobs. This one shows it first: it asks for what a trial
asks for, and each of its ranks says what its node has (`first_words`). What passed is remembered in the run folder.
"""

from __future__ import annotations

import contextlib
import os
import sys
from itertools import takewhile
from pathlib import Path

from vprdist import __version__
from vprdist.console import Tell
from vprdist.errors import LaunchError
from vprdist.files import digest_json
from vprdist.launch.cluster import Sight, Submission, submit
from vprdist.launch.node import FIRST_JOB
from vprdist.launch.params import job_environment, submission_parameters
from vprdist.launch.refusals import is_busy, is_impossible, is_limit
from vprdist.launch.slurm import SlurmCluster
from vprdist.launch.why_dead import never_started
from vprdist.machine import machine_name
from vprdist.source import running_source
from vprdist.spec.profile import ClusterProfile
from vprdist.store.first_job import FirstJobFolder, Words
from vprdist.store.journal import JobRecord, new_token

LIMIT_MIN = 10
"""Its time limit: a short job is let in between long ones; `setup` may have to fetch a container."""
SETUP_LINES = 4
"""The first ones that `setup` printed are shown."""
AGAIN_S = 10.0
"""Seconds before a cluster that takes no more jobs is asked again."""
OF_THE_DRIVER = frozenset((
    "check", "poll_s", "max_concurrent", "max_attempts", "max_requeues", "requeue", "array_limit", "exclude_after",
    "arrays", "trials_per_job", "side_by_side",
    "exclude", "shared", "time_limit_min", "signal_lead_s", "mail_user", "mail_types", "driver", "ports", "nice",
    "hosts", "cluster_name", "comment_prefix", "job_name_prefix", "teardown",
))  # fmt: skip
"""Keys of a profile that change nothing of how a job starts."""


def profile_digest(profile: ClusterProfile) -> str:
    """Names what matters to a job's start: of the profile what is not at its default, the Python, the version.

    The Python by its environment: `python -m vprdist.sweep` and `vprdist retry` call one by different names.
    """
    facts = profile.model_dump(mode="json", exclude_defaults=True, exclude=set(OF_THE_DRIVER))
    return digest_json([facts, sys.prefix, __version__], 12)


class FirstJob:
    """Asked again and again by whoever would submit; submits and watches one small job, until it has passed.

    A driver that is killed leaves it in the queue: the next one finds it by journal, name and token. Where there
    are several drivers, one watches it, and the others wait for the outcome.

    Args:
        root: the folder that nodes must see, the run folder; what passed is remembered below it.
    """

    def __init__(self, profile: ClusterProfile, root: Path, tell: Tell) -> None:
        self.profile, self.tell = profile, tell
        self.place = FirstJobFolder(root, profile_digest(profile))
        self.folder = self.place.folder
        self.cluster = SlurmCluster(profile)
        self._mine, self._lock = False, contextlib.ExitStack()
        self._told, self._gone_since, self._not_before, self._tries = "", 0.0, 0.0, 0
        self._avoided: tuple[str, ...] = ()
        self._sent: set[str] = set()
        self._death: LaunchError | None = None

    def passed(self, now: float) -> bool:
        """Whether jobs may be submitted now.

        Raises:
            LaunchError: the first job died, on two nodes where there are two, or found something that is wrong.
        """
        if self.profile.kind == "local" or not self.profile.check or self.place.passed:
            self.close()
            return True
        if not self._take():
            self._say("another driver's first job tries this profile; waiting for it")
            return False
        record = self.folder.job()
        if record is None or record.state == "cancelled":
            if now >= self._not_before:
                self._submit(now, 1 if record is None else record.attempt)
            return False
        if (failure := self.folder.failure()) is not None:  # its door has found files that others may write to
            self._forget(record)
            remedy = "No trial was submitted. The same command again tries anew."
            raise LaunchError(_where(record), f"the first job cannot start: {failure.reason}", None, remedy)
        said = self.place.said(record, self.profile.num_ranks)
        if len(said) == self.profile.num_ranks:
            self._judge(record, said)
            return True
        self._look(record, now)
        return False

    def close(self, *, comes_back: bool = False) -> None:
        """Nobody waits any more: end the job that is still there.

        Args:
            comes_back: the driver goes back into the queue, and finds it again.
        """
        if self._mine and not self.place.passed and not comes_back:
            record = self.folder.job()
            if record is not None and record.state != "cancelled":
                self._forget(record)
                if not self.cluster.cancel(self.folder, record):
                    self.tell(f"scancel was not answered; end the first job by hand: scancel {record.job_id}")
        self._mine = False
        self._lock.close()

    def _take(self) -> bool:
        if not self._mine:
            self.folder.path.mkdir(parents=True, exist_ok=True)
            with contextlib.ExitStack() as attempt:
                if attempt.enter_context(self.folder.locked_by_driver()):
                    self._mine, self._lock = True, attempt.pop_all()
        return self._mine

    def _say(self, text: str) -> None:
        if text != self._told:
            self._told = text
            self.tell(text)

    def _forget(self, record: JobRecord) -> None:
        self.folder.write_job(record.updated(state="cancelled"))

    def _submit(self, now: float, attempt: int) -> None:
        record = self._record(attempt)
        self.folder.retire_failure()
        order = Submission(self.folder, record, self.profile.trust)
        refusals = submit([order], job_environment(os.environ, record.num_threads))
        self._gone_since = 0.0
        error = refusals.get(self.folder.trial_id)
        if error is None:
            self._sent.add(record.token)
            sent = self.folder.job() or record
            self._say(f"first job {sent.job_id or ''} of this profile: nothing else is submitted before it has passed")
            return
        self._forget(record)
        if is_limit(str(error)) or is_busy(str(error)):
            self._say(f"SLURM takes no job for now; trying again: {error.remedy}")
            self._not_before = now + AGAIN_S
        elif self._death is not None and is_impossible(str(error)):  # there is no other node
            raise self._death
        else:
            raise error

    def _record(self, attempt: int) -> JobRecord:
        limit = min(LIMIT_MIN, self.profile.time_limit_min)
        changes = {
            "time_limit_min": limit, "signal_lead_s": min(self.profile.signal_lead_s, 30 * limit), "requeue": False,
            "exclude": (*self.profile.exclude, *self._avoided), "mail_user": None, "mail_types": (),
        }  # fmt: skip
        token, name = new_token(), f"check-{self.folder.trial_id}"
        parameters = submission_parameters(self.profile.model_copy(update=changes), name, token)
        return JobRecord(
            state="intent", cluster="slurm", name=parameters["job_name"], token=token, attempt=attempt, job=FIRST_JOB,
            parameters=parameters, num_threads=self.profile.rank_cpus, scratch=self.profile.scratch,
            avoided=self._avoided, machine=machine_name(),
        )  # fmt: skip

    def _look(self, record: JobRecord, now: float) -> None:
        self.cluster.refresh([record], now)
        sight = self.cluster.look(self.folder, record, now)
        if sight.state == "alive":
            self._gone_since = 0.0
            if record.state == "intent" and sight.job_id is not None:
                self.folder.write_job(record.updated(state="submitted", job_id=sight.job_id, submitted_at=now))
            if sight.waits:
                self._say(
                    f"first job {sight.job_id} waits in the queue ({sight.waits}); trials follow when it has passed"
                )
        elif sight.state == "gone":
            self._gone_since = self._gone_since or now
            if now - self._gone_since >= self.cluster.confirm_s:
                self._died(record, sight)

    def _died(self, record: JobRecord, sight: Sight) -> None:
        """It is tried once more on another node, since one node may be bad; lost jobs a few times more."""
        self._forget(record)
        self._gone_since = 0.0
        if sight.held:
            self.cluster.cancel(self.folder, record)
        if record.token not in self._sent:  # an earlier driver's: what it died of may be mended by now
            return
        if sight.cause == "person":
            remedy = "No trial was submitted. The same command submits it again."
            raise LaunchError(
                _where(record), f"the first job was cancelled, but not by vprdist ({sight.reason})", None, remedy
            )
        self._tries += 1
        fault = f"the first job died before vprdist started in it ({sight.reason or 'its process ended'})"
        remedy = "No trial was submitted. Mend it, and start the same command again."
        self._death = never_started(self.profile, _where(record), fault, self.folder, record, remedy)
        lost = sight.cause in ("cluster", "preempted") and self._tries < self.profile.max_attempts
        elsewhere = sight.cause == "job" and bool(sight.node) and not self._avoided
        if not lost and not elsewhere:
            raise self._death
        if elsewhere:
            self._avoided = (sight.node,)
            self.tell(f"the first job died on node {sight.node} ({sight.reason}); tried once more on another")

    def _wrong(self, record: JobRecord, fault: str) -> LaunchError:
        self._forget(record)
        remedy = "No trial was submitted. Mend the profile, or its container."
        return LaunchError(_where(record), fault, None, remedy)

    def _judge(self, record: JobRecord, said: list[Words]) -> None:
        """All ranks have spoken; what they found may still be wrong."""
        source = running_source()
        for words in said:
            if words.version != __version__:
                fault = f"node {words.host} has another version of vprdist, {words.version}, not {__version__}"
                raise self._wrong(record, fault)
            if self.profile.num_node_gpus and not words.gpus:
                raise self._wrong(record, f"node {words.host} shows no GPU to rank {words.rank}")
            if source and words.source and words.source != source.digest:
                self.tell(f"node {words.host} runs other code of vprdist than this driver: {words.source}")
        self._tell_of_setup(record, said[0].host)
        for host, why in {words.host: words.no_gpu for words in said if words.no_gpu}.items():
            self.tell(f"node {host} has GPUs that torch cannot use ({why}): trials would run on the CPU")
        hosts = sorted({words.host for words in said})
        self.place.write_passed(hosts)
        self.tell(f"first job passed on {', '.join(hosts)}: Python {said[0].python}, {_found(said)}")
        self.close()

    def _tell_of_setup(self, record: JobRecord, host: str) -> None:
        """A line of `setup` that fails ends no job, unless it says so itself: `module load` of what is not there."""
        if not self.profile.setup:
            return
        lines = self.folder.first_lines(record, SETUP_LINES + 1)
        before = list(takewhile(lambda line: not line.startswith("submitit "), lines))
        more = " …" if len(before) > SETUP_LINES else ""
        if before:
            self.tell(f"`setup` said on {host}: {'; '.join(before[:SETUP_LINES])}{more}")


def _where(record: JobRecord) -> str:
    return f"job {record.name} {record.job_id or ''}".strip()


def _found(said: list[Words]) -> str:
    """What the ranks saw, in few words."""
    gpus = {len(words.gpus) for words in said}
    scratch = [words.scratch_gb for words in said if words.scratch_gb is not None]
    text = f"{len(said)} rank(s), {min(gpus)} GPU(s) each" if max(gpus) else f"{len(said)} rank(s), no GPU"
    return text + (f", {min(scratch):.0f} GB of scratch" if scratch else "")

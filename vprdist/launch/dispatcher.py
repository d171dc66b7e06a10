"""The one thread of a sweep that submits and watches jobs. Search says which trials are wanted."""

from __future__ import annotations

import contextlib
import math
import queue
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from vprdist.errors import UserError
from vprdist.launch.batches import Job, jobs_of
from vprdist.launch.brake import Brake
from vprdist.launch.capacity import capacity
from vprdist.launch.cluster import BLAMED, Cluster, Sight
from vprdist.launch.first_job import FirstJob
from vprdist.launch.local import LocalCluster
from vprdist.launch.nodes import NodeHealth
from vprdist.launch.slurm import SlurmCluster
from vprdist.launch.submitting import Submitter
from vprdist.launch.trial_watch import Next, Phase, Watch
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.trial import TrialSpec
from vprdist.store.journal import Failure, JobRecord
from vprdist.store.trial_folder import TrialFolder

LOOK_S = 1.0
"""Seconds between two looks at trial folders: a result frees its place at once, however seldom the queue is asked."""
END_AGAIN_S = 30.0
"""Seconds before a job that could not be ended is ended again."""
SETTLE_S = 0.5
"""Seconds without a further wanted trial after which those that are due are submitted together."""
MANY_TRIALS = 1_000_000
"""More than any grid has."""
SILENCE_S = 60.0
"""After so long without an answer of the cluster a person is told."""


class Dispatcher:
    """Submits one job for each wanted trial, adopts jobs of earlier drivers, retries, gives up, cancels.

    Use it as a context; leaving it leaves the jobs running. An exception of its thread is raised by `check`.

    Args:
        profile: the cluster.
        runs: the folder that holds `trials/`.
        job: `module:function` that the ranks call (see `node.TrialFunction`); None: what each trial says.
        all_at_once: everything that is wanted may be in the queue at once, as job arrays where the profile has them;
            not so where it is still to be seen which trials are wanted.

    Attributes:
        comes_back: set it where this driver leaves to go back into the queue: its first job waits for it there.
    """

    def __init__(
        self, profile: ClusterProfile, runs: Path, job: str | None = None, *, all_at_once: bool = False
    ) -> None:
        self.profile, self.runs, self.job = profile, runs.absolute(), job
        self._has_arrays = profile.kind == "slurm" and profile.arrays and all_at_once
        self._heard_at = 0.0
        self._mourned: set[tuple[str, int | None]] = set()
        self.capacity = capacity(profile)
        self.cluster: Cluster = LocalCluster() if profile.kind == "local" else SlurmCluster(profile)
        self.nodes = NodeHealth(self.runs, profile.exclude_after)
        self.first = FirstJob(profile, self.runs, self.tell)
        self.brake = Brake(profile, self.first.place)
        self._asked_now = True
        self.comes_back = False
        self._silent = False
        self._news: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._watches: dict[str, Watch] = {}
        self.submitter = Submitter(
            profile, self.capacity, self.cluster, self.nodes, self.brake, job=job, has_arrays=self._has_arrays,
            tell=self.tell, taken_gpus=self._taken_gpus,
        )  # fmt: skip
        self._ending: list[tuple[TrialFolder, JobRecord]] = []
        self._end_again_at = 0.0
        self._told: set[tuple[str, str]] = set()
        self._inbox: queue.SimpleQueue[TrialSpec | str] = queue.SimpleQueue()
        self._wake, self._stop = threading.Event(), threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="vprdist-dispatcher", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def retire_failures(self, trial_ids: Iterable[str], before: float = math.inf, unreadable: bool = False) -> None:
        """Forget the failures of earlier runs, unless another driver has the trial now: its failure is news.

        Args:
            before: Unix time; failures of that moment or later stay. Infinite: a person asks now, and what they
                cancelled until now is wanted again.
            unreadable: also those whose file says nothing: a person asked for these trials by name.
        """
        self._asked_now = before == math.inf
        for trial_id in trial_ids:
            folder = TrialFolder.of(self.runs, trial_id)
            failure = folder.failure()
            if failure is None or (failure.kind == "unreadable" and not unreadable):
                continue
            if failure.at < before:
                with folder.locked_by_driver() as mine:
                    if mine:
                        folder.retire_failure()

    def want(self, trial: TrialSpec) -> None:
        """This trial's result is wanted; returns at once. A trial with a result starts no job."""
        self._inbox.put(trial)
        self._wake.set()

    def cancel(self, trial_id: str) -> None:
        """This trial is not wanted any more: its job is ended by the thread, also one of an earlier driver."""
        self._inbox.put(trial_id)
        self._wake.set()

    def at_once(self, proposes: bool = False) -> int:
        """Trials that it can have use of at once: more need not be wanted.

        Args:
            proposes: a searcher proposes them from the results of earlier ones.
        """
        if self._has_arrays:
            return MANY_TRIALS
        return capacity(self.profile, proposes).concurrent * self.profile.trials_per_job

    def phases(self) -> dict[str, Phase]:
        """Every wanted trial's phase."""
        return {trial_id: watch.phase for trial_id, watch in list(self._watches.items())}

    def num_going_on(self) -> int:
        """Trials whose jobs go on without this driver; also those submitted this moment, of which its thread has not
        heard yet."""
        return sum(
            watch.phase == "running" or (watch.phase == "waiting" and watch.has_new_job())
            for watch in list(self._watches.values())
        )

    def waits(self) -> dict[str, str]:
        """Why jobs of wanted trials have not started, in the cluster's words; trials whose jobs run are not in it."""
        watches = list(self._watches.items())
        return {trial_id: watch.waits for trial_id, watch in watches if watch.phase == "running" and watch.waits}

    def tell(self, text: str) -> None:
        """Say something to whoever asks for `news`."""
        self._news.put(text)

    def news(self) -> list[str]:
        """What happened since the last time that a person may want to know."""
        return [self._news.get() for _ in range(self._news.qsize())]

    def check(self) -> None:
        """Raise what ended the thread, if something did."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Stop watching. Jobs go on, and the same command adopts them."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._error is None:  # whom the thread did not come to: nobody would end their jobs later
            while not self._inbox.empty():
                if isinstance(wanted := self._inbox.get(), str):
                    self._cancel(wanted)
        for watch in self._watches.values():
            watch.finish()
        self.first.close(comes_back=self.comes_back)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._wake.clear()
                self._read_inbox()
                self._tick(time.time())
                self._wake.wait(min(self.profile.poll_s, LOOK_S if self._is_settled(time.time()) else SETTLE_S))
        except BaseException as error:  # kept for the main thread, never swallowed
            self._error = error

    def _read_inbox(self) -> None:
        while not self._inbox.empty():
            wanted, self._heard_at = self._inbox.get(), time.time()
            if isinstance(wanted, str):
                self._cancel(wanted)
            else:
                folder = TrialFolder.of(self.runs, wanted.trial_id)
                known = self._watches.get(folder.trial_id)
                if known is None or known.phase == "done":
                    watch = Watch(wanted, folder, self.profile, asked_now=self._asked_now)
                    self._watches[folder.trial_id] = watch

    def _tick(self, now: float) -> None:
        if self._ending and now >= self._end_again_at:
            self._end_cancelled(now)
        active = [watch for watch in self._watches.values() if watch.phase != "done"]
        for watch in active:
            with self._leaving(watch):
                watch.take()
        self.cluster.refresh([watch.record for watch in active if watch.record is not None], now)
        following = [(watch, self._following(watch, now)) for watch in active]  # adopted jobs count below
        for watch in active:
            with self._leaving(watch):
                self._remember(watch, now)
        self._tell_of_silence(now)
        due = [(watch, step) for watch, step in following if step != "nothing"]
        jobs = self._braked(jobs_of(due, self.profile.trials_per_job), active)
        if not self._is_settled(now):  # full ones wait for nobody
            jobs = [job for job in jobs if not self._has_arrays and len(job) == self.profile.trials_per_job]
        if jobs and not self.first.passed(now):
            jobs = []
        self.submitter.submit(jobs, now, self._stop.is_set)

    def _is_settled(self, now: float) -> bool:
        """Whether nobody has just wanted a trial: others may come, to be submitted together."""
        return now - self._heard_at >= SETTLE_S or not (self._has_arrays or self.profile.trials_per_job > 1)

    def _following(self, watch: Watch, now: float) -> Next:
        with self._leaving(watch):
            return watch.tick(self.cluster, now)
        return "nothing"

    @contextlib.contextmanager
    def _leaving(self, watch: Watch) -> Iterator[None]:
        """A trial whose files cannot be read is given up, its job left as it is; the sweep goes on."""
        try:
            yield
        except UserError as error:
            if not error.where.startswith(str(watch.folder.path)):
                raise  # it is wrong for every trial
            self.tell(f"{watch.folder.trial_id} is left as it is: {error}")
            reason = f"{error} After that vprdist retry runs it again."
            watch.folder.write_failure(Failure(reason=reason, attempts=0, kind="unreadable"))
            watch.finish()

    def _remember(self, watch: Watch, now: float) -> None:
        """Deaths of jobs, by node; a result clears its node's name."""
        if self.profile.kind == "local" or watch.record is None:
            return
        death, watch.death = watch.death, None
        host = watch.folder.last_node(watch.record)
        node = (death.node if death else "") or host
        if host and self.brake.started(watch.record):
            self._released(host, now)
        if death is not None:
            if watch.record.members and not death.alone:  # the job's end, which is one for all of its trials
                if watch.record.job_key in self._mourned:
                    return
                self._mourned.add(watch.record.job_key)
            self.tell(_said_of(watch.record, death, watch.folder.trial_id))
            if (host or not self.brake.takes(watch.folder, watch.record, death)) and death.cause in BLAMED:
                self.nodes.died(node, watch.folder.trial_id, death.reason, now)
        elif watch.phase == "done" and watch.folder.has_result:
            self.nodes.finished(node, watch.folder.trial_id, now)

    def _released(self, host: str, now: float) -> None:
        """The first job of this driver has started: those that died before it did so of their nodes."""
        self.first.place.write_passed([host])
        for death in self.brake.deaths:
            self.nodes.died(death.sight.node, death.folder.trial_id, death.sight.reason, now)

    def _braked(self, jobs: list[Job], active: Sequence[Watch]) -> list[Job]:
        """Those that there is room for; where the first ones died of one cause, the sweep ends here.

        Raises:
            LaunchError: their last words.
        """
        running = {watch.record.job_key for watch in active if watch.phase == "running" and watch.record}
        if not self._has_arrays:  # the queue decides then, and `%` of the array
            jobs = jobs[: max(0, self.capacity.concurrent - len(running))]
        ours = [watch for watch in active if watch.phase == "running" and self.brake.is_mine(watch.record)]
        if self.brake.is_on and all(watch.waits for watch in ours):
            for watch in ours:
                self._unwant(watch.folder)
            for death in self.brake.deaths:
                self._watches[death.folder.trial_id].forget()
            raise self.brake.error()
        left = self.brake.room(len({watch.record.job_key for watch in ours if watch.record}))
        return jobs if left is None else jobs[:left]

    def _tell_of_silence(self, now: float) -> None:
        silent = self.cluster.silent_s(now)
        if silent > SILENCE_S and not self._silent:
            self.tell(f"SLURM has not answered for {silent:.0f} s; jobs are left as they are")
        elif self._silent and not silent:
            self.tell("SLURM answers again")
        self._silent = silent > SILENCE_S if silent else False

    def _taken_gpus(self) -> set[int]:
        """On this machine, GPUs that a running trial of this sweep has."""
        running = [watch for watch in list(self._watches.values()) if watch.phase == "running" and watch.record]
        return {gpu for watch in running if watch.record for gpu in watch.record.gpus}

    def _cancel(self, trial_id: str) -> None:
        watch, folder = self._watches.get(trial_id), TrialFolder.of(self.runs, trial_id)
        if watch is None:  # stopped by an earlier driver, which was killed before it had ended the job
            with folder.locked_by_driver() as mine:
                if mine and not folder.is_over:
                    self._unwant(folder)
        elif watch.take() and watch.phase != "done":
            self._unwant(folder)
            watch.finish()

    def _unwant(self, folder: TrialFolder) -> None:
        record = folder.job()
        if record is not None and (record.state != "cancelled" or folder.is_running):
            # Journalled first: a rank that starts meanwhile finds that it is not wanted.
            folder.write_job(record.updated(state="cancelled"))
            self._ending.append((folder, record))
            self._end_cancelled(time.time())

    def _end_cancelled(self, now: float) -> None:
        """End the jobs of cancelled trials; what the cluster does not answer is asked again."""
        left = [(folder, record) for folder, record in self._ending if not self.cluster.cancel(folder, record)]
        for folder, record in left:
            if (folder.trial_id, record.token) not in self._told:
                self._told.add((folder.trial_id, record.token))
                self.tell(f"{record.name}: its job {record.job_id} could not be ended yet; trying again")
        self._ending, self._end_again_at = left, now + END_AGAIN_S


def _said_of(record: JobRecord, death: Sight, trial_id: str) -> str:
    if death.alone:
        return f"trial {trial_id} ended without a result, its job {record.job_id} goes on: {death.reason}"
    if death.cause != "person":
        return f"{record.name} ended without a result: {death.reason}"
    return (
        f"{record.name}: its job {record.job_id} was cancelled, but not by vprdist ({death.reason}). That is no failed "
        "attempt; the trial counts as cancelled. vprdist cancel SWEEP ends trials, vprdist retry SWEEP runs them again"
    )

"""The one thread of a sweep that submits and watches jobs. Search says which trials are wanted."""

from __future__ import annotations

import contextlib
import math
import os
import queue
import shutil
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from vprdist.errors import LaunchError, UserError
from vprdist.launch.brake import Brake
from vprdist.launch.capacity import capacity
from vprdist.launch.cluster import BLAMED, Cluster, Sight, Submission, submit
from vprdist.launch.first_job import FirstJob
from vprdist.launch.local import LocalCluster
from vprdist.launch.node import job_of
from vprdist.launch.nodes import NodeHealth
from vprdist.launch.params import job_environment, submission_parameters
from vprdist.launch.refusals import is_busy, is_impossible, is_limit, is_wrong
from vprdist.launch.slurm import SlurmCluster
from vprdist.launch.trial_watch import Next, Phase, Watch
from vprdist.machine import machine_name
from vprdist.private import Guard
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.trial import TrialSpec
from vprdist.store.journal import Failure, JobRecord, job_name, new_token
from vprdist.store.trial_folder import TrialFolder

LOOK_S = 1.0
"""Seconds between two looks at trial folders: a result frees its place at once, however seldom the queue is asked."""
END_AGAIN_S = 30.0
"""Seconds before a job that could not be ended is ended again."""
SILENCE_S = 60.0
"""After so long without an answer of the cluster a person is told."""


class Dispatcher:
    """Submits one job for each wanted trial, adopts jobs of earlier drivers, retries, gives up, cancels.

    Use it as a context; leaving it leaves the jobs running. An exception of its thread is raised by `check`.

    Args:
        profile: the cluster.
        runs: the folder that holds `trials/`.
        job: `module:function` that the ranks call (see `node.TrialFunction`); None: what each trial says.

    Attributes:
        comes_back: set it where this driver leaves to go back into the queue: its first job waits for it there.
    """

    def __init__(self, profile: ClusterProfile, runs: Path, job: str | None = None) -> None:
        self.profile, self.runs, self.job = profile, runs.absolute(), job
        self.capacity = capacity(profile)
        self.cluster: Cluster = LocalCluster() if profile.kind == "local" else SlurmCluster(profile)
        self.nodes = NodeHealth(self.runs, profile.exclude_after)
        self.first = FirstJob(profile, self.runs, self.tell)
        self.brake = Brake(profile, self.first.place)
        self._avoided: set[str] = set()
        self._asked_now = True
        self.comes_back = False
        self._use_all_nodes = self._silent = self._is_full = False
        self._news: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._watches: dict[str, Watch] = {}
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

    def phases(self) -> dict[str, Phase]:
        """Every wanted trial's phase."""
        return {trial_id: watch.phase for trial_id, watch in list(self._watches.items())}

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
                self._wake.wait(min(self.profile.poll_s, LOOK_S))
        except BaseException as error:  # kept for the main thread, never swallowed
            self._error = error

    def _read_inbox(self) -> None:
        while not self._inbox.empty():
            wanted = self._inbox.get()
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
        running = sum(watch.phase == "running" for watch in active)
        room = max(0, self.capacity.concurrent - running)
        due = [(watch, step) for watch, step in following if step != "nothing"][: self._braked(room, active)]
        if due and not self.first.passed(now):
            due = []
        while due and not self._stop.is_set():
            self._submit(due[: self.cluster.batch], now)
            due = due[self.cluster.batch :]

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
            self.tell(_said_of(watch.record, death))
            if (host or not self.brake.takes(watch.folder, watch.record, death)) and death.cause in BLAMED:
                self.nodes.died(node, watch.folder.trial_id, death.reason, now)
        elif watch.phase == "done" and watch.folder.has_result:
            self.nodes.finished(node, watch.folder.trial_id, now)

    def _released(self, host: str, now: float) -> None:
        """The first job of this driver has started: those that died before it did so of their nodes."""
        self.first.place.write_passed([host])
        for death in self.brake.deaths:
            self.nodes.died(death.sight.node, death.folder.trial_id, death.sight.reason, now)

    def _braked(self, room: int, active: Sequence[Watch]) -> int:
        """Room while no job has started; where the first ones died of one cause, the sweep ends here.

        Raises:
            LaunchError: their last words.
        """
        ours = [watch for watch in active if watch.phase == "running" and self.brake.is_mine(watch.record)]
        if self.brake.is_on and all(watch.waits for watch in ours):
            for watch in ours:
                self._unwant(watch.folder)
            for death in self.brake.deaths:
                self._watches[death.folder.trial_id].forget()
            raise self.brake.error()
        left = self.brake.room(len(ours))
        return room if left is None else min(room, left)

    def _tell_of_silence(self, now: float) -> None:
        silent = self.cluster.silent_s(now)
        if silent > SILENCE_S and not self._silent:
            self.tell(f"SLURM has not answered for {silent:.0f} s; jobs are left as they are")
        elif self._silent and not silent:
            self.tell("SLURM answers again")
        self._silent = silent > SILENCE_S if silent else False

    def _submit(self, due: Sequence[tuple[Watch, Next]], now: float) -> None:
        avoided = self._avoided_nodes(now)
        records = {watch.folder.trial_id: self._next_record(watch, step, avoided, now) for watch, step in due}
        due = [(watch, step) for watch, step in due if self._is_private(watch, records[watch.folder.trial_id], now)]
        for watch, _ in due:
            watch.folder.write_trial(watch.trial)
        orders = [Submission(watch.folder, records[watch.folder.trial_id], self.profile.trust) for watch, _ in due]
        refusals = submit(orders, job_environment(os.environ, self.capacity.threads))
        for watch, _ in due:
            error, record = refusals.get(watch.folder.trial_id), records[watch.folder.trial_id]
            if error is None:
                self._is_full = False
                self.brake.submitted(record)
                watch.submitted()
            else:
                self._refused(watch, record, error, now)

    def _is_private(self, watch: Watch, record: JobRecord, now: float) -> bool:
        """What a job would load is nobody else's to write; else the trial is given up, for the job would refuse it."""
        try:
            Guard(self.profile.trust).check(*watch.folder.loaded)
        except LaunchError as error:
            watch.refused(error, record, now, wait_s=0.0, final=True)
            return False
        return True

    def _refused(self, watch: Watch, record: JobRecord, error: LaunchError, now: float) -> None:
        limit = is_limit(str(error))
        if limit or is_busy(str(error)):
            if not self._is_full:
                why = "takes no more jobs of yours" if limit else "does not answer sbatch"
                self.tell(f"SLURM {why} for now; trying again: {error.remedy}")
            self._is_full = True
            if limit:  # asked again every minute for days: each time would leave some files
                shutil.rmtree(watch.folder.attempt_log(record), ignore_errors=True)
            watch.postponed(record, now, max(10.0, self.profile.poll_s))
        elif record.avoided and is_impossible(str(error)):
            self.tell("without the avoided nodes too few are left: they are used again")
            self._use_all_nodes, self.brake.can_avoid = True, False
            watch.postponed(record, now, 0.0)
        else:
            watch.refused(error, record, now, wait_s=self.cluster.confirm_s, final=is_wrong(str(error)))

    def _avoided_nodes(self, now: float) -> set[str]:
        """Nodes that are bad at this moment; a person is told once of each."""
        if self.profile.kind == "local" or self._use_all_nodes:
            return set()
        avoided = self.nodes.avoided(now)
        for node in set(avoided) - self._avoided:
            self.tell(f"node {node} is avoided from now on: {avoided[node]}")
        self._avoided = set(avoided)
        return self._avoided

    def _next_record(self, watch: Watch, step: Next, avoided: set[str], now: float) -> JobRecord:
        last, token, profile = watch.record, new_token(), self.profile
        if profile.kind == "slurm" and not self._use_all_nodes:
            avoided = avoided | self.nodes.deathbeds(watch.folder.trial_id, now) | self.brake.nodes
        profile = profile.model_copy(update={"exclude": (*profile.exclude, *sorted(avoided))})
        fresh = last is None or last.state == "cancelled"
        gpus = self._free_gpus(watch)
        return JobRecord(
            state="intent",
            cluster=profile.kind,
            name=job_name(watch.folder.trial_id, self.profile.job_name_prefix),
            token=token,
            attempt=1 if fresh or last is None else last.attempt + (step == "submit again"),
            lost=0 if fresh or last is None else last.lost + (step == "submit after loss"),
            max_requeues=profile.max_requeues,
            job=self.job or job_of(watch.trial),
            parameters=submission_parameters(profile, watch.folder.trial_id, token, gpus),
            num_threads=self.capacity.threads,
            gpus=gpus,
            avoided=tuple(sorted(avoided)),
            ports=profile.ports,
            scratch=profile.scratch,
            machine=machine_name(),
        )

    def _free_gpus(self, candidate: Watch) -> tuple[int, ...]:
        """On this machine, GPUs that no running trial of this sweep has."""
        others = [w for w in self._watches.values() if w.phase == "running" and w is not candidate]
        taken = {gpu for watch in others if watch.record for gpu in watch.record.gpus}
        free = [gpu for gpu in self.capacity.gpus if gpu not in taken]
        return tuple(free[: self.capacity.gpus_per_trial])

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


def _said_of(record: JobRecord, death: Sight) -> str:
    if death.cause != "person":
        return f"{record.name} ended without a result: {death.reason}"
    return (
        f"{record.name}: its job {record.job_id} was cancelled, but not by vprdist ({death.reason}). That is no failed "
        "attempt; the trial counts as cancelled. vprdist cancel SWEEP ends trials, vprdist retry SWEEP runs them again"
    )

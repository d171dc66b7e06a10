"""The one thread of a sweep that submits and watches jobs. Search says which trials are wanted."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from vprdist.errors import LaunchError
from vprdist.launch.capacity import capacity
from vprdist.launch.cluster import Cluster, submit
from vprdist.launch.folder import TrialFolder
from vprdist.launch.journal import JobRecord, job_name, machine_name, new_token
from vprdist.launch.local import LocalCluster
from vprdist.launch.node import DEFAULT_JOB
from vprdist.launch.params import job_environment, submission_parameters
from vprdist.launch.slurm import SlurmCluster
from vprdist.launch.watch import Phase, Watch
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.trial import TrialSpec


class Dispatcher:
    """Submits one job for each wanted trial, adopts jobs of earlier drivers, retries, gives up, cancels.

    Use it as a context; leaving it leaves the jobs running. An exception of its thread is raised by `check`.

    Args:
        profile: the cluster.
        runs: the folder that holds `trials/`.
        job: `module:function` that the ranks call (see `node.TrialFunction`).
    """

    def __init__(self, profile: ClusterProfile, runs: Path, job: str = DEFAULT_JOB) -> None:
        self.profile, self.runs, self.job = profile, runs.absolute(), job
        self.capacity = capacity(profile)
        self.cluster: Cluster = LocalCluster() if profile.kind == "local" else SlurmCluster(profile)
        self._watches: dict[str, Watch] = {}
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

    def retire_failures(self, trial_ids: Iterable[str]) -> None:
        """Forget the failures of earlier runs, unless another driver has the trial now: its failure is news."""
        for trial_id in trial_ids:
            folder = TrialFolder.of(self.runs, trial_id)
            if folder.failure_file.exists():
                with folder.locked_by_driver() as mine:
                    if mine:
                        folder.retire_failure()

    def want(self, trial: TrialSpec) -> None:
        """This trial's result is wanted; returns at once. A trial with a result starts no job."""
        self._inbox.put(trial)
        self._wake.set()

    def cancel(self, trial_id: str) -> None:
        """This trial is not wanted any more: its job is ended, by the thread."""
        self._inbox.put(trial_id)
        self._wake.set()

    def phases(self) -> dict[str, Phase]:
        """Every wanted trial's phase."""
        return {trial_id: watch.phase for trial_id, watch in list(self._watches.items())}

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
        for watch in self._watches.values():
            watch.finish()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._wake.clear()
                self._read_inbox()
                self._tick(time.time())
                self._wake.wait(self.profile.poll_s)
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
                    self._watches[folder.trial_id] = Watch(wanted, folder, self.profile.max_attempts)

    def _tick(self, now: float) -> None:
        active = [watch for watch in self._watches.values() if watch.phase != "done"]
        for watch in active:
            watch.take()
        self.cluster.refresh([watch.record for watch in active if watch.record is not None], now)
        following = [(watch, watch.tick(self.cluster, now)) for watch in active]  # adopted jobs count below
        for watch, step in following:
            if step != "nothing" and self._has_room(watch) and not self._stop.is_set():
                self._submit(watch, again=step == "submit again")

    def _has_room(self, candidate: Watch) -> bool:
        running = [w for w in self._watches.values() if w.phase == "running" and w is not candidate]
        return len(running) < self.capacity.concurrent

    def _submit(self, watch: Watch, again: bool) -> None:
        record = self._next_record(watch, again)
        watch.folder.write_trial(watch.trial)
        try:
            submit(watch.folder, record, job_environment(os.environ, record.num_threads))
        except LaunchError as error:
            watch.refused(error, record)
            return
        watch.record, watch.phase = watch.folder.job(), "running"

    def _next_record(self, watch: Watch, again: bool) -> JobRecord:
        last, token = watch.record, new_token()
        attempt = 1 if last is None or last.state == "cancelled" else last.attempt + again
        gpus = self._free_gpus(watch)
        return JobRecord(
            state="intent",
            cluster=self.profile.kind,
            name=job_name(watch.folder.trial_id),
            token=token,
            attempt=attempt,
            job=self.job,
            parameters=submission_parameters(self.profile, watch.folder.trial_id, token, gpus),
            num_threads=self.capacity.threads,
            gpus=gpus,
            machine=machine_name(),
        )

    def _free_gpus(self, candidate: Watch) -> tuple[int, ...]:
        """On this machine, GPUs that no running trial of this sweep has."""
        others = [w for w in self._watches.values() if w.phase == "running" and w is not candidate]
        taken = {gpu for watch in others if watch.record for gpu in watch.record.gpus}
        free = [gpu for gpu in self.capacity.gpus if gpu not in taken]
        return tuple(free[: self.capacity.gpus_per_trial])

    def _cancel(self, trial_id: str) -> None:
        watch = self._watches.get(trial_id)
        if watch is None or not watch.take() or watch.phase == "done":
            return
        record = watch.folder.job()
        if record is not None and record.state != "cancelled":
            # Journalled first: a rank that starts meanwhile finds that it is not wanted.
            watch.folder.write_job(record.updated(state="cancelled"))
            self.cluster.cancel(watch.folder, record)
        watch.finish()

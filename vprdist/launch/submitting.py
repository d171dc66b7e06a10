"""The sweep's orders to the cluster: jobs, packs and arrays of trials that are due, and what a refusal of one means."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence

from vprdist.errors import LaunchError
from vprdist.launch.batches import Due, Job, joined, submissions_of
from vprdist.launch.brake import Brake
from vprdist.launch.capacity import Capacity
from vprdist.launch.cluster import Cluster, Submission, submit
from vprdist.launch.node import job_of
from vprdist.launch.nodes import NodeHealth
from vprdist.launch.params import job_environment, submission_parameters
from vprdist.launch.refusals import is_busy, is_impossible, is_limit, is_wrong
from vprdist.launch.slurm import max_array_size
from vprdist.launch.trial_watch import Next, Watch
from vprdist.machine import machine_name
from vprdist.private import Guard
from vprdist.spec.profile import ClusterProfile
from vprdist.store.journal import JobRecord, job_name, new_token
from vprdist.store.trial_folder import TrialFolder


class Submitter:
    """Submits what the dispatcher has found due, away from bad nodes, in as few orders as the cluster takes.

    Args:
        job: `module:function` that the ranks call; None: what each trial says.
        has_arrays: each order is a job array, where there is more than one job.
        tell: takes what a person should know.
        taken_gpus: GPUs of this machine that running trials have.
    """

    def __init__(
        self, profile: ClusterProfile, capacity: Capacity, cluster: Cluster, nodes: NodeHealth, brake: Brake, *,
        job: str | None, has_arrays: bool, tell: Callable[[str], None], taken_gpus: Callable[[], set[int]],
    ) -> None:  # fmt: skip
        self.profile, self.capacity, self.cluster, self.nodes, self.brake = profile, capacity, cluster, nodes, brake
        self.job, self.tell, self.taken_gpus = job, tell, taken_gpus
        self._has_arrays = has_arrays
        self._most_tasks = self._tasks_now = 0  # of an array: ever, and after the last refusals; 0: not asked for yet
        self._avoided: set[str] = set()
        self._use_all_nodes = self._is_full = self._is_smaller = False

    def submit(self, jobs: list[Job], now: float, is_stopped: Callable[[], bool]) -> None:
        """All of them, until the cluster takes no more."""
        batch = 1 if self._has_arrays else self.cluster.batch
        while jobs and not is_stopped():
            size = self._array_size() if self._has_arrays else 1
            orders = submissions_of(jobs, size)[:batch]
            self._submit(orders, now)
            jobs = jobs[sum(map(len, orders)) :]
            if self._is_full:
                self._postpone([each for job in jobs for each in job], now)
                break

    def _array_size(self) -> int:
        """Tasks that the next array may have."""
        if not self._most_tasks:
            self._most_tasks = max_array_size(self.profile.clusters) or 1
            self._tasks_now = self._most_tasks
            if self._most_tasks == 1:
                self.tell("this cluster takes no job arrays: each job is submitted by itself")
        return self._tasks_now

    def _submit(self, orders: Sequence[list[Job]], now: float) -> None:
        avoided = self._avoided_nodes(now)
        records = dict[str, JobRecord]()
        for order in orders:
            records |= self._records(order, avoided, now)
        due = [each for order in orders for job in order for each in job]
        due = [(watch, step) for watch, step in due if self._is_private(watch, records[watch.folder.trial_id], now)]
        for watch, _ in due:
            watch.folder.write_trial(watch.trial)
        entries = [Submission(watch.folder, records[watch.folder.trial_id], self.profile.trust) for watch, _ in due]
        refusals = submit(entries, job_environment(os.environ, self._threads_of(records.values())))
        self._fit_arrays(orders, refusals)
        for watch, _ in due:
            error, record = refusals.get(watch.folder.trial_id), records[watch.folder.trial_id]
            if error is None:
                self._is_full = False
                self.brake.submitted(record)
                watch.submitted()
            else:
                self.refused(watch, record, error, now)

    def _records(self, order: list[Job], avoided: set[str], now: float) -> dict[str, JobRecord]:
        drafts = {
            watch.folder.trial_id: self.next_record(watch, step, avoided, now) for job in order for watch, step in job
        }
        return drafts if len(drafts) == 1 else joined(self.profile, order, drafts)

    def _threads_of(self, records: Iterable[JobRecord]) -> int | None:
        """Threads of each rank; a process that several trials start from has those of one of them."""
        return min((each.num_threads for each in records if each.num_threads), default=self.capacity.threads)

    def _fit_arrays(self, orders: Sequence[list[Job]], refusals: Mapping[str, LaunchError]) -> None:
        """A site that takes no more jobs may take a smaller array; when it takes one, it may take more again."""
        if not self._has_arrays:
            return
        size = max(map(len, orders))
        if any(is_limit(str(error)) for error in refusals.values()):
            self._tasks_now = max(1, size // 2)
        elif size == self._tasks_now:
            self._tasks_now = min(self._most_tasks, 2 * size)

    def _postpone(self, due: Sequence[Due], now: float) -> None:
        """What the last order was refused for holds for these too."""
        for watch, _ in due:
            watch.wait_until(now + max(10.0, self.profile.poll_s))

    def _is_private(self, watch: Watch, record: JobRecord, now: float) -> bool:
        """What a job would load is nobody else's to write; else the trial is given up, for the job would refuse it."""
        try:
            Guard(self.profile.trust).check(*watch.folder.loaded)
        except LaunchError as error:
            watch.refused(error, record, now, wait_s=0.0, final=True)
            return False
        return True

    def refused(self, watch: Watch, record: JobRecord, error: LaunchError, now: float) -> None:
        """What follows for the trial: it waits, is ordered in a smaller array, elsewhere, or is given up."""
        limit = is_limit(str(error))
        if limit and record.task is not None:
            if not self._is_smaller:
                self.tell(f"SLURM takes no array of that size; smaller ones are tried: {error.remedy}")
            self._is_smaller = True
            _forget_files(watch.folder, record)
            watch.unsubmitted()
        elif limit or is_busy(str(error)):
            if not self._is_full:
                why = "takes no more jobs of yours" if limit else "does not answer sbatch"
                self.tell(f"SLURM {why} for now; trying again: {error.remedy}")
            self._is_full = True
            if limit:  # asked again every minute for days: each time would leave some files
                _forget_files(watch.folder, record)
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

    def next_record(self, watch: Watch, step: Next, avoided: set[str], now: float) -> JobRecord:
        """The journal of a trial that is to be submitted by itself."""
        last, token, profile = watch.record, new_token(), self.profile
        if profile.kind == "slurm" and not self._use_all_nodes:
            avoided = avoided | self.nodes.deathbeds(watch.folder.trial_id, now) | self.brake.nodes
        profile = profile.model_copy(update={"exclude": (*profile.exclude, *sorted(avoided))})
        fresh = last is None or last.state == "cancelled"
        gpus = self._free_gpus()
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

    def _free_gpus(self) -> tuple[int, ...]:
        taken = self.taken_gpus()
        free = [gpu for gpu in self.capacity.gpus if gpu not in taken]
        return tuple(free[: self.capacity.gpus_per_trial])


def _forget_files(folder: TrialFolder, record: JobRecord) -> None:
    """Those of a submission that the cluster refused."""
    shutil.rmtree(folder.attempt_log(record), ignore_errors=True)
    if (batch := folder.batch(record)) is not None:
        shutil.rmtree(batch.path, ignore_errors=True)

"""Several trials in one job: a process that has loaded what they need, and a child of its own for each of them.

A child does what a job of one trial does, and prints into its own trial's log. One that dies ends nothing but itself:
a note beside its log says how, so that the driver tries that trial again while the others go on. At the signal every
child saves itself, and the job goes back into the queue as one.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from types import FrameType
from typing import Any

from vprdist.errors import LaunchError, UserError
from vprdist.files import open_no_link
from vprdist.launch.leave import is_requeued, leave_mark, left_mark, patience_s
from vprdist.launch.node import find_function, give_gpus, refuse, run_job, use_threads
from vprdist.launch.permit import permit_here
from vprdist.machine import die_with_parent
from vprdist.private import Guard
from vprdist.store.batch_folder import MemberEnd, read_end, write_end
from vprdist.store.journal import JobRecord
from vprdist.store.trial_folder import TrialFolder

LOOK_S = 0.5
"""Seconds between two looks at the journals of trials that run: one that is cancelled ends within that."""
END_S = 3.0
"""Seconds after a signal ended a child before that is noted: where the whole job is killed, this process is next."""
TERMINATED_S = 120.0
"""Seconds after SIGTERM, with which the cluster ends a job, in which no child's end says anything of its trial."""
LEFT = 75
"""The exit code of a child that has saved itself and left."""
GPU_SHARE = "VPRDIST_GPU_SHARE"
"""The part of its GPU that a trial has, for programs of a user's own."""


class PackJob:
    """The call that submitit pickles: folders of trials, and the token that their journals must have."""

    def __call__(self, folders: tuple[str, ...], token: str, requeues: int = 0) -> None:
        places = [TrialFolder(Path(folder)) for folder in folders]
        if len(places) == 1:
            run_alone(places[0], token, requeues)
        else:
            Pack(places, token, requeues).run()

    def checkpoint(self, folders: tuple[str, ...], token: str, requeues: int = 0) -> Any:
        """At preemption or the time limit: the same call once more; each trial resumes from its last checkpoint."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, folders, token, requeues + 1)


def run_alone(place: TrialFolder, token: str, requeues: int) -> None:
    """A task of an array that has one trial, of however many ranks: as a job of its own, but for where it prints."""
    import submitit

    if (record := _wanted(place, token, Guard(permit_here().trust))) is None:
        return
    _print_into(_log_of(place, record, submitit.JobEnvironment().global_rank))
    _check_call(place, record)
    run_job(str(place.path), token, record.job, requeues)


@dataclass(frozen=True)
class _Child:
    place: TrialFolder
    record: JobRecord
    process: ForkProcess

    def end(self) -> None:
        """With everything that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(int(self.process.pid or 0), signal.SIGKILL)
        self.process.join()


class Pack:
    """The trials of this job: which wait, which run, and what became of the others."""

    def __init__(self, places: Sequence[TrialFolder], token: str, requeues: int) -> None:
        self.token, self.requeues = token, requeues
        self.places, self.waiting = tuple(places), deque(places)
        self.children: list[_Child] = []
        self.asked = False
        self._guard = Guard(permit_here().trust)
        self._ended: list[tuple[float, TrialFolder, JobRecord, MemberEnd]] = []  # when each is to be noted
        self._submitit: Any = None
        self._pid, self._deadline, self._terminated_at = 0, float("inf"), float("-inf")

    def run(self) -> None:
        """Until every trial is over, or the job is asked to leave and all have saved themselves."""
        if (first := self._next()) is None:
            print("No trial of this job is wanted any more; leaving.", flush=True)
            return
        _, record = first
        self.waiting.appendleft(first[0])
        self._listen()
        _warm_up(record)
        looked_at = 0.0
        while True:
            while not self.asked and len(self.children) < record.share and (following := self._next()) is not None:
                self._start(*following)
            if not self.children and not self._ended:
                break
            wait([child.process.sentinel for child in self.children] or [], LOOK_S)
            self._reap()
            self._note_ends()
            if self.asked and self._is_late(record):
                break
            if time.monotonic() - looked_at > LOOK_S:
                looked_at = time.monotonic()
                self._end_unwanted()
        if self.asked:
            self._leave()

    def _next(self) -> tuple[TrialFolder, JobRecord] | None:
        while self.waiting:
            place = self.waiting.popleft()
            if (record := _wanted(place, self.token, self._guard)) is not None:
                return place, record
        return None

    def _listen(self) -> None:
        self._pid = os.getpid()
        self._submitit = signal.signal(signal.SIGUSR2, self._on_signal)
        signal.signal(signal.SIGTERM, self._on_terminate)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """Children inherit it with the flag, each its own; so do their data loaders' workers, which look at none."""
        if not self.asked and os.getpid() == self._pid:
            os.write(1, b"USR2: the cluster wants this node back; saving and leaving.\n")
        self.asked = True

    def _on_terminate(self, number: int, frame: FrameType | None) -> None:
        """SIGTERM comes some time before SIGKILL; a trial may go on until then."""
        self._terminated_at = time.monotonic()

    def _is_late(self, record: JobRecord) -> bool:
        """Whether the children's time to save themselves is over; the first call hands the signal on to them."""
        if self._deadline == float("inf"):
            self._deadline = time.monotonic() + patience_s(record)
            for child in self.children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(child.process.pid or 0), signal.SIGUSR2)
        return time.monotonic() > self._deadline

    def _start(self, place: TrialFolder, record: JobRecord) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        process = multiprocessing.get_context("fork").Process(target=self._run_child, args=(place, record))
        process.start()
        with contextlib.suppress(OSError):  # it does the same: whoever comes first
            os.setpgid(int(process.pid or 0), int(process.pid or 0))
        self.children.append(_Child(place, record, process))

    def _run_child(self, place: TrialFolder, record: JobRecord) -> None:
        """In the child: a job of one trial."""
        parent, self._pid = self._pid, os.getpid()
        with contextlib.suppress(OSError):
            os.setpgid(0, 0)
        die_with_parent()
        if os.getppid() != parent:
            os._exit(1)
        _print_into(_log_of(place, record, 0))
        if record.share > 1:
            share = f"{1 / record.share:.4g}"
            os.environ |= {GPU_SHARE: share, "XLA_PYTHON_CLIENT_MEM_FRACTION": share}
        _check_call(place, record)
        run_job(str(place.path), self.token, record.job, self.requeues, _MemberLeave(self))

    def _reap(self) -> None:
        """Note the ends of those that ended by themselves, and not with a result or a failure."""
        for child in [each for each in self.children if not each.process.is_alive()]:
            self.children.remove(child)
            code = child.process.exitcode or 0
            child.end()  # what it started and left behind
            if not (self.asked and code == LEFT) and child.place.is_wanted(self.token):
                end = MemberEnd(exit_code=code, beside=len(self.children))
                self._ended.append((time.monotonic() + END_S * (code < 0), child.place, child.record, end))

    def _note_ends(self) -> None:
        now = time.monotonic()
        for each in [each for each in self._ended if now >= each[0]]:
            self._ended.remove(each)
            _, place, record, end = each
            if now - self._terminated_at > TERMINATED_S:
                write_end(place.attempt_log(record), end)
                print(f"{place.trial_id}: {end.words}", flush=True)

    def _end_unwanted(self) -> None:
        for child in list(self.children):
            with contextlib.suppress(UserError):  # a journal that cannot be read cancels nothing
                record = child.place.job()
                if record is not None and record.token == self.token and record.state != "cancelled":
                    continue
                self.children.remove(child)
                child.end()
                print(f"{child.place.trial_id}: not wanted any more; its process was ended", flush=True)

    def _leave(self) -> None:
        """Back into the queue, with those that are not over."""
        for child in self.children:  # late: their last periodic checkpoint must do
            child.end()
        unfinished = [(place, record) for place in self.places if (record := _wanted(place, self.token, self._guard))]
        if not unfinished:
            return
        if is_requeued(unfinished[0][1]):
            if callable(self._submitit):
                self._submitit(signal.SIGUSR2, None)
            return
        for place, record in unfinished:
            mark = left_mark(place.attempt_log(record))
            mark.parent.mkdir(parents=True, exist_ok=True)
            leave_mark(mark)
        raise SystemExit(f"left after USR2; the profile says `requeue: false` ({len(unfinished)} trial(s))")


class _MemberLeave:
    """In a child: it leaves the queue to its parent."""

    def __init__(self, pack: Pack) -> None:
        self.pack = pack

    @property
    def asked(self) -> bool:
        return self.pack.asked

    def listen(self) -> None:
        """The pack listens since before the child was there."""

    def now(self, rank: int) -> None:
        raise SystemExit(LEFT)

    def close(self) -> None:
        """Nothing is to be undone."""


def _wanted(place: TrialFolder, token: str, guard: Guard) -> JobRecord | None:
    """The journal of a trial that this submission is to run; None where it is over, cancelled, or another's by now."""
    try:
        guard.check(*place.loaded)
    except LaunchError as error:
        print(error, file=sys.stderr, flush=True)
        refuse(place, error)
        return None
    try:
        record = place.job()
    except UserError as error:
        print(f"{place.trial_id} is left as it is: {error}", flush=True)
        return None
    if record is None or place.is_over or record.token != token or record.state == "cancelled":
        return None
    return None if read_end(place.attempt_log(record)) is not None else record


def _check_call(place: TrialFolder, record: JobRecord) -> None:
    try:
        permit_here().check_call(record.job)
    except LaunchError as error:
        refuse(place, error)
        raise


def _warm_up(record: JobRecord) -> None:
    """Load once what every child needs. Neither threads nor CUDA are begun before a fork; what is wrong with a trial's
    function is said in its own log."""
    use_threads(record)
    give_gpus()
    with contextlib.suppress(Exception):
        permit_here().check_call(record.job)
        find_function(record.job)


def _log_of(place: TrialFolder, record: JobRecord, rank: int) -> Path:
    import submitit

    folder = place.attempt_log(record)
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{submitit.JobEnvironment().job_id}_{rank}_log.out"


def _print_into(log: Path) -> None:
    """From here on whatever this process and those it starts print goes there."""
    sys.stdout.flush()
    sys.stderr.flush()
    descriptor = open_no_link(log, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.close(descriptor)

"""Tasks of one kind as one job array: submitted once, watched by name, submitted again where tasks were lost.

What the tasks make lies in files, and is made once whoever makes it: a task that finds nothing left to do ends. So
nothing is journalled here but the array's name, and one more submission than needed does no harm.

`python -m vprdist.launch.array` is the helper that submits, in an environment of its own (see `submit`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vprdist.disk import full_disk
from vprdist.errors import LaunchError, UserError
from vprdist.files import locked, read_json, write_json
from vprdist.launch.array_folder import LOCK, Array, array_id
from vprdist.launch.driver_job import in_driver_job
from vprdist.launch.enter import MISTAKES
from vprdist.launch.first_job import FirstJob, profile_digest
from vprdist.launch.node import find_function, give_gpus, node_name
from vprdist.launch.own_code import with_own_code
from vprdist.launch.params import job_environment, submission_parameters
from vprdist.launch.paths import check_folder
from vprdist.launch.permit import Permit, permit_here
from vprdist.launch.queue_rows import QueueRow, at
from vprdist.launch.refusals import is_busy, is_impossible, is_limit
from vprdist.launch.slurm import ask_queue, cancel_jobs, slurm_executor
from vprdist.launch.why_dead import explained
from vprdist.machine import THREAD_VARIABLES, current_user
from vprdist.private import Guard, narrow_umask
from vprdist.spec.gres import with_gpus
from vprdist.spec.profile import ClusterProfile
from vprdist.store.driving import Check, wanted_by_all
from vprdist.store.first_job import FirstJobFolder
from vprdist.store.trial_folder import tail

SBATCH_S = 120.0
LOOK_S = 1.0
SILENCE_S = 60.0
BEGUN = "begun"
"""A file that says that a task of the array has come to its start."""


class ArrayTask:
    """The call that submitit pickles: `module:function`, called with the given words, its index and their number."""

    def __init__(self, function: str, logs: str) -> None:
        self.function, self.logs = function, logs

    def __call__(self, words: tuple[str, ...], index: int, count: int) -> None:
        """A mistake of the user's is noted beside the logs, with the node: it may be that a disk is missing there."""
        threads = os.environ.get("SLURM_CPUS_PER_TASK") or str(len(os.sched_getaffinity(0)))
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, threads))  # before numpy or torch are loaded
        give_gpus()
        (Path(self.logs) / BEGUN).touch()
        try:
            permit_here().check_call(self.function)
            find_function(self.function)(*words, index, count)
        except UserError as error:
            write_json(Path(self.logs) / f"{MISTAKES}{node_name()}.json", error.to_json())
            raise
        except OSError as error:
            if (full := full_disk(error, "The task is tried again, some times; what it made is kept.")) is None:
                raise
            raise full from None

    def checkpoint(self, words: tuple[str, ...], index: int, count: int) -> Any:
        """At preemption or the time limit: the same call once more; what it has made is not made again."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, words, index, count)


def one_task(profile: ClusterProfile) -> ClusterProfile:
    """What one task of an array asks for: one process, one GPU where the profile has some, its share of the memory."""
    memory = profile.memory_gb and profile.memory_gb / profile.ranks
    if memory == 0 and max(profile.ranks, profile.num_node_gpus) > 1:
        memory = None  # 0 is all that a node has; what a task's share would be, the site's default says
    changes = {
        "nodes": 1, "ranks": 1, "gpus_per_node": min(1, profile.gpus_per_node), "memory_gb": memory,
        "exclusive": isinstance(profile.exclusive, str) and profile.exclusive,  # "user": with one's own tasks alone
        "gpus_per_task": 1 if profile.gpus_per_task else None, "gres": with_gpus(profile.gres or "", 1) or None,
        "nodelist": profile.nodelist if profile.nodes == 1 else (),
    }  # fmt: skip
    return profile.model_copy(update=changes)


def run_array(
    profile: ClusterProfile, array: Array, function: str, words: tuple[str, ...], count: int, *, root: Path,
    is_done: Callable[[], bool], tick: Callable[[], int], tell: Callable[[str], None], check: Check = wanted_by_all,
) -> None:  # fmt: skip
    """Have `count` tasks work until `is_done`. Tasks of an earlier call are found by name and token, and waited for.

    Args:
        array: its name is the same for the same work; its folder, on shared storage, is of this work alone.
        root: the folder on shared storage whose first job tries the profile (`first_job`).
        function: `module:function` for each task; called with `words`, its index and `count`.
        tick: called about once a second; how much is made.
        tell: what a person should know.
        check: called about once a second, and before each submission; the array is then left to whoever cancelled it.

    Raises:
        LaunchError: the cluster refuses the array, its first job died, no task has come to its start, all tasks of
            `max_attempts` arrays ended too early, tasks on two nodes, or of two arrays, found a mistake of the user's,
            or the work was cancelled.
    """
    watch, comes_back = _Watch(profile, array, tell, root), False
    order = {"function": function, "words": list(words), "count": count, "logs": str(array.logs)}
    try:
        _follow(watch, order, array, is_done, tick, check)
    except KeyboardInterrupt:
        if watch.submissions:
            end_it = f", scancel {' '.join(sorted(watch.jobs))} ends it" if watch.jobs else ""
            tell(f"array {watch.name} goes on; the same command comes back to it{end_it}")
        raise
    except BaseException as leaving:
        # USR2 met a detached driver, which goes back into the queue; all that is wrong is an Exception.
        comes_back = in_driver_job() and not isinstance(leaving, Exception)
        raise
    finally:
        watch.first.close(comes_back=comes_back)


def _follow(
    watch: _Watch, order: Mapping[str, Any], array: Array, is_done: Callable[[], bool], tick: Callable[[], int],
    check: Check,
) -> None:  # fmt: skip
    while not is_done():
        with locked(array.logs / LOCK, blocking=False) as mine:
            check()  # under the lock: who cancels says so first and then waits for it, so nothing is submitted later
            if mine:  # another driver watches and submits; this one waits with it
                watch.look(order, is_done)
        watch.see(tick())
        time.sleep(LOOK_S)


class _Watch:
    """The array as the queue shows it; unknown is not dead, and dead is looked at twice."""

    def __init__(self, profile: ClusterProfile, array: Array, tell: Callable[[str], None], root: Path) -> None:
        self.first = FirstJob(one_task(profile), root, tell)
        if FirstJobFolder(root, profile_digest(profile)).passed:  # where a whole trial has started, one task does
            self.first.place.write_passed([])
        self._waits_for_first = self._sent = False
        self.profile, self.array, self.tell = profile, array, tell
        self.name, self.logs = array.job, array.logs
        self.jobs: set[str] = set()  # ids of arrays that were submitted, or seen alive
        self._ended: set[str] = set()  # those of them that are ended here
        self.confirm_s = max(profile.poll_s, 5.0)
        self.submissions = 0
        self._begun = self._waiting = self._found_before = False
        self._avoided: tuple[str, ...] = ()
        self._made = 0
        self._looked_at = self._silent_since = 0.0
        self._gone_since: float | None = None

    def see(self, made: int) -> None:
        """How much is made by now: an array that made something was no failure, however it ended."""
        if made > self._made and self._made and self.submissions > 1:
            self.submissions = 1
        self._made = made

    def _end(self, rows: Sequence[QueueRow]) -> None:
        self._ended |= (job_ids := {array_id(row) for row in rows})
        clusters = rows[0].clusters
        if not cancel_jobs(job_ids, clusters):
            words = " ".join(["scancel", *at(clusters), *sorted(job_ids)])
            self.tell(f"scancel was not answered; end them by hand: {words}")

    def look(self, order: Mapping[str, Any], is_done: Callable[[], bool]) -> None:
        """At most every `poll_s` one squeue, and what follows from it."""
        now = time.monotonic()
        if self._waits_for_first:  # nothing is in the queue, and nothing is submitted before it has passed
            if not self.first.passed(time.time()):
                return
            self._waits_for_first, self._looked_at = False, 0.0
        if self._looked_at and now - self._looked_at < self.profile.poll_s:
            return
        self._looked_at = now
        if not self._begun:  # what an earlier driver was told of may be mended by now
            self._begun = True
            self._forget_mistakes()
        answer = ask_queue(current_user(), [self.array.queue_name])
        if answer is None:
            self._silent(now)
            return
        self._silent_since = 0.0
        rows = [(row, row.sight) for row in answer if self.array.owns(row)]
        if held := [row for row, sight in rows if sight.held]:
            self._end(held)
        alive = [row for row, sight in rows if sight.state != "gone"]
        self.jobs |= {array_id(row) for row in alive}
        mistakes = self._mistakes()
        if mistakes and (len(mistakes) > 1 or self._found_before):
            if alive:
                self._end(alive)
            raise next(iter(mistakes.values()))
        if alive:
            if not self.submissions:
                self.tell(f"array {self.name} is in the queue already")
            self.submissions, self._gone_since = max(1, self.submissions), None
        elif (self.submissions == 0 or self._is_gone(now)) and not is_done():
            self._check_not_cancelled([row for row, sight in rows if sight.cause == "person"])
            for node, mistake in mistakes.items():  # what was right here may be wrong on one node
                if self.submissions >= self.profile.max_attempts:
                    raise mistake
                self.tell(f"found on node {node} alone, so once more without it: {mistake}")
                self._found_before, self._avoided = True, (node,)
                self._forget_mistakes()
            self._submit(order)

    def _check_not_cancelled(self, rows: Sequence[QueueRow]) -> None:
        """A person ended the array without telling us: submitting another would be against their will."""
        ended = [row for row in rows if array_id(row) in self.jobs - self._ended]
        if ended:
            remedy = "The same command again makes what is missing."
            fault = "its tasks were cancelled, but not by vprdist"
            raise LaunchError(f"job array {self.name}", fault, ended[-1].sight.reason, remedy)

    def _is_gone(self, now: float) -> bool:
        if self._gone_since is None:
            self._gone_since = now
        return now - self._gone_since >= self.confirm_s

    def _silent(self, now: float) -> None:
        self._silent_since = self._silent_since or now
        if now - self._silent_since > SILENCE_S:
            self.tell(f"SLURM has not answered for {now - self._silent_since:.0f} s; the array is left as it is")
            self._silent_since = now

    def _mistakes(self) -> dict[str, LaunchError]:
        """By the node that found it."""
        found = sorted(self.logs.glob(f"{MISTAKES}*.json"))
        return {path.stem.removeprefix(MISTAKES): LaunchError.from_json(read_json(path)) for path in found}

    def _forget_mistakes(self) -> None:
        for path in self.logs.glob(f"{MISTAKES}*.json"):
            path.unlink(missing_ok=True)

    def _submit(self, order: Mapping[str, Any]) -> None:
        if not self.first.passed(time.time()):
            self._waits_for_first = True
            return
        if self._sent:
            self._check_begun()
        if self.submissions >= self.profile.max_attempts:
            fault = f"none of {self.submissions} arrays made everything; their tasks ended too early"
            raise LaunchError(self.logs, fault, " | ".join(self._last_lines()) or "no output")
        if self.submissions and not self._avoided:
            self.tell(f"tasks of array {self.name} ended too early; submitted again for what is missing")
        profile = self.profile.model_copy(update={"exclude": (*self.profile.exclude, *self._avoided)})
        self.array.note(profile)
        self.name = self.array.job
        parameters = submission_parameters(one_task(profile), self.array.name, self.array.token)
        permit = Permit.calling(str(order["function"]), profile.trust)
        self.logs.mkdir(parents=True, exist_ok=True)
        Guard(profile.trust).check(self.logs)
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-m", "vprdist.launch.array"],
                input=json.dumps({**order, "parameters": parameters, "permit": permit.to_json()}), capture_output=True,
                text=True, timeout=SBATCH_S, check=False, start_new_session=True,
                env=with_own_code(job_environment(os.environ, None), profile.trust),
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            remedy = "The same command again finds the array, should it have been made."
            raise LaunchError("sbatch", f"no answer within {SBATCH_S:g} s", None, remedy) from None
        if done.returncode and (is_limit(done.stderr) or is_busy(done.stderr)):  # should there be one, it is found
            if not self._waiting:
                self.tell(f"SLURM takes no job array for now; trying again: {done.stderr.strip()[-200:]}")
            self._waiting = True
            return
        if done.returncode and self._avoided and is_impossible(done.stderr):
            self.tell(f"without {', '.join(self._avoided)} too few nodes are left: used again")
            self._avoided = ()
            return
        if done.returncode:
            raise LaunchError(f"job array {self.name}", "the cluster refuses it", None, done.stderr.strip()[-400:])
        self._sent = True
        self.jobs.add(done.stdout.strip())
        self.tell(f"array {self.name}: job {done.stdout.strip()}, {order['count']} task(s); logs in {self.logs}")
        self.submissions, self._gone_since = self.submissions + 1, None

    def _check_begun(self) -> None:
        """Where nobody knows that such jobs start, one array shows it: the next would die as this one did."""
        if (self.logs / BEGUN).exists():
            self.first.place.write_passed([])
        elif not self.first.place.passed:
            remedy = "Mend it, and start the same command again."
            explanation = explained(self.profile, self._log_lines(), self.logs, remedy)
            fault = "no task of the array has come to its start"
            raise LaunchError(f"job array {self.name}", fault, None, explanation)

    def _last_lines(self) -> list[str]:
        return self._log_lines() or []

    def _log_lines(self) -> list[str] | None:
        """The last lines of the task that spoke last; None where none has a log."""
        logs = sorted(self.logs.glob("*_log.out"), key=lambda path: path.stat().st_mtime)
        return [line for path in logs[-1:] for line in tail(path, 5)] if logs else None


def main() -> int:
    """Submit the array whose order comes as JSON on standard input; prints its job id."""
    order = json.load(sys.stdin)
    logs, permit = Path(order["logs"]), Permit.from_json(order["permit"])
    narrow_umask(permit.trust)
    count = int(order["count"])
    task, words = ArrayTask(order["function"], order["logs"]), tuple(order["words"])
    try:
        check_folder(logs, "slurm")
        executor = slurm_executor("array", logs, order["parameters"], permit, 100)
        jobs = executor.map_array(task, [words] * count, range(count), [count] * count)
    except Exception as error:  # whatever sbatch or submitit says goes to the person in one line
        print(" ".join(f"{type(error).__name__}: {error}".split()), file=sys.stderr)
        return 1
    print(jobs[0].job_id.split("_")[0])
    return 0


if __name__ == "__main__":
    sys.exit(main())

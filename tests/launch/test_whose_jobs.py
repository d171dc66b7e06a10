"""Jobs are told apart by their tokens, and a job that a person ended is not taken for one that died."""

from __future__ import annotations

import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
from toy import JOB, toy_trials

from vprdist.cli import main
from vprdist.errors import LaunchError
from vprdist.files import write_json, write_text
from vprdist.launch import array as arrays
from vprdist.launch import cancel, slurm
from vprdist.launch.array import run_array
from vprdist.launch.array_folder import Array
from vprdist.launch.cancel import end_jobs, mark_cancelled
from vprdist.launch.dispatcher import Dispatcher
from vprdist.launch.first_job import FirstJob
from vprdist.launch.queue_rows import parse_squeue
from vprdist.launch.slurm import SlurmCluster
from vprdist.launch.trial_watch import Watch
from vprdist.search.leaving import SearchInterrupted, Stopped, interruptible
from vprdist.spec.computation import COMPUTATION
from vprdist.spec.profile import ClusterProfile
from vprdist.status.facts import Queue, may_live
from vprdist.store.first_job import FirstJobFolder
from vprdist.store.journal import JobRecord, job_name
from vprdist.store.trial_folder import TrialFolder

PROFILE = ClusterProfile(kind="slurm", poll_s=1.0, max_attempts=1)
(TRIAL,) = toy_trials(1)
NAME = job_name(TRIAL.trial_id)
CANCELLED = "*** JOB 7 ON gpu01 CANCELLED AT 2026-01-01T00:00:00"


class PlayedSlurm:
    """squeue and sacct, played; scancel takes rows away."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.queue: list[str] = []
        self.sacct: str | None = None
        self.ended: list[str] = []
        self.asked: list[str] = []
        monkeypatch.setattr(slurm, "ask", self.ask)
        monkeypatch.setattr(slurm, "scancel", self.scancel)
        monkeypatch.setattr(cancel, "LOOK_S", 0.0)

    def ask(self, command: list[str]) -> str | None:
        self.asked.append(command[0])
        return "\n".join(self.queue) if command[0] == "squeue" else self.sacct

    def scancel(self, words: list[str]) -> bool:
        ids = [word for word in words if not word.startswith("-")]
        self.ended += ids
        self.queue = [row for row in self.queue if row.split("|")[0].split("_")[0] not in ids]
        return True


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> PlayedSlurm:
    return PlayedSlurm(monkeypatch)


def submitted(runs: Path, token: str, job_id: str | None, state: str = "submitted") -> tuple[TrialFolder, JobRecord]:
    folder = TrialFolder.of(runs, TRIAL.trial_id)
    record = JobRecord.model_validate({
        "state": state, "cluster": "slurm", "attempt": 1, "job": JOB, "parameters": {}, "machine": "m", "name": NAME,
        "token": token, "job_id": job_id, "intended_at": 1.0, "submitted_at": None if job_id is None else 2.0,
    })  # fmt: skip
    folder.attempt_log(record).mkdir(parents=True)
    folder.write_job(record)
    return folder, record


def row(job_id: str, token: str, state: str = "RUNNING", node: str = "gpu01", name: str = NAME) -> str:
    return f"{job_id}|{name}|{state}|None|{node}|{token}"


def test_cancel_leaves_the_same_trials_jobs_of_another_run_folder_alone(tmp_path: Path, played: PlayedSlurm) -> None:
    folder, first = submitted(tmp_path / "mine", "1" * 16, "3")
    _, second = submitted(tmp_path / "mine", "2" * 16, "4")
    theirs, _ = submitted(tmp_path / "theirs", "5" * 16, "5")
    # The fourth is mine; the third is an orphan of an earlier submission of mine, and the sixth is nobody's.
    played.queue = [row("3", first.token, "PENDING"), row("4", second.token), row("5", "5" * 16), row("6", "")]
    marked = mark_cancelled([folder], "me")
    assert end_jobs([(folder, record) for _, record in marked if record], print) == []
    assert sorted(played.ended) == ["3", "4"]
    assert [line.split("|")[0] for line in played.queue] == ["5", "6"]
    queue = Queue({NAME: parse_squeue("\n".join(played.queue))})
    record = folder.job()
    assert record is not None and record.state == "cancelled"
    assert not may_live(folder, record, queue)
    theirs.write_job(record.updated(token="5" * 16))
    assert may_live(theirs, record, queue)


def test_a_job_is_ended_by_its_token_also_where_its_id_is_not_known(tmp_path: Path, played: PlayedSlurm) -> None:
    folder, record = submitted(tmp_path, "1" * 16, None, "intent")
    played.queue = [row("7", "1" * 16), row("8", "2" * 16)]
    assert SlurmCluster(PROFILE).cancel(folder, record)
    assert played.ended == ["7"]
    assert SlurmCluster(PROFILE).cancel(folder, record.updated(job_id="8")), "ids are used again"
    assert played.ended == ["7"]


def test_another_folders_job_of_that_name_does_not_stand_for_one_that_squeue_forgot(
    tmp_path: Path, played: PlayedSlurm
) -> None:
    folder, record = submitted(tmp_path, "1" * 16, "7")
    played.queue, played.sacct = [row("8", "2" * 16)], f"7|{NAME}|TIMEOUT|gpu01|0:0|\n"
    queue = SlurmCluster(PROFILE)
    queue.refresh([record], 100.0)
    assert queue.look(folder, record, 100.0).cause == "time"
    played.sacct = f"7|{NAME}|RUNNING|gpu01|0:0|{'2' * 16}\n"  # ids are used again, by another folder too
    queue.refresh([record], 200.0)
    assert queue.look(folder, record, 200.0).reason == "SLURM knows no such job"


def watched(runs: Path, now: float = 100.0) -> tuple[Watch, Dispatcher, SlurmCluster]:
    dispatcher, queue = Dispatcher(PROFILE, runs, JOB), SlurmCluster(PROFILE)
    queue.confirm_s = 0.0
    # A detached driver that SLURM started again: it has heard of every cancel.
    watch = Watch(TRIAL, TrialFolder.of(runs, TRIAL.trial_id), PROFILE, asked_now=False)
    assert watch.take() and watch.record
    queue.refresh([watch.record], now)
    return watch, dispatcher, queue


def test_what_a_person_cancelled_and_then_asked_for_again_is_submitted(tmp_path: Path, played: PlayedSlurm) -> None:
    folder, record = submitted(tmp_path, "1" * 16, "7")
    queue = SlurmCluster(PROFILE)
    queue.confirm_s = 0.0
    watch = Watch(TRIAL, folder, PROFILE)
    played.queue = [row("7", record.token, "CANCELLED")]
    queue.refresh([record], 100.0)
    assert watch.tick(queue, 100.0) == "submit after loss", "it was cancelled before the same command was given again"
    watch.finish()
    watch = Watch(TRIAL, folder, PROFILE)
    played.queue = [row("7", record.token)]
    queue.refresh([record], 200.0)
    assert watch.tick(queue, 200.0) == "nothing"
    played.queue = [row("7", record.token, "CANCELLED")]
    queue.refresh([record], 300.0)
    assert watch.tick(queue, 300.0) == "nothing"
    failure = folder.failure()
    assert failure is not None and failure.kind == "cancelled", "this driver saw it run: that is news"


def test_a_job_that_a_person_cancelled_is_neither_an_attempt_nor_the_nodes_fault(
    tmp_path: Path, played: PlayedSlurm
) -> None:
    folder, record = submitted(tmp_path, "1" * 16, "7")
    played.queue, played.sacct = [row("7", record.token, "CANCELLED")], f"7|{NAME}|CANCELLED by 0|gpu01|0:15|\n"
    watch, dispatcher, queue = watched(tmp_path)
    assert watch.tick(queue, 100.0) == "nothing"
    dispatcher._remember(watch, 100.0)
    failure, said = folder.failure(), dispatcher.news()
    assert failure is not None
    assert failure.kind == "cancelled"
    assert "SLURM says CANCELLED by root on gpu01" in failure.reason
    assert len(said) == 1 and "vprdist cancel" in said[0] and "vprdist retry" in said[0] and "job 7" in said[0]
    assert not dispatcher.nodes.path.exists(), "no node is blamed"
    assert watch.phase == "done"
    dispatcher.retire_failures([TRIAL.trial_id])
    assert watch.__class__(TRIAL, folder, PROFILE).tick(queue, 101.0) == "submit", "retry takes it up"


@pytest.mark.parametrize(("accounting", "who"), [(None, "somebody"), (f"7|{NAME}|RUNNING|gpu01|0:0|\n", "somebody")])
def test_squeue_alone_does_not_say_who(tmp_path: Path, played: PlayedSlurm, accounting: str | None, who: str) -> None:
    folder, record = submitted(tmp_path, "1" * 16, "7")
    played.queue, played.sacct = [row("7", record.token, "CANCELLED", "")], accounting
    watch, _, queue = watched(tmp_path)
    watch.tick(queue, 100.0)
    failure = folder.failure()
    assert failure is not None and f"CANCELLED by {who})" in failure.reason


@pytest.mark.parametrize(
    ("state", "node", "log", "step"),
    [
        ("PREEMPTED", "gpu01", "", "submit after loss"),  # PreemptMode=CANCEL
        ("CANCELLED", "gpu01", f"slurmstepd: error: {CANCELLED} DUE TO PREEMPTION ***", "submit after loss"),
        ("CANCELLED", "gpu01", f"{CANCELLED} DUE TO NODE FAILURE, SEE SLURMCTLD LOG", "submit after loss"),
        ("CANCELLED", "gpu01", f"{CANCELLED} DUE TO JOB REQUEUE ***", "nothing"),
        ("CANCELLED", "gpu01", f"{CANCELLED} ***", "nothing"),
        # It was preempted, waited for its next run, and a person cancelled it there.
        ("CANCELLED", "", f"{CANCELLED} DUE TO PREEMPTION ***", "nothing"),
    ],
)
def test_what_the_cluster_takes_back_costs_no_attempt_and_is_submitted_again(
    tmp_path: Path, played: PlayedSlurm, state: str, node: str, log: str, step: str
) -> None:
    folder, record = submitted(tmp_path, "1" * 16, "7")
    write_text(folder.attempt_log(record) / "7_0_log.out", f"step 1\n{log}\n")
    played.queue = [row("7", record.token, state, node)]
    watch, dispatcher, queue = watched(tmp_path)
    assert watch.tick(queue, 100.0) == step
    dispatcher._remember(watch, 100.0)
    assert dispatcher.nodes.path.exists() is ("NODE FAILURE" in log)
    assert (folder.failure() is not None) is (step == "nothing")
    watch.finish()


def test_a_job_that_knows_why_it_died_is_heard(tmp_path: Path, played: PlayedSlurm) -> None:
    folder, record = submitted(tmp_path, "1" * 16, "7")
    words = f"{folder.path}: the disk is full. Make room."
    write_text(
        folder.attempt_log(record) / "7_0_log.out", f"  raise full\nvprdist.disk.DiskError: {words}\nsrun: error\n"
    )
    played.queue = [row("7", record.token, "FAILED")]
    watch, _, queue = watched(tmp_path)
    watch.tick(queue, 100.0)
    failure = folder.failure()
    assert failure is not None
    assert failure.reason == f"{words} The job ended without a result (SLURM says FAILED on gpu01)"


def test_a_held_job_that_the_driver_ends_is_not_a_persons_doing(tmp_path: Path, played: PlayedSlurm) -> None:
    _, record = submitted(tmp_path, "1" * 16, "7")
    played.queue = [f"7|{NAME}|PENDING|launch failed requeued held||{record.token}"]
    watch, _, queue = watched(tmp_path)
    assert watch.tick(queue, 100.0) == "submit after loss"
    assert played.ended == ["7"]
    watch.finish()  # the driver is killed before there is room for another job
    played.queue = [row("7", record.token, "CANCELLED", "")]
    watch, _, queue = watched(tmp_path)
    assert watch.tick(queue, 100.0) == "submit after loss"
    watch.finish()


def test_arrays_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    mine, theirs = Array("probe-a", tmp_path / "mine"), Array("probe-a", tmp_path / "theirs")
    (link := tmp_path / "link").symlink_to(tmp_path / "mine")
    assert Array("probe-a", link).token == mine.token != theirs.token
    waiting = parse_squeue(row("9_[0-3]", mine.token, "PENDING", "", mine.job))
    assert [each.job_id for each in waiting] == ["9_0", "9_1", "9_2", "9_3"]
    assert all(mine.owns(each) and not theirs.owns(each) for each in waiting)
    # A version before made a token for each submission.
    (parsed,) = parse_squeue(row("9_2", "abcdef", "RUNNING", "gpu01", mine.job))
    assert (mine.owns(parsed), theirs.owns(parsed)) == (False, False)
    write_text(mine.logs / "9_submission.sh", "#!/bin/bash\n#SBATCH --array=0-3\n#SBATCH --comment=abcdef\n")
    assert (mine.owns(parsed), theirs.owns(parsed)) == (True, False)


def test_cancel_ends_the_arrays_of_this_folder_alone(tmp_path: Path, played: PlayedSlurm) -> None:
    mine, theirs = Array("cache-a", tmp_path / "mine"), Array("cache-a", tmp_path / "theirs")
    played.queue = [row("3_1", mine.token, name=mine.job), row("4_1", theirs.token, name=mine.job)]
    assert end_jobs([], print, [mine]) == []
    assert played.ended == ["3"]


def test_an_array_that_a_person_cancelled_is_not_submitted_again(
    tmp_path: Path, played: PlayedSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    array, asked = Array("cache-a", tmp_path), [0]
    clock = SimpleNamespace(monotonic=lambda: float(asked[0] * 100), sleep=lambda seconds: None)
    monkeypatch.setattr(arrays, "time", clock)
    other = row("4_0", "somebody else's", name=array.job)
    played.queue = [other, row("3_[0-1]", array.token, "PENDING", "", array.job)]

    def tick() -> int:
        asked[0] += 1
        if asked[0] == 2:
            played.queue = [other, row("3_0", array.token, "CANCELLED", "", array.job)]
        assert asked[0] < 10
        return 0

    told: list[str] = []
    with pytest.raises(LaunchError, match="its tasks were cancelled, but not by vprdist: 'SLURM says CANCELLED by"):
        run_array(PROFILE, array, "m:f", (), 2, root=tmp_path, is_done=lambda: False, tick=tick, tell=told.append)
    assert told == [f"array {array.job} is in the queue already"]


def first_job(runs: Path, digest: str = "d") -> tuple[TrialFolder, JobRecord]:
    """One that its driver has left behind."""
    folder = FirstJobFolder(runs, digest).folder
    record = JobRecord(
        state="submitted", cluster="slurm", attempt=1, job=JOB, parameters={}, machine="m", job_id="9",
        name=job_name(f"check-{digest}"), token="c" * 16, intended_at=1.0, submitted_at=2.0,
    )  # fmt: skip
    folder.attempt_log(record).mkdir(parents=True)
    folder.write_job(record)
    return folder, record


def listed(runs: Path) -> str:
    """A sweep of the one trial; its name."""
    rows = [{"trial": TRIAL.trial_id, "name": "toy", "seed": 0}]
    manifest = {"name": "s", "objective": "recall@1", "cluster": "x", "computation": COMPUTATION, "trials": rows}
    write_json(runs / "sweeps" / "s" / "manifest.json", manifest)
    write_text(runs / "sweeps" / "s" / "sweep.yaml", "name: s\n")
    return "s"


def test_cancel_and_status_know_the_first_job_that_a_driver_left_in_the_queue(
    tmp_path: Path, played: PlayedSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, record = first_job(tmp_path)
    theirs = row("8", "e" * 16, "PENDING", "", record.name)
    played.queue = [f"9|{record.name}|PENDING|Priority||{record.token}", theirs]
    words = [listed(tmp_path), "--runs", str(tmp_path)]
    assert main(["status", *words]) == 0
    assert "first job 9 waits (other jobs come first)" in capsys.readouterr().out
    with folder.locked_by_driver():
        assert main(["cancel", *words, "--yes"]) == 0
    assert played.ended == [], "another driver waits for it"
    assert main(["cancel", *words, "--yes"]) == 0
    assert "first job 9: cancelled" in capsys.readouterr().out
    assert (played.ended, played.queue) == (["9"], [theirs])
    assert (journal := folder.job()) is not None and journal.state == "cancelled", "the next driver submits another"
    assert main(["cancel", *words, "--yes"]) == 0
    assert "Nothing to cancel" in capsys.readouterr().out


def test_a_first_job_that_could_not_be_ended_is_found_by_the_same_command_again(
    tmp_path: Path, played: PlayedSlurm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, record = first_job(tmp_path)
    played.queue = [row("9", record.token, "PENDING", "", record.name)]
    words = ["cancel", listed(tmp_path), "--yes", "--runs", str(tmp_path)]
    with monkeypatch.context() as silent:
        silent.setattr(cancel, "PATIENCE_S", 0.0)
        assert main(words) == 1
    assert "is still there; the same command again ends it" in capsys.readouterr().out
    assert folder.job() == record
    assert main(words) == 0
    assert played.ended == ["9"]


def test_a_first_job_that_a_person_cancelled_did_not_die(tmp_path: Path, played: PlayedSlurm) -> None:
    first = FirstJob(PROFILE, tmp_path, print)
    _, record = first_job(tmp_path, first.folder.trial_id)
    first.cluster.confirm_s = 0.0
    first._sent.add(record.token)
    played.queue = [row("9", record.token, "CANCELLED", "", record.name)]
    played.sacct = f"9|{record.name}|CANCELLED by 0|None assigned|0:0|\n"
    with pytest.raises(LaunchError) as caught:
        first.passed(100.0)
    said = str(caught.value)
    assert "the first job was cancelled, but not by vprdist (SLURM says CANCELLED by root" in said
    assert "The same command submits it again." in said
    assert "died" not in said and "Likely causes" not in said
    assert (journal := first.folder.job()) is not None and journal.state == "cancelled"
    first.close()


@pytest.mark.parametrize("comes_back", [True, False])
def test_only_a_driver_that_comes_back_leaves_its_first_job(
    tmp_path: Path, played: PlayedSlurm, monkeypatch: pytest.MonkeyPatch, comes_back: bool
) -> None:
    monkeypatch.setenv("SLURM_JOB_NAME", "vprdist-driver-s")
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    number = signal.SIGUSR2 if comes_back else signal.SIGTERM
    dispatcher = Dispatcher(PROFILE, tmp_path, JOB)
    _, record = first_job(tmp_path, dispatcher.first.folder.trial_id)
    played.queue = [row("9", record.token, "PENDING", "", record.name)]
    assert not dispatcher.first.passed(100.0)

    def leave() -> None:
        with interruptible("s", dispatcher):
            signal.raise_signal(number)
            raise Stopped

    with pytest.raises(SearchInterrupted):
        leave()
    dispatcher.close()
    assert played.ended == ([] if comes_back else ["9"])


@pytest.mark.parametrize("comes_back", [True, False])
def test_so_does_one_that_makes_an_array(
    tmp_path: Path, played: PlayedSlurm, monkeypatch: pytest.MonkeyPatch, comes_back: bool
) -> None:
    monkeypatch.setenv("SLURM_JOB_NAME", "vprdist-driver-s")
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setattr(arrays, "time", SimpleNamespace(monotonic=lambda: 1.0, time=lambda: 100.0, sleep=print))
    digest = FirstJob(arrays.one_task(PROFILE), tmp_path, print).folder.trial_id
    _, record = first_job(tmp_path, digest)
    played.queue = [row("9", record.token, "PENDING", "", record.name)]

    class Leave(BaseException):
        """As USR2 raises it."""

    error = Leave() if comes_back else LaunchError("sweep", "it was cancelled", None)

    def tick() -> int:
        raise error

    with pytest.raises(type(error)):
        run_array(
            PROFILE, Array("cache-a", tmp_path / "a"), "m:f", (), 2, root=tmp_path, is_done=lambda: False, tick=tick,
            tell=print,
        )  # fmt: skip
    assert played.ended == ([] if comes_back else ["9"])


def test_an_array_needs_no_first_job_where_a_trial_of_its_profile_has_started(tmp_path: Path) -> None:
    profile = PROFILE.model_copy(update={"ranks": 4, "gpus_per_node": 4})
    array = Array("cache-a", tmp_path / "a")
    assert not arrays._Watch(profile, array, print, tmp_path).first.place.passed
    FirstJob(profile, tmp_path, print).place.write_passed(["gpu01"])
    assert arrays._Watch(profile, array, print, tmp_path).first.passed(0.0)

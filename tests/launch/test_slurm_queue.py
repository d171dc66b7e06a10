"""SLURM's answers as pure functions, and one trial's sight against a squeue that the test plays."""

from __future__ import annotations

from pathlib import Path

import pytest

from vprdist.launch import slurm
from vprdist.launch.check import ask_only
from vprdist.launch.queue_rows import parse_sacct, parse_squeue
from vprdist.launch.refusals import is_limit, is_wrong
from vprdist.spec.profile import ClusterProfile
from vprdist.store.journal import JobRecord
from vprdist.store.trial_folder import TrialFolder

SQUEUE = """\
17|vprdist-aaaa|RUNNING|None|gpu01|token1
18|vprdist-bbbb|PENDING|Resources||token2
19|vprdist-cccc|NODE_FAIL|None|gpu02|token3
20|vprdist-dddd|MOVING|None|gpu02|token4
21|interactive|RUNNING|None|gpu03|a|strange|comment
garbage
"""
SACCT = """\
5|vprdist-aaaa|CANCELLED by 1000|gpu01
5.batch|batch|CANCELLED|gpu01
6|vprdist-bbbb|OUT_OF_MEMORY|gpu02
7|other|RUNNING|gpu02
"""


def record(name: str, token: str, job_id: str | None = "1", **more: object) -> JobRecord:
    values = {"state": "submitted", "cluster": "slurm", "attempt": 1, "job": "m:f", "parameters": {}, "machine": "m"}
    return JobRecord.model_validate(
        {**values, "name": name, "token": token, "job_id": job_id, "intended_at": 1.0, "submitted_at": 2.0, **more}
    )


def test_squeue_rows_are_ours_alone() -> None:
    rows = parse_squeue(SQUEUE)
    assert [(row.job_id, row.sight.state) for row in rows] == [
        ("17", "alive"), ("18", "alive"), ("19", "gone"), ("20", "unknown"),
    ]  # fmt: skip
    assert rows[2].sight.reason == "SLURM says NODE_FAIL on gpu02"


@pytest.mark.parametrize(
    ("job_id", "tasks"),
    [
        ("12_[0-2,7%4]", ["12_0", "12_1", "12_2", "12_7"]), ("12_[5]", ["12_5"]),
        ("12_[0-6:3]", ["12_0", "12_3", "12_6"]),
        ("12_3", ["12_3"]), ("12", ["12"]),
    ],
)  # fmt: skip
def test_tasks_that_wait_as_one_are_rows_of_their_own(job_id: str, tasks: list[str]) -> None:
    for rows in (
        parse_squeue(f"{job_id}|vprdist-array-t|PENDING|Resources||token\n"),
        parse_sacct(f"{job_id}|vprdist-array-t|CANCELLED by 0|None assigned|0:0|token\n"),
    ):
        assert [row.job_id for row in rows] == tasks
    third = record("vprdist-array-t", "token", members=("a",), task=7)
    assert [row.job_id for row in rows if row.is_of(third)] == [task for task in tasks if task == "12_7"]
    assert [row.job_id for row in rows if row.is_of(record("vprdist-array-t", "token"))] == [
        task for task in tasks if task == "12"
    ]


@pytest.mark.parametrize(
    ("state", "reason", "waits"),
    [
        ("PENDING", "PartitionDown", "PartitionDown"), ("PENDING", "(Priority)", "Priority"),
        ("PENDING", "None", "no reason yet"), ("PENDING", "", "no reason yet"),
        ("PENDING", "ReqNodeNotAvail, UnavailableNodes:gpu[01-02]", "ReqNodeNotAvail, UnavailableNodes:gpu[01-02]"),
        ("RUNNING", "None", ""), ("COMPLETING", "None", ""), ("SUSPENDED", "None", "suspended"),
        ("CONFIGURING", "None", "configuring"), ("REQUEUE_HOLD", "job_requeued_in_held_state", "requeue_hold"),
    ],
)  # fmt: skip
def test_a_job_that_waits_says_why(state: str, reason: str, waits: str) -> None:
    (row,) = parse_squeue(f"17|vprdist-aaaa|{state}|{reason}||token\n")
    assert (row.sight.state, row.sight.waits) == ("alive", waits)


def test_sacct_rows_without_steps_and_with_long_words() -> None:
    rows = [(row.job_id, row.state) for row in parse_sacct(SACCT)]
    assert rows == [("5", "CANCELLED"), ("6", "OUT_OF_MEMORY")]


@pytest.fixture
def folder(tmp_path: Path) -> TrialFolder:
    return TrialFolder.of(tmp_path, "aaaa")


class Played:
    """squeue and sacct, played."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.squeue: str | None = SQUEUE
        self.sacct: str | None = None
        self.asked: list[list[str]] = []
        monkeypatch.setattr(slurm, "ask", self.ask)
        monkeypatch.setattr(slurm, "scancel", lambda words: self.ask(["scancel", *words]) is not None)

    def ask(self, command: list[str]) -> str | None:
        self.asked.append(command)
        return {"squeue": self.squeue, "sacct": self.sacct, "scancel": ""}[command[0]]


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Played:
    return Played(monkeypatch)


def cluster() -> slurm.SlurmCluster:
    return slurm.SlurmCluster(ClusterProfile(kind="slurm", poll_s=10.0))


def test_one_squeue_for_all_jobs_and_none_within_the_interval(played: Played, folder: TrialFolder) -> None:
    queue, records = cluster(), [record("vprdist-aaaa", "token1", "17"), record("vprdist-bbbb", "token2", "18")]
    for now in (100.0, 101.0, 109.0):
        queue.refresh(records, now)
    assert len(played.asked) == 1
    assert "--name=vprdist-aaaa,vprdist-bbbb" in played.asked[0]
    assert queue.look(folder, records[0], 109.0).state == "alive"


def test_an_unanswered_question_is_unknown(played: Played, folder: TrialFolder) -> None:
    played.squeue, queue, known = None, cluster(), record("vprdist-aaaa", "token1", "17")
    queue.refresh([known], 100.0)
    assert queue.look(folder, known, 100.0).state == "unknown"


def test_a_job_younger_than_the_last_look_is_unknown(played: Played, folder: TrialFolder) -> None:
    played.squeue, queue, known = "", cluster(), record("vprdist-aaaa", "token1", "17", submitted_at=100.5)
    queue.refresh([known], 100.0)
    assert queue.look(folder, known, 101.0).state == "unknown"
    queue.refresh([known], 111.0)
    assert queue.look(folder, known, 111.0).state == "gone"


def test_another_submission_of_the_same_trial_is_not_this_one(played: Played, folder: TrialFolder) -> None:
    queue, known = cluster(), record("vprdist-aaaa", "an-older-token", "3")
    queue.refresh([known], 100.0)
    assert queue.look(folder, known, 100.0).state == "gone"


def test_an_orphan_is_adopted_by_name_unless_its_pickle_never_came(played: Played, folder: TrialFolder) -> None:
    queue, lost = cluster(), record("vprdist-aaaa", "token1", None, state="intent", submitted_at=None)
    queue.refresh([lost], 100.0)
    assert queue.look(folder, lost, 100.0).state == "gone"
    assert played.asked[-1] == ["scancel", "--name=vprdist-aaaa", "17"]
    logs = folder.attempt_log(lost)
    logs.mkdir(parents=True)
    (logs / "17_submitted.pkl").touch()
    sight = queue.look(folder, lost, 100.0)
    assert (sight.state, sight.job_id) == ("alive", "17")


def test_accounting_is_asked_for_forgotten_jobs_only_and_seldom_where_it_does_not_answer(
    played: Played, folder: TrialFolder
) -> None:
    played.squeue, played.sacct = "", "17|vprdist-aaaa|RUNNING|gpu01\n"
    queue, known = cluster(), record("vprdist-aaaa", "token1", "17")
    queue.refresh([known], 100.0)
    assert queue.look(folder, known, 100.0).state == "alive"
    played.sacct = None
    queue.refresh([known], 111.0)
    queue.refresh([known], 122.0)
    assert [command[0] for command in played.asked] == ["squeue", "sacct", "squeue", "sacct", "squeue"]
    queue.refresh([known], 722.0)
    assert [command[0] for command in played.asked[5:]] == ["squeue", "sacct"]


NAME = "vprdist-array-t"


def task(number: int, **more: object) -> JobRecord:
    return record(NAME, "token", f"12_{number}", members=("aaaa",), task=number, **more)


def test_an_array_that_was_cancelled_before_it_began_is_one_row_for_all_of_its_tasks(
    played: Played, folder: TrialFolder
) -> None:
    """As SLURM 22.05 shows it, in its queue and in accounting."""
    for squeue, sacct in ((f"12|{NAME}|CANCELLED|Priority||token\n", None), ("", f"12|{NAME}|CANCELLED by 0||0:0|\n")):
        played.squeue, played.sacct, queue = squeue, sacct, cluster()
        queue.refresh([task(0), task(7)], 100.0)
        sights = [queue.look(folder, task(number), 100.0) for number in (0, 7)]
        assert [(sight.state, sight.cause) for sight in sights] == [("gone", "person")] * 2


def test_a_waiting_task_that_is_missing_in_its_array_was_taken_out_by_a_person(
    played: Played, folder: TrialFolder
) -> None:
    """SLURM 22.05 keeps no word of it. One that ran has a log, and is called lost where nothing knows of it."""
    rows = (f"12_0|{NAME}|RUNNING|None|gpu01|token", f"12_[3-5%2]|{NAME}|PENDING|Priority||token")
    played.squeue, queue = "\n".join(rows), cluster()
    queue.refresh([task(number) for number in range(6)], 100.0)
    assert [queue.look(folder, task(number), 100.0).state for number in (0, 3, 5)] == ["alive"] * 3
    missing = queue.look(folder, task(1), 100.0)
    assert (missing.state, missing.cause) == ("gone", "person")
    batch = folder.batch(task(1))
    assert batch is not None
    batch.path.mkdir(parents=True)
    (batch.path / "12_1_0_log.out").touch()
    assert queue.look(folder, task(1), 100.0).cause == "job"
    assert queue.look(folder, task(2), 100.0).cause == "person"


def test_a_task_is_ended_by_its_number_alone(played: Played, folder: TrialFolder) -> None:
    """`scancel --name=NAME 12_1` ends every task of the array that waits (SLURM 22.05)."""
    played.squeue, queue = f"12_0|{NAME}|RUNNING|None|gpu01|token\n12_1|{NAME}|PENDING|Priority||token\n", cluster()
    assert queue.cancel(folder, task(1))
    assert [command for command in played.asked if command[0] == "scancel"] == [["scancel", "12_1"]]
    played.asked.clear()
    assert queue.cancel(folder, task(4)), "which is not there"
    assert not [command for command in played.asked if command[0] == "scancel"]


def test_no_command_is_asked_through_a_persons_own_filters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQUEUE_PARTITION hides jobs of other partitions, which would be taken for dead; SBATCH_ACCOUNT is no profile."""
    settings = ("SQUEUE_PARTITION", "SLURM_CLUSTERS", "SCANCEL_INTERACTIVE", "SACCT_LOCAL", "SBATCH_ACCOUNT")
    for name in settings:
        monkeypatch.setenv(name, "gpu")
    monkeypatch.setenv("SLURM_CONF", "/etc/ours")
    for command in ("squeue", "scancel", "sbatch"):
        fake = tmp_path / "FakeSlurm" / command
        fake.parent.mkdir(exist_ok=True)
        fake.write_text("#!/bin/sh\nenv >> " + str(tmp_path / command) + "\nenv\n")
        fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/FakeSlurm:/usr/bin:/bin")
    assert slurm.ask(["squeue"]) and slurm.scancel(["1"])
    assert ask_only(ClusterProfile(kind="slurm")).startswith("sbatch --test-only: ")
    for command in ("squeue", "scancel", "sbatch"):
        seen = (tmp_path / command).read_text()
        assert "SLURM_CONF=/etc/ours" in seen
        assert not [name for name in settings if name in seen], command


POLICY = (
    "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy "
    "(job submit limit, user's size and/or time limits)"
)


@pytest.mark.parametrize(
    ("words", "later", "never"),
    [
        (f"sbatch: error: QOSMaxSubmitJobPerUserLimit | {POLICY}", True, False),
        (f"sbatch: error: AssocGrpSubmitJobsLimit | {POLICY}", True, False),
        (POLICY, True, False),  # SLURM does not say which
        (f"sbatch: error: QOSMaxWallDurationPerJobLimit | {POLICY}", False, True),
        (f"sbatch: error: QOSMaxGRESPerUser | {POLICY}", False, True),
        (f"sbatch: error: AssocMaxNodePerJobLimit | {POLICY}", False, True),
        ("sbatch: error: Batch job submission failed: Invalid qos specification", False, True),
        ("sbatch: error: Batch job submission failed: Unable to contact slurm controller", False, False),
    ],
)
def test_a_job_that_a_policy_never_allows_is_not_tried_for_ever(words: str, later: bool, never: bool) -> None:
    assert (is_limit(words), is_wrong(words)) == (later, never)


@pytest.mark.parametrize(
    ("script", "took"),
    [
        ("exit 0", True),
        ("echo scancel: error: Invalid job id specified >&2; exit 1", True),  # it is over
        ("echo Unable to contact slurm controller >&2; exit 1", False),
        ("sleep 5", False),
    ],
)
def test_scancel_that_is_not_answered_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, took: bool
) -> None:
    fake = tmp_path / "FakeScancel" / "scancel"
    fake.parent.mkdir()
    fake.write_text(f"#!/bin/sh\necho $@ >> {tmp_path}/asked\n{script}\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:/usr/bin:/bin")
    if "sleep" in script:  # the others have all the time that a busy machine needs
        monkeypatch.setattr(slurm, "COMMAND_TIMEOUT_S", 1.0)
    assert slurm.cancel_jobs(["12_[0-3%4]", "12_4", "7"]) is took
    assert (tmp_path / "asked").read_text().split() == ["12", "7"], "scancel knows no such word as 12_[0-3%4]"

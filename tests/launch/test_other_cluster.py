"""Jobs on another cluster (-M), with a site's own words before names and comments: found, watched, ended there."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from toy import JOB, toy_trials

from vprdist.launch import cancel, driver_job, slurm
from vprdist.launch.array_folder import Array
from vprdist.launch.driver_job import driver_name, driver_queue_name, find_driver, submit_driver
from vprdist.launch.params import submission_parameters
from vprdist.launch.queue_rows import QueueName, parse_squeue, queue_name
from vprdist.launch.slurm import SlurmCluster
from vprdist.spec.profile import ClusterProfile
from vprdist.status.facts import look_at_queue, read_facts
from vprdist.store.driving import read_driver
from vprdist.store.journal import JobRecord, job_name, new_token, token_of
from vprdist.store.trial_folder import TrialFolder

PROFILE = ClusterProfile(
    kind="slurm", clusters="big", comment_prefix="project=a b, ", job_name_prefix="lab-", poll_s=1.0
)
(TRIAL,) = toy_trials(1)


class PlayedClusters:
    """Two clusters whose squeue, sacct and scancel are played: `big`, and the one at hand, which knows nothing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows: list[str] = []
        self.accounted: list[str] = []
        self.commands: list[list[str]] = []
        monkeypatch.setattr(slurm, "ask", self.ask)
        monkeypatch.setattr(slurm, "scancel", lambda words: self.ask(["scancel", *words]) is not None)
        monkeypatch.setattr(cancel, "LOOK_S", 0.0)

    def ask(self, command: list[str]) -> str | None:
        self.commands.append(command)
        if "--clusters=big" not in command:
            return ""
        if command[0] == "scancel":
            self.rows = [row for row in self.rows if row.split("|")[0].split("_")[0] not in command]
            return ""
        return "CLUSTER: big\n" + "\n".join(self.rows if command[0] == "squeue" else self.accounted)


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> PlayedClusters:
    return PlayedClusters(monkeypatch)


def submitted(runs: Path, job_id: str | None = "7") -> tuple[TrialFolder, JobRecord]:
    folder, token = TrialFolder.of(runs, TRIAL.trial_id), new_token()
    parameters = submission_parameters(PROFILE, TRIAL.trial_id, token)
    record = JobRecord(
        state="submitted" if job_id else "intent", cluster="slurm", name=parameters["job_name"], token=token, attempt=1,
        job=JOB, parameters=parameters, machine="m", job_id=job_id, intended_at=0, submitted_at=0,
    )  # fmt: skip
    folder.path.mkdir(parents=True)
    folder.write_job(record)
    return folder, record


def row(record: JobRecord, state: str = "RUNNING", job_id: str = "7") -> str:
    return f"{job_id}|{record.name}|{state}|None|n1|{PROFILE.comment_prefix}{record.token}"


def test_a_job_is_watched_and_ended_where_it_was_submitted(played: PlayedClusters, tmp_path: Path) -> None:
    folder, record = submitted(tmp_path)
    cluster, now = SlurmCluster(PROFILE), time.time()
    played.rows = [row(record)]
    cluster.refresh([record], now)
    assert cluster.look(folder, record, now).state == "alive"
    played.rows, played.accounted = [], [f"7|{record.name}|COMPLETED|n1|0:0|{PROFILE.comment_prefix}{record.token}"]
    cluster.refresh([record], now + 10)
    assert cluster.look(folder, record, now + 10).reason == "SLURM says COMPLETED on n1"
    played.rows = [row(record)]
    cluster.refresh([record], now + 20)
    assert cluster.cancel(folder, record) and not played.rows
    assert {command[0] for command in played.commands} == {"squeue", "sacct", "scancel"}
    assert all("--clusters=big" in command for command in played.commands)


def test_an_orphan_there_is_adopted_by_its_token(played: PlayedClusters, tmp_path: Path) -> None:
    folder, record = submitted(tmp_path, job_id=None)
    pickle = folder.attempt_log(record) / "9_submitted.pkl"
    pickle.parent.mkdir(parents=True)
    pickle.touch()
    cluster, now = SlurmCluster(PROFILE), time.time()
    played.rows = [row(record, "PENDING", "8").replace(record.token, new_token()), row(record, "PENDING", "9")]
    cluster.refresh([record], now)
    sight = cluster.look(folder, record, now)
    assert (sight.state, sight.job_id) == ("alive", "9")


def test_status_and_cancel_ask_there_and_nowhere_else(played: PlayedClusters, tmp_path: Path) -> None:
    folder, record = submitted(tmp_path)
    here = record.updated(name=job_name("0" * 16), parameters={}, job_id="7")
    array = Array("cache-x", tmp_path / "cache")
    array.note(PROFILE)
    assert array.queue_name == QueueName("lab-vprdist-cache-x", "big")
    played.rows = [row(record), f"12_1|{array.job}|RUNNING|None|n1|p {array.token}"]
    queue = look_at_queue([folder], [array.queue_name, queue_name(here)])
    assert read_facts(folder, "a", "map@5", queue, {}, time.time()).state == "running"
    assert queue.rows is not None and len(queue.rows) == 2
    folder.log.mkdir(exist_ok=True)
    array.logs.mkdir(parents=True)
    assert cancel.end_jobs([(folder, record)], lambda text: None, [array]) == [] and not played.rows
    ended = [command for command in played.commands if command[0] == "scancel"]
    assert ended and all("--clusters=big" in command for command in ended)
    asked = [command for command in played.commands if command[0] == "squeue" and here.name in " ".join(command)]
    assert [word for command in asked for word in command if word.startswith("--clusters")] == []


def test_an_array_of_a_version_before_is_found_by_its_own_name(tmp_path: Path) -> None:
    array = Array("cache-x", tmp_path)
    assert array.queue_name == QueueName("vprdist-cache-x", None)
    (tmp_path / "queue.json").write_text("[" * 5000)
    assert array.queue_name == QueueName("vprdist-cache-x", None)


@pytest.mark.parametrize(
    ("values", "gpus"),
    [
        ({"gpus_per_node": 4}, 4),
        ({"gpus_per_node": 4, "gpu_type": "a100"}, 4),
        ({"gpus_per_task": 2, "gpu_type": "a100", "ranks": 3}, 6),
        ({"gres": "nvme:1,gpu:a100:2", "ranks": 2}, 2),
        ({}, 0),
    ],
)
def test_the_journal_counts_gpus_as_the_profile_does(values: dict[str, Any], gpus: int) -> None:
    profile = ClusterProfile(kind="slurm", **values)
    record = JobRecord(
        state="intent", cluster="slurm", name="n", token="t", attempt=1, job=JOB, machine="m",
        parameters=submission_parameters(profile, TRIAL.trial_id, "t"),
    )  # fmt: skip
    assert record.num_node_gpus == profile.num_node_gpus == gpus and record.num_node_ranks == profile.ranks


def test_a_detached_driver_is_found_there(
    played: PlayedClusters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = tmp_path / "sweeps" / "s"
    monkeypatch.setattr(driver_job, "_sbatch", lambda script, trust: "41")
    record, new = submit_driver(sweep, tmp_path, PROFILE, 1.0)
    assert new and read_driver(sweep) == record
    assert driver_queue_name(sweep) == QueueName("lab-vprdist-driver-s", "big")
    mark = driver_job._mark(sweep)
    played.rows = [f"41|{record.name}|RUNNING|None|n1|project=x {mark}"]
    found = find_driver(sweep)
    assert found is not None and (found.job_id, found.clusters) == ("41", "big")
    # The profile says otherwise by now: the one that runs is found all the same.
    assert submit_driver(sweep, tmp_path, ClusterProfile(kind="slurm"), 1.0) == (record, False)
    monkeypatch.setenv("SLURM_JOB_NAME", driver_name(sweep, "lab-"))
    monkeypatch.setenv("SLURM_JOB_ID", "41")
    assert driver_job.in_driver_job()


@pytest.mark.parametrize("prefix", ["", "project=a, ", "0123456789abcdef", "a|b "])
def test_a_token_is_what_a_comment_ends_with(prefix: str) -> None:
    token = new_token()
    assert token_of(prefix + token) == token
    (only,) = parse_squeue(f"7|lab-vprdist-x|RUNNING|None|n1|{prefix}{token}\n")
    assert only.token == token
    assert token_of("somebody's own words") == "somebody's own words"

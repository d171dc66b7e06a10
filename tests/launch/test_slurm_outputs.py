"""Everything that real clusters printed (../shared/data/slurm_outputs), and what becomes of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from vprdist.launch.endings import due_to
from vprdist.launch.node import NodeJob
from vprdist.launch.params import submission_parameters
from vprdist.launch.permit import PACKAGE_ALONE
from vprdist.launch.queue_rows import QueueRow, parse_sacct, parse_squeue
from vprdist.launch.sbatch import PARSABLE, job_id_in
from vprdist.launch.slurm import slurm_executor
from vprdist.spec.profile import ClusterProfile

FOLDER = "slurm_23.11"
ENDS = {
    "sacct-cancelled-by-user.txt": [("2699001", "gone", "person")],
    "sacct-empty-output.txt": [],
    "sacct-multistep-running.txt": [("2710593", "alive", "job")],
    "sacct-no-matching-jobs.txt": [],
    "sacct-simple-completed.txt": [("2711367", "gone", "job")],
    "sacct-terminal-states.txt": [
        ("2699101", "gone", "time"), ("2699102", "gone", "job"), ("2699103", "gone", "cluster"),
        ("2699104", "gone", "job"),
    ],
    "squeue-empty.txt": [],
    "squeue-running.txt": [(job, "alive", "job") for job in ("2714763", "2710594", "2710593")],
    "sacct-json-multistep.json": [("2710593", "alive", "job")],
    "sacct-json-no-matching-jobs.json": [],
    "scontrol-json-running.json": [("2710594", "alive", "job")],
}  # fmt: skip


def as_ours(text: str) -> str:
    """Their jobs under the name of one of ours."""
    return re.sub(r"V_ALPHA_\w+", "vprdist-aaaa", text)


def rows_of(path: Path) -> list[QueueRow]:
    """Asked for other columns than we ask for, these files lack some: as we would have been answered."""
    text = as_ours(path.read_text())
    if path.suffix == ".json":
        jobs: list[dict[str, Any]] = json.loads(text)["jobs"]
        return parse_squeue("".join(as_squeue(job) for job in jobs))
    if path.name.startswith("sacct"):
        return parse_sacct("".join(f"{line}|node1|0:0|\n" for line in text.splitlines()))
    columns = (line.split() for line in text.splitlines())
    return parse_squeue("".join(f"{job}|{name}|{state}|None|{node}|t\n" for job, name, state, node in columns))


def as_squeue(job: dict[str, Any]) -> str:
    state = job.get("state") or {"current": job["job_state"]}
    current = state["current"] if isinstance(state, dict) else state
    return f"{job['job_id']}|{job['name']}|{current[0]}|None|{job['nodes']}|t\n"


def test_no_file_is_left_out(shared_data: Path) -> None:
    assert {path.name for path in (shared_data / "slurm_outputs" / FOLDER).iterdir()} == set(ENDS)
    assert {path.name for path in (shared_data / "slurm_outputs").iterdir()} == {FOLDER, "logs.md"}


@pytest.mark.parametrize("name", ENDS)
def test_a_real_answer_is_understood(shared_data: Path, name: str) -> None:
    rows = rows_of(shared_data / "slurm_outputs" / FOLDER / name)
    assert [(row.job_id, row.sight.state, row.sight.cause) for row in rows] == ENDS[name]


def sections(shared_data: Path) -> dict[str, list[str]]:
    text = (shared_data / "slurm_outputs" / "logs.md").read_text()
    found = re.findall(r"^## ([^\n]*)\n(?:columns[^\n]*\n)?```\n(.*?)```", text, re.MULTILINE | re.DOTALL)
    return {title: block.splitlines() for title, block in found}


REASONS = {
    "submitit on SLURM, GPU node": "JOB REQUEUE",
    "submitit, good preemption": "",
    "submitit in a job array": "JOB REQUEUE",
    "submitit: short job": "",
    "Preemption — ": "PREEMPTION",
    "Preemption inside a tqdm line": "PREEMPTION",
    "Preemption of a step without": "",
    "Time limit": "TIME LIMIT",
    "sacct --duplicates": "",
    "squeue / scontrol of an array held": "",
}


def test_why_a_job_was_cancelled_is_read_in_every_log(shared_data: Path) -> None:
    logs = sections(shared_data)
    assert len(logs) == len(REASONS)
    for (title, lines), (begins, reason) in zip(logs.items(), REASONS.items(), strict=True):
        assert title.startswith(begins)
        assert due_to(lines) == reason, title


def test_a_job_that_was_requeued_five_times_is_what_its_last_row_says(shared_data: Path) -> None:
    (lines,) = (block for title, block in sections(shared_data).items() if title.startswith("sacct --duplicates"))
    ours = ""
    for line in lines:
        _, _, _, job, _, _, _, _, state, _, _ = line.split("|")
        ours += f"{job}|{'vprdist-aaaa' if '.' not in job else 'batch'}|{state}|gpu01|1:0|\n"
    (row,) = parse_sacct(ours)
    assert (row.job_id, row.state, row.sight.state) == ("235929", "REQUEUED", "alive")
    (row,) = parse_sacct(ours + "235929|vprdist-aaaa|FAILED|gpu01|1:0|\n")
    assert (row.sight.state, row.sight.cause) == ("gone", "job")


def test_a_job_that_its_node_could_not_start_is_held_for_ever(shared_data: Path) -> None:
    (lines,) = (block for title, block in sections(shared_data).items() if title.startswith("squeue / scontrol"))
    held = [match for line in lines if (match := re.match(r"\s+(\S+) n2 +\S+ +(\w+) .*\((.*)\)$", line))]
    assert len(held) == 2
    for match in held:
        job, state, reason = match.groups()
        (row,) = parse_squeue(f"{job}|vprdist-aaaa|{state}|{reason}||t\n")
        assert row.sight.held and row.sight.state == "gone"
    (words,) = (word for line in lines for word in line.split() if word.startswith("Reason="))
    (row,) = parse_squeue(f"80634|vprdist-aaaa|PENDING|{words.partition('=')[2]}||t\n")
    assert row.sight.held


@pytest.mark.parametrize(
    ("state", "steps", "cause"),
    [
        ("PREEMPTED|gpu01|0:15", "", "preempted"),
        ("PREEMPTED|gpu01|0:15", "7.batch|batch|CANCELLED|gpu01|0:15|", "preempted"),
        ("PREEMPTED|gpu01|0:15", "7.batch|batch|FAILED|gpu01|0:15|", "preempted"),
        ("PREEMPTED|gpu01|0:15", "7.batch|batch|FAILED|gpu01|143:0|", "preempted"),
        # Preempted once, requeued, and run to an end of its own: sites go on calling it PREEMPTED.
        ("PREEMPTED|gpu01|0:0", "7.batch|batch|COMPLETED|gpu01|0:0|", "job"),
        ("PREEMPTED|gpu01|0:0", "7.batch|batch|FAILED|gpu01|1:0|", "job"),
        ("NODE_FAIL|gpu01|0:0", "7.batch|batch|FAILED|gpu01|1:0|", "cluster"),
    ],
)
def test_preempted_is_no_last_word(state: str, steps: str, cause: str) -> None:
    (row,) = parse_sacct(f"7|vprdist-aaaa|{state}|token\n{steps}\n")
    assert (row.sight.state, row.sight.cause, row.token) == ("gone", cause, "token")


@pytest.mark.parametrize(
    ("said", "job"),
    [
        ("Submitted batch job 700\n", "700"),
        ("Submitted batch job 700 on cluster gpu\n", "700"),
        ("Welcome!\nYour last job 12 used 3 % of its memory.\nSubmitted batch job 700\n", "700"),
        ("sbatch: Info: job 12 comes first\nSubmitted batch job 700\nYou have 3 jobs left; job 9 is old.\n", "700"),
        ("job 12 ended; sbatch is closed today\n", None),
        ("we Submitted batch job 12 for you last week\n", None),
        ("", None),
    ],
)
def test_a_banner_is_no_job_id(said: str, job: str | None) -> None:
    assert job_id_in(said) == job


@pytest.mark.parametrize(
    ("said", "job"), [("700\n", "700"), ("700;gpu\n", "700"), ("job 12 ended\n\n700\n", "700"), ("job 12\n", None)]
)
def test_neither_is_it_one_of_a_drivers_job(said: str, job: str | None) -> None:
    assert job_id_in(said, PARSABLE) == job


def test_neither_jobs_nor_arrays_take_a_banners_number_for_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for command, words in (("sbatch", "echo your job 12 ended; echo Submitted batch job 700"), ("srun", "exit 1")):
        fake = tmp_path / "FakeSlurm" / command
        fake.parent.mkdir(exist_ok=True)
        fake.write_text(f"#!/bin/sh\n{words}\n")
        fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:/usr/bin:/bin")
    parameters = submission_parameters(ClusterProfile(kind="slurm"), "a", "token")
    single, array = (slurm_executor(kind, tmp_path / kind, parameters, PACKAGE_ALONE, 1) for kind in ("trial", "array"))
    one, many = single.submit(NodeJob("m:f"), "folder", "token"), array.map_array(NodeJob("m:f"), "ab", "cd")
    assert [one.job_id, *(job.job_id for job in many)] == ["700", "700_0", "700_1"]
    assert (tmp_path / "trial" / "700_submitted.pkl").exists() and (tmp_path / "array" / "700_1_submitted.pkl").exists()

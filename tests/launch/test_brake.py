"""The rules of the brake and of the first job, without a cluster."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from toy import toy_trials

from vprdist import __version__
from vprdist.errors import LaunchError
from vprdist.launch.brake import Brake
from vprdist.launch.cluster import Cause, Sight
from vprdist.launch.first_job import FirstJob, profile_digest
from vprdist.launch.why_dead import explained
from vprdist.spec.profile import ClusterProfile
from vprdist.store.first_job import FirstJobFolder, Words
from vprdist.store.journal import Failure, JobRecord, new_token
from vprdist.store.trial_folder import TrialFolder

PROFILE = ClusterProfile(kind="slurm", setup=("module load cuda",))
WORDS = Words(rank=0, host="gpu01", python="3.11", version=__version__, source=None)


def record(**changes: Any) -> JobRecord:
    values: dict[str, Any] = {
        "state": "submitted", "cluster": "slurm", "name": "vprdist-a", "token": new_token(), "attempt": 1, "job": "a:b",
        "parameters": {}, "machine": "m", "job_id": "7",
    }  # fmt: skip
    return JobRecord(**{**values, **changes})


def braked(runs: Path, nodes: list[str], passed: bool = False, cause: Cause = "job", **changes: Any) -> Brake:
    """A brake after deaths on those nodes."""
    place = FirstJobFolder(runs, "d")
    if passed:
        place.write_passed(["gpu09"])
    brake = Brake(PROFILE.model_copy(update=changes), place)
    for trial, node in zip(toy_trials(len(nodes)), nodes, strict=True):
        brake.submitted(mine := record())
        brake.takes(TrialFolder.of(runs, trial.trial_id), mine, Sight("gone", "7", "SLURM says FAILED", cause, node))
    return brake


@pytest.mark.parametrize(
    ("nodes", "passed", "room", "on"),
    [
        ([], False, 2, False),
        (["gpu01"], False, 2, False),
        (["gpu01", "gpu01"], False, 1, False),
        (["gpu01", "gpu02"], False, 0, True),
        (["", ""], False, 1, False),
        (["", "", ""], False, 0, True),
        ([], True, None, False),
        (["gpu01", "gpu02"], True, None, False),
        (["gpu01", "gpu02", "gpu02"], True, 0, True),
        (["gpu01"] * 8, True, None, False),
    ],
)
def test_how_many_jobs_may_go_while_none_has_started(
    tmp_path: Path, nodes: list[str], passed: bool, room: int | None, on: bool
) -> None:
    brake = braked(tmp_path, nodes, passed)
    assert (brake.room(0), brake.is_on) == (room, on)
    assert brake.nodes == set(nodes) - {""}


def test_jobs_on_their_way_count(tmp_path: Path) -> None:
    assert braked(tmp_path, []).room(2) == 0
    assert braked(tmp_path, ["gpu01"]).room(1) == 1
    assert braked(tmp_path, ["gpu01"] * 2).room(1) == 0


def test_one_node_is_enough_where_there_is_no_other(tmp_path: Path) -> None:
    brake = braked(tmp_path, ["gpu01"] * 3)
    assert not brake.is_on
    brake.can_avoid = False
    assert brake.is_on and brake.nodes == set()
    assert braked(tmp_path, ["gpu01"] * 3, exclude_after=0).is_on


def test_one_start_releases_it_for_good_and_only_a_job_of_this_driver_counts(tmp_path: Path) -> None:
    brake = braked(tmp_path, ["gpu01", "gpu02"])
    assert not brake.started(record()), "an earlier driver's job had another profile"
    assert brake.is_on
    brake.submitted(mine := record())
    assert brake.started(mine)
    assert (brake.is_on, brake.room(0), brake.nodes) == (False, None, set())
    assert not brake.started(mine), "the first start is told once"


@pytest.mark.parametrize("cause", ["cluster", "preempted", "person", "time"])
def test_what_the_cluster_or_a_person_did_is_no_sign(tmp_path: Path, cause: Cause) -> None:
    assert not braked(tmp_path, ["gpu01", "gpu02", "gpu03"], cause=cause).deaths


def test_this_machine_has_no_brake(tmp_path: Path) -> None:
    brake = Brake(ClusterProfile(kind="local"), FirstJobFolder(tmp_path, "d"))
    assert brake.room(0) is None and FirstJob(ClusterProfile(kind="local"), tmp_path, print).passed(0.0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("lines", "first"),
    [
        (None, "nodes do not see /runs/log"),
        ((), "a line of `setup` fails (profile: setup): module load cuda"),
        (
            ("execve(): /x/python: No such file or directory",),
            f"nodes do not have this Python, {sys.executable}",
        ),
        (("ModuleNotFoundError: No module named 'submitit'",), "nodes do not have this Python"),
        (("Killed",), "a line of `setup` fails"),
        (("slurm_script: line 19: module: command not found",), "a line of `setup` fails"),
        (("slurm_script: line 12: /opt/env/activate: No such file or directory",), "a line of `setup` fails"),
        (
            (f"slurm_script: line 24: {sys.executable}: No such file or directory",),
            f"nodes do not have this Python, {sys.executable}",
        ),
        ((f"slurm_script: line 12: {sys.executable}-env/activate: not found",), "a line of `setup` fails"),
    ],
)
def test_the_likeliest_cause_comes_first(lines: tuple[str, ...] | None, first: str) -> None:
    text = explained(PROFILE, lines, Path("/runs/log"), "Mend it.")
    assert text.split("Likely causes:\n  - ")[1].startswith(first)
    assert all(line in text for line in lines or ())
    assert ("no log" in text, "is empty" in text) == (lines is None, lines == ())


@pytest.mark.parametrize(
    ("line", "is_python"),
    [
        ("slurm_script: line 20: exec: apptainer: not found", True),
        ("FATAL: could not open image /images/vpr.sif: no such file or directory", True),
        ('FATAL: "python3": executable file not found in $PATH', True),
        ("slurm_script: line 12: /opt/python3/activate: No such file or directory", False),
    ],
)
def test_a_container_that_is_missing_is_not_blamed_on_setup(line: str, is_python: bool) -> None:
    profile = PROFILE.model_copy(update={"python": ("apptainer", "exec", "/images/vpr.sif", "python3")})
    first = explained(profile, (line,), Path("/runs/log"), "Mend it.").split("Likely causes:\n  - ")[1]
    assert first.startswith("nodes do not have this Python, apptainer" if is_python else "a line of `setup` fails")


def test_what_does_not_touch_a_jobs_start_makes_no_new_first_job() -> None:
    same = {"poll_s": 7.0, "max_concurrent": 3, "time_limit_min": 3, "exclude": ("gpu01",), "mail_user": "me"}
    assert profile_digest(PROFILE.model_copy(update=same)) == profile_digest(PROFILE)
    others: list[dict[str, Any]] = [
        {"setup": ()},
        {"partition": "x"},
        {"srun_args": ("-v",)},
        {"ranks": 2},
        {"qos": "a"},
    ]
    assert len({profile_digest(PROFILE.model_copy(update=other)) for other in [{}, *others]}) == len(others) + 1


@pytest.mark.parametrize(
    ("words", "gpus", "fault"),
    [
        (WORDS.model_copy(update={"version": "0.0.9"}), 0, "node gpu01 has another version of vprdist, 0.0.9"),
        (WORDS, 1, "node gpu01 shows no GPU to rank 0"),
    ],
)
def test_what_the_ranks_found_may_be_wrong(tmp_path: Path, words: Words, gpus: int, fault: str) -> None:
    first = FirstJob(PROFILE.model_copy(update={"gpus_per_node": gpus}), tmp_path, print)
    first.folder.write_job(mine := record())
    first.place.say(mine, words)
    with pytest.raises(LaunchError, match=fault):
        first.passed(1.0)
    assert not first.place.passed
    journal = first.folder.job()
    assert journal is not None and journal.state == "cancelled", "the next driver tries again"


def test_a_first_job_that_its_door_refuses_is_said_and_tried_anew(tmp_path: Path) -> None:
    first = FirstJob(PROFILE, tmp_path, print)
    first.folder.write_job(record())
    first.folder.write_failure(Failure(reason="/runs: somebody else may write to it", attempts=1, kind="mistake"))
    with pytest.raises(LaunchError, match="cannot start: /runs: somebody else may write to it"):
        first.passed(1.0)
    journal = first.folder.job()
    assert journal is not None and journal.state == "cancelled"


def test_what_passed_is_not_asked_again_and_other_code_is_said(tmp_path: Path) -> None:
    told: list[str] = []
    first = FirstJob(PROFILE, tmp_path, told.append)
    first.folder.write_job(mine := record())
    first.place.say(mine, WORDS.model_copy(update={"source": "another"}))
    assert first.passed(1.0)
    assert FirstJob(PROFILE, tmp_path, told.append).passed(1.0)
    assert ["other code" in told[0], "first job passed on gpu01" in told[1], len(told)] == [True, True, 2]

"""The door of every job: what others may write to is not loaded, what the driver did not name is not called."""

from __future__ import annotations

import os
import pickle
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from toy import JOB, PROFILE, behave, toy_trials

from tests.waiting import until
from vprdist.cli.sweep import main as sweep_main
from vprdist.errors import LaunchError
from vprdist.files import read_json, write_json
from vprdist.launch import enter
from vprdist.launch.dispatcher import Dispatcher
from vprdist.launch.driver_job import driver_script
from vprdist.launch.enter import entry
from vprdist.launch.node import DEFAULT_JOB, NodeJob
from vprdist.launch.permit import PACKAGE_ALONE, Permit
from vprdist.prepare.checks import check_runs_folder
from vprdist.private import Trust
from vprdist.spec.profile import ClusterProfile
from vprdist.store.trial_folder import TrialFolder

HERE = {"SUBMITIT_EXECUTOR": "local", "SUBMITIT_LOCAL_JOB_ID": "7", "SUBMITIT_LOCAL_GLOBALID": "0"}
"""What submitit tells a job of this machine."""


class Planted:
    """A pickle that runs somebody else's code as soon as it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.mark}",)


@pytest.fixture
def tmp_path(open_path: Path) -> Path:
    """Others' rights count only where others come."""
    return open_path


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """The log folder of a job that waits; its call is a planted one, which leaves `ran` when it is loaded."""
    (trial,) = toy_trials(1)
    folder = TrialFolder.of(tmp_path / "runs", trial.trial_id)
    folder.write_trial(trial)
    write_json(folder.job_file, {})
    (folder.path / "checkpoint").mkdir()
    (folder.path / "checkpoint" / "step").touch()
    logs = folder.log / "attempt-2-abcdef01"
    logs.mkdir(parents=True)
    (logs / "7_submitted.pkl").write_bytes(pickle.dumps(Planted(tmp_path / "ran")))
    for path in (tmp_path / "runs").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return logs


def entered(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """The door's exit code, in this process: enough where it stays shut."""
    for key, value in HERE.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(sys, "argv", ["enter", *words])
    monkeypatch.setattr(sys, "path", list(sys.path))
    umask = os.umask(0o022)
    try:
        return enter.main()
    finally:
        os.umask(umask)


@pytest.mark.parametrize(
    "part", ["..", "../..", ".", "7_submitted.pkl", "../../job.json", "../../trial.json", "../../checkpoint/step"]
)
def test_nothing_is_loaded_where_others_may_write_and_no_attempt_is_made_again(logs, part, monkeypatch, capsys):
    place = (logs / part).resolve()
    place.chmod(0o777)
    assert entered(monkeypatch, "trial", str(logs)) == 2
    assert not (logs.parents[4] / "ran").exists()
    assert f"{place}: somebody else may write to it" in capsys.readouterr().err
    failure = TrialFolder(logs.parents[1]).failure()
    assert failure is not None
    assert (failure.kind, failure.attempts) == ("mistake", 2)
    assert str(place) in failure.reason


def test_an_array_says_it_as_a_mistake(tmp_path, monkeypatch):
    logs = tmp_path / "logs"
    logs.mkdir()
    logs.chmod(0o777)
    assert entered(monkeypatch, "array", str(logs)) == 2
    (mistake,) = logs.glob("mistake-*.json")
    assert str(LaunchError.from_json(read_json(mistake))).startswith(f"{logs}: somebody else")


def test_a_command_is_what_it_says_and_opens_a_private_folder(logs, tmp_path):
    """The planted call is run there: it is ours, for nobody else could have written it."""
    working = tmp_path / "working"
    working.mkdir(mode=0o755)
    (working / "numpy.py").write_text("raise SystemExit('somebody else is numpy here')")
    working.chmod(0o777)
    command = shlex.split(entry("trial", logs, PACKAGE_ALONE))
    done = subprocess.run(command, env=os.environ | HERE, cwd=working, capture_output=True, text=True, check=False)
    assert (tmp_path / "ran").exists(), done.stderr
    assert "No modules are taken from the working folder" in done.stdout
    assert "somebody else is numpy" not in done.stderr


def test_a_job_calls_functions_of_the_package_or_the_one_that_its_command_names(tmp_path):
    for job in (DEFAULT_JOB, "vprdist.training.probe_worker:make_part"):
        PACKAGE_ALONE.check_call(job)
    Permit.calling(JOB, Trust()).check_call(JOB)
    assert Permit.calling(DEFAULT_JOB, Trust()) == PACKAGE_ALONE
    with pytest.raises(LaunchError, match="job os:system: no function of vprdist"):
        NodeJob("os:system")(str(tmp_path), "token")
    failure = TrialFolder(tmp_path).failure()
    assert failure is not None
    assert failure.kind == "mistake"


def test_what_a_permit_says_goes_through_a_command_and_a_helper():
    permit = Permit(Trust(("ada", "1000"), "lab"), "toy:run_toy")
    assert Permit.of_words(permit.words()) == permit == Permit.from_json(permit.to_json())
    assert Permit.of_words([]) == PACKAGE_ALONE
    profile = ClusterProfile(kind="slurm", trusted_users=("ada",), trusted_group="lab")
    command = driver_script(Path("/runs/sweeps/s"), Path("/runs"), profile, 1.0).splitlines()[-1]
    assert " user=ada group=lab driver /runs/sweeps/s /runs/sweeps/s/sweep.yaml --runs /runs" in command


def test_the_driver_submits_nothing_into_a_folder_that_others_may_write_to(tmp_path):
    behave(tmp_path, steps=1, dt=0.01)
    (trial,) = toy_trials(1)
    folder = TrialFolder.of(tmp_path, trial.trial_id)
    (folder.path / "checkpoint").mkdir(parents=True)
    (folder.path / "checkpoint").chmod(0o777)
    with Dispatcher(PROFILE, tmp_path, JOB) as dispatcher:
        dispatcher.want(trial)
        until(lambda: folder.is_over)
    failure = folder.failure()
    assert failure is not None
    assert failure.kind == "refused"
    assert "somebody else may write to it" in failure.reason
    assert folder.job() is None


def test_a_person_hears_of_it_before_anything_is_started(tmp_path, capsys):
    (tmp_path / "sweep.yaml").write_text("trial: {data: {root: demo}}\n")
    runs = tmp_path / "runs"
    runs.mkdir()
    runs.chmod(0o777)
    umask = os.umask(0o022)
    try:
        assert sweep_main([str(tmp_path / "sweep.yaml"), "--runs", str(runs)]) == 2
    finally:
        os.umask(umask)
    assert f"{runs}: somebody else may write to it" in " ".join(capsys.readouterr().err.split())
    assert not list(runs.iterdir())


def test_whether_a_folder_can_be_written_is_asked_through_no_name_that_others_know(tmp_path):
    """The check wrote to `.writable-PID`, and so to whatever a link of that name led to."""
    precious = tmp_path / "precious"
    precious.write_text("mine")
    runs = tmp_path / "runs"
    runs.mkdir(mode=0o755)
    (runs / f".writable-{os.getpid()}").symlink_to(precious)
    check_runs_folder(runs, Trust())
    assert precious.read_text() == "mine"
    assert len(list(runs.iterdir())) == 1, "the link alone"

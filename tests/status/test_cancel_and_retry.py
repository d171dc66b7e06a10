"""Cancelling beside a running driver and without one; retrying what failed and nothing else."""

from __future__ import annotations

import subprocess
import sys

from toy import behave
from toy_driver import start

from tests import warm
from tests.status.toys import list_sweep, toy_folders
from tests.waiting import until
from vprdist.cli import main
from vprdist.files import locked
from vprdist.machine import process_alive
from vprdist.spec.computation import FIRST
from vprdist.store.journal import Failure


def test_a_cancelled_trial_ends_and_the_driver_that_runs_starts_it_no_more(tmp_path, capsys):
    list_sweep(tmp_path, "s", range(4))
    behave(tmp_path, steps=2, dt=0.05, hold=True)
    driver = start("dispatch", tmp_path, 4)
    folders = toy_folders(tmp_path, 4)
    until(lambda: folders[0].is_running and folders[1].is_running)
    record = folders[0].job()
    assert record is not None
    # One that runs, and one whose turn has not come.
    assert main(["cancel", "s", "toy 0", "toy 3", "--yes", "--runs", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "toy 0: cancelled" in text
    assert "toy 3: had no job" in text
    assert not process_alive(record.pid, record.pid_start)
    assert not folders[0].is_running
    (tmp_path / "go").touch()
    driver.communicate(timeout=180)
    assert [folder.has_result for folder in folders] == [False, True, True, False]
    assert len(folders[0].starts()) == 1
    assert not folders[3].starts()
    for folder in (folders[0], folders[3]):
        failure = folder.failure()
        assert failure is not None
        assert failure.kind == "cancelled"
        assert "cancelled by " in failure.reason
    assert main(["cancel", "s", "--yes", "--runs", str(tmp_path)]) == 0
    assert "every one of these trials is over" in capsys.readouterr().out


def test_jobs_that_outlived_their_driver_are_cancelled_too(tmp_path, capsys):
    list_sweep(tmp_path, "s", range(3))
    behave(tmp_path, steps=1, hold=True)
    driver = start("dispatch", tmp_path, 2)
    folders = toy_folders(tmp_path, 3)
    until(lambda: folders[0].is_running and folders[1].is_running)
    driver.kill()
    driver.wait()
    words = [sys.executable, "-m", "vprdist", "cancel", "s", "--yes", "--runs", str(tmp_path)]
    with locked(folders[0].submit_lock):  # as a driver has it while sbatch answers
        command = warm.Popen(words, stdout=subprocess.PIPE)
        until(lambda: all(folder.failure() is not None for folder in folders))  # none gets the place of another
        command.kill()
        command.communicate()
    assert folders[0].is_running
    assert main(["cancel", "s", "--yes", "--runs", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count(": cancelled") == 2, "a cancel that was cut is taken up"
    assert not any(folder.is_running for folder in folders)
    (tmp_path / "go").touch()
    assert not any(folder.has_result for folder in folders)


def test_retry_lists_what_failed_and_why(tmp_path, capsys):
    list_sweep(tmp_path, "s", range(3))
    assert main(["retry", "s", "--list", "--runs", str(tmp_path)]) == 0
    assert "No trial of s has failed" in capsys.readouterr().out
    behave(tmp_path, steps=1, user_error=[1])
    start("dispatch", tmp_path, 3).communicate(timeout=180)
    assert main(["retry", "s", "--list", "--runs", str(tmp_path)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "toy 1" in text
    assert "mistake" in text
    assert "toy 0" not in text
    (failed,) = [folder for folder in toy_folders(tmp_path, 3) if folder.failure()]
    assert failed.failure_file.exists(), "a list changes nothing"


def test_trials_of_an_earlier_computation_are_listed_and_not_retried_under_other_ids(tmp_path, capsys):
    list_sweep(tmp_path, "s", range(2), computation=FIRST)
    (failed, _) = toy_folders(tmp_path, 2)
    failed.path.mkdir(parents=True)
    failed.write_failure(Failure(kind="mistake", reason="mistake", at=0.0, attempts=1))
    assert main(["retry", "s", "--list", "--runs", str(tmp_path)]) == 0
    assert "mistake" in capsys.readouterr().out
    assert main(["retry", "s", "--yes", "--runs", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "sweep s: trials of computation 1 cannot be tried again by this code, which makes those of 2. Run" in said
    assert failed.failure() is not None, "nothing was changed"

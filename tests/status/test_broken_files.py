"""Views of a run folder with a file that says nothing, or is no file: its row is lost, and named; nothing else is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from toy import JOB, PROFILE, behave, toy_trials

from tests.fuzz.formats.run_folder import NAME, journal, make, rows
from tests.status.toys import list_sweep, toy_folders
from tests.waiting import until
from vprdist.cli import main
from vprdist.errors import LaunchError
from vprdist.launch.dispatcher import Dispatcher
from vprdist.store.driving import driver_folder, read_driver
from vprdist.store.journal import Failure
from vprdist.store.trial_folder import TrialFolder


def sweep_of(folder: Path) -> Path:
    return folder / "sweeps" / NAME


def files_of(folder: Path) -> list[Path]:
    """Each file that the views read, of the failed trial where there is a choice."""
    place = TrialFolder.of(folder, rows()[2].trial_id)
    sweep = sweep_of(folder)
    return [
        place.failure_file, place.job_file, place.metrics_file, place.starts_file,
        TrialFolder.of(folder, rows()[0].trial_id).result_file, sweep / "proposals.jsonl",
        driver_folder(sweep) / "job.json",
        sweep / "cancelled.json", sweep / "preparing.json", sweep / "attribution.json", sweep / "sweep.yaml",
    ]  # fmt: skip


@pytest.mark.parametrize("number", range(11))
def test_a_named_pipe_in_a_files_place_is_waited_for_by_no_view_and_costs_no_other_row(tmp_path, number, capsys):
    make(tmp_path)
    path = files_of(tmp_path)[number]
    path.unlink()
    os.mkfifo(path)
    for words in (["status", NAME], ["status"], ["leaderboard", NAME], ["retry", NAME, "--list"]):
        assert main([*words, "--runs", str(tmp_path)]) == 0, words
    told = capsys.readouterr().out.replace("\n", "")
    assert "rgb 0-2" in told and "Traceback" not in told


def test_a_driver_whose_record_cannot_be_read_costs_its_line(tmp_path, capsys):
    make(tmp_path)
    (driver_folder(sweep_of(tmp_path)) / "job.json").write_text("{}")
    with pytest.raises(LaunchError, match="--detach finds a driver that is there"):
        read_driver(sweep_of(tmp_path))
    assert main(["status", NAME, "--runs", str(tmp_path)]) == 0
    assert "driver: " in (told := capsys.readouterr().out) and "4 trials" in told


def test_status_of_all_sweeps_names_the_manifest_that_cannot_be_read(tmp_path, capsys):
    make(tmp_path)
    other = tmp_path / "sweeps" / "other"
    other.mkdir()
    (other / "manifest.json").write_text("[" * 100_000)
    assert main(["status", "--runs", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "other/manifest.json: a manifest must be readable" in told and NAME in told


def test_a_failure_that_cannot_be_read_is_shown_is_not_run_again_and_retry_puts_it_away(tmp_path, capsys):
    list_sweep(tmp_path, "s", range(2))
    behave(tmp_path, steps=1, dt=0.01)
    broken, whole = toy_folders(tmp_path, 2)
    for folder in (broken, whole):
        folder.write_failure(Failure(reason="it died", attempts=3))
    broken.failure_file.write_text('{"reason": null')
    assert main(["status", "s", "--runs", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "unreadable" in told and "failure.json: a failure must be readable" in "".join(told.split("\n"))
    trials = toy_trials(2)
    with Dispatcher(PROFILE, tmp_path, JOB) as dispatcher:
        dispatcher.retire_failures(trial.trial_id for trial in trials)
        for trial in trials:
            dispatcher.want(trial)
        until(lambda: whole.has_result)
        assert not broken.starts() and broken.failure_file.exists()
        dispatcher.retire_failures([broken.trial_id], unreadable=True)  # as vprdist retry does
    assert not broken.is_over and (broken.log / "failure-1.json").read_text() == '{"reason": null'


def test_a_journal_that_cannot_be_read_gives_its_trial_up_and_the_others_run(tmp_path):
    behave(tmp_path, steps=1, dt=0.01)
    broken, whole = toy_folders(tmp_path, 2)
    broken.path.mkdir(parents=True)
    broken.job_file.write_text("cut")
    with Dispatcher(PROFILE, tmp_path, JOB) as dispatcher:
        for trial in toy_trials(2):
            dispatcher.want(trial)
        until(lambda: whole.has_result and broken.is_over)
        dispatcher.check()
    failure = broken.failure()
    assert failure is not None and failure.kind == "unreadable" and f"no job {broken.trial_id} runs" in failure.reason
    assert not broken.starts()


def test_cancel_names_the_journal_that_it_cannot_read_and_cancels_the_rest(tmp_path, capsys):
    list_sweep(tmp_path, "s", range(2))
    broken, whole = toy_folders(tmp_path, 2)
    for folder in (broken, whole):
        folder.write_job(journal(folder.trial_id))
    broken.job_file.write_text("cut")
    assert main(["cancel", "s", "--yes", "--runs", str(tmp_path)]) == 1
    assert f"{broken.trial_id} is left as it is" in capsys.readouterr().out
    failure = whole.failure()
    assert failure is not None and failure.kind == "cancelled" and broken.failure() is None

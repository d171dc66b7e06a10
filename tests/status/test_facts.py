"""Hours spent and wasted, recomputed by hand; a status table of real toy jobs."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from toy import JOB, PROFILE, bare_toy, behave, toy_trials
from toy_driver import start

from tests.status.toys import list_sweep, toy_folders
from tests.waiting import until
from vprdist.cli import main
from vprdist.console import Console
from vprdist.files import digest_json, locked
from vprdist.launch.dispatcher import Dispatcher
from vprdist.launch.driver_job import driver_name
from vprdist.machine import current_user
from vprdist.status.facts import explain, hours
from vprdist.status.find import find_sweep
from vprdist.status.status import look, render
from vprdist.store.driving import DriverRecord, write_driver
from vprdist.store.journal import Failure, JobRecord, job_name


def row(kind: str, time: float) -> dict[str, Any]:
    return {"kind": kind, "time": time}


def starts(*times: float) -> list[dict[str, Any]]:
    return [{"time": time} for time in times]


@pytest.mark.parametrize(
    ("begun", "rows", "end", "done", "spent_s", "wasted_s"),
    [
        ((), [], None, False, 0, 0),
        ((100,), [], None, False, 0, 0),  # died before its first row: nobody knows when
        ((100,), [row("train", 160)], None, False, 60, 60),  # died without a checkpoint
        ((100,), [row("train", 160)], 190, False, 90, 0),  # runs still
        ((100,), [row("train", 160), row("checkpoint", 170)], None, False, 70, 0),
        ((100,), [row("checkpoint", 130), row("train", 160)], 400, True, 300, 0),  # done: nothing was lost
        # Died at 160 with a checkpoint of 130, resumed at 1000 after a long queue, finished at 1050.
        ((100, 1000), [row("checkpoint", 130), row("train", 160), row("train", 1040)], 1050, True, 110, 30),
        # Preempted at a checkpoint, twice; then killed in the middle.
        (
            (0, 100, 200),
            [row("checkpoint", 50), row("train", 110), row("checkpoint", 150), row("train", 205), row("train", 230)],
            None, False, 50 + 50 + 30, 30,
        ),
    ],
)  # fmt: skip
def test_hours_are_those_of_each_start_and_waste_is_what_was_repeated(begun, rows, end, done, spent_s, wasted_s):
    spent, wasted = hours(starts(*begun), rows, end, done)
    assert (spent * 3600, wasted * 3600) == (pytest.approx(spent_s), pytest.approx(wasted_s))


def test_reasons_are_in_plain_words_and_unknown_ones_stay():
    assert explain("(Resources)") == "waiting for free nodes"
    assert explain("ReqNodeNotAvail, UnavailableNodes:gpu01") == "the nodes asked for are down or reserved"
    assert explain("launch_failed_requeued_held").startswith("its node could not start it")
    assert explain("SomethingNew") == "SomethingNew"


def status(runs: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["status", *words, "--runs", str(runs)]) == 0
    return capsys.readouterr().out


def states(runs: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    found = json.loads(status(runs, capsys, "s", "--json"))
    return {each["name"]: each["state"] for each in found["trials"]}


def test_status_follows_toy_trials_from_nothing_to_the_end(tmp_path, capsys):
    assert "No sweep was started" in status(tmp_path, capsys)
    list_sweep(tmp_path, "s", range(4))
    assert states(tmp_path, capsys) == dict.fromkeys(("toy 0", "toy 1", "toy 2", "toy 3"), "waiting")
    behave(tmp_path, steps=3, dt=0.1, hold=True, user_error=[1])
    driver = start("dispatch", tmp_path, 4)
    folders = toy_folders(tmp_path, 4)
    until(lambda: folders[1].failure() and all(len(folders[seed].rows()[0]) == 3 for seed in (0, 2)))
    wanted = {"toy 0": "running", "toy 1": "failed", "toy 2": "running", "toy 3": "waiting"}
    until(lambda: states(tmp_path, capsys) == wanted)  # a job runs a moment before its helper is done submitting it
    text = status(tmp_path, capsys, "s")
    for words in ("3/3", "a place has no position", "rank-hours", "2 running", "vprdist retry s", "waits for its"):
        assert words in " ".join(text.split()), text

    driver.kill()  # its jobs go on
    driver.wait()
    text = status(tmp_path, capsys, "s")
    assert "No driver watches this sweep" in text
    assert states(tmp_path, capsys)["toy 0"] == "running"
    os.kill(folders[0].starts()[0]["pid"], signal.SIGKILL)
    until(lambda: states(tmp_path, capsys)["toy 0"] == "ended")
    assert "start the same command again" in " ".join(status(tmp_path, capsys, "s").split())

    (tmp_path / "go").touch()
    with Dispatcher(PROFILE, tmp_path, JOB) as dispatcher:
        for trial in toy_trials(4):
            dispatcher.want(trial)
        until(lambda: dispatcher.check() or all(folder.is_over for folder in folders))
    assert states(tmp_path, capsys) == {"toy 0": "done", "toy 1": "failed", "toy 2": "done", "toy 3": "done"}
    assert "Leaderboard: vprdist leaderboard s" in status(tmp_path, capsys, "s", "--watch"), "it ends when all are over"
    found = json.loads(status(tmp_path, capsys, "s", "--json"))["trials"]
    assert [each["objective"] for each in found] == [0.0, None, 0.02, 0.03]
    assert found[0]["spent_h"] > 0
    ran = [(json.loads(line)["time"]) for line in folders[3].starts_file.read_text().splitlines()]
    written = folders[3].result_file.stat().st_mtime
    took_s = min(written - ran[0], folders[3].result().wall_s)  # a toy says a second, also where it took longer
    assert found[3]["spent_h"] == pytest.approx(took_s / 3600, rel=1e-3)
    assert "recall@1 0.030" in status(tmp_path, capsys)


def test_a_low_terminal_keeps_the_totals_and_shows_what_goes_on_first(tmp_path):
    """Rich leaves out the end of what is higher than the terminal."""
    list_sweep(tmp_path, "s", range(30))
    folders = toy_folders(tmp_path, 30)
    for folder, trial in zip(folders[:25], toy_trials(25), strict=True):
        folder.path.mkdir(parents=True)
        bare_toy(trial, folder.path)
    folders[29].write_failure(Failure(reason="a place is missing", attempts=1, kind="mistake"))
    seen, console = look(find_sweep(tmp_path, "s")), Console(width=90, height=20, file=io.StringIO())

    def lines(height: int | None) -> list[str]:
        drawn = console.render_lines(render(seen, console, height))
        return ["".join(segment.text for segment in line).rstrip() for line in drawn]

    for height in (20, 15):
        shown = lines(height)
        assert len(shown) <= height and shown[0].startswith("┏")
        assert any(line.startswith("30 trials: 25 done, 4 waiting, 1 failed") for line in shown), shown
        assert any("toy 29" in line for line in shown), "what failed comes before what is done"
        assert any(re.match(r"not shown: \d+ done.*; vprdist status s shows all", line) for line in shown), shown
    assert len(lines(3)) > 3 and "30 trials" in " ".join(lines(3)), "what is below the table stays"
    assert sum("toy" in line for line in lines(None)) == 30 and "not shown" not in " ".join(lines(None))


def test_of_a_cancelled_sweep_there_is_no_leaderboard(tmp_path, capsys):
    list_sweep(tmp_path, "s", range(1))
    (folder,) = toy_folders(tmp_path, 1)
    folder.write_failure(Failure(reason="cancelled by root", attempts=1, kind="cancelled"))
    text = status(tmp_path, capsys, "s")
    assert "Cancelled trials: vprdist retry s runs them." in text and "Leaderboard" not in text
    assert re.search(r"s +│ 1 +│ 0 +│ 0, 1 cancelled +│ 0", status(tmp_path, capsys))


def test_watching_is_cheap_where_nothing_runs(tmp_path, capsys):
    list_sweep(tmp_path, "empty", [])
    begin = time.monotonic()
    assert "0 trials" in status(tmp_path, capsys, "empty", "--watch")
    assert time.monotonic() - begin < 5


def driver_in_queue(runs: Path, monkeypatch: pytest.MonkeyPatch, *rows: str) -> None:
    """A detached driver, job 7, whose row of the queue ends so; and further rows."""
    sweep = runs / "sweeps" / "s"
    list_sweep(runs, "s", range(2))
    write_driver(sweep, DriverRecord(job_id="7", name=driver_name(sweep), log="/l/driver.log", submitted_at=1.0))
    said = [row.format(driver=f"{driver_name(sweep)}", mark=digest_json(str(sweep), 16)) for row in rows]
    monkeypatch.setattr("vprdist.launch.slurm.ask", lambda command: "\n".join(said) + "\n")


def test_a_driver_that_waits_in_the_queue_is_no_driver_that_is_gone(tmp_path, capsys, monkeypatch):
    driver_in_queue(tmp_path, monkeypatch, "7|{driver}|PENDING|Priority||{mark}")
    text = status(tmp_path, capsys, "s")
    assert "driver: job 7 waits (other jobs come first), log /l/driver.log" in text and "No driver" not in text
    driver_in_queue(tmp_path, monkeypatch, "7|{driver}|PENDING|Priority||of another run folder")
    assert "No driver watches this sweep" in status(tmp_path, capsys, "s")


def test_a_driver_that_takes_the_only_job_its_user_may_run_is_told(tmp_path, capsys, monkeypatch):
    (folder, _) = toy_folders(tmp_path, 2)
    trial = f"8|vprdist-{folder.trial_id}|PENDING|AssocMaxJobsLimit||token"
    for reason, held in (("AssocMaxJobsLimit", True), ("Resources", False)):
        driver_in_queue(
            tmp_path, monkeypatch, "7|{driver}|RUNNING|None|gpu01|{mark}", trial.replace("AssocMaxJobsLimit", reason)
        )
        record = JobRecord(
            state="submitted", cluster="slurm", name=job_name(folder.trial_id), token="token", attempt=1, job=JOB,
            parameters={}, machine="m", job_id="8",
        )  # fmt: skip
        folder.write_job(record)
        text = " ".join(status(tmp_path, capsys, "s").split())
        assert ("scancel 7, and the same command without --detach" in text) == held


def test_somebody_elses_sweep_may_be_looked_at(tmp_path, capsys, monkeypatch):
    list_sweep(tmp_path, "s", range(2))
    running, queued = toy_folders(tmp_path, 2)
    for folder in (running, queued):
        record = JobRecord(
            state="submitted", cluster="slurm", name=job_name(folder.trial_id), token="token", attempt=1, job=JOB,
            parameters={}, machine="m", job_id="8",
        )  # fmt: skip
        folder.write_job(record)
    opened, asked = os.open, []

    def read_only(path, flags, *more, **words):
        if flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, flags, *more, **words)

    def squeue(command):
        asked.append(command)
        return f"8|vprdist-{queued.trial_id}|PENDING|Resources||token\n"

    with locked(running.driver_lock), locked(running.running_lock):
        monkeypatch.setattr(os, "open", read_only)
        monkeypatch.setattr("vprdist.status.facts.user_name", lambda uid: "colleague")
        monkeypatch.setattr("vprdist.launch.slurm.ask", squeue)
        assert main(["status", "s", "--json", "--runs", str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)["trials"]
    assert [(each["state"], each["watched"]) for each in found] == [("running", True), ("queued", False)]
    assert f"--user={','.join(sorted({'colleague', current_user()}))}" in asked[0]

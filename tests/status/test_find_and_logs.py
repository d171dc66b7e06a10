"""The words that a person types, and what the jobs printed."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from toy import JOB, toy_trials

from tests.status.toys import list_sweep, toy_folders
from vprdist.cli import main
from vprdist.errors import LaunchError, UserError
from vprdist.files import locked, write_text
from vprdist.status.find import find_sweep, find_trial, pick
from vprdist.status.logs import LogReader, follow
from vprdist.store.driving import DriverRecord, write_driver
from vprdist.store.journal import Failure, JobRecord, job_name
from vprdist.store.manifest import sweep_names
from vprdist.store.trial_folder import TrialFolder


def test_sweeps_are_found_by_name_and_near_misses_are_named(tmp_path):
    assert sweep_names(tmp_path) == []
    with pytest.raises(LaunchError, match="No sweep was started here; --runs names another"):
        find_sweep(tmp_path, "table1")
    list_sweep(tmp_path, "table1", [0, 1])
    list_sweep(tmp_path, "other", [1, 2])
    assert sweep_names(tmp_path) == ["other", "table1"]
    assert list(find_sweep(tmp_path, "table1").names.values()) == ["toy 0", "toy 1"]
    with pytest.raises(LaunchError, match=r"no such sweep: 'tabel1'.*Did you mean 'table1'"):
        find_sweep(tmp_path, "tabel1")
    (tmp_path / "sweeps" / "other" / "manifest.json").write_text('{"trials": [{}]}')
    with pytest.raises(UserError, match="a manifest must be readable"):
        find_sweep(tmp_path, "other")


def test_trials_are_picked_by_name_id_or_its_beginning(tmp_path):
    list_sweep(tmp_path, "s", [0, 1, 2])
    sweep, ids = find_sweep(tmp_path, "s"), [trial.trial_id for trial in toy_trials(3)]
    assert pick(sweep, []) == ids
    assert pick(sweep, ["toy 2", ids[0], ids[1][:12]]) == [ids[2], ids[0], ids[1]]
    with pytest.raises(LaunchError, match="Did you mean 'toy 1'"):
        pick(sweep, ["toy1"])
    (tmp_path / "sweeps" / "s" / "manifest.json").unlink()
    list_sweep(tmp_path, "s", [0])
    with pytest.raises(LaunchError, match="no such trial: ''"):  # the only id begins so, and nobody meant it
        pick(find_sweep(tmp_path, "s"), [""])


def test_a_path_is_no_name_of_a_sweep_or_trial(tmp_path, capsys):
    list_sweep(tmp_path / "other", "s", [0])
    elsewhere = "../../other/sweeps/s"
    (tmp_path / "runs" / "sweeps").mkdir(parents=True)
    for words in (["leaderboard", elsewhere], ["status", elsewhere], ["cancel", elsewhere, "--yes"]):
        assert main([*words, "--runs", str(tmp_path / "runs")]) == 2, words
        assert elsewhere in capsys.readouterr().err.replace("\n", "")
    with pytest.raises(LaunchError, match="a trial must be called by its id, not by a path"):
        TrialFolder.of(tmp_path, "../other")


def test_a_manifest_leads_to_no_folder_outside(tmp_path):
    list_sweep(tmp_path, "s", [0])
    path = tmp_path / "sweeps" / "s" / "manifest.json"
    path.write_text(path.read_text().replace(toy_trials(1)[0].trial_id, "../../precious"))
    with pytest.raises(UserError, match=r"'../../precious' is no trial's id"):
        find_sweep(tmp_path, "s")


def test_a_trial_of_any_sweep_is_found(tmp_path):
    list_sweep(tmp_path, "s", [0, 1])
    one, two = toy_folders(tmp_path, 2)
    for folder in (one, two):
        folder.path.mkdir(parents=True)
    assert find_trial(tmp_path, "s/toy 1").path == two.path
    assert find_trial(tmp_path, one.trial_id[:10]).path == one.path
    with pytest.raises(LaunchError, match="no such trial: 'zzz'"):
        find_trial(tmp_path, "zzz")
    with pytest.raises(LaunchError, match=r"no such trial: 's'\. It is a sweep\. .*: 's/toy 0'; .* lists them\.$"):
        find_trial(tmp_path, "s")
    write_driver(tmp_path / "sweeps" / "s", DriverRecord(job_id="7", submitted_at=1.0, name="d", log="/l/driver.log"))
    with pytest.raises(LaunchError, match=r"What its driver said is in /l/driver\.log\."):
        find_trial(tmp_path, "s")
    with pytest.raises(LaunchError, match="no such trial: ''"):
        find_trial(tmp_path, "")


def attempt(folder: TrialFolder, number: int, age_s: float, **files: str) -> Path:
    path = folder.log / f"attempt-{number}-{number * 11111111}"
    for name, text in files.items():
        write_text(path / (name.replace("__", "_").replace("_out", ".out")), text)
    os.utime(path, (1e9 - age_s, 1e9 - age_s))
    return path


def test_logs_show_the_newest_submission_and_all_on_request(tmp_path, capsys):
    list_sweep(tmp_path, "s", [0])
    (folder,) = toy_folders(tmp_path, 1)
    attempt(folder, 1, 100, **{"7_0_log_out": "first\n"})
    newest = attempt(folder, 2, 0, **{"9_0_log_out": "second\n", "9_1_log_out": "of rank 1\n"})
    assert main(["logs", "s/toy 0", "--runs", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"==> {newest / '9_0_log.out'}\nsecond\n"
    assert main(["logs", "s/toy 0", "--all", "--runs", str(tmp_path)]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if "==>" not in line] == ["first", "second"]
    assert main(["logs", "s/toy 0", "--rank", "1", "--runs", str(tmp_path)]) == 0
    assert "of rank 1" in capsys.readouterr().out
    assert main(["logs", "s/toy 0", "--rank", "7", "--runs", str(tmp_path)]) == 0
    assert "Nothing was printed yet" in capsys.readouterr().out


def test_following_goes_across_submissions_and_ends_with_the_trial(tmp_path, monkeypatch):
    monkeypatch.setattr("vprdist.status.logs.LOOK_S", 0.01)
    (folder,) = toy_folders(tmp_path, 1)
    first = attempt(folder, 1, 100, **{"7_0_log_out": "one\n"})
    got: list[str] = []
    thread = threading.Thread(target=follow, args=(LogReader(folder), got.append))
    thread.start()

    def seen(words: str) -> None:
        for _ in range(500):
            if words in "".join(got):
                return
            thread.join(0.01)
        raise AssertionError(got)

    seen("one\n")
    with (first / "7_0_log.out").open("ab") as stream:  # a look may end within a letter
        stream.write("gr\u00fc".encode()[:-1])
        stream.flush()
        seen("gr")
        stream.write("\u00fc\u00df\n".encode()[1:])
    seen("gr\u00fc\u00df\n")
    second = attempt(folder, 2, 0, **{"8_0_log_out": "two\n"})
    seen("two\n")
    with (first / "7_0_log.out").open("a") as stream:  # its last words come after the next one began
        stream.write("last words\n")
    seen("last words\n")
    with locked(folder.running_lock):  # rank 0 lives: a result is there before what its job says of it
        folder.write_failure(Failure(reason="enough", attempts=2))
        thread.join(0.1)
        assert thread.is_alive()
        with (second / "8_0_log.out").open("a") as stream:
            stream.write("the end\n")
    thread.join(5)
    assert not thread.is_alive()
    lines = [line for line in "".join(got).splitlines() if "==>" not in line]
    assert lines == ["one", "gr\u00fc\u00df", "two", "last words", "the end"], "each byte once"


def test_following_ends_with_a_trial_that_its_scheduler_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr("vprdist.status.logs.LOOK_S", 0.01)
    (folder,) = toy_folders(tmp_path, 1)
    attempt(folder, 1, 100, **{"7_0_log_out": "one\n"})
    record = JobRecord(
        state="submitted", cluster="local", name=job_name(folder.trial_id), token="token", attempt=1, job=JOB,
        parameters={}, machine="m",
    )  # fmt: skip
    folder.write_job(record)
    got: list[str] = []
    thread = threading.Thread(target=follow, args=(LogReader(folder), got.append), daemon=True)
    with locked(folder.running_lock):
        thread.start()
        folder.write_job(record.updated(state="cancelled"))
        thread.join(0.1)
        assert thread.is_alive(), "its rank still says its last words"
    thread.join(5)
    assert not thread.is_alive()
    assert got[0].endswith("one\n")

"""What each tracker has at the end is what the folders have: every number, once, whatever was killed on the way."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.trackers.making import (
    NAME,
    STATES,
    add_rows,
    append,
    comparable,
    end,
    follower,
    made_sweep,
    results_of,
    rows_of,
    start,
    write_pages,
)
from tests.trackers.reading import READERS, Seen, word  # noqa: F401
from tests.waiting import until
from vprdist.spec.doors import TrackerName
from vprdist.store.manifest import sweep_folder
from vprdist.store.tracked import TrackFolder
from vprdist.store.trial_folder import TrialFolder
from vprdist.trackers.beside import Beside
from vprdist.trackers.telling import facts_of_sweep, run_id_of


def seen(runs: Path, word: str, folder: TrialFolder) -> Seen:  # noqa: F811
    store = TrackFolder(sweep_folder(runs, NAME), word).store
    return READERS[word](store).run(run_id_of(NAME, folder.trial_id))


def check_rows(runs: Path, word: str, folder: TrialFolder) -> Seen:  # noqa: F811
    """Every number of the trial's metrics is there once, with its step and time, and nothing else."""
    found, reader = seen(runs, word, folder), READERS[word]
    expected = [(reader.name(n), step, at, reader.value(value)) for n, step, at, value in rows_of(folder)]
    rows = [row for row in found.rows if row[0] != "vprdist/over"]
    assert comparable(rows) == comparable(expected)
    return found


def leaves(value, above=""):
    """Every value of a tree by its dotted key, an empty mapping by its own."""
    if not isinstance(value, dict) or not value:
        yield above, value
        return
    for name, each in value.items():
        yield from leaves(each, f"{above}.{name}" if above else name)


def test_every_number_state_and_setting_is_that_of_the_files(tmp_path, word):  # noqa: F811
    runs, folders = made_sweep(tmp_path)
    pages = write_pages(runs)
    assert follower(runs, word).look(leaving=True)
    reader = READERS[word]
    for folder, state in zip(folders, STATES, strict=True):
        found = check_rows(runs, word, folder)
        assert found.notes["state"] == state
        assert found.status == reader.status[state]
        if state == "finished":
            expected = {reader.name(name): reader.value(value) for name, value in results_of(folder).items()}
            assert found.results == expected
            assert found.notes["starts"] == "2"
            assert found.notes["fallbacks"] == "no GPU" and found.notes["code"] == "abcdef0123456789"
        if state == "failed":
            assert found.notes["why"] == "it went wrong" and found.notes["attempts"] == "2"
        trial = json.loads(folder.trial_file.read_text())
        if word == "mlflow":
            assert found.config == {reader.name(name): str(value) for name, value in leaves(trial)}
        else:
            assert {name: found.config[name] for name in trial} == trial
    place = TrackFolder(sweep_folder(runs, NAME), word)
    board = READERS[word](place.store).run(facts_of_sweep(NAME, sweep_folder(runs, NAME)).run_id)
    names = {page.name for page in pages} if word in ("mlflow", "wandb") else None
    assert set(board.files) == (names or {{"tensorboard": "leaderboard", "trackio": "leaderboard.md"}[word]})


def test_what_has_everything_is_sent_nothing(tmp_path, word):  # noqa: F811
    runs, folders = made_sweep(tmp_path)
    assert follower(runs, word).look(leaving=True)
    again = follower(runs, word)
    again._make = None  # a tracker that is not needed is not made
    assert again.look(leaving=True)
    assert again.account.points == 0 and again.account.runs == len(folders) + 1


def test_a_trial_that_goes_on_after_a_requeue_keeps_its_run(tmp_path, word):  # noqa: F811
    runs, (folder,) = made_sweep(tmp_path, states=("running",))
    assert follower(runs, word).look(leaving=True)
    assert check_rows(runs, word, folder).notes["state"] == "running"
    start(folder, 1)
    add_rows(folder, 3, 6)
    one = follower(runs, word)
    assert one.look()
    add_rows(folder, 6, 8)
    assert one.look()
    end(runs, folder.trial(), folder, "finished")
    assert one.look() and one.look(leaving=True)
    found = check_rows(runs, word, folder)
    assert found.notes["state"] == "finished" and found.status == READERS[word].status["finished"]


def test_a_failed_trial_that_is_tried_again_is_no_longer_failed(tmp_path, word):  # noqa: F811
    runs, (folder,) = made_sweep(tmp_path, states=("failed",))
    assert follower(runs, word).look(leaving=True)
    folder.retire_failure()
    start(folder, 1)
    add_rows(folder, 3, 5)
    end(runs, folder.trial(), folder, "finished")
    assert follower(runs, word).look(leaving=True)
    found = check_rows(runs, word, folder)
    assert found.notes["state"] == "finished" and found.status == READERS[word].status["finished"]


class Killed(BaseException):
    """As SIGKILL: nobody catches it."""


@pytest.mark.parametrize("at", [1, 2])
def test_what_was_taken_but_not_noted_is_there_once(tmp_path, word, at, monkeypatch):  # noqa: F811
    """The worst moment for a SIGKILL: the tracker has taken points, or the end, and no note of it was written."""
    runs, folders = made_sweep(tmp_path, states=("finished", "failed"))
    one, notes = follower(runs, word), []

    def write_mark(run_id, mark):
        notes.append(mark)
        if len(notes) == at:
            raise Killed

    monkeypatch.setattr(one.place, "write_mark", write_mark)
    with pytest.raises(Killed):
        one.look(leaving=True)
    assert follower(runs, word).look(leaving=True)
    for folder, state in zip(folders, ("finished", "failed"), strict=True):
        assert check_rows(runs, word, folder).notes["state"] == state


@pytest.mark.slow
def test_a_process_that_is_killed_again_and_again_loses_and_doubles_nothing(tmp_path, word):  # noqa: F811
    """A real process follows a trial that writes all the time; it is killed with SIGKILL while it sends."""
    runs, (folder,) = made_sweep(tmp_path, states=("running",))
    done = threading.Event()

    def write() -> None:
        i = 3
        while not done.is_set():
            add_rows(folder, i, i + 1)
            i += 1
            time.sleep(0.01)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for points in (1, 30):
            one = Beside.start(runs, NAME, TrackerName.of(word))
            until(lambda one=one, points=points: one.account and one.account.points >= points)
            os.killpg(one.process.pid, signal.SIGKILL)
            one.process.wait()
    finally:
        done.set()
        writer.join()
    append(folder, kind="evaluate", step=10**6, time=1.7e9, **{"recall@1": 0.75})
    end(runs, folder.trial(), folder, "finished")
    last = Beside.start(runs, NAME, TrackerName.of(word))
    last.let_go()
    assert last.wait(180, 600), last.account
    assert check_rows(runs, word, folder).notes["state"] == "finished"

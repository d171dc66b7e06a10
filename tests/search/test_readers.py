"""Readers of trials' folders: what they report, how often they look, and the one thread that they share."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from toy import toy_result, toy_trials

from tests.waiting import until
from vprdist.files import append_json_line, write_json
from vprdist.search import readers
from vprdist.search.readers import FolderReader, Readers
from vprdist.store.trial_folder import TrialFolder


def reader(runs: Path, trial_id: str = "a", **config: Any) -> FolderReader:
    return FolderReader({"runs": str(runs), "trial_id": trial_id, "objective": "recall@1", **config})


def write(runs: Path, *rows: dict[str, Any], trial_id: str = "a") -> None:
    for row in rows:
        append_json_line(TrialFolder.of(runs, trial_id).metrics_file, row)


def evaluation(step: int, value: float) -> dict[str, Any]:
    return {"kind": "evaluate", "step": step, "recall@1": value}


def finish(runs: Path, value: float) -> None:
    row = toy_result(toy_trials(1)[0]).model_copy(update={"metrics": {"recall@1": value}})
    write_json(TrialFolder.of(runs, "a").result_file, row.model_dump(mode="json", by_alias=True))


def test_each_evaluation_is_news_with_what_the_rows_before_it_said_and_then_the_result(tmp_path: Path) -> None:
    it = reader(tmp_path)
    assert it.look() is None
    train = {"kind": "train", "step": 3, "steps": 8, "loss": 0.5, "note": "x", "flag": True}
    write(tmp_path, train, evaluation(4, 0.1), {"kind": "stage", "step": 5, "done": 1})
    write(tmp_path, {**train, "step": 7, "loss": 0.25}, evaluation(8, 0.2), {**train, "loss": 9.0})
    first, second = it.look(), it.look()
    known = {"training_step": 4, "training_iteration": 1, "recall@1": 0.1, "steps": 8, "loss": 0.5, "done": False}
    assert first == known
    later = {"training_step": 8, "training_iteration": 2, "recall@1": 0.2, "loss": 0.25}
    assert second == {**known, **later}
    assert it.look() is None, "training alone is no news: nobody goes by it"
    finish(tmp_path, 0.3)
    last = it.look()
    assert last == {**known, **later, "training_iteration": 3, "loss": 9.0, "recall@1": 0.3, "done": True}


def test_a_stopped_trial_ends_with_its_last_row_and_a_failed_one_without_a_value(tmp_path: Path) -> None:
    write(tmp_path, evaluation(2, 0.5))
    stopped = reader(tmp_path, stopped=True)
    assert [stopped.look(), stopped.look()] == [
        {"training_step": 2, "training_iteration": 1, "recall@1": 0.5, "done": False},
        {"training_step": 2, "training_iteration": 2, "recall@1": 0.5, "done": True},
    ]
    write_json(TrialFolder.of(tmp_path, "a").failure_file, {"reason": "it died", "attempts": 3})
    failed = reader(tmp_path)
    failed.look()
    end = failed.look()
    assert end is not None and end["done"] and math.isnan(end["recall@1"])


@pytest.mark.parametrize("named", ["is_over", "new_rows", "objective"])
def test_a_disk_that_gives_no_answer_is_asked_again_and_loses_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    write(tmp_path, evaluation(2, 0.5))
    finish(tmp_path, 0.7)
    it = reader(tmp_path)

    def stale(*given: object) -> None:
        raise OSError(os.strerror(116))

    seen = []
    for _ in range(4):
        with monkeypatch.context() as silent:
            silent.setattr(TrialFolder, named, property(stale) if named == "is_over" else stale)
            seen.append(it.look())
        seen.append(it.look())
        if seen[-1] is not None and seen[-1]["done"]:
            break
    assert [news["recall@1"] for news in seen if news is not None] == [0.5, 0.7]


def test_a_trial_that_waits_for_hours_is_looked_at_seldom_and_its_first_row_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Storage is shared by a whole cluster: 64 readers that look ten times a second are a load on it."""
    clock = [0.0]
    monkeypatch.setattr(readers, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    many, every = Readers(), [reader(tmp_path, f"trial{i}") for i in range(64)]
    for key, it in enumerate(every):
        many.add(key, it)
        many.want(key)
    looks, wakes = [0] * 64, 0
    while clock[0] < 60:
        wakes += 1
        while many._due and many._due[0][0] <= clock[0]:
            key = many._wait()
            assert isinstance(key, int)
            assert every[key].look() is None
            looks[key] += 1
            many._push(key, every[key].pause_s)
        clock[0] = many._due[0][0]
    assert max(looks) < 80
    assert wakes < 80, "the looks of all come together"
    assert {it.pause_s for it in every} == {readers.SELDOM_S}
    write(tmp_path, evaluation(7, 0.5), trial_id="trial5")
    news = every[5].look()
    assert news is not None and news["training_step"] == 7
    assert every[5].pause_s == readers.LOOK_S, "where there was one row the next may be near"


class Silent(FolderReader):
    """Waits for a word before it looks."""

    def __init__(self, word: threading.Event, news: Any) -> None:
        self.word, self.news, self.pause_s = word, news, 0.01

    def look(self) -> Any:
        self.word.wait(60)
        if isinstance(self.news, BaseException):
            raise self.news
        return self.news


def test_one_thread_serves_all_and_gives_what_was_asked_for_once(tmp_path: Path) -> None:
    before = threading.active_count()
    with Readers() as many:
        for key in range(20):
            write(tmp_path, evaluation(1, key / 100), evaluation(2, 1.0), trial_id=f"trial{key}")
            many.add(key, reader(tmp_path, f"trial{key}"))
            many.want(key)
        found = dict(until(lambda: many.next(5.0)) for _ in range(20))
        assert {key: news["recall@1"] for key, news in found.items()} == {key: key / 100 for key in range(20)}
        assert many.next(0.3) is None, "the second row was not asked for"
        assert threading.active_count() == before + 1
        many.want(3)
        again = until(lambda: many.next(5.0))
        assert (again[0], again[1]["training_step"]) == (3, 2)
    until(lambda: threading.active_count() == before)


def test_a_storage_that_hangs_holds_up_nobody_else_and_what_was_dropped_is_not_told() -> None:
    word = threading.Event()
    with Readers() as many:
        many.add("late", Silent(word, {"done": True}))
        many.want("late")
        begin = time.monotonic()
        assert many.next(0.05) is None
        assert time.monotonic() - begin < 30, "asking waits no longer than it was told"
        many.drop("late")
        word.set()
        assert many.next(0.5) is None


def test_what_a_reader_raises_is_raised_where_news_is_asked_for() -> None:
    word = threading.Event()
    word.set()
    with Readers() as many:
        many.add("broken", Silent(word, KeyError("nobody thought of it")))
        many.want("broken")
        with pytest.raises(KeyError, match="nobody thought of it"):
            until(lambda: many.next(5.0))


def test_a_signal_whose_handler_outlasts_the_wait_ends_it() -> None:
    """Ctrl-C at the wrong moment, or on a machine that is busy: the driver would say that it stops, and wait on."""
    seen = []

    def handler(number: int, frame: Any) -> None:
        seen.append(number)
        if len(seen) > 1:
            raise TimeoutError("it still waits")
        time.sleep(1.0)

    before = signal.signal(signal.SIGALRM, handler)
    try:
        with Readers() as both:
            signal.setitimer(signal.ITIMER_REAL, 0.2, 60.0)
            assert both.next(timeout=0.6) is None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
    assert len(seen) <= 1

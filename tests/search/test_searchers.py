"""Real Ray, Optuna and processes: early stops end jobs, and a killed driver's search goes on where it was."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from searching import EVERY, STEPS, drive, journal, recall, resolve, spec, start
from toy import JOB as TOY
from toy import PROFILE, behave, toy_trials

from vprdist.launch.dispatcher import Dispatcher
from vprdist.machine import process_alive
from vprdist.search.driver import run_search
from vprdist.search.points import decode, encode
from vprdist.store.proposals import Proposals
from vprdist.store.trial_folder import TrialFolder

GRID = (0.01, 0.012, 0.008, 0.02, 7.0, 8.0, 9.0, 10.0)
"""Four good ones, then bad ones, each worse than the one before: one good value is enough to stop them all."""
ASHA = {"scheduler": "asha", "grace_steps": EVERY, "max_steps": STEPS, "reduction": 3}
SPACE = {
    "space": {"train.lr": {"kind": "loguniform", "low": 1e-4, "high": 1.0}},
    "searcher": "optuna",
    "num_trials": 10,
}


@pytest.fixture(autouse=True)
def _searching_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Path(__file__).parent
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (here, here.parent / "launch", here.parents[1]))))


def test_points_outside_a_changed_space_are_not_told() -> None:
    space = spec({**SPACE, "space": {"a": {"values": [[1], [2]]}, "lr": {"kind": "uniform", "low": 0, "high": 1}}})
    point = {"a": [2], "lr": 0.5}
    values = encode(space, point)
    assert values == {"a": 1, "lr": 0.5}
    assert decode(space, values) == point
    for outside in ({"a": [3], "lr": 0.5}, {"a": [1], "lr": 2.0}, {"a": [1]}, {**point, "b": 1}, {"a": [1], "lr": "x"}):
        assert encode(space, outside) is None


def starts(runs: Path) -> dict[str, int]:
    return {path.name: len(TrialFolder(path).starts()) for path in (runs / "trials").iterdir()}


def last_step(folder: TrialFolder) -> int:
    return max((row["step"] for row in folder.rows()[0]), default=0)


@pytest.mark.parametrize("scheduler", ["asha", pytest.param("median", marks=pytest.mark.drill)])
def test_bad_trials_are_stopped_with_their_jobs_and_good_ones_finish(tmp_path: Path, scheduler: str) -> None:
    outcome = drive(tmp_path, spec({**ASHA, "scheduler": scheduler}), grid=GRID)
    good, bad = ([resolve({"train.lr": lr}).trial_id for lr in half] for half in (GRID[:4], GRID[4:]))
    # One in three goes on at each rung: the best is never stopped, the bad ones never end.
    assert good[0] in outcome.results
    assert set(outcome.results) <= set(good)
    assert set(bad) <= set(outcome.stopped)
    assert not outcome.failures
    for trial_id in outcome.stopped:
        folder = TrialFolder.of(tmp_path, trial_id)
        record, first = folder.job(), folder.starts()[0]
        assert record is not None
        assert record.state == "cancelled"
        assert not process_alive(first["pid"], first["pid_start"])
    assert all(last_step(TrialFolder.of(tmp_path, trial_id)) < STEPS for trial_id in bad)
    # A good one may come to its result between its stop and the end of its job; then it counts as done.
    assert {row["trial"] for row in journal(tmp_path)} - set(outcome.results) == set(outcome.stopped)


def test_a_killed_search_with_early_stops_goes_on_and_runs_nothing_twice(tmp_path: Path) -> None:
    driver = start(tmp_path, ASHA, GRID)
    deadline = time.monotonic() + 180
    while not any(row["kind"] == "stopped" for row in journal(tmp_path)):
        assert driver.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    driver.kill()
    driver.wait()
    stopped = {row["trial"] for row in journal(tmp_path)}
    before = {trial: starts(tmp_path)[trial] for trial in stopped}
    output = start(tmp_path, ASHA, GRID).communicate(timeout=300)[0]
    # A job that the killed driver had not cancelled yet may have come to its result all the same.
    results = {path.parent.name for path in (tmp_path / "trials").glob("*/result.json")}
    assert "failures 0" in output
    assert len(results | {row["trial"] for row in journal(tmp_path)}) == len(GRID)
    assert {trial: starts(tmp_path)[trial] for trial in stopped} == before, "what was stopped stays stopped"
    assert set(starts(tmp_path).values()) == {1}
    rows = journal(tmp_path)
    assert len(rows) == len({row["trial"] for row in rows})


def test_the_job_of_a_trial_that_a_killed_driver_had_stopped_is_ended_by_the_next_one(tmp_path: Path) -> None:
    behave(tmp_path, steps=1, hold=True)
    (trial,) = toy_trials(1)
    folder = TrialFolder.of(tmp_path, trial.trial_id)
    with Dispatcher(PROFILE, tmp_path, TOY) as dispatcher:
        dispatcher.want(trial)
        deadline = time.monotonic() + 180
        while not folder.starts():
            dispatcher.check()
            assert time.monotonic() < deadline, "it never started"
            time.sleep(0.02)
    proposals = Proposals(tmp_path / "proposals.jsonl", lambda point: trial, "recall@1")
    proposals.stop(trial.trial_id, 2, 0.1)  # and here the driver is killed: nobody has ended the job
    outcome = run_search(
        [trial], sweep_name="s", objective="recall@1", profile=PROFILE, runs=tmp_path, job=TOY, search=spec(ASHA),
        proposals=proposals,
    )  # fmt: skip
    assert set(outcome.stopped) == {trial.trial_id}
    record, start = folder.job(), folder.starts()[0]
    assert record is not None
    assert record.state == "cancelled"
    assert not process_alive(start["pid"], start["pid_start"])


@pytest.mark.drill
def test_a_killed_optuna_search_proposes_no_more_than_it_was_told(tmp_path: Path) -> None:
    driver = start(tmp_path, SPACE)
    deadline = time.monotonic() + 180
    while len(list((tmp_path / "trials").glob("*/result.json"))) < 3:
        assert driver.poll() is None and time.monotonic() < deadline, driver.communicate()[0]
        time.sleep(0.05)
    driver.kill()
    driver.wait()
    early = [row["trial"] for row in journal(tmp_path)]
    output = start(tmp_path, SPACE).communicate(timeout=300)[0]
    assert "results 10 failures 0 stopped 0" in output, output
    rows = journal(tmp_path)
    assert [row["trial"] for row in rows][: len(early)] == early
    assert len({row["trial"] for row in rows}) == len(rows) == 10
    assert set(starts(tmp_path).values()) == {1}
    # The third run has nothing to do, and does not start Ray.
    assert "results 10" in start(tmp_path, SPACE).communicate(timeout=120)[0]


def test_earlier_results_are_told_to_optuna_before_it_proposes(tmp_path: Path) -> None:
    from vprdist.search.searcher import Replay, inner_searcher

    search = spec(
        {**SPACE, "space": {"train.lr": {"values": [0.1, 0.01]}, "train.loss.margin": {"values": [0.5, 0.6]}}}
    )
    proposals = Proposals(tmp_path / "proposals.jsonl", resolve, "recall@1")
    points = [{"train.lr": lr, "train.loss.margin": margin} for lr in (0.1, 0.01) for margin in (0.5, 0.6)][:3]
    ids = [proposals.propose(point).trial_id for point in points]
    again = Proposals(tmp_path / "proposals.jsonl", resolve, "recall@1")
    again.read()
    assert [known.trial_id for known in again.known] == ids
    inner = inner_searcher(search, "recall@1")
    values = {ids[0] or "": recall(0.1), ids[2] or "": recall(0.01)}
    replay = Replay(again, inner, search, "recall@1", values, {})
    told = {(t.params["train.lr"], t.params["train.loss.margin"]): t.value for t in inner._ot_study.trials}
    assert told == {(0, 0): recall(0.1), (1, 0): recall(0.01)}
    assert [replay.suggest(f"t{i}")["trial_id"] for i in range(3)] == ids
    replay.on_trial_complete("t1", {"recall@1": 0.7})
    assert (0, 1) in {(t.params["train.lr"], t.params["train.loss.margin"]) for t in inner._ot_study.trials}
    fresh = replay.suggest("t3")
    assert fresh["trial_id"] == resolve({"train.lr": 0.01, "train.loss.margin": 0.6}).trial_id, "the one that is left"
    assert replay.suggest("t4") == "FINISHED", "four points are all that there are"


def test_values_that_do_not_go_together_are_no_trial_and_the_search_goes_on(tmp_path: Path) -> None:
    space = {"train.lr": {"values": [0.001, 0.01]}, "train.loss.margin": {"values": [0.5, 0.9]}}
    outcome = drive(tmp_path, spec({"space": space, "searcher": "random", "num_trials": 4}))
    rows = journal(tmp_path)
    assert sorted(row["kind"] for row in rows) == ["proposed", "proposed", "proposed", "refused"]
    assert "0.9 needs a larger rate" in next(row["why"] for row in rows if row["kind"] == "refused")
    assert len(outcome.results) == 3


def test_never_more_jobs_at_once_than_the_profile_says(tmp_path: Path) -> None:
    from searching import PROFILE_4

    search = spec({**SPACE, "num_trials": 7, "searcher": "random"})
    drive(tmp_path, search, PROFILE_4.model_copy(update={"max_concurrent": 2}))
    spans = []
    for path in (tmp_path / "trials").iterdir():
        folder = TrialFolder(path)
        spans.append((folder.starts()[0]["time"], folder.result_file.stat().st_mtime))
    most = max(sum(begin < at < end for begin, end in spans) for at, _ in spans)
    assert len(spans) == 7
    assert most <= 1, "besides the one that starts at that moment"

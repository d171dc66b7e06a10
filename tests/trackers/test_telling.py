"""What folders tell a tracker, by itself: names, numbers and states."""

from __future__ import annotations

import math

from tests.spec.test_program import read
from tests.trackers.making import NAME, append, made_sweep, start, write_pages
from vprdist.prepare.resolve import Resolver
from vprdist.spec.result import ResultRow
from vprdist.store.manifest import sweep_folder
from vprdist.store.trial_folder import TrialFolder
from vprdist.trackers.telling import points_of, run_id_of, standing_of, standing_of_sweep, state_of


def test_numbers_of_a_program_are_sent_by_their_own_names(tmp_path):
    trial = Resolver().resolve(read(tmp_path / "program").trials[0])
    folder = TrialFolder.of(tmp_path / "runs", trial.trial_id)
    folder.write_trial(trial)
    start(folder, 0)
    append(
        folder,
        kind="train",
        step=1,
        steps=2,
        time=5.0,
        **{"my loss": 0.5, "net": {"grad": 2}, "word": "x", "yes": True},
    )
    append(folder, kind="report", step=2, time=6.0, accuracy=float("nan"))
    (first, second) = points_of(folder.rows()[0], 0)
    assert first.numbers == {"train/steps": 2.0, "train/my loss": 0.5, "train/net/grad": 2.0}
    assert (second.number, second.step, second.time) == (1, 2, 6.0) and math.isnan(second.numbers["report/accuracy"])
    row = ResultRow(
        trial_id=trial.trial_id, trial=trial, protocol=None, metrics={"loss": 0.25}, not_finite=("worst",), steps=2,
        final_loss=None, wall_s=1.0, train_s=1.0, num_ranks=1, device="cpu", peak_memory_mb=None, starts=1,
    )  # fmt: skip
    folder.write_result(row)
    standing = standing_of(folder, "finished")
    assert standing.results["result/loss"] == 0.25 and math.isnan(standing.results["result/worst"])
    assert "result/final_loss" not in standing.results and "protocol" not in standing.notes


def test_a_trial_that_waits_in_a_queue_has_no_run(tmp_path):
    trial = Resolver().resolve(read(tmp_path / "program").trials[0])
    folder = TrialFolder.of(tmp_path / "runs", trial.trial_id)
    folder.write_trial(trial)
    assert state_of(folder, stopped=False) is None
    start(folder, 0)
    assert state_of(folder, stopped=False) == "running"


def test_a_trial_has_a_run_for_each_sweep_that_has_it():
    assert run_id_of("one", "abc") == run_id_of("one", "abc") != run_id_of("other", "abc")


def test_a_sweep_is_finished_when_nobody_drives_it_and_no_trial_is_left(tmp_path):
    runs, _ = made_sweep(tmp_path, states=("finished",))
    pages, folder = write_pages(runs), sweep_folder(runs, NAME)
    assert standing_of_sweep(folder, ["finished", "failed"], driven=False).state == "finished"
    assert standing_of_sweep(folder, ["finished", "failed"], driven=True).state == "running"
    assert standing_of_sweep(folder, ["finished", None], driven=False).state == "running"
    counted = standing_of_sweep(folder, ["finished", "failed", "failed"], driven=False)
    assert counted.results == {"trials": 3.0, "trials/finished": 1.0, "trials/failed": 2.0}
    assert set(counted.files) == set(pages)

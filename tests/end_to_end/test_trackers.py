"""A sweep that is tracked, by the real driver: what TensorBoard has is what the trial's folder has."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.end_to_end.test_sweep import CITY, made_city, rows, run  # noqa: F401
from tests.trackers.making import comparable, rows_of
from tests.trackers.reading import TensorBoardReader
from vprdist.store.tracked import TrackFolder
from vprdist.store.trial_folder import TrialFolder
from vprdist.trackers.telling import facts_of_sweep, run_id_of

SMALL = [
    CITY, "search.grid.network.unfreeze=[0-2]", "search.grid.input.mode=[rgb]", "trial.train.steps=3",
    "trial.train.batch_pairs=4", "trial.train.micro_pairs=4", "trial.run.log_steps=1",
]  # fmt: skip


@pytest.mark.slow
def test_a_tracked_sweep_has_every_number_at_its_end_and_the_same_command_sends_nothing_twice(tmp_path, made_city):  # noqa: F811
    pytest.importorskip("tensorboard")
    runs = tmp_path / "runs"
    shutil.copytree(made_city, runs, symlinks=True)
    for _ in range(2):
        done = run(runs, *SMALL, "track=[tensorboard]")
        assert done.returncode == 0, done.stderr + done.stdout
        assert "tensorboard: 2 run(s) are at " in done.stdout and "look: tensorboard --logdir " in done.stdout
        (row,) = rows(runs)
        folder = TrialFolder.of(runs, row["trial"])
        sweep = runs / "sweeps" / "table1"
        reader = TensorBoardReader(TrackFolder(sweep, "tensorboard").store)
        found = reader.run(run_id_of("table1", folder.trial_id))
        expected = [(name, step, at, reader.value(value)) for name, step, at, value in rows_of(folder)]
        assert len(expected) > 10 and comparable(found.rows) == comparable(expected)
        assert found.notes["state"] == "finished"
        for name in ("metrics", "untrained"):
            assert f"result/{'untrained/' if name == 'untrained' else ''}recall@1" in found.results
        assert "track:" in Path(sweep / "sweep.yaml").read_text()
        assert reader.run(facts_of_sweep("table1", sweep).run_id).files == ["leaderboard"]

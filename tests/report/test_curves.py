"""The curves of a trial, from the rows that its job left."""

from __future__ import annotations

from pathlib import Path

from vprdist.files import append_json_line
from vprdist.report.board_page import _curve
from vprdist.store.trial_folder import TrialFolder


def test_steps_that_a_killed_job_made_again_stand_once_in_the_curve(tmp_path: Path) -> None:
    folder = TrialFolder.of(tmp_path, "0123456789abcdef")
    steps = [5, 10, 15, 20, 15, 20, 25]  # killed after 20; the last checkpoint was that of step 12
    for number, step in enumerate(steps):
        append_json_line(folder.metrics_file, {"kind": "train", "step": step, "steps": 25, "loss": number / 10})
        if step % 10 == 0:
            append_json_line(folder.metrics_file, {"kind": "evaluate", "step": step, "recall@1": number / 10})
    curve = _curve("row", 0, folder, "recall@1", own=False)
    assert curve.loss == [(5, 0.0), (10, 0.1), (15, 0.4), (20, 0.5), (25, 0.6)]
    assert curve.objective == [(10, 0.1), (20, 0.5)]

"""What a person sees, on a terminal and in a log."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from toy import toy_result, toy_trials

from vprdist.files import append_json_line, write_json
from vprdist.launch.trial_watch import Phase
from vprdist.search.progress import SweepProgress
from vprdist.store.journal import Failure
from vprdist.store.trial_folder import TrialFolder


@pytest.mark.parametrize("terminal", [True, False])
def test_a_trial_is_shown_from_its_start_to_its_end(tmp_path: Path, terminal: bool) -> None:
    trials = toy_trials(3)
    folders = {trial.trial_id: TrialFolder.of(tmp_path, trial.trial_id) for trial in trials}
    first, second, third = folders.values()
    write_json(third.result_file, toy_result(trials[2]).model_dump(mode="json", by_alias=True))
    phases: dict[str, Phase] = {first.trial_id: "running", second.trial_id: "waiting"}
    output = io.StringIO()
    console = Console(file=output, force_terminal=terminal, width=120, color_system=None)
    names = {trial.trial_id: f"toy {trial.seed}" for trial in trials}
    view = SweepProgress(names, "recall@1", console)
    with view.live(folders, lambda: phases):
        append_json_line(first.metrics_file, {"kind": "stage", "stage": "reading data", "done": 1, "total": 2})
        append_json_line(
            first.metrics_file, {"kind": "train", "step": 5, "steps": 20, "loss": 0.25, "pairs_per_s": 3.0}
        )
        append_json_line(first.metrics_file, {"kind": "evaluate", "step": 5, "recall@1": 0.5})
        view.tick()
        write_json(first.result_file, toy_result(trials[0]).model_dump(mode="json", by_alias=True))
        second.write_failure(Failure(reason="It is broken", attempts=1))
    shown = output.getvalue()
    assert "1 of 3 trials already have a result." in shown
    assert "toy 0: done, recall@1 0.000" in shown
    assert "toy 1: failed, It is broken" in shown
    assert "5/20" in shown
    assert "loss 0.2500  3.0 pairs/s  R@1 0.500" in shown
    if not terminal:
        assert "toy 0: started" in shown
        assert "[1/3] toy 0: training 5/20, loss 0.2500" in shown

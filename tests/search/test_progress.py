"""What a person sees, on a terminal and in a log: a trial starts when its job runs, not when it is submitted."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from toy import toy_result, toy_trials

from vprdist.console import Console
from vprdist.files import append_json_line, locked, write_json
from vprdist.launch.trial_watch import Phase
from vprdist.search.progress import SweepProgress, TrialReading
from vprdist.store.journal import Ending, Failure
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
    with view.live(folders, lambda: phases), locked(first.running_lock):
        append_json_line(first.metrics_file, {"kind": "stage", "stage": "reading data", "done": 1, "total": 2})
        append_json_line(
            first.metrics_file, {"kind": "train", "step": 5, "steps": 20, "loss": 0.25, "pairs_per_s": 3.0}
        )
        append_json_line(first.metrics_file, {"kind": "evaluate", "step": 5, "recall@1": 0.5})
        view.tick()
        view._drawn_at = 0.0  # half a second later
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
        assert re.search(r"R@1 0.500; \S+ trials/\S+, about .+ left", " ".join(shown.split()))


@pytest.mark.parametrize(
    ("kind", "reason", "said"),
    [
        ("cancelled", "cancelled by root", "rgb: cancelled by root"),
        ("cancelled", "cancelled, but not by vprdist (x)", "rgb: cancelled, but not by vprdist (x)"),
        ("died", "It is broken", "rgb: failed, It is broken"),
    ],
)
def test_an_outcome_is_said_once(tmp_path: Path, kind: Ending, reason: str, said: str) -> None:
    folder = TrialFolder(tmp_path)
    folder.write_failure(Failure(reason=reason, attempts=1, kind=kind))
    assert TrialReading("rgb", folder).ending("recall@1") == said


def test_a_job_in_the_queue_waits_and_has_not_started(tmp_path: Path) -> None:
    trials = toy_trials(3)
    folders = {trial.trial_id: TrialFolder.of(tmp_path, trial.trial_id) for trial in trials}
    first, second, third = folders
    waits = {first: "PartitionDown", second: "PartitionDown", third: "Priority"}
    console = Console(file=io.StringIO(), width=300)
    view = SweepProgress({trial.trial_id: f"toy {trial.seed}" for trial in trials}, "recall@1", console)

    def seen() -> list[str]:
        view._drawn_at = view._line_at = 0.0  # long ago
        view.tick()
        assert isinstance(console.file, io.StringIO)
        lines = console.file.getvalue().splitlines()
        console.file = io.StringIO()
        return lines

    with view.live(folders, lambda: dict.fromkeys(folders, "running"), lambda: waits):
        assert seen() == [
            "toy 0: waiting (PartitionDown)", "toy 1: waiting (PartitionDown)", "toy 2: waiting (Priority)",
            "[0/3] 2 waiting (PartitionDown); 1 waiting (Priority)",
        ]  # fmt: skip
        waits[third] = "Resources"
        assert seen() == ["[0/3] 2 waiting (PartitionDown); 1 waiting (Resources)"], "a reason that changes is no news"
        del waits[first]
        assert seen() == ["[0/3] 1 waiting (PartitionDown); 1 waiting (Resources)"], "it left the queue; does it run?"
        with locked(folders[first].running_lock):
            assert seen()[0] == "toy 0: started"
            assert seen() == ["[0/3] toy 0: starting; 1 waiting (PartitionDown); 1 waiting (Resources)"]
        waits[first] = "BeginTime"
        assert seen()[0] == "toy 0: waiting (BeginTime)", "it was requeued"


def test_a_terminal_shows_how_many_wait_and_why(tmp_path: Path) -> None:
    trials = toy_trials(2)
    folders = {trial.trial_id: TrialFolder.of(tmp_path, trial.trial_id) for trial in trials}
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=80, color_system=None)
    with SweepProgress({}, "recall@1", console).live(
        folders, lambda: dict.fromkeys(folders, "running"), lambda: dict.fromkeys(folders, "PartitionDown")
    ):
        pass
    assert "0/2 2 waiting (PartitionDown)" in output.getvalue()

"""`vprdist plan` and the driver say when results that they take over come from other code."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.launch.toy import toy_result
from tests.plan.test_plan import SWEEP, ids, leave_result, plan_of, quiet
from vprdist.cli import main
from vprdist.files import append_json_line, read_json, write_json
from vprdist.source import Source, running_source
from vprdist.spec.computation import FIRST
from vprdist.spec.sweep import trial_at
from vprdist.spec.sweep_file import read_sweep
from vprdist.spec.trial import TrialSpec
from vprdist.store.manifest import Manifest, sweep_folder
from vprdist.store.trial_folder import TrialFolder

OTHER = Source(version="0.0.9", digest="ab12" * 4, changed=False, commit="c0ffee00" * 5)
SEARCH = "search={searcher: random, num_trials: 4, space: {train.lr: {loguniform: [0.001, 0.1]}}}"


@pytest.fixture
def sweep_file(small_tree: Path, tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(SWEEP.format(root=small_tree))
    return path


def leave(runs: Path, planned, source: Source | None) -> None:
    leave_result(runs, planned.trial_id, toy_result(planned.trial).model_copy(update={"source": source}))


def test_results_of_this_code_and_trials_without_one_need_no_words(sweep_file: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    plan = plan_of(sweep_file, runs)
    assert plan.reused is None
    leave(runs, plan.trials[0], running_source())
    assert plan_of(sweep_file, runs).reused is None


def test_results_of_other_code_are_named_with_the_way_to_compute_them_again(
    sweep_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, here = tmp_path / "runs", running_source()
    assert here is not None
    first, second, third = plan_of(sweep_file, runs).trials
    leave(runs, first, here)
    leave(runs, second, OTHER)
    said = plan_of(sweep_file, runs).reused
    assert said is not None
    assert said.startswith(
        f"1 of 2 results come from other code (source ab12ab12 (version 0.0.9, commit c0ffee00); this is source "
        f"{here.short} (version "
    )
    assert "they are reused, since COMPUTATION is 2 in both. To compute them again, name another folder" in said
    leave(runs, third, None)
    parts = "(1 of source ab12ab12 (version 0.0.9, commit c0ffee00); 1 of unknown source (older results name none); "
    assert f"2 of 3 results come from other code {parts}" in (plan_of(sweep_file, runs).reused or "")
    assert main(["plan", str(sweep_file), "--runs", str(runs)]) == 0
    assert " ".join(capsys.readouterr().out.split()).count("results come from other code") == 1


def test_a_result_that_cannot_be_read_is_of_an_unknown_source(sweep_file: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    (first, *_) = plan_of(sweep_file, runs).trials
    folder = TrialFolder.of(runs, first.trial_id or "")
    write_json(folder.result_file, [1])
    assert folder.source() is None
    assert "1 of 1 results" in (plan_of(sweep_file, runs).reused or "")


def test_a_search_tells_of_what_it_proposed_before(sweep_file: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    sweep = read_sweep(sweep_file, [SEARCH])
    prepared = quiet(sweep, runs)
    for lr in (0.01, 0.02):
        trial = prepared.resolve(trial_at(sweep, {"train.lr": lr}))
        row = {"kind": "proposed", "trial": trial.trial_id, "point": {"train.lr": lr}}
        append_json_line(runs / "sweeps" / sweep.name / "proposals.jsonl", row)
        leave_result(runs, trial.trial_id, toy_result(trial))
    assert (plan_of(sweep_file, runs, None, SEARCH).reused or "").startswith("2 of 2 results")


def test_another_computation_reuses_nothing(sweep_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = tmp_path / "runs"
    for planned in (before := plan_of(sweep_file, runs).trials):
        leave(runs, planned, OTHER)
    monkeypatch.setattr("vprdist.prepare.resolve.COMPUTATION", 3)
    plan = plan_of(sweep_file, runs)
    assert [planned.state for planned in plan.trials] == ["new"] * 3
    assert plan.reused is None
    assert not {planned.trial_id for planned in plan.trials} & {planned.trial_id for planned in before}


def leave_of_the_first(runs: Path, trial: TrialSpec) -> None:
    """The result that an earlier version left of a trial."""
    assert trial.digests is not None
    then = trial.model_copy(update={"digests": trial.digests.model_copy(update={"computation": FIRST})})
    result = toy_result(then)
    protocol = result.protocol.model_copy(update={"computation": FIRST})
    leave_result(runs, then.trial_id, result.model_copy(update={"protocol": protocol}))


def test_results_of_the_computation_before_are_told_of_and_computed_anew(
    sweep_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    first, second, third = plan_of(sweep_file, runs).trials
    assert plan_of(sweep_file, runs).left_behind is None
    leave(runs, third, running_source())
    for planned in (first, second):
        leave_of_the_first(runs, planned.trial)
    plan = plan_of(sweep_file, runs)
    assert [planned.state for planned in plan.trials] == ["new", "new", "done"]
    assert plan.reused is None
    assert (plan.left_behind or "").startswith(
        "results of an earlier computation are there (2 of computation 1): this code is of computation 2, whose "
        "numbers differ, and computes these trials anew."
    )
    assert main(["plan", str(sweep_file), "--runs", str(runs)]) == 0
    assert " ".join(capsys.readouterr().out.split()).count("results of an earlier computation are there") == 1


def test_a_search_tells_of_the_computation_before_by_its_manifest(sweep_file: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    sweep = read_sweep(sweep_file, [SEARCH])
    prepared = quiet(sweep, runs)
    trial = prepared.resolve(trial_at(sweep, {"train.lr": 0.01}))
    leave_of_the_first(runs, trial)
    assert plan_of(sweep_file, runs, None, SEARCH).left_behind is None, "nobody knows of it"
    assert trial.digests is not None
    then = trial.model_copy(update={"digests": trial.digests.model_copy(update={"computation": FIRST})})
    book = Manifest(sweep_folder(runs, sweep.name), sweep, ())
    book.add(then)
    book.write()
    assert "(1 of computation 1)" in (plan_of(sweep_file, runs, None, SEARCH).left_behind or "")


def test_the_driver_says_it_once_and_its_manifest_says_which_code_it_is(
    sweep_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every trial has its result: the driver shows the leaderboard, and which code made it."""
    runs = tmp_path / "runs"
    for planned in plan_of(sweep_file, runs).trials:
        leave(runs, planned, OTHER)
    assert main(["sweep", str(sweep_file), "--runs", str(runs)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("3 of 3 results come from other code (source ab12ab12") == 1
    manifest, here = read_json(runs / "sweeps" / "mine" / "manifest.json"), running_source()
    assert here is not None and manifest["source"]["digest"] == here.digest
    assert (manifest["computation"], sorted(ids(read_sweep(sweep_file), runs))) == (
        2,
        sorted(e["trial"] for e in manifest["trials"]),
    )

"""Searches of subsets with real Ray and processes: they end, they are killed and go on, and run nothing twice."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from subsetting import DIGESTS, drive, proposals

from tests import warm
from vprdist.files import canonical_json, read_json_lines
from vprdist.search.points import decode, encode
from vprdist.search.subset_search import SubsetSearch
from vprdist.spec.subsets import Point
from vprdist.spec.sweep import SweepSpec, trial_at
from vprdist.spec.sweep_file import read_sweep
from vprdist.store.trial_folder import TrialFolder

SWEEP = """
trial: {input: {mode: masked}}
search:
  searcher: shapley
  num_trials: 60
  subsets: {classes: [building, pole, sky]}
"""


@pytest.fixture(autouse=True)
def _on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Path(__file__).parent
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (here, here.parent / "launch", here.parents[1]))))


@pytest.fixture
def sweep_file(tmp_path: Path) -> Path:
    (tmp_path / "game.yaml").write_text(SWEEP)
    return tmp_path / "game.yaml"


def start(runs: Path, sweep_file: Path, *words: str) -> warm.Popen:
    command = [sys.executable, str(Path(__file__).with_name("subsetting.py")), str(runs), str(sweep_file), *words]
    return warm.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def starts(runs: Path) -> dict[str, int]:
    return {path.name: len(TrialFolder(path).starts()) for path in (runs / "trials").iterdir()}


def journal(runs: Path, name: str = "game") -> list[str]:
    return [row["trial"] for row in read_json_lines(runs / "sweeps" / name / "proposals.jsonl")[0]]


@pytest.mark.drill  # a minute; the kinds that it holds are held by the greedy search, and by a user's own searcher
def test_a_killed_shapley_search_goes_on_settles_and_runs_nothing_twice(tmp_path: Path, sweep_file: Path) -> None:
    runs, two = tmp_path / "runs", "search.subsets.classes=[building, sky]"
    driver = start(runs, sweep_file, two)
    deadline = time.monotonic() + 180
    while len(list(runs.glob("trials/*/result.json"))) < 4:
        assert driver.poll() is None and time.monotonic() < deadline, driver.communicate()[0]
        time.sleep(0.02)
    driver.kill()
    driver.wait()
    early = journal(runs)
    output = start(runs, sweep_file, two).communicate(timeout=400)[0]
    assert "results 24 failures 0 ray True" in output, "8 draws of 2 players, 3 trials each, and no more: it is settled"
    assert journal(runs)[: len(early)] == early
    assert len(set(journal(runs))) == len(journal(runs)) == 24
    assert set(starts(runs).values()) == {1}
    again = start(runs, sweep_file, two).communicate(timeout=120)[0]
    assert "results 24 failures 0 ray False" in again, "nothing is wanted: Ray is not started"


def test_greedy_asks_for_the_next_when_values_are_known_and_passes_over_what_failed(
    tmp_path: Path, sweep_file: Path
) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    (runs / "broken").touch()
    sweep = read_sweep(sweep_file, ["search={searcher: greedy, subsets: {classes: [building, pole, sky]}}"])
    outcome = drive(runs, sweep)
    classes = [row.trial.input.class_names for row in outcome.results.values()]
    assert classes == [
        ("building",), ("pole",), ("building", "pole"), ("building", "sky"), ("building", "pole", "sky")
    ]  # fmt: skip
    assert len(outcome.failures) == 1
    (runs / "broken").unlink()
    same = drive(runs, sweep, frozenset(outcome.failures))
    assert same.failures == outcome.failures, "who was given up a moment ago is not tried again"
    again = drive(runs, sweep)
    assert not again.failures, "the same command tries it once more"
    assert len(again.results) == 6


@pytest.mark.drill
def test_what_was_proposed_for_other_players_uses_up_no_trials(tmp_path: Path, sweep_file: Path) -> None:
    runs = tmp_path / "runs"
    for other in ("pole", "sky"):
        words = f"search={{searcher: greedy, subsets: {{classes: [building, {other}]}}}}"
        sweep = read_sweep(sweep_file, [words])
        assert sweep.num_trials == 3, "one, the other, both"
        found = drive(runs, sweep).results.values()
    tried = {row.trial.input.class_names for row in found}
    assert tried == {("building",), ("pole",), ("building", "pole"), ("sky",), ("building", "sky")}


def optuna(sweep_file: Path) -> SweepSpec:
    words = ["search.searcher=optuna", "search.space={train.lr: [0.1, 0.2]}"]
    words.append("search.subsets={groups: {built: [building, wall], sky: [sky]}}")
    return read_sweep(sweep_file, words)


def test_points_of_subsets_are_booleans_to_optuna_and_back(sweep_file: Path) -> None:
    search = optuna(sweep_file).search
    for built in (0, 1):
        for sky in (0, 1):
            values = {"train.lr": 1, "player built": built, "player sky": sky}
            point = decode(search, values)
            assert point == {"train.lr": 0.2, "input.classes": ["building", "wall"] * built + ["sky"] * sky}
            assert encode(search, point) == values
    assert encode(search, {"train.lr": 0.2, "input.classes": ["wall"]}) is None, "half a group is no subset"
    assert encode(search, {"train.lr": 0.2, "input.classes": ["sky", "car"]}) is None


def test_optuna_proposes_subsets_and_hears_their_values(tmp_path: Path, sweep_file: Path) -> None:
    from vprdist.search.searcher import Replay, inner_searcher

    sweep = optuna(sweep_file)
    memory = proposals(sweep, tmp_path / "runs")
    inner = inner_searcher(sweep.search, "recall@1")
    replay = Replay(memory, inner, sweep.search, "recall@1", {}, {})
    names = [f"t{number}" for number in range(7)]
    configs = [replay.suggest(name) for name in names]
    known = [known for known in memory.known if known.trial_id is not None]
    assert [config["trial_id"] for config in configs if isinstance(config, dict)] == [each.trial_id for each in known]
    assert {tuple(each.point["input.classes"]) for each in known} == {
        ("building", "wall"), ("building", "wall", "sky"), ("sky",)
    }  # fmt: skip
    replay.on_trial_complete("t0", {"recall@1": 0.7})
    assert 0.7 in [trial.value for trial in inner._ot_study.trials]


def test_two_points_that_are_one_trial_are_issued_once(tmp_path: Path, sweep_file: Path) -> None:
    """Without its mask a network of rgb+mask has no new filters: how they start makes no other trial."""
    words = ["trial.input.mode=rgb+mask", "search.grid={input.conv1_init: [random, inflate]}", "search.num_trials=96"]
    sweep = read_sweep(sweep_file, words)
    points = [{**setting, "input.mode": "rgb", "seed": 0} for setting in sweep.settings]
    assert len({trial_at(sweep, point).resolved(DIGESTS).trial_id for point in points}) == 1
    memory = proposals(sweep, tmp_path / "runs")
    searcher = SubsetSearch(memory, lambda: points, set(), 96, "recall@1", {})
    assert isinstance(searcher.suggest("a"), dict)
    assert searcher.suggest("b") is None, "it waits for the one that runs"
    assert {canonical_json(point) for point in points} == set(memory.ids)
    searcher.on_trial_complete("a", {"recall@1": 0.5})
    assert searcher.suggest("b") == "FINISHED"
    assert len(memory.known) == 1
    again = proposals(sweep, tmp_path / "runs")
    again.read()
    assert again.ids == memory.ids, "who comes back, to retry too, knows the trial by both points"
    assert len(again.known) == 1


def test_a_point_whose_trial_is_over_already_lets_the_rule_go_on_at_once(tmp_path: Path, sweep_file: Path) -> None:
    words = ["trial.input.mode=rgb+mask", "search.grid={input.conv1_init: [random, inflate]}", "search.num_trials=96"]
    sweep = read_sweep(sweep_file, words)
    first, same = ({**setting, "input.mode": "rgb", "seed": 0} for setting in sweep.settings)
    memory = proposals(sweep, tmp_path / "runs")

    def wanted() -> list[Point]:
        known = [canonical_json(point) in memory.ids for point in (first, same)]
        return [{**first, "seed": 1}] if all(known) else [same] if known[0] else [first]

    searcher = SubsetSearch(memory, wanted, set(), 96, "recall@1", {})
    issued = searcher.suggest("a")
    searcher.on_trial_complete("a", {"recall@1": 0.5})
    following = searcher.suggest("b")
    assert isinstance(issued, dict) and isinstance(following, dict)
    assert following["trial_id"] != issued["trial_id"]
    assert len(memory.known) == 2


def test_retry_issues_what_is_known_and_no_more(tmp_path: Path, sweep_file: Path) -> None:
    memory = proposals(read_sweep(sweep_file), tmp_path / "runs")
    memory.propose({"input.classes": ["sky"], "seed": 0})
    searcher = SubsetSearch(memory, None, set(), 60, "recall@1", {})
    assert isinstance(searcher.suggest("a"), dict)
    searcher.on_trial_complete("a")
    assert searcher.suggest("b") == "FINISHED"

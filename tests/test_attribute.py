"""What a finished search of subsets says: recomputed by hand from its trials' values."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from tests.attribution import games
from tests.launch.toy import toy_result
from tests.worlds import write_city
from vprdist.attribute import Told, _chance, _print, check_queries, show_attribution
from vprdist.data.msls import read_city
from vprdist.data.tasks import build_tasks
from vprdist.errors import DataError
from vprdist.files import canonical_json, read_json
from vprdist.search.subset_rule import SubsetRule
from vprdist.spec.result import ResultRow
from vprdist.spec.sweep import SweepSpec, trial_at
from vprdist.spec.sweep_file import read_sweep
from vprdist.spec.trial import DataSpec, Digests, EvaluateSpec, TrialSpec

PLAYERS = ["building", "pole", "sky"]
SWEEP = """
trial:
  data: {{root: {root}, train: [ada], validate: [bob]}}
  input: {{mode: masked}}
search:
  subsets: {{classes: [building, pole, sky], take: leave_one_out}}
seeds: [0, 1, 2]
"""
WORTH = [0.3, 0.1, -0.1]
SHAPLEY = ["search.subsets.take=null", "search.searcher=shapley", "search.num_trials=100", "seeds=[0]"]


def value(trial: TrialSpec) -> float:
    """An additive game with some luck of the seed and of the trial."""
    worth = sum(WORTH[PLAYERS.index(name)] for name in trial.input.class_names)
    luck = np.random.default_rng([trial.seed, len(trial.input.class_names)]).normal(0, 0.01)
    return float(0.4 + worth + luck)


class Finished:
    """A sweep whose trials are over: resolved trials, proposals, results."""

    def __init__(self, root: Path, tmp_path: Path, words: list[str]) -> None:
        path = tmp_path / "mine.yaml"
        path.write_text(SWEEP.format(root=root))
        self.sweep: SweepSpec = read_sweep(path, words)
        self.folder = tmp_path / "sweep"
        self.trials = [self.resolve(trial) for trial in self.sweep.trials]
        self.results: dict[str, ResultRow] = {}
        self.ids: dict[str, str | None] = {}
        if self.sweep.search.searcher is None:
            for trial in self.trials:
                self.finish(trial)
        else:
            rule = SubsetRule(self.sweep)
            while wanted := [p for p in rule.wanted(self.value_of) if self.value_of(p) is None]:
                for point in wanted:
                    trial = self.resolve(trial_at(self.sweep, point))
                    self.ids[canonical_json(point)] = trial.trial_id
                    self.finish(trial)

    def resolve(self, trial: TrialSpec) -> TrialSpec:
        return trial.resolved(Digests(dataset="d", cache="c", weights="w"))

    def finish(self, trial: TrialSpec) -> None:
        row = toy_result(trial).model_copy(update={"metrics": {"recall@1": value(trial)}})
        self.results[trial.trial_id] = row

    def value_of(self, point: dict[str, Any]) -> float | None:
        trial = self.ids.get(canonical_json(point))
        return None if trial is None else self.results[trial].metrics["recall@1"]

    def show(self) -> tuple[str, list[dict[str, Any]]]:
        out = io.StringIO()
        console = Console(file=out, width=200, color_system=None)
        show_attribution(self.sweep, self.trials, self.ids, self.results, self.folder, console)
        path = self.folder / "attribution.json"
        return out.getvalue(), read_json(path) if path.exists() else []


def test_leave_one_out_is_the_mean_difference_over_seeds(small_tree, tmp_path):
    finished = Finished(small_tree, tmp_path, [])
    text, [told] = finished.show()
    by_classes = {(t.input.class_names, t.seed): value(t) for t in finished.trials}
    for row in told["players"]:
        others = tuple(name for name in PLAYERS if name != row["player"])
        gone = [by_classes[(tuple(PLAYERS), s)] - by_classes[(others, s)] for s in range(3)]
        assert row["value"] == pytest.approx(np.mean(gone))
        assert row["half"] == pytest.approx(4.3027 * np.std(gone, ddof=1) / 3**0.5, rel=1e-4), "Student's, 2 degrees"
    assert [row["player"] for row in told["players"]] == PLAYERS
    assert "3 seed(s)" in text


def test_one_seed_has_no_interval_and_no_claim(small_tree, tmp_path):
    text, [told] = Finished(small_tree, tmp_path, ["seeds=[0]"]).show()
    assert [row["half"] for row in told["players"]] == [None] * 3
    assert {row["claim"] for row in told["players"]} == {0}
    assert "one seed tells no interval" in text


def test_a_seed_of_which_a_trial_failed_is_left_out_and_said(small_tree, tmp_path):
    finished = Finished(small_tree, tmp_path, [])
    del finished.results[finished.trials[0].trial_id]
    text, _ = finished.show()
    assert "2 seed(s); 1 left out, since a trial failed" in text


def chance_by_hand(root: Path) -> float:
    [task] = build_tasks([read_city(root, "bob")], TrialSpec())
    return float(np.mean([len(rows) / len(task.gallery) for rows in task.positives]))


def test_shapley_values_sum_to_what_all_are_worth_above_chance(small_tree, tmp_path):
    finished = Finished(small_tree, tmp_path, SHAPLEY)
    text, [told] = finished.show()
    assert told["settled"] is True
    assert told["nobody"] == pytest.approx(chance_by_hand(small_tree))
    everybody = [v.metrics["recall@1"] for v in finished.results.values() if len(v.trial.input.class_names) == 3]
    total = sum(row["value"] for row in told["players"])
    assert total == pytest.approx(np.mean(everybody) - chance_by_hand(small_tree))
    # The jump from chance to 0.4 belongs to whoever is first: a third of it to each of three.
    exact = games.shapley(
        games.additive(WORTH) + 0.4 * (np.arange(8) > 0) + chance_by_hand(small_tree) * (np.arange(8) == 0)
    )
    for row in told["players"]:
        assert row["value"] == pytest.approx(exact[PLAYERS.index(row["player"])], abs=0.02)
    assert "the ranking is settled at 0.95" in text
    assert f"{told['draws']} draws" in text
    assert {tuple(pair["players"]) for pair in told["interactions"]} == {
        ("building", "pole"), ("building", "sky"), ("pole", "sky")
    }  # fmt: skip


def test_a_ranking_that_is_not_settled_is_said(small_tree, tmp_path):
    words = [
        *SHAPLEY,
        "search.num_trials=40",
        "search.subsets.classes=[building, pole, sky]",
        "search.subsets.tie=0.001",
    ]
    finished = Finished(small_tree, tmp_path, words)
    for key, row in finished.results.items():
        noise = float(np.random.default_rng(int(key, 16)).random())
        finished.results[key] = row.model_copy(update={"metrics": {"recall@1": noise}})
    text, [told] = finished.show()
    assert told["settled"] is False
    assert "NOT settled" in text


def test_greedy_tells_who_was_taken_in(small_tree, tmp_path):
    words = ["search.subsets.take=null", "search.searcher=greedy"]
    text, [told] = Finished(small_tree, tmp_path, words).show()
    assert told["taken"] == ["building", "pole"]
    assert "building, pole" in text


def test_each_setting_has_a_table(small_tree, tmp_path):
    text, told = Finished(small_tree, tmp_path, ["search.grid={network.unfreeze: [0-2, all]}"]).show()
    assert [each["setting"] for each in told] == [{"network.unfreeze": "0-2"}, {"network.unfreeze": "all"}]
    assert "(leave_one_out, all)" in text


def test_a_list_of_subsets_has_its_leaderboard_alone(small_tree, tmp_path):
    text, told = Finished(small_tree, tmp_path, ["search.subsets.take=[[sky], [pole, building]]"]).show()
    assert (text, told) == ("", [])


def test_queries_are_counted_before_anything_runs(small_tree, tmp_path):
    finished = Finished(small_tree, tmp_path, ["seeds=[0]"])
    [note] = check_queries(finished.sweep, finished.trials)
    assert note.startswith("8 queries: differences in recall@1 of two trials from 0.628 on are found")
    strict = Finished(small_tree, tmp_path, ["seeds=[0]", "search.subsets.confidence=0.9999"])
    with pytest.raises(DataError, match="need 15 queries with a positive, at the very least; found 8"):
        check_queries(strict.sweep, strict.trials)


def test_chance_searches_the_gallery_that_the_trial_searches(tmp_path):
    write_city(tmp_path, "bob", num_query=8, num_database=26, seed=2)
    write_city(tmp_path, "cat", num_query=5, num_database=40, seed=3)
    data = DataSpec(root=str(tmp_path), validate_cities=("bob", "cat"))
    for gallery, sizes in (("city", (26, 40)), ("merged", (66, 66))):
        trial = TrialSpec(data=data, evaluate=EvaluateSpec(gallery=gallery))
        tasks = build_tasks([read_city(tmp_path, name) for name in data.validate_cities], trial)
        by_hand = [len(rows) / size for task, size in zip(tasks, sizes, strict=True) for rows in task.positives]
        assert _chance(trial, "recall@1") == pytest.approx(np.mean(by_hand))


def test_names_of_players_are_not_read_as_markup():
    row = {"player": "[/a]", "value": 0.1, "half": None, "claim": 0}
    told = Told({"network.unfreeze": "[/b]"}, {"confidence": 0.95, "players": [row]}, ())
    sweep = read_sweep(Path(__file__).resolve().parents[1] / "sweeps" / "table1.yaml", [])
    out = io.StringIO()
    _print(told, sweep, Console(file=out, width=200))
    assert "[/a]" in out.getvalue() and "[/b]" in out.getvalue()

"""What a finished search of trained arms says: recomputed by hand from its trials' values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t as student

from tests.attribution.making import PLAYERS, WORTH, Finished, value
from tests.game import games
from tests.worlds import spread_queries, write_city
from vprdist.attribution.chances import chances, mean_chance, num_clusters
from vprdist.data.layouts import read_city_cached
from vprdist.data.layouts.msls import read_city
from vprdist.data.tasks import build_tasks
from vprdist.errors import DataError
from vprdist.game.contributions import contributions
from vprdist.game.draws import backward_subsets, draw_orders, forward_subsets
from vprdist.plan.queries import check_queries
from vprdist.report.wording import answer, reading, steps
from vprdist.spec.attribution import Effect
from vprdist.spec.data import DataSpec
from vprdist.spec.evaluate import EvaluateSpec
from vprdist.spec.sweep_file import read_sweep
from vprdist.spec.trial import TrialSpec
from vprdist.store.attribution_file import attribution_files

SHAPLEY = ["search.subsets.take=null", "search.searcher=shapley", "search.num_trials=100", "seeds=[0]"]


def joint(rows: np.ndarray, confidence: float = 0.95, claims: int = 3) -> Effect:
    """Student's interval over rows, of one player of `claims` that hold together (Bonferroni)."""
    half = student.ppf(1 - (1 - confidence) / (2 * claims), len(rows) - 1) * np.std(rows, ddof=1) / len(rows) ** 0.5
    return Effect(value=float(np.mean(rows)), low=float(np.mean(rows) - half), high=float(np.mean(rows) + half))


def assert_same(found: Effect, expected: Effect) -> None:
    for name in ("value", "low", "high"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=1e-9), name


def without(player: str) -> tuple[str, ...]:
    return tuple(name for name in PLAYERS if name != player)


def test_leave_one_out_is_the_mean_difference_over_seeds(small_tree, tmp_path):
    finished = Finished(small_tree, tmp_path, [])
    told = finished.setting()
    by_classes = {(t.input.class_names, t.seed): value(t) for t in finished.trials}
    for row in told.players:
        gone = [by_classes[(tuple(PLAYERS), s)] - by_classes[(without(row.player), s)] for s in range(3)]
        assert_same(row.adds, joint(np.array(gone)))
        assert row.seed_sd == pytest.approx(np.std(gone, ddof=1))
        assert row.claim == {True: "raises", False: "none"}[row.adds.low > 0] if row.adds.value > 0 else "lowers"
        assert row.classes == (row.player,) and not row.placebos and not row.beyond
    assert [row.player for row in told.players] == PLAYERS
    assert {row.claim for row in told.players} == {"raises", "lowers"}, "no placebo was run: nobody helps"
    assert told.notes == ("3 seed(s)",)
    assert (told.method, told.num_seeds, told.confidence) == ("leave_one_out", 3, 0.95)


def test_leave_one_out_beside_placebos_is_taken_within_seeds(small_tree, tmp_path):
    finished = Finished(small_tree, tmp_path, ["search.subsets.placebos=[random, image]"])
    told = finished.setting()
    assert len(finished.results) == 3 * 4 * 3
    rows = {
        (player, kind): np.array(
            [finished.of(tuple(PLAYERS), s, kind) - finished.of(without(player), s, kind) for s in range(3)]
        )
        for player in PLAYERS
        for kind in ("none", "random", "image")
    }
    for row in told.players:
        own = rows[row.player, "none"]
        assert_same(row.adds, joint(own))
        assert set(row.placebos) == set(row.beyond) == {"random", "image"}
        for kind in ("random", "image"):
            assert_same(row.placebos[kind], joint(rows[row.player, kind]))
            assert_same(row.beyond[kind], joint(own - rows[row.player, kind]))
        every = [row.adds, *row.beyond.values()]
        above, below = all(each.low > 0 for each in every), all(each.high < 0 for each in every)
        assert row.claim == ("helps" if above else "hurts" if below else "none")
        if row.claim == "none":
            assert row.bound == pytest.approx(max(max(-e.low, e.high) for e in row.beyond.values()))
    claims = {row.player: row.claim for row in told.players}
    assert claims["building"] == "helps" and claims["pole"] == "none", "a random mask adds nearly as much as a pole's"
    assert told.cost.num_trials == 36, "placebos are trials, each counted once"


def test_add_one_in_compares_with_what_nobody_is_worth(small_tree, tmp_path):
    words = ["search.subsets.take=add_one_in", "search.subsets.placebos=[random]"]
    masked = Finished(small_tree, tmp_path, words)
    nobody = chance_by_hand(small_tree)
    told = masked.setting()
    assert told.nobody == pytest.approx(nobody)
    for row in told.players:
        assert_same(row.adds, joint(np.array([masked.of((row.player,), s) - nobody for s in range(3)])))
        gone = [masked.of((row.player,), s) - masked.of((row.player,), s, "random") for s in range(3)]
        assert_same(row.beyond["random"], joint(np.array(gone)))
    both = Finished(small_tree, tmp_path, [*words, "trial.input.mode=rgb+mask"])
    told = both.setting()
    assert told.nobody is None, "it is a trial"
    for row in told.players:
        assert_same(row.adds, joint(np.array([both.of((row.player,), s) - 0.35 for s in range(3)])))
    assert len(both.results) == 3 * (1 + 3 + 3), "without a mask there is no placebo: nobody is trained once a seed"
    assert told.cost.num_trials == len(both.results)


def test_one_seed_has_no_interval_and_no_claim(small_tree, tmp_path):
    told = Finished(small_tree, tmp_path, ["seeds=[0]"]).setting()
    assert [(row.adds.low, row.adds.high, row.seed_sd) for row in told.players] == [(None, None, None)] * 3
    assert {row.claim for row in told.players} == {"untold"}
    assert any("one seed tells no interval" in note for note in told.notes)


def test_a_seed_of_which_a_trial_failed_is_left_out_and_said(small_tree, tmp_path):
    finished = Finished(small_tree, tmp_path, [])
    del finished.results[finished.trials[0].trial_id]
    told = finished.setting()
    assert told.notes == ("2 seed(s); 1 left out, since a trial failed",)
    gone = [finished.of(tuple(PLAYERS), s) - finished.of(without("building"), s) for s in (1, 2)]
    assert_same(told.players[0].adds, joint(np.array(gone)))


def test_a_seed_of_which_a_placebo_failed_is_left_out_of_everything(small_tree, tmp_path):
    finished = Finished(small_tree, tmp_path, ["search.subsets.placebos=[random]"])
    (gone,) = (
        row.trial_id
        for row in finished.results.values()
        if (row.trial.seed, row.trial.input.placebo, row.trial.input.class_names) == (1, "random", without("sky"))
    )
    del finished.results[gone]
    told = finished.setting()
    assert told.notes == ("2 seed(s); 1 left out, since a trial failed",)
    for row in told.players:
        own = [finished.of(tuple(PLAYERS), s) - finished.of(without(row.player), s) for s in (0, 2)]
        assert_same(row.adds, joint(np.array(own)))


def chance_by_hand(root: Path) -> float:
    [task] = build_tasks([read_city(root, "bob")], TrialSpec())
    return float(np.mean([len(rows) / len(task.gallery) for rows in task.positives]))


def names(subset: int) -> tuple[str, ...]:
    return tuple(name for i, name in enumerate(PLAYERS) if subset >> i & 1)


def drawn_rows(finished: Finished, draws: int, nobody: float, kind: str = "none") -> np.ndarray:
    """(R, n) contributions of the draws, from the results of their trials."""
    orders = draw_orders(3, draws, 0)
    forward, backward = (
        [
            [nobody if s == 0 else finished.of(names(int(s)), row, kind) for s in some]
            for row, some in enumerate(subsets)
        ]
        for subsets in (forward_subsets(orders), backward_subsets(orders))
    )
    return contributions(orders, np.array(forward), np.array(backward))


def test_shapley_values_sum_to_what_all_are_worth_above_chance(small_tree, tmp_path):
    finished = Finished(small_tree, tmp_path, SHAPLEY)
    told = finished.setting()
    assert {row.claim for row in told.players} <= {"raises", "lowers", "none"}, "no placebo was run"
    assert told.players[0].claim == "raises"
    assert told.nobody == pytest.approx(chance_by_hand(small_tree))
    everybody = [v.metrics["recall@1"] for v in finished.results.values() if len(v.trial.input.class_names) == 3]
    total = sum(row.adds.value for row in told.players)
    assert total == pytest.approx(np.mean(everybody) - chance_by_hand(small_tree))
    # The jump from chance to 0.4 belongs to whoever is first: a third of it to each of three.
    exact = games.shapley(
        games.additive(WORTH["none"]) + 0.4 * (np.arange(8) > 0) + chance_by_hand(small_tree) * (np.arange(8) == 0)
    )
    rows = drawn_rows(finished, told.num_seeds, chance_by_hand(small_tree))
    for row in told.players:
        player = PLAYERS.index(row.player)
        assert row.adds.value == pytest.approx(exact[player], abs=0.02)
        assert_same(row.adds, joint(rows[:, player]))
    assert any("the ranking is settled at 0.95" in note for note in told.notes)
    assert told.notes[0] == f"{told.num_seeds} draws of an order and its reverse"
    assert {pair.players for pair in told.pairs} == {("building", "pole"), ("building", "sky"), ("pole", "sky")}
    assert [abs(pair.adds.value) for pair in told.pairs] == sorted(
        (abs(p.adds.value) for p in told.pairs), reverse=True
    )


def test_placebos_have_the_draws_of_the_real_masks_and_are_compared_within_them(small_tree, tmp_path):
    words = [*SHAPLEY, "search.num_trials=200", "search.subsets.placebos=[random]"]
    finished = Finished(small_tree, tmp_path, words)
    asked = {
        kind: {
            (row.trial.input.class_names, row.trial.seed)
            for row in finished.results.values()
            if row.trial.input.placebo == kind
        }
        for kind in ("none", "random")
    }
    assert asked["none"] == asked["random"], "the same subsets under the same seeds"
    told = finished.setting()
    assert 2 * len(asked["none"]) == told.cost.num_trials == len(finished.results)
    nobody = chance_by_hand(small_tree)
    own, control = (drawn_rows(finished, told.num_seeds, nobody, kind) for kind in ("none", "random"))
    for row in told.players:
        player = PLAYERS.index(row.player)
        assert_same(row.adds, joint(own[:, player]))
        assert_same(row.placebos["random"], joint(control[:, player]))
        assert_same(row.beyond["random"], joint((own - control)[:, player]))


def test_a_draw_whose_placebo_failed_is_left_out_of_all(small_tree, tmp_path):
    finished = Finished(small_tree, tmp_path, [*SHAPLEY, "search.num_trials=200", "search.subsets.placebos=[random]"])
    lost = next(
        key
        for key, row in finished.results.items()
        if row.trial.input.placebo == "random" and row.trial.seed == 3 and len(row.trial.input.class_names) == 1
    )
    own, control = (drawn_rows(finished, 8, chance_by_hand(small_tree), kind) for kind in ("none", "random"))
    del finished.results[lost]
    told = finished.setting()
    assert told.num_seeds == 7
    assert "1 draws left out, since a trial of their placebos failed" in told.notes
    assert len(own) == len(control) == 8, "as many as before"


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
    told = finished.setting()
    assert any("the ranking is NOT settled at 0.95" in note for note in told.notes)


def test_greedy_tells_who_was_taken_in(small_tree, tmp_path):
    words = ["search.subsets.take=null", "search.searcher=greedy"]
    finished = Finished(small_tree, tmp_path, words)
    told = finished.setting()
    assert told.taken == ("building", "pole")
    assert [row.player for row in told.players] == ["building", "pole"]
    alone = np.mean([finished.of(("building",), s) for s in range(3)])
    both = np.mean([finished.of(("building", "pole"), s) for s in range(3)])
    first, second = (row.adds for row in told.players)
    assert first.value == pytest.approx(alone - chance_by_hand(small_tree))
    assert second.value == pytest.approx(both - alone)
    assert first.low is first.high is second.low is second.high is None
    assert {row.claim for row in told.players} == {"untold"}, "it was picked for looking best"
    assert any("no interval" in note for note in told.notes)
    assert answer(told, "recall@1") == "Taken in, in this order: building, then pole."
    assert reading(told)[1].startswith("An order, without intervals, on these")
    assert steps(told)[1] == f"pole: {both:.3f} ({both - alone:+.3f})"


def test_greedy_asks_the_placebos_of_whom_it_took_in_and_of_nobody_else(small_tree, tmp_path):
    words = ["search.subsets.take=null", "search.searcher=greedy", "search.subsets.placebos=[random, image]"]
    finished = Finished(small_tree, tmp_path, words)
    told = finished.setting()
    controls = {
        (row.trial.input.class_names, row.trial.input.placebo, row.trial.seed)
        for row in finished.results.values()
        if row.trial.input.placebo != "none"
    }
    taken = (("building",), ("building", "pole"))
    assert controls == {(names, kind, s) for names in taken for kind in ("random", "image") for s in range(3)}
    assert told.taken == ("building", "pole")
    for row, (before, after) in zip(told.players, (((), taken[0]), (taken[0], taken[1])), strict=True):
        for kind in ("random", "image"):
            worth = [
                chance_by_hand(small_tree) if not names else np.mean([finished.of(names, s, kind) for s in range(3)])
                for names in (before, after)
            ]
            assert row.placebos[kind].value == pytest.approx(worth[1] - worth[0])
            assert row.beyond[kind].value == pytest.approx(row.adds.value - row.placebos[kind].value)
            assert row.placebos[kind].low is row.beyond[kind].low is None


def test_the_first_step_of_greedy_begins_at_the_network_without_a_mask(small_tree, tmp_path):
    words = ["search.subsets.take=null", "search.searcher=greedy", "search.subsets.placebos=[random]"]
    finished = Finished(small_tree, tmp_path, [*words, "trial.input.mode=rgb+mask"])
    first = finished.setting().players[0]
    assert first.adds.value == pytest.approx(np.mean([finished.of(("building",), s) for s in range(3)]) - 0.35)
    control = np.mean([finished.of(("building",), s, "random") for s in range(3)]) - 0.35
    assert first.placebos["random"].value == pytest.approx(control)
    assert finished.sweep.num_trials == 3 * (6 + 3 + 1)
    without_nobody = {key: row for key, row in finished.results.items() if row.trial.input.mode != "rgb"}
    assert len(finished.results) - len(without_nobody) == 3
    finished.results = without_nobody
    told = finished.setting()
    assert told.taken == ("building", "pole") and [row.player for row in told.players] == ["pole"]


def test_each_setting_has_its_own_row(small_tree, tmp_path):
    for more in ([], ["search.subsets.placebos=[random]"]):
        finished = Finished(small_tree, tmp_path, ["search.grid={network.unfreeze: [0-2, all]}", *more])
        report = finished.report()
        assert [each.setting for each in report.settings] == [{"network.unfreeze": "0-2"}, {"network.unfreeze": "all"}]
        assert {each.method for each in report.settings} == {"leave_one_out"}
        assert [each.cost.num_trials for each in report.settings] == [len(finished.results) // 2] * 2


def test_placebos_of_the_grid_are_told_apart_by_name(small_tree, tmp_path):
    finished = Finished(small_tree, tmp_path, ["search.grid={input.placebo: [none, random]}"])
    report = finished.report()
    assert [each.setting for each in report.settings] == [{"input.placebo": "none"}, {"input.placebo": "random"}]


def test_what_it_took_is_the_time_of_every_rank(small_tree, tmp_path):
    finished = Finished(small_tree, tmp_path, [])
    for number, (key, row) in enumerate(finished.results.items()):
        slow = {"wall_s": 10.0 + number, "num_ranks": 2, "device": "NVIDIA H200" if number == 5 else "cpu x1"}
        finished.results[key] = row.model_copy(update=slow)
    cost = finished.setting().cost
    assert (cost.num_trials, cost.train_s, cost.on_gpu) == (12, sum(2 * (10.0 + n) for n in range(12)), True)
    assert (cost.num_probes, cost.num_finalists) == (0, 0)


def test_a_list_of_subsets_has_its_leaderboard_alone(small_tree, tmp_path):
    finished = Finished(small_tree, tmp_path, ["search.subsets.take=[[sky], [pole, building]]"])
    assert finished.report() is None
    assert not finished.folder.exists()


def test_what_an_earlier_search_of_the_name_said_is_not_shown_beside_others(small_tree, tmp_path):
    earlier = Finished(small_tree, tmp_path, [])
    assert earlier.report() is not None and len(attribution_files(earlier.folder)) == 4
    grid = ["search={grid: {network.unfreeze: [0-2]}}", "trial.input.classes=[sky]"]
    for words in (["search.subsets.take=[[sky], [pole, building]]"], grid):
        earlier.report()
        assert Finished(small_tree, tmp_path, words).report() is None
        assert attribution_files(earlier.folder) == []


def test_queries_are_counted_before_anything_runs(small_tree, tmp_path):
    finished = Finished(small_tree, tmp_path, ["seeds=[0]"])
    [note] = check_queries(finished.sweep, finished.trials)
    assert note.startswith("8 queries in 1 cluster: differences in recall@1 of two trials from 0.628 on are found")
    strict = Finished(small_tree, tmp_path, ["seeds=[0]", "search.subsets.confidence=0.9999"])
    with pytest.raises(DataError, match="need 15 queries with a positive, at the very least; found 8"):
        check_queries(strict.sweep, strict.trials)


def test_of_one_networks_probes_clusters_are_counted(small_tree, tmp_path):
    """Neighbours err together, and tell less than as many apart. Trained arms have their claims from seeds."""
    words = ["search.subsets.take=null", "search.searcher=one_network"]
    sweep = read_sweep(Finished(small_tree, tmp_path, ["seeds=[0]"]).file, words)
    with pytest.raises(
        DataError, match=r"bob: .* need 6 clusters of neighbouring queries .*; found 1\. Validate on more"
    ):
        check_queries(sweep, sweep.trials)
    read_city_cached.cache_clear()
    spread_queries(small_tree, "bob")
    assert check_queries(sweep, sweep.trials)[0].startswith("8 queries in 8 clusters: ")


def test_clusters_are_some_ten_frames_of_a_sequence_in_a_city(tmp_path):
    for city, count in (("bob", 25), ("cat", 34)):
        write_city(tmp_path, city, num_query=count, num_database=40, seed=2)
    tasks = build_tasks([read_city(tmp_path, name) for name in ("bob", "cat")], TrialSpec())
    assert num_clusters(tasks) == 2 + 3


def test_chance_searches_the_gallery_that_the_trial_searches(tmp_path):
    write_city(tmp_path, "bob", num_query=8, num_database=26, seed=2)
    write_city(tmp_path, "cat", num_query=5, num_database=40, seed=3)
    data = DataSpec(root=str(tmp_path), validate_cities=("bob", "cat"))
    for gallery, sizes in (("city", (26, 40)), ("merged", (66, 66))):
        trial = TrialSpec(data=data, evaluate=EvaluateSpec(gallery=gallery))
        tasks = build_tasks([read_city(tmp_path, name) for name in data.validate_cities], trial)
        by_hand = {
            (task.city.name, str(task.city.query.keys[row])): len(rows) / size
            for task, size in zip(tasks, sizes, strict=True)
            for row, rows in zip(task.queries, task.positives, strict=True)
        }
        assert mean_chance(trial, "recall@1") == pytest.approx(np.mean(list(by_hand.values())))
        assert chances(trial, "recall@1") == pytest.approx(by_hand)

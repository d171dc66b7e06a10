"""The model of chance: against slow recomputation, against textbook examples, and on worlds whose truth is known."""

from __future__ import annotations

import math
from statistics import mean

import numpy as np
import pytest
from scipy.stats import norm

from tests.report.making import world
from vprdist.report.statistics import (
    Panel,
    bootstrap,
    groups,
    holm,
    interval,
    null_draws,
    p_values,
    pooled_seed_sd,
    told_apart,
    wilson,
)
from vprdist.store.clusters import clusters


def panel_of(rng: np.random.Generator, **more) -> Panel:
    values, cluster = world(rng, **more)
    return Panel(tuple(values), cluster)


def test_long_sequences_are_cut_in_blocks_of_about_ten_consecutive_frames():
    city = ["a"] * 25 + ["b"] * 4
    sequence = ["s"] * 25 + ["s"] * 4
    frame = [*range(25), 0, 1, 2, 3]
    order = np.random.default_rng(0).permutation(29)
    codes = clusters(*([column[i] for i in order] for column in (city, sequence, frame)))
    found = {int(i): int(code) for i, code in zip(order, codes, strict=True)}
    blocks = [found[i] for i in range(25)]
    assert blocks == sorted(blocks) and [blocks.count(b) for b in sorted(set(blocks))] == [13, 12]
    assert len({found[i] for i in range(25, 29)}) == 1 and found[25] not in blocks, "cities share sequence names"
    assert len(set(clusters(["a"] * 14, ["s"] * 14, range(14)).tolist())) == 1
    assert len(set(clusters(["a"] * 16, ["s"] * 16, range(16)).tolist())) == 2
    assert clusters([], [], []).tolist() == []


def test_draws_are_what_a_slow_bootstrap_with_the_same_luck_draws():
    panel = panel_of(np.random.default_rng(0), rows=3, clusters=7)
    count, luck = panel.num_clusters, np.random.default_rng(5)
    chosen = luck.integers(0, count, (20, count))
    members = [np.flatnonzero(panel.cluster == c) for c in range(count)]
    widen = bootstrap(panel, 20, 5).scores_BR - panel.means_R
    for b in range(20):
        queries = np.concatenate([members[c] for c in chosen[b]])
        slow = np.array([mean(values[0, queries].tolist()) for values in panel.values]) - panel.means_R
        factor = 2.4469 / 1.95996 * math.sqrt(7 / 6)  # Student's t with 6 degrees of freedom over the normal
        assert widen[b] == pytest.approx(slow * factor, rel=1e-4, abs=1e-9)


def test_null_draws_flip_whole_clusters():
    panel = panel_of(np.random.default_rng(1), rows=2, clusters=5)
    drawn = np.concatenate(list(null_draws(panel, 400)))
    each = [((panel.values[1] - panel.values[0])[0, panel.cluster == c]).sum() / panel.num_queries for c in range(5)]
    possible = {
        round(sum(sign * e for sign, e in zip(signs, each, strict=True)), 9)
        for signs in np.array(np.meshgrid(*[[-1, 1]] * 5)).reshape(5, -1).T
    }
    found = {round(float(x), 9) for x in drawn[:, 1] - drawn[:, 0]}
    assert found == possible, "400 draws of 32 sign patterns meet all of them"


def test_p_is_the_share_of_sign_patterns_that_do_as_much():
    panel = Panel((np.zeros((1, 6)), np.array([[1.0, 1, 1, 1, 1, 0]])), np.arange(6))
    (p,) = p_values(panel, [(1, 0)], resamples=40_000)
    assert p == pytest.approx(2 / 32, rel=0.1), "five clusters of one sign: two of 32 patterns"
    (same,) = p_values(panel, [(1, 1)], resamples=100)
    assert same == 1.0
    assert p_values(panel, []) == []


def test_holm_is_the_step_down_by_hand():
    # 5 tests: .01 x 5, .02 x 4, then .03 x 3 = .09, .04 x 2 = .08 which may not fall below .09, .05 x 1 neither.
    assert holm([0.04, 0.01, 0.03, 0.05, 0.02]) == pytest.approx([0.09, 0.05, 0.09, 0.09, 0.08])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []
    assert holm([0.2, 0.01, 0.2]) == pytest.approx([0.4, 0.03, 0.4])


def test_wilson():
    assert wilson(0.75, 740)[1] - 0.75 == pytest.approx(0.030, abs=0.001), "740 queries at 0.75 carry three points"
    low, high = wilson(1.0, 10)
    assert (low, high) == (pytest.approx(0.7225, abs=1e-4), pytest.approx(1.0)), "ten of ten is not certainty"


def test_seed_noise_is_pooled_over_the_rows_that_have_seeds():
    rng = np.random.default_rng(3)
    seeds, count = 4, 4000
    shift = [rng.normal(0, 0.05, (seeds, 1)) for _ in range(40)]
    values = [np.clip(rng.random((1, count)) * 0.4 + 0.3 + s, 0, 1) for s in shift]
    values.append(rng.random((1, count)))
    sd, freedom = pooled_seed_sd(Panel(tuple(values), np.arange(count) // 10))
    assert freedom == 40 * 3
    assert sd == pytest.approx(math.sqrt(np.mean([s.var(ddof=1) for s in shift])), rel=0.03)
    assert pooled_seed_sd(Panel((values[0][:1],), np.arange(count) // 10)) == (None, 0)


def test_what_single_queries_explain_is_not_counted_as_noise_of_seeds():
    hits = tuple((np.random.default_rng(row).random((3, 600)) < 0.5).astype(float) for row in range(60))
    sd, _ = pooled_seed_sd(Panel(hits, np.arange(600) // 6))
    assert sd**2 < 0.3 * 0.25 / 600, "independent queries alone would make .25 / 600"


def test_all_right_and_all_wrong_are_not_certain():
    for level in (0.0, 1.0):
        panel = Panel((np.full((1, 50), level),), np.arange(50) // 5)
        low, high = interval(panel, bootstrap(panel, 100), 0)
        assert high - low > 0.05 and low - 1e-9 <= level <= high + 1e-9


def test_all_right_for_every_seed_is_not_certain_either():
    wavering = np.array([[1.0] * 25 + [0.0] * 25, [1.0] * 40 + [0.0] * 10])
    panel = Panel((np.ones((2, 50)), wavering), np.arange(50) // 5)
    low, high = interval(panel, bootstrap(panel, 100), 0)
    assert (low, high) == pytest.approx((0.7225, 1.0), abs=1e-4), "ten clusters, not fifty queries"


def test_one_cluster_tells_nothing_about_differences():
    panel = Panel((np.zeros((1, 8)), np.ones((1, 8))), np.zeros(8, np.int64))
    assert p_values(panel, [(1, 0)], 200) == [1.0]
    assert not told_apart(panel).any()
    assert bootstrap(panel, 100).difference(1, 0) is None


def test_a_difference_that_no_draw_changes_is_bounded_by_its_clusters():
    panel = Panel((np.zeros((1, 40)), np.tile([[1.0, 0.0]], 20)), np.arange(40) // 4)
    assert bootstrap(panel, 100).difference(1, 0) == pytest.approx((0.2, 0.8))
    assert bootstrap(panel, 100).difference(1, 1) == pytest.approx((-0.3, 0.3))
    few = Panel((np.zeros((1, 40)), np.tile([[1.0, 0.0]], 20)), np.arange(40) // 20)
    assert bootstrap(few, 100).difference(1, 0) == (-1.0, 1.0)
    assert interval(panel, bootstrap(panel, 100), 1) == pytest.approx(wilson(0.5, 10)), "ten clusters are ten queries"


@pytest.mark.parametrize(("seeds", "seed_sd", "level"), [(1, 0.0, 0.0), (3, 0.03, 0.0), (1, 0.0, 2.5)])
def test_intervals_cover_the_truth_and_null_worlds_are_rejected_at_the_stated_rate(seeds, seed_sd, level):
    worlds, rng = 200, np.random.default_rng(17)
    total = math.sqrt(2 + 0.35**2 + 0.25 + 0.25 + (3.75 * seed_sd) ** 2)
    truth = norm.cdf(level / total)
    covered = covered_difference = rejected = apart = 0
    for number in range(worlds):
        panel = panel_of(rng, rows=4, seeds=seeds, seed_sd=seed_sd, level=level)
        draws = bootstrap(panel, 400, number)
        low, high = interval(panel, draws, 0)
        covered += low <= truth <= high
        low, high = draws.difference(1, 0)
        covered_difference += low <= 0 <= high
        rejected += min(holm(p_values(panel, [(1, 0), (2, 0), (3, 0)], 400, number))) <= 0.05
        apart += told_apart(panel, number).any()
    # 200 worlds: a true rate of 0.95 lies within 0.95 ± 0.046 in 997 of 1,000 tries.
    assert 0.90 <= covered / worlds <= 1.0
    assert 0.90 <= covered_difference / worlds <= 1.0
    assert rejected / worlds <= 0.096
    assert apart / worlds <= 0.096


def test_a_real_effect_is_found_and_grouped():
    panel = panel_of(np.random.default_rng(2), rows=4, seeds=2, clusters=80, effect=0.6)
    assert max(holm(p_values(panel, [(1, 0), (2, 0), (3, 0)], 2000))) < 0.01
    apart = told_apart(panel)
    assert apart[3, 0] and apart[0, 3] and not apart.diagonal().any()


def test_groups_start_at_the_best_row_that_is_left():
    apart = np.zeros((4, 4), bool)
    apart[3, 0] = apart[0, 3] = apart[3, 1] = apart[1, 3] = True
    assert groups([0.1, 0.2, 0.3, 0.4], apart) == [2, 2, 1, 1]
    assert groups([0.5], np.zeros((1, 1), bool)) == [1]
    assert groups([0.1, 0.9], np.zeros((2, 2), bool)) == [1, 1]


def test_some_queries_of_a_panel():
    panel = panel_of(np.random.default_rng(4), rows=2, seeds=2)
    chosen = np.arange(panel.num_queries) % 3 == 0
    part = panel.only(chosen)
    assert part.means_R == pytest.approx([values[:, chosen].mean() for values in panel.values])
    assert sorted(set(part.cluster.tolist())) == list(range(part.num_clusters))

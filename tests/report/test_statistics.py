"""The model of chance: against slow recomputation, against textbook examples, and on worlds whose truth is known."""

from __future__ import annotations

import itertools
import math
from statistics import mean

import numpy as np
import pytest
from scipy.stats import beta, norm
from scipy.stats import t as student

from tests.report.making import world
from vprdist.report.comparisons import all_pairs, groups, holm, null_draws, p_values
from vprdist.report.statistics import Panel, chance, clopper_pearson, seed_luck, wilson
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


def slow_moves(panel: Panel, score) -> list[float]:
    """How far `score(queries)` moves when each cluster is left out, so that the squares add up to its variance."""
    size, everybody = panel.num_clusters, np.arange(panel.num_queries)
    whole = score(everybody)
    return [
        math.sqrt((size - 1) / size) * (whole - score(everybody[panel.cluster != left_out])) for left_out in range(size)
    ]


def slow_freedom(panel: Panel) -> float:
    sizes = [int((panel.cluster == c).sum()) for c in range(panel.num_clusters)]
    return sum(sizes) ** 2 / sum(n * n for n in sizes) - 1


def test_a_difference_has_students_interval_over_clusters_that_are_left_out_one_by_one():
    panel = panel_of(np.random.default_rng(0), rows=3, clusters=7)
    found = chance(panel)
    for row, base in ((1, 0), (2, 0), (2, 1)):
        value = panel.values[row][0] - panel.values[base][0]
        error = math.sqrt(sum(m * m for m in slow_moves(panel, lambda q, v=value: mean(v[q].tolist()))))
        half = student.ppf(0.975, slow_freedom(panel)) * error
        assert found.difference(row, base) == pytest.approx((value.mean() - half, value.mean() + half))
        assert found.difference(row, base, at_least=half / 2) == found.difference(row, base)
        half *= 1.5
        assert found.difference(row, base, at_least=half) == pytest.approx((value.mean() - half, value.mean() + half))
    assert slow_freedom(panel) < 6, "clusters of unequal size tell less than their number"
    even = Panel(panel.values, np.arange(panel.num_queries) % 7)
    assert chance(even.only(np.arange(panel.num_queries) < panel.num_queries // 7 * 7)).freedom == pytest.approx(6)


def test_a_score_has_clopper_and_pearsons_interval_of_its_effective_queries():
    panel = panel_of(np.random.default_rng(3), rows=2, clusters=9)
    values = panel.values[1][0]
    variance = sum(m * m for m in slow_moves(panel, lambda q: mean(values[q].tolist())))
    share, t = values.mean(), student.ppf(0.975, slow_freedom(panel))
    count = min(share * (1 - share) / variance, panel.num_queries) * (norm.ppf(0.975) / t) ** 2
    hits, misses = share * count, (1 - share) * count
    slow = (beta.ppf(0.025, hits, misses + 1), beta.ppf(0.975, hits + 1, misses))
    assert chance(panel).interval(1) == pytest.approx(slow)
    assert clopper_pearson(0.9, 10) == pytest.approx((0.5550, 0.9975), abs=1e-4), "nine of ten, as in textbooks"
    assert clopper_pearson(1.0, 10) == pytest.approx((0.6915, 1.0), abs=1e-4)
    assert clopper_pearson(0.0, 10) == pytest.approx((0.0, 0.3085), abs=1e-4)


def test_seeds_come_on_top_with_satterthwaites_degrees_of_freedom():
    panel = panel_of(np.random.default_rng(5), rows=3, seeds=3, clusters=12, seed_sd=0.06)
    luck, found = seed_luck(panel), chance(panel)
    own = []
    for values in panel.values:
        means, sums = [float(v.mean()) for v in values], 0.0
        for v in values:
            residual = v - values.mean(axis=0) - (v.mean() - values.mean())
            sums += sum(float(residual[panel.cluster == c].sum()) ** 2 for c in range(12))
        of_queries = sums / panel.num_queries**2 * 12 / 11
        own.append((sum((m - mean(means)) ** 2 for m in means) - of_queries) / 2)
    pooled = max(0.0, mean(own))
    assert (luck.sd, luck.freedom) == (pytest.approx(math.sqrt(pooled)), 6)
    assert luck.variances_R == pytest.approx([max(o, pooled) / 3 for o in own])
    assert max(own) > pooled > 0, "or the test tells nothing"
    value = panel.values[2].mean(axis=0) - panel.values[0].mean(axis=0)
    of_queries = sum(m * m for m in slow_moves(panel, lambda q: mean(value[q].tolist())))
    of_seeds = luck.variances_R[2] + luck.variances_R[0]
    freedom = (of_queries + of_seeds) ** 2 / (of_queries**2 / slow_freedom(panel) + of_seeds**2 / 6)
    half = student.ppf(0.975, freedom) * math.sqrt(of_queries + of_seeds)
    assert found.difference(2, 0) == pytest.approx((value.mean() - half, value.mean() + half))


def test_the_bound_of_luck_is_students_of_queries_and_seeds_over_so_many_pairs():
    panel = panel_of(np.random.default_rng(0), rows=3, clusters=9)
    found, by_pair = chance(panel), []
    for row in (1, 2):
        value = panel.values[row][0] - panel.values[0][0]
        of_queries = sum(m * m for m in slow_moves(panel, lambda q, v=value: mean(v[q].tolist())))
        total = of_queries + 2 * 0.05**2
        freedom = total**2 / (of_queries**2 / slow_freedom(panel) + (2 * 0.05**2) ** 2 / 6)
        by_pair.append(student.ppf(1 - 0.05 / 2 / 4, freedom) * math.sqrt(total))
    assert found.luck_bound([(1, 0), (2, 0)], 0.05, 6, 4) == pytest.approx(max(by_pair))
    same = chance(Panel((panel.values[0],) * 2, panel.cluster))
    assert same.luck_bound([(1, 0)], 0.02, 6, 1) == pytest.approx(student.ppf(0.975, 6) * math.sqrt(2) * 0.02)
    assert same.luck_bound([(1, 0)], 0.0, 6, 1) == 0.0 and same.luck_bound([(1, 0)], 5.0, 6, 1) == 1.0


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
    luck = seed_luck(Panel(tuple(values), np.arange(count) // 10))
    assert luck.freedom == 40 * 3
    assert luck.sd == pytest.approx(math.sqrt(np.mean([s.var(ddof=1) for s in shift])), rel=0.03)
    assert luck.variances_R.min() == pytest.approx(luck.sd**2 / 4), "never less than what all rows say"
    assert luck.variances_R[-1] == pytest.approx(luck.sd**2), "one seed"
    assert seed_luck(Panel((values[0][:1],), np.arange(count) // 10)) is None


def test_what_single_queries_explain_is_not_counted_as_noise_of_seeds():
    hits = tuple((np.random.default_rng(row).random((3, 600)) < 0.5).astype(float) for row in range(60))
    luck = seed_luck(Panel(hits, np.arange(600) // 6))
    assert luck.sd**2 < 0.3 * 0.25 / 600, "independent queries alone would make .25 / 600"


def test_all_right_and_all_wrong_are_not_certain():
    for level in (0.0, 1.0):
        panel = Panel((np.full((1, 50), level),), np.arange(50) // 5)
        low, high = chance(panel).interval(0)
        assert high - low > 0.05 and low - 1e-9 <= level <= high + 1e-9


def test_all_right_for_every_seed_is_not_certain_either():
    wavering = np.array([[1.0] * 25 + [0.0] * 25, [1.0] * 40 + [0.0] * 10])
    panel = Panel((np.ones((2, 50)), wavering), np.arange(50) // 5)
    low, high = chance(panel).interval(0)
    assert (low, high) == pytest.approx((0.6915, 1.0), abs=1e-4), "ten clusters, not fifty queries"


def test_one_cluster_tells_nothing_about_differences():
    panel = Panel((np.zeros((1, 8)), np.ones((1, 8))), np.zeros(8, np.int64))
    assert p_values(panel, [(1, 0)], 200) == [1.0]
    assert not all_pairs(panel).apart.any() and all_pairs(panel).p(1, 0) == 1.0
    assert chance(panel).difference(1, 0) is None


def test_a_difference_that_no_draw_changes_is_bounded_by_its_clusters():
    panel = Panel((np.zeros((1, 40)), np.tile([[1.0, 0.0]], 20)), np.arange(40) // 4)
    assert chance(panel).difference(1, 0) == pytest.approx((0.2, 0.8))
    assert chance(panel).difference(1, 1) == pytest.approx((-0.3, 0.3))
    few = Panel((np.zeros((1, 40)), np.tile([[1.0, 0.0]], 20)), np.arange(40) // 20)
    assert chance(few).difference(1, 0) == (-1.0, 1.0)
    assert chance(panel).interval(1) == pytest.approx(clopper_pearson(0.5, 10)), "ten clusters are ten queries"


def test_what_no_cluster_moves_stays_as_uncertain_where_other_rows_have_seeds():
    rng = np.random.default_rng(3)
    alike, moved = np.ones((1, 40)), (rng.random((3, 40)) < [[0.3], [0.5], [0.7]]).astype(float)
    one = chance(Panel((alike, moved), np.zeros(40, np.int64)))
    assert one.luck is not None and one.luck.sd > 0.05
    assert one.interval(1)[1] - one.interval(1)[0] > 0.9, "one cluster tells nothing, whatever seeds say"
    assert one.interval(0) == chance(Panel((alike,), np.zeros(40, np.int64))).interval(0)
    many = chance(Panel((alike, alike, moved), np.arange(40) // 2))
    low, high = many.difference(0, 1)
    assert low <= -3 / 20 and high >= 3 / 20


@pytest.mark.parametrize(("seeds", "seed_sd", "level"), [(1, 0.0, 0.0), (3, 0.03, 0.0), (2, 0.05, 0.0), (1, 0.0, 2.5)])
def test_intervals_cover_the_truth_and_null_worlds_are_rejected_at_the_stated_rate(seeds, seed_sd, level):
    worlds, rng = 200, np.random.default_rng(17)
    total = math.sqrt(2 + 0.35**2 + 0.25 + 0.25 + (3.75 * seed_sd) ** 2)
    truth = norm.cdf(level / total)
    covered = covered_difference = rejected = apart = picked = 0
    for number in range(worlds):
        panel = panel_of(rng, rows=4, seeds=seeds, seed_sd=seed_sd, level=level)
        found, pairs = chance(panel), all_pairs(panel, number)
        low, high = found.interval(0)
        covered += low <= truth <= high
        low, high = found.difference(1, 0)
        covered_difference += low <= 0 <= high
        rejected += min(holm(p_values(panel, [(1, 0), (2, 0), (3, 0)], 400, number))) <= 0.05
        apart += pairs.apart.any()
        best, worst = int(panel.means_R.argmax()), int(panel.means_R.argmin())
        low, high = found.difference(worst, best, pairs.half(worst, best))
        picked += not low <= 0 <= high
    # 200 worlds: a true rate of 0.95 lies within 0.95 ± 0.046 in 997 of 1,000 tries.
    assert 0.90 <= covered / worlds <= 1.0
    assert 0.90 <= covered_difference / worlds <= 1.0
    assert rejected / worlds <= 0.096
    assert apart / worlds <= 0.096
    assert picked / worlds <= 0.096


def test_a_best_row_that_was_chosen_after_looking_has_the_p_of_the_largest_of_all_pairs():
    """By every sign pattern of eight clusters, where `all_pairs` draws some."""
    panel = panel_of(np.random.default_rng(6), rows=4, clusters=8)
    scored = [v[0] for v in panel.values]
    every = list(itertools.combinations(range(4), 2))
    patterns = []
    for signs in itertools.product((-1.0, 1.0), repeat=8):
        flipped = np.array(signs)[panel.cluster]
        patterns.append([float(((scored[i] - scored[j]) * flipped).sum()) / panel.num_queries for i, j in every])
    errors = np.array(patterns).std(axis=0)
    largest = np.abs(np.array(patterns) / errors).max(axis=1)
    pairs = all_pairs(panel)
    for (i, j), error in zip(every, errors, strict=True):
        found = abs(scored[i].mean() - scored[j].mean()) / error
        # Errors are those of the draws, a little off: ties fall to either side.
        assert (largest > found * 1.03).mean() - 0.03 < pairs.p(i, j) < (largest > found * 0.97).mean() + 0.03
        assert pairs.p(i, j) == pairs.p(j, i)
        assert pairs.p(i, j) >= p_values(panel, [(i, j)], 2000)[0] - 0.03, "never less than that of a pair named before"
        assert pairs.half(i, j) == pytest.approx(np.quantile(largest, 0.95) * error, rel=0.08)


def test_a_real_effect_is_found_and_grouped():
    panel = panel_of(np.random.default_rng(2), rows=4, seeds=2, clusters=80, effect=0.6)
    assert max(holm(p_values(panel, [(1, 0), (2, 0), (3, 0)], 2000))) < 0.01
    apart = all_pairs(panel).apart
    assert apart[3, 0] and apart[0, 3] and not apart.diagonal().any()


def test_a_row_whose_seeds_differ_more_than_others_counts_with_its_own_spread():
    calm = np.tile(np.arange(400) % 2.0, (3, 1))
    wild = np.stack([(np.arange(400) % 10 < level).astype(float) for level in (3, 5, 7)])
    panel = Panel((calm, calm, calm, wild), np.arange(400) // 10)
    luck = seed_luck(panel)
    assert luck.variances_R[3] == pytest.approx(0.2**2 / 3) and luck.sd == pytest.approx(0.1)
    assert luck.variances_R[:3] == pytest.approx([0.1**2 / 3] * 3)


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

"""The detectable effect is what simulated sweeps detect; noise is measured on earlier trials."""

from __future__ import annotations

import numpy as np
import pytest

from tests.report.making import record, result, write_queries
from vprdist.plan.noise import Noise, detectable, measured_noise
from vprdist.report.comparisons import holm, p_values
from vprdist.report.statistics import Panel
from vprdist.store.queries import queries_path, read_queries


def test_known_values():
    noise = Noise(discordance=0.25, design_effect=1.0, seed_sd=0.0)
    assert detectable(num_queries=400, num_seeds=1, num_comparisons=1, noise=noise) == pytest.approx(
        (1.959964 + 0.841621) * 0.025, abs=1e-6
    )
    with_seeds = Noise(discordance=0.0, design_effect=1.0, seed_sd=0.02)
    one, four = (detectable(num_queries=9, num_seeds=s, num_comparisons=3, noise=with_seeds) for s in (1, 4))
    assert one == pytest.approx(2 * four)
    assert one == pytest.approx((2.393980 + 0.841621) * 0.02 * 2**0.5, abs=1e-6)


def test_the_detectable_effect_is_found_in_four_sweeps_of_five():
    rng, queries, comparisons, worlds = np.random.default_rng(0), 600, 3, 150
    noise = Noise(discordance=0.2, design_effect=1.0, seed_sd=0.0)
    effect = detectable(num_queries=queries, num_seeds=1, num_comparisons=comparisons, noise=noise)
    found = 0
    for number in range(worlds):
        base = (rng.random(queries) < 0.5).astype(float)
        rows = [base]
        for row in range(comparisons):
            better = effect if row == 0 else 0.0
            luck = rng.random(queries)
            flips = np.where(luck < 0.1 + better / 2, 1.0, np.where(luck > 0.9 + better / 2, -1.0, 0.0))
            # A flip that 0 or 1 cannot take is as good as a score beyond them: the statistics do not mind.
            rows.append(base + flips)
        panel = Panel(tuple(row[None] for row in rows), np.arange(queries))
        found += holm(p_values(panel, [(1, 0), (2, 0), (3, 0)], 400, number))[0] <= 0.05
    assert 0.68 <= found / worlds <= 0.92


def test_noise_is_measured_on_trials_that_answered_the_same_queries(tmp_path):
    rng, results = np.random.default_rng(1), []
    hidden = np.repeat(rng.random(60), 5)
    for seed in range(2):
        for unfreeze in ("0-2", "all"):
            one = result(0.5, seed=seed, unfreeze=unfreeze)
            hits = (hidden + np.repeat(rng.normal(0, 0.2, 60), 5)) > 0.5
            write_queries(
                tmp_path / one.trial_id,
                [record(f"q{i:03d}", [bool(h)], sequence=f"s{i // 5}", frame=i) for i, h in enumerate(hits)],
            )
            results.append(one)
    noise = measured_noise(results, lambda trial: read_queries(queries_path(tmp_path / trial)), "recall@1")
    first = [
        read_queries(queries_path(tmp_path / r.trial_id)).metrics["recall@1"] for r in results if r.trial.seed == 0
    ]
    assert noise.pairs == 1 and noise.seeds_measured
    assert noise.discordance == pytest.approx(float((first[0] != first[1]).mean()))
    assert noise.design_effect == pytest.approx(5.0, rel=1e-6), "whole clusters of five differ alike"


def test_without_earlier_trials_noise_is_assumed():
    assert measured_noise([result(0.5)], lambda trial: None, "recall@1") == Noise()
    assert not Noise().seeds_measured and Noise().pairs == 0

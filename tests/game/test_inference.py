"""Effects of one network under many arms: intervals against loops, and against thousands of simulated worlds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from tests.game.networks import World, plain
from vprdist.game.claims import pair_claims, player_effects
from vprdist.game.inference import ClusterSums, Probed, cluster_sums, effects, effects_of_sums

WORTH, NOTHING, ALIKE = (0.8, 0.3, 0.0, -0.4), (0.0,) * 4, (0.4,) * 4
TIMES = 1000


def spread_of(share: float, times: int) -> float:
    return 4 * np.sqrt(share * (1 - share) / times)


def probed(seeds: int, players: int, queries: int, seed: int = 0) -> Probed:
    rng = np.random.default_rng(seed)
    return Probed(rng.normal(size=(seeds, players, queries)) + rng.normal(size=(seeds, players, 1)))


def slow_error(values: np.ndarray, cluster: np.ndarray) -> float:
    """The error of the mean of (Q,) values, cluster by cluster."""
    names, total = sorted(set(cluster.tolist())), 0.0
    for name in names:
        total += sum(values[q] - values.mean() for q in range(len(values)) if cluster[q] == name) ** 2
    return float(np.sqrt(total * len(names) / (len(names) - 1)) / len(values))


def test_one_network_has_students_interval_over_clusters():
    cluster = np.array([7, 3, 3, 9, 7, 7, 1, 1, 3, 20, 20, 21])
    found_in = probed(1, 3, 12)
    found = effects(found_in, cluster, confidence=0.9)
    assert not found.holds_beyond_these_networks and found.seed_sd is None and found.num_clusters == 6
    for player, values in enumerate(found_in.contributions[0]):
        error = slow_error(values, cluster)
        assert found.values[player] == pytest.approx(values.mean())
        assert found.errors[player] == pytest.approx(error)
        half = stats.t.ppf(1 - 0.1 / 6, 5) * error
        near = min(found.high[player] - values.mean(), values.mean() - found.low[player])
        far = max(found.high[player] - values.mean(), values.mean() - found.low[player])
        assert near == pytest.approx(half) and far > half, "the long tail's side reaches further"


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_luck_of_networks_is_pooled_and_never_less_than_the_players_own(seeds):
    cluster = np.repeat(np.arange(10), 3)
    found_in = probed(seeds, 4, 30, seed=seeds)
    found = effects(found_in, cluster, confidence=0.95)
    own, seen, of_queries = [], [], []
    for values in found_in.contributions.transpose(1, 0, 2):
        means = values.mean(axis=1)
        extra = values - values.mean(axis=0)
        queries = sum(slow_error(line, cluster) ** 2 for line in extra) / (seeds - 1)
        seen.append(means.var(ddof=1))
        of_queries.append(queries)
        own.append(seen[-1] - queries)
    same = np.sqrt(np.mean(np.square(seen)) / (1 + 2 / (seeds - 1))) - np.sqrt(np.mean(np.square(of_queries)))
    for player in range(4):
        luck = max(0.0, own[player], np.mean(own), same)
        queries = slow_error(found_in.contributions[:, player].mean(axis=0), cluster) ** 2
        assert found.errors[player] ** 2 == pytest.approx(queries + luck / seeds)
    assert found.seed_sd == pytest.approx(found_in.contributions.mean(axis=2).std(axis=0, ddof=1))
    assert found.holds_beyond_these_networks


def test_luck_of_orders_comes_on_top_and_shared_orders_cancel():
    cluster, rows = np.repeat(np.arange(20), 2), np.random.default_rng(0).normal(size=(9, 3))
    plain_one = probed(2, 3, 40)
    drawn = Probed(plain_one.contributions, rows)
    without, with_rows = (effects(each, cluster, confidence=0.95) for each in (plain_one, drawn))
    assert with_rows.errors**2 == pytest.approx(without.errors**2 + rows.var(axis=0, ddof=1) / 9)
    beyond = drawn - Probed(plain_one.contributions * 0.5, rows)
    assert beyond.rows == pytest.approx(np.zeros((9, 3)))
    assert beyond.contributions == pytest.approx(plain_one.contributions * 0.5)


def claimed(world: World, times: int) -> tuple[float, float, np.ndarray]:
    """How often all intervals hold of what players add, and beyond their placebo; (times, n) claims."""
    adds, beyond, signs = [], [], []
    for kinds, truth in world.play(times, seed=11):
        others = {name: kind for name, kind in kinds.items() if name != "real"}
        found = player_effects(kinds["real"], others, world.codes, confidence=0.95)
        pairs = [(found.adds, truth["real"], adds)]
        pairs += [(found.beyond[name], truth["real"] - truth[name], beyond) for name in others]
        for each, true, held in pairs:
            held.append(((each.low <= true) & (true <= each.high)).all(axis=-1))
        signs.append(found.signs)
    return float(np.mean(adds)), float(np.mean(beyond)) if beyond else 1.0, np.concatenate(signs)


@pytest.mark.parametrize("draws", [None, 8])
@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
def test_intervals_of_found_and_missed_queries_hold_together_in_95_of_100_worlds(seeds, draws):
    times = TIMES if draws is None else 300
    adds, beyond, _ = claimed(World(WORTH, NOTHING, seeds=seeds, draws=draws), times)
    assert 0.94 - spread_of(0.95, times) < min(adds, beyond)


@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
def test_without_effects_a_claim_is_made_in_five_of_100_worlds_at_most(seeds):
    """With one seed luck of training is an effect of this network: here it has none."""
    luck = 0.1 if seeds > 1 else 0.0
    _, _, alone = claimed(World(NOTHING, seeds=seeds, luck=luck), 2 * TIMES)
    assert (alone != 0).any(axis=1).mean() < 0.065
    _, _, beside = claimed(World(ALIKE, ALIKE, seeds=seeds, luck=luck), TIMES)
    assert (beside != 0).any(axis=1).mean() < 0.065, "every mask lets something through, and its placebo as much"


def test_one_network_has_effects_that_no_other_has():
    """Why the caller has to say that one seed speaks of one network: its luck is found, and is claimed."""
    _, _, signs = claimed(World(NOTHING, seeds=1, luck=0.1), 300)
    assert (signs != 0).any(axis=1).mean() > 0.3


def test_planted_effects_are_found_with_their_signs():
    for seeds, enough in ((1, 0.95), (3, 0.95), (5, 0.98)):
        _, _, signs = claimed(World(WORTH, NOTHING, seeds=seeds, luck=0.05), 300)
        assert (signs[:, 0] == 1).mean() > enough
        assert (signs[:, 3] == -1).mean() > enough - 0.2
        assert ((signs * np.sign(WORTH)) < 0).mean() < 0.01


NETWORKS = {
    "equal luck": ([0.2] * 10, 0.0),
    "no luck": ([0.0] * 10, 0.0),
    "graded luck": (np.linspace(0.04, 0.4, 10).tolist(), 0.0),
    "half of the players have none": ([0.28] * 5 + [0.0] * 5, 0.0),
    "four fifths of it shared": ([0.1] * 10, 0.2),
    "all shared": ([0.0] * 10, 0.3),
    "four groups": ([0.2] * 4, 0.0),
}


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("name", NETWORKS)
def test_few_seeds_are_enough_for_intervals_that_hold(name, seeds):
    luck, shared = NETWORKS[name]
    sums = plain(times=TIMES, seeds=seeds, luck=luck, shared=shared, seed=seeds)
    found = effects_of_sums(sums, None, confidence=0.95, num_claims=len(luck))
    held = ((found.low <= 0) & (found.high >= 0)).all(axis=1).mean()
    assert held > 0.95 - spread_of(0.95, TIMES) / 2
    assert (found.signs != 0).any(axis=1).mean() == pytest.approx(1 - held)


@pytest.mark.parametrize("events", [0.5, 2, 5, 10, 20])
@pytest.mark.parametrize("up", [0.5, 1.0])
def test_where_few_places_tell_intervals_still_hold(events, up):
    """Each of ten players changes a query in some of 300 clusters: on average so many as `events` says."""
    rng = np.random.default_rng(int(10 * events))
    changed = (rng.random((TIMES, 1, 10, 300)) < events / 300) * np.where(rng.random((TIMES, 1, 10, 300)) < up, 1, -1)
    found = effects_of_sums(ClusterSums(changed * 1.0, np.full(300, 10.0)), None, confidence=0.95, num_claims=10)
    true = events / 3000 * (2 * up - 1)
    assert ((found.low <= true) & (true <= found.high)).all(axis=1).mean() > 0.95 - spread_of(0.95, TIMES)


def test_claims_need_the_effect_and_every_placebo():
    """Against the words of the rule, over all ways that intervals can lie."""
    cluster = np.arange(40)
    noise = np.tile([0.01, -0.01], 20)
    levels = [0.5, -0.5, 0.0]
    for real, one, other in itertools.product(levels, repeat=3):
        kinds = [Probed(np.array([[noise + level, noise * 2]])) for level in (real, one, other)]
        found = player_effects(kinds[0], {"random": kinds[1], "classes": kinds[2]}, cluster, confidence=0.95)
        helps = real > 0 and real > one and real > other
        hurts = real < 0 and real < one and real < other
        assert found.claims[0] == ("helps" if helps else "hurts" if hurts else "none")
        assert np.isnan(found.bounds[0]) == (helps or hurts)
        if not (helps or hurts):
            rooms = [max(abs(each.low[0]), abs(each.high[0])) for each in found.beyond.values()]
            assert found.bounds[0] == pytest.approx(max(rooms))


def test_without_a_control_nobody_helps_however_sure_the_effect():
    cluster, noise = np.arange(40), np.tile([0.01, -0.01], 20)
    found = player_effects(Probed(np.array([[noise + 0.5, noise - 0.5, noise]])), {}, cluster, confidence=0.95)
    assert found.claims == ["raises", "lowers", "none"]
    assert found.bounds[2] == pytest.approx(found.adds.high[2])


def test_one_cluster_or_one_query_tells_nothing():
    for queries, cluster in ((5, np.zeros(5, np.int64)), (1, np.array([4]))):
        found = player_effects(probed(3, 2, queries), {"random": probed(3, 2, queries, 1)}, cluster, confidence=0.95)
        assert found.claims == ["untold", "untold"]
        assert np.isnan(found.adds.low).all() and np.isnan(found.bounds).all()
        assert found.adds.values == pytest.approx(probed(3, 2, queries).contributions.mean(axis=(0, 2)))
        assert pair_claims(found.adds) == ["none", "none"]


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_where_no_query_differs_the_rule_of_three_speaks(seeds):
    """Queries that nobody finds, or that each arm finds: every contribution is zero, which is not certainty."""
    found = effects(Probed(np.zeros((seeds, 5, 60))), np.arange(60) // 2, confidence=0.95)
    assert found.high == pytest.approx(np.full(5, np.log(5 / 0.05) / 30))
    assert found.low == pytest.approx(-found.high)
    assert (found.signs == 0).all()


def test_copies_of_a_query_in_its_cluster_add_no_certainty():
    once = probed(2, 3, 30)
    twice = Probed(np.repeat(once.contributions, 4, axis=2))
    few, many = (
        effects(each, cluster, confidence=0.95)
        for each, cluster in ((once, np.arange(30)), (twice, np.repeat(np.arange(30), 4)))
    )
    assert many.low == pytest.approx(few.low) and many.high == pytest.approx(few.high)


def test_copies_of_a_network_add_no_certainty_about_queries():
    once = probed(1, 3, 30)
    one, three = (
        effects(each, np.arange(30), confidence=0.95) for each in (once, Probed(np.repeat(once.contributions, 3, 0)))
    )
    assert three.errors == pytest.approx(one.errors)


def test_parts_stand_alone_and_codes_may_have_gaps():
    whole, cluster = probed(3, 4, 60), np.arange(60) // 3
    chosen = np.arange(60) % 7 < 3
    part = Probed(whole.contributions[..., chosen])
    alone, together = (effects(part, cluster[chosen], confidence=0.95, num_claims=claims) for claims in (1, None))
    assert (together.high - together.low > alone.high - alone.low).all()
    assert alone.num_clusters == len(set(cluster[chosen].tolist()))


def test_worlds_at_once_are_each_as_one():
    many = Probed(np.stack([probed(3, 4, 20, seed).contributions for seed in range(5)]))
    found = effects(many, np.arange(20) // 2, confidence=0.95)
    for seed in range(5):
        one = effects(probed(3, 4, 20, seed), np.arange(20) // 2, confidence=0.95)
        assert found.low[seed] == pytest.approx(one.low) and found.high[seed] == pytest.approx(one.high)


def test_cluster_sums_by_a_loop():
    values, cluster = np.random.default_rng(0).normal(size=(2, 3, 9)), np.array([5, 2, 5, 9, 2, 2, 9, 5, 0])
    found = cluster_sums(values, cluster)
    for at, name in enumerate([0, 2, 5, 9]):
        chosen = [q for q in range(9) if cluster[q] == name]
        assert found.counts[at] == len(chosen)
        assert found.sums[..., at] == pytest.approx(sum(values[..., q] for q in chosen))

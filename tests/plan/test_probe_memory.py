"""The memory that probes' values take of the driver: counted on the real arrays, and refused where it is not there."""

from __future__ import annotations

import tracemalloc

import pytest

from tests.attribution.making import SWEEP
from tests.worlds import spread_queries
from vprdist.errors import SweepFileError
from vprdist.game.exact import interaction_weights
from vprdist.game.probing import orders_to_probe, subsets_to_probe
from vprdist.game.sampled import drawn_interaction_weights
from vprdist.plan import queries
from vprdist.plan.driver_cost import driver_job_gb
from vprdist.plan.probe_memory import driver_probe_gb, probe_memory_gb, weights_bytes
from vprdist.plan.queries import check_queries
from vprdist.spec.sweep_file import read_sweep

ONE = ["search.subsets.take=null", "search.searcher=one_network"]


def one_network(tmp_path, root="data", *words):
    path = tmp_path / "mine.yaml"
    path.write_text(SWEEP.format(root=root))
    return read_sweep(path, [*ONE, *words])


@pytest.mark.parametrize(("num_players", "probes"), [(11, 5000), (12, 500), (19, 600)])
def test_weights_are_counted_on_the_real_ones(num_players, probes):
    orders = orders_to_probe(num_players, probes, 0)
    tracemalloc.start()
    if orders is None:
        interaction_weights(num_players)
    else:
        drawn_interaction_weights(orders)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    counted = weights_bytes(num_players, probes, len(subsets_to_probe(num_players, probes, 0)), 0)
    assert 0.6 * counted < peak < counted


def test_values_are_those_of_every_network_arm_and_query(tmp_path):
    """Three players have seven subsets; with two placebos 21 arms, held twice and seven of them once more."""
    sweep = one_network(tmp_path, "data", "search.subsets.placebos=[random, image]", "seeds=[0,1,2]")
    more = probe_memory_gb(sweep, 2000) - probe_memory_gb(sweep, 1000)
    assert more == pytest.approx(1000 * 3 * (2 * 21 + 7) * 4 / 1e9)
    shapley = ["search.searcher=shapley", "search.num_trials=99", "seeds=[0]", "search.subsets.take=null"]
    assert probe_memory_gb(read_sweep(tmp_path / "mine.yaml", shapley), 1000) == 0.0


def test_more_than_this_machine_has_is_refused_and_less_is_said(small_tree, tmp_path, monkeypatch):
    spread_queries(small_tree, "bob")
    sweep = one_network(tmp_path, small_tree, "search.subsets.classes=all", "search.subsets.probes=600000")
    monkeypatch.setattr(queries, "usable_memory_gb", lambda: 2.0)
    with pytest.raises(
        SweepFileError, match=r"search\.subsets\.probes: .*at most 2 GB here; found '\d\.\d+ GB'. Lower it"
    ):
        check_queries(sweep, sweep.trials)
    fewer = one_network(tmp_path, small_tree, "search.subsets.classes=all", "search.subsets.probes=20000")
    assert check_queries(fewer, fewer.trials)[1].startswith("the driver holds what probes found in 0.")
    few = one_network(tmp_path, small_tree, "search.subsets.classes=all")
    assert len(check_queries(few, few.trials)) == 1, "what is little is not worth a line"
    need = driver_probe_gb(sweep, sweep.trials[0])
    assert need > 2 and driver_job_gb(probes_gb=need) == pytest.approx(driver_job_gb() + need, abs=0.1)

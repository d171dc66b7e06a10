"""What the driver holds when it says what players add to networks that were probed, counted before anything runs."""

from __future__ import annotations

from vprdist.data.tasks import tasks_of
from vprdist.game.probing import orders_to_probe, subsets_to_probe
from vprdist.game.sampled import CHUNK
from vprdist.spec.sweep import SweepSpec
from vprdist.spec.trial import TrialSpec

VALUE, WEIGHT = 4, 8
"""Bytes of a value on a query, and of a subset's weight for a pair of players."""
PROBE = 200
"""Bytes of a probe's name, and of its place among the values."""
ALL, DRAWN = 3.5, 3.0
"""Matrices that are there at once while pairs are weighed: of all subsets, of a chunk of drawn ones. A test counts."""


def probe_memory_gb(sweep: SweepSpec, num_queries: int) -> float:
    """The most memory that the values of a setting's probes take, GB (1e9 bytes); 0 where nothing is probed.

    Values of every network, arm and query are held twice (of the whole, and of one subtask), and once more of the arms
    that are being weighed.
    """
    subsets = sweep.search.subsets
    if subsets is None or not sweep.search.method.trains_one:
        return 0.0
    num_subsets = len(subsets_to_probe(subsets.num_players, subsets.probes, sweep.search.seed))
    arms, networks = num_subsets * (1 + len(subsets.placebos)), len(sweep.seeds)
    values = VALUE * networks * num_queries * (2 * arms + num_subsets)
    weights = weights_bytes(subsets.num_players, subsets.probes, num_subsets, sweep.search.seed)
    return (values + PROBE * networks * arms + weights) / 1e9


def weights_bytes(num_players: int, probes: int, num_subsets: int, seed: int) -> float:
    """The bytes of the weights of all pairs of players, at the most while they are made."""
    pairs = num_players * (num_players - 1) // 2
    if (orders := orders_to_probe(num_players, probes, seed)) is None:
        return ALL * WEIGHT * pairs * num_subsets
    return 2 * WEIGHT * pairs * num_subsets + DRAWN * WEIGHT * CHUNK * len(orders) * num_players**2


def driver_probe_gb(sweep: SweepSpec, trial: TrialSpec) -> float:
    """As `probe_memory_gb`, for the queries of a trial of the sweep; 0 while the demo city is not made."""
    if not sweep.search.method.trains_one or trial.data.root == "demo":
        return 0.0
    return probe_memory_gb(sweep, sum(len(task.queries) for task in tasks_of(trial)))

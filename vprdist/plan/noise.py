"""Before a sweep: the smallest difference between two rows that it would find, and how noise is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist

import numpy as np

from vprdist.report.statistics import Panel, seed_luck
from vprdist.spec.result import ResultRow
from vprdist.store.queries import Queries

POWER, ALPHA = 0.8, 0.05
MOST_TRIALS = 12
"""Earlier trials that are read: their files may be large, and pairs of twelve are sixty-six."""


@dataclass(frozen=True)
class Noise:
    """How two rows differ on queries by chance.

    `discordance` is the mean squared difference of two rows on a query: for recall@k the share of queries that one
    finds and the other misses. `design_effect` is by how much the variance grows because neighbouring queries differ
    alike (1: they do not). `seed_sd` is the spread of a row's score over seeds. `pairs` of earlier trials gave the
    first two, 0: they are assumed; so is `seed_sd` where `seeds_measured` is off.
    """

    discordance: float = 0.2
    design_effect: float = 2.0
    seed_sd: float = 0.01
    pairs: int = 0
    seeds_measured: bool = False


def detectable(*, num_queries: int, num_seeds: int, num_comparisons: int, noise: Noise) -> float:
    """The smallest true difference that is found with 80 % power at 5 %, at the first and strictest step of Holm.

    The variance of a difference is taken to be discordance x design effect / queries + 2 seed_sd^2 / seeds. Averaging
    over seeds is not taken to make two rows agree on more queries, so several seeds find somewhat less than this.
    """
    variance = noise.discordance * noise.design_effect / num_queries + 2 * noise.seed_sd**2 / num_seeds
    quantile = NormalDist().inv_cdf  # scipy's takes a while to load
    return (quantile(1 - ALPHA / (2 * max(1, num_comparisons))) + quantile(POWER)) * math.sqrt(variance)


def measured_noise(results: Sequence[ResultRow], queries_of: Callable[[str], Queries | None], objective: str) -> Noise:
    """Noise between earlier trials on one set of queries; what they cannot tell stays as assumed.

    Args:
        results: of one protocol, newest first; trials that differ in their seed alone tell what seeds change.
        queries_of: per-query results of a trial id; None where there are none.
    """
    rows: dict[str, list[np.ndarray[tuple[int], np.dtype[np.float64]]]] = {}
    reference: Queries | None = None
    for result in results[:MOST_TRIALS]:
        queries = queries_of(result.trial_id)
        reference = reference or queries
        if queries is None or reference is None or not queries.same_as(reference):
            continue
        without_seed = result.trial.model_copy(update={"seed": 0}).trial_id
        rows.setdefault(without_seed, []).append(queries.metrics[objective].astype(np.float64))
    protocol = results[0].protocol if results else None
    if reference is None or protocol is None:
        return Noise()
    own = reference.subtask == protocol.subtask
    _, cluster = np.unique(reference.cluster[own], return_inverse=True)
    panel = Panel(tuple(np.stack(values)[:, own] for values in rows.values()), cluster.astype(np.int64))
    luck = seed_luck(panel)
    pairs = [_pair(panel, one, other) for one, other in combinations(range(len(rows)), 2)]
    told = [(discordance, effect) for discordance, effect in pairs if discordance > 0]
    assumed = Noise()
    discordance, effect = np.median(told, axis=0) if told else (assumed.discordance, assumed.design_effect)
    sd = assumed.seed_sd if luck is None else luck.sd
    return Noise(float(discordance), float(effect), sd, len(told), luck is not None)


def _pair(panel: Panel, one: int, other: int) -> tuple[float, float]:
    """(discordance, design effect) of two rows, by their first seeds."""
    difference = panel.values[one][0] - panel.values[other][0]
    discordance = float((difference**2).mean())
    if discordance == 0:
        return 0.0, 1.0
    centred = np.bincount(panel.cluster, difference - difference.mean())
    own = float(((difference - difference.mean()) ** 2).sum())
    return discordance, float((centred**2).sum() / own) if own else 1.0

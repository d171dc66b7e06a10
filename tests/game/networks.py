"""Simulated worlds of one network that is probed under every arm, hundreds at once, with true values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtr

from tests.game import games
from vprdist.game.draws import Floats, Whole, draw_orders
from vprdist.game.exact import shapley_weights
from vprdist.game.inference import ClusterSums, Probed
from vprdist.game.sampled import drawn_rows, drawn_weights

BATCH = 100


@dataclass(frozen=True)
class World:
    """A query is found where a sum is above zero: a level, what the arm's players bring, and luck.

    Attributes:
        worth, placebo: (n,) what a player's mask brings, and its placebo.
        luck: spread of a player's worth between networks. place: between clusters of queries.
        cluster, query, miss: spread between clusters, queries, and queries of one network, whatever the arm.
        nobody: what the empty subset is worth.
        draws: of orders; None: all subsets.
    """

    worth: tuple[float, ...]
    placebo: tuple[float, ...] = ()
    seeds: int = 3
    luck: float = 0.1
    place: float = 0.3
    cluster: float = 0.6
    query: float = 0.8
    miss: float = 0.5
    level: float = 0.0
    nobody: float = 0.5
    sizes: tuple[int, ...] = (1, 2, 4, 8, 10) * 16
    draws: int | None = None

    @property
    def codes(self) -> Whole:
        """(Q,) cluster of each query."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    def truth(self, worth: Floats) -> Floats:
        """(…, n) Shapley's values over all queries: of all networks, or of one whose players' worth is (…, n)."""
        there = games.all_subsets(len(self.worth))
        within = self.place**2 + (self.luck**2 if self.seeds > 1 else 0.0)
        spread = np.sqrt(there.sum(axis=1) * within + self.cluster**2 + self.query**2 + self.miss**2)
        values = ndtr((self.level + worth @ there.T) / spread)
        values[..., 0] = self.nobody
        return values @ shapley_weights(len(self.worth)).matrix.T

    def play(self, times: int, seed: int = 0) -> Iterator[tuple[dict[str, Probed], dict[str, Floats]]]:
        """Batches of worlds: by kind of arm (real, placebo) what was probed, and its true effects (…, n).

        With one seed the network is fixed: the truth is that of its own worth.
        """
        rng = np.random.default_rng(seed)
        codes, n = self.codes, len(self.worth)
        for _ in range(times // BATCH):
            shape = (BATCH, self.seeds, n)
            shared = self.cluster * rng.standard_normal((BATCH, 1, len(self.sizes)))[..., codes]
            shared = shared + self.query * rng.standard_normal((BATCH, 1, len(codes)))
            shared = shared + self.miss * rng.standard_normal((BATCH, self.seeds, len(codes))) + self.level
            kinds, truths = {}, {}
            for kind, worth in (("real", self.worth), ("placebo", self.placebo)):
                if not worth:
                    continue
                own = np.array(worth) + self.luck * rng.standard_normal(shape)
                brings = own[..., None] + self.place * rng.standard_normal((BATCH, 1, n, len(self.sizes)))[..., codes]
                kinds[kind] = self._probe(shared, brings, rng)
                truths[kind] = self.truth(own[:, 0] if self.seeds == 1 else np.broadcast_to(worth, (BATCH, n)))
            yield kinds, truths

    def _probe(self, shared: Floats, brings: Floats, rng: np.random.Generator) -> Probed:
        n = len(self.worth)
        there = games.all_subsets(n).astype(np.float32)
        found = (there @ brings.astype(np.float32) + shared[..., None, :].astype(np.float32) > 0).astype(np.float32)
        found[..., 0, :] = self.nobody
        if self.draws is None:
            return Probed(shapley_weights(n).matrix.astype(np.float32) @ found)
        parts, rows = [], []
        for one in found:  # each world draws orders of its own
            orders = draw_orders(n, self.draws, int(rng.integers(2**31)))
            weights = drawn_weights(orders)
            parts.append(weights.matrix @ one[:, weights.subsets])
            rows.append(drawn_rows(orders, one[:, weights.subsets].mean(axis=(0, 2), dtype=np.float64)))
        return Probed(np.array(parts), np.array(rows))

    def fixed(self) -> World:
        """The same with one network."""
        return replace(self, seeds=1)


def plain(
    *, times: int, seeds: int, clusters: int = 40, queries: float = 0.2, misses: float = 0.3, luck: list[float],
    shared: float = 0.0, seed: int = 0,
) -> ClusterSums:  # fmt: skip
    """Normal contributions without any effect: each player's luck has its own spread, and all share some."""
    rng = np.random.default_rng(seed)
    n = len(luck)
    of_queries = queries * rng.standard_normal((times, 1, n, clusters))
    of_misses = misses * rng.standard_normal((times, seeds, n, clusters))
    of_networks = np.array(luck)[:, None] * rng.standard_normal((times, seeds, n, 1))
    of_networks = of_networks + shared * rng.standard_normal((times, seeds, 1, 1))
    return ClusterSums((of_queries + of_misses + of_networks) * 10, np.full(clusters, 10.0))

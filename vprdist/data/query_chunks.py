"""Which queries a chunk of training asks, in which order: from the seed and the chunk's number alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vprdist.data.graph import CityGraph, Ints


@dataclass(frozen=True)
class Pairs:
    """P queries with partners: city index and query row, (P,) int64; database row int64 and similarity float32, (P,),
    or (P, K) where each query has K partners."""

    city: Ints
    query: Ints
    database: Ints
    similarity: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.city)

    @property
    def num_partners(self) -> int:
        """How many each query has."""
        return 1 if self.database.ndim == 1 else self.database.shape[1]

    def part(self, which: slice | Ints) -> Pairs:
        return Pairs(self.city[which], self.query[which], self.database[which], self.similarity[which])


class QueryChunks:
    """The chunks of queries of a trial, the same for every rank and worker count.

    Args:
        graphs: one a training city.
        seed: the trial's seed.
        chunk_queries: queries drawn (without repetition as far as there are that many) a chunk.
        passes: each query is drawn once before any comes again, over the chunks (the reference); the last chunk of a
            pass may be short, and panoramas count as queries of a chunk, which are then skipped. Else each chunk draws
            anew from the queries that take part.
    """

    def __init__(self, graphs: Sequence[CityGraph], seed: int, chunk_queries: int, passes: bool = False) -> None:
        self.graphs, self.seed, self.chunk_queries, self.passes = list(graphs), seed, chunk_queries, passes
        rows = [np.arange(g.similarity.shape[0]) if passes else g.queries for g in graphs]
        self._city = np.concatenate([np.full(len(of_city), i, np.int64) for i, of_city in enumerate(rows)])
        self._query = np.concatenate(rows)
        takes_part = [np.isin(of_city, g.queries) for of_city, g in zip(rows, graphs, strict=True)]
        self._takes_part = np.concatenate(takes_part)

    def rng(self, index: int) -> np.random.Generator:
        """The random numbers of a chunk."""
        return np.random.default_rng([self.seed, 0x9A15, index])

    def queries(self, index: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """The city index and the row of each query of a chunk that takes part, in the chunk's order."""
        order = self._order(index, rng)
        order = order[self._takes_part[order]]
        return self._city[order], self._query[order]

    def _order(self, index: int, rng: np.random.Generator) -> Ints:
        total = len(self._query)
        if self.passes:
            chunks_a_pass = -(-total // self.chunk_queries)
            order = np.random.default_rng([self.seed, 0x9A55, index // chunks_a_pass]).permutation(total)
            return order[index % chunks_a_pass * self.chunk_queries :][: self.chunk_queries]
        rounds = -(-self.chunk_queries // total)
        return np.concatenate([rng.permutation(total) for _ in range(rounds)])[: self.chunk_queries]

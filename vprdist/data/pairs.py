"""Pairs for GCL training: every query draws one partner, by its graded similarity s (reference sampling).

Half the time a positive, a quarter a soft negative, a quarter a hard negative (see `kinds`), all of the query's own
city. A query without a partner of the drawn kind is skipped. Panoramas take no part. Pairs are drawn in chunks of
queries, each chunk from its own stream of random numbers, so that a run can be resumed at any pair.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vprdist.data.graph import CityGraph, Ints
from vprdist.data.kinds import KINDS, SHARES, Shares, check_kinds
from vprdist.data.partners import Partners
from vprdist.errors import TrainingError


@dataclass(frozen=True)
class Pairs:
    """P pairs: city index, query row, database row, each (P,) int64, and similarity (P,) float32."""

    city: Ints
    query: Ints
    database: Ints
    similarity: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.city)

    def part(self, which: slice | Ints) -> Pairs:
        return Pairs(self.city[which], self.query[which], self.database[which], self.similarity[which])


class PairSampler:
    """The endless row of pairs of a trial, the same for every rank and worker count.

    Args:
        graphs: one a training city.
        seed: the trial's seed.
        chunk_queries: queries drawn (without repetition as far as there are that many) a chunk.
        shares: how often a positive, a soft and a hard negative are drawn.
        passes: each query is drawn once before any comes again, over the chunks (the reference); the last chunk of a
            pass may be short, and panoramas count as queries of a chunk, which are then skipped. Else each chunk draws
            anew from the queries that take part.

    Attributes:
        notices: what is to be recorded beside the result: cities without one of the kinds of partner.

    Raises:
        TrainingError: no query of any city has a partner of some kind that is to be drawn.
    """

    def __init__(
        self, graphs: Sequence[CityGraph], seed: int, chunk_queries: int, shares: Shares = SHARES, passes: bool = False
    ) -> None:
        self.graphs, self.seed, self.chunk_queries = list(graphs), seed, chunk_queries
        self.shares, self.passes = shares, passes
        self._partners = [Partners(graph) for graph in graphs]
        self.notices = check_kinds([partners.kinds for partners in self._partners], shares)
        rows = [np.arange(g.similarity.shape[0]) if passes else g.queries for g in graphs]
        self._city = np.concatenate([np.full(len(of_city), i, np.int64) for i, of_city in enumerate(rows)])
        self._query = np.concatenate(rows)
        takes_part = [np.isin(of_city, g.queries) for of_city, g in zip(rows, graphs, strict=True)]
        self._takes_part = np.concatenate(takes_part)

    def chunk(self, index: int) -> Pairs:
        """The pairs of chunk `index`; its length is the number of queries that found a partner."""
        rng = np.random.default_rng([self.seed, 0x9A15, index])
        order = self._queries(index, rng)
        order = order[self._takes_part[order]]
        kinds = rng.choice(len(KINDS), size=len(order), p=self.shares)
        city, query = self._city[order], self._query[order]
        rows = np.full(len(order), -1, np.int64)
        similarity = np.zeros(len(order), np.float32)
        for number, partners in enumerate(self._partners):
            places = np.flatnonzero(city == number)
            rows[places], similarity[places] = partners.draw(query[places], kinds[places], rng)
        found = rows >= 0
        return Pairs(city[found], query[found], rows[found], similarity[found])

    def _queries(self, index: int, rng: np.random.Generator) -> Ints:
        """Which queries a chunk asks, in which order."""
        total = len(self._query)
        if self.passes:
            chunks_a_pass = -(-total // self.chunk_queries)
            order = np.random.default_rng([self.seed, 0x9A55, index // chunks_a_pass]).permutation(total)
            return order[index % chunks_a_pass * self.chunk_queries :][: self.chunk_queries]
        rounds = -(-self.chunk_queries // total)
        return np.concatenate([rng.permutation(total) for _ in range(rounds)])[: self.chunk_queries]


class ChunkRow:
    """The chunks of a sampler behind each other, each `size_of` units long; drawn as they are needed.

    Args:
        size_of: how long a chunk is, in the units that positions count.
    """

    def __init__(self, sampler: PairSampler, size_of: Callable[[Pairs], int] = len) -> None:
        self._sampler, self._size_of, self._begins = sampler, size_of, [0]
        self._index, self._pairs = -1, Pairs(*(np.empty(0, np.int64),) * 3, np.empty(0, np.float32))

    def locate(self, position: int) -> tuple[int, int]:
        """The chunk that holds a position, and the position within it; the chunks before it are drawn once.

        Raises:
            TrainingError: whole chunks are empty.
        """
        empty = 0
        while self._begins[-1] <= position:
            size = self._size_of(self.chunk(len(self._begins) - 1))
            empty = empty + 1 if size == 0 else 0
            if empty == 10:
                remedy = "Train on more or larger cities, or on ones whose positions and compass angles overlap."
                raise TrainingError("trial.data.train", "queries find no partners in ten chunks", None, remedy)
            self._begins.append(self._begins[-1] + size)
        index = int(np.searchsorted(self._begins, position, side="right")) - 1
        return index, position - self._begins[index]

    def length(self, num_chunks: int) -> int:
        """The number of pairs of the first chunks together."""
        while len(self._begins) <= num_chunks:
            self._begins.append(self._begins[-1] + self._size_of(self.chunk(len(self._begins) - 1)))
        return self._begins[num_chunks]

    def chunk(self, index: int) -> Pairs:
        """The pairs of a chunk; the last one asked for is kept."""
        if index != self._index:
            self._index, self._pairs = index, self._sampler.chunk(index)
        return self._pairs


class PairStream:
    """Pairs by their position in the endless row: `take(position, count)`; a chunk's end is no gap."""

    def __init__(self, sampler: PairSampler) -> None:
        self._row = ChunkRow(sampler)

    def take(self, position: int, count: int) -> Pairs:
        """Pairs `position` … `position + count - 1`.

        Raises:
            TrainingError: whole chunks find no partner at all.
        """
        parts: list[Pairs] = []
        while count:
            chunk, start = self._row.locate(position)
            part = self._row.chunk(chunk).part(slice(start, start + count))
            parts.append(part)
            position, count = position + len(part), count - len(part)
        joined = (
            np.concatenate([getattr(p, name) for p in parts]) for name in ("city", "query", "database", "similarity")
        )
        return Pairs(*joined)

"""Pairs for GCL training: every query draws one partner, by its graded similarity s (reference sampling).

Half the time a positive, a quarter a soft negative, a quarter a hard negative (see `kinds`), all of the query's own
city. A query without a partner of the drawn kind is skipped. Panoramas take no part. Pairs are drawn in chunks of
queries, each chunk from its own stream of random numbers, so that a run can be resumed at any pair.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from vprdist.data.graph import CityGraph
from vprdist.data.kinds import KINDS, SHARES, Shares, check_kinds
from vprdist.data.partners import Partners
from vprdist.data.query_chunks import Pairs, QueryChunks
from vprdist.errors import TrainingError


class PairSampler(QueryChunks):
    """The endless row of pairs of a trial, the same for every rank and worker count.

    Args:
        graphs, seed, chunk_queries, passes: see `QueryChunks`.
        shares: how often a positive, a soft and a hard negative are drawn.

    Attributes:
        notices: what is to be recorded beside the result: cities without one of the kinds of partner.

    Raises:
        TrainingError: no query of any city has a partner of some kind that is to be drawn.
    """

    def __init__(
        self, graphs: Sequence[CityGraph], seed: int, chunk_queries: int, shares: Shares = SHARES, passes: bool = False
    ) -> None:
        super().__init__(graphs, seed, chunk_queries, passes)
        self.shares = shares
        self._partners = [Partners(graph) for graph in graphs]
        self.notices = check_kinds([partners.kinds for partners in self._partners], shares)

    def chunk(self, index: int) -> Pairs:
        """The pairs of chunk `index`; its length is the number of queries that found a partner."""
        rng = self.rng(index)
        city, query = self.queries(index, rng)
        kinds = rng.choice(len(KINDS), size=len(query), p=self.shares)
        rows = np.full(len(query), -1, np.int64)
        similarity = np.zeros(len(query), np.float32)
        for number, partners in enumerate(self._partners):
            places = np.flatnonzero(city == number)
            rows[places], similarity[places] = partners.draw(query[places], kinds[places], rng)
        found = rows >= 0
        return Pairs(city[found], query[found], rows[found], similarity[found])


class Chunks(Protocol):
    """What a row of chunks is made of."""

    def chunk(self, index: int) -> Pairs:
        """The pairs of a chunk, in order."""


class ChunkRow:
    """The chunks of a sampler behind each other, each `size_of` units long; drawn as they are needed.

    Args:
        size_of: how long a chunk is, in the units that positions count.
    """

    def __init__(self, sampler: Chunks, size_of: Callable[[Pairs], int] = len) -> None:
        self._sampler, self._size_of, self._begins = sampler, size_of, [0]
        self.forget()

    def forget(self) -> None:
        """Ask the sampler again for the chunk that was asked for last."""
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

    def __init__(self, sampler: Chunks) -> None:
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

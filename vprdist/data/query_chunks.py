"""Which queries a chunk of training asks, in which order: from the seed and the chunk's number alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vprdist.data.graph import CityGraph, Ints
from vprdist.errors import TrainingError
from vprdist.spec.shares import share_counts


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

    Where cities are of groups with shares (`CityGraph.group`), each group has its share of a chunk's queries, to the
    nearest whole number; within a group each query counts alike.

    Args:
        graphs: one a training city.
        seed: the trial's seed.
        chunk_queries: queries drawn (without repetition as far as there are that many) a chunk.
        passes: each query is drawn once before any comes again, over the chunks (the reference); the last chunk of a
            pass may be short, and panoramas count as queries of a chunk, which are then skipped. Else each chunk draws
            anew from the queries that take part. With shares each group goes through passes of its own, one after
            the other within a chunk, since a short part would change the shares.
    """

    def __init__(self, graphs: Sequence[CityGraph], seed: int, chunk_queries: int, passes: bool = False) -> None:
        self.graphs, self.seed, self.chunk_queries, self.passes = list(graphs), seed, chunk_queries, passes
        rows = [np.arange(g.similarity.shape[0]) if passes else g.queries for g in graphs]
        self._city = np.concatenate([np.full(len(of_city), i, np.int64) for i, of_city in enumerate(rows)])
        self._query = np.concatenate(rows)
        takes_part = [np.isin(of_city, g.queries) for of_city, g in zip(rows, graphs, strict=True)]
        self._takes_part = np.concatenate(takes_part)
        self._groups = list(self._shared())

    def rng(self, index: int) -> np.random.Generator:
        """The random numbers of a chunk."""
        return np.random.default_rng([self.seed, 0x9A15, index])

    def queries(self, index: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """The city index and the row of each query of a chunk that takes part, in the chunk's order."""
        parts = [members[self._order(index, rng, len(members), count)] for members, count in self._groups]
        order = parts[0] if len(parts) == 1 else rng.permutation(np.concatenate(parts))
        order = order[self._takes_part[order]]
        return self._city[order], self._query[order]

    def _shared(self) -> Iterator[tuple[Ints, int]]:
        """For each group where its queries stand among all, and how many of them a chunk draws; empty ones are none."""
        group_of_city = np.array([graph.group for graph in self.graphs])
        members = {name: np.flatnonzero(group_of_city[self._city] == name) for name in dict.fromkeys(group_of_city)}
        members = {name: found for name, found in members.items() if len(found)}
        shares = [next(g.share for g in self.graphs if g.group == name) for name in members]
        counts = share_counts(shares, self.chunk_queries)
        if not all(counts):
            fault = f"each share of training must draw a query of every chunk of {self.chunk_queries}"
            found = str(list(members)[counts.index(0)])
            raise TrainingError("trial.data.shares", fault, found, "Raise it, or trial.train.chunk_queries.")
        yield from zip(members.values(), counts, strict=True)

    def _order(self, index: int, rng: np.random.Generator, total: int, count: int) -> Ints:
        """Which of a group's queries a chunk draws, and in which order."""
        if self.passes and len(self._groups) > 1:
            places = np.arange(index * count, (index + 1) * count)
            orders = {number: self._pass(number, total) for number in np.unique(places // total).tolist()}
            return np.array([orders[place // total][place % total] for place in places.tolist()])
        if self.passes:
            chunks_a_pass = -(-total // count)
            order = self._pass(index // chunks_a_pass, total)
            return order[index % chunks_a_pass * count :][:count]
        rounds = -(-count // total)
        return np.concatenate([rng.permutation(total) for _ in range(rounds)])[:count]

    def _pass(self, number: int, total: int) -> Ints:
        """The order of the queries of a pass."""
        return np.random.default_rng([self.seed, 0x9A55, number]).permutation(total)

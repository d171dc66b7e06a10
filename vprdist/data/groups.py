"""Queries with several partners each: places of several pictures, and triplets with hard negatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vprdist.data.graph import CityGraph, Floats, Ints
from vprdist.data.kinds import check_kinds, check_places
from vprdist.data.partners import Partners
from vprdist.data.query_chunks import Pairs, QueryChunks


class PlaceSampler(QueryChunks):
    """Places of K pictures: a query, and K - 1 different database images of its positives, drawn alike.

    Queries with fewer positives take no part. Which pictures of a batch show one place is told by the similarity of
    every query with every partner; two queries of a batch may be neighbours.

    Args:
        graphs, seed, chunk_queries, passes: see `QueryChunks`.
        pictures: K.

    Raises:
        TrainingError: no query of any city has K - 1 positives.
    """

    def __init__(
        self, graphs: Sequence[CityGraph], seed: int, chunk_queries: int, pictures: int, passes: bool = False
    ) -> None:
        super().__init__(graphs, seed, chunk_queries, passes)
        self.num = pictures - 1
        self._partners = [Partners(graph) for graph in graphs]
        kinds = [partners.kinds for partners in self._partners]
        wide = [
            int((p.num_positives[g.queries] >= self.num).sum()) for p, g in zip(self._partners, graphs, strict=True)
        ]
        self.notices = (*check_kinds(kinds, (1.0, 0.0, 0.0)), *check_places(kinds, wide, self.num))

    def chunk(self, index: int) -> Pairs:
        """The places of a chunk; its length is the number of queries with enough positives."""
        rng = self.rng(index)
        city, query = self.queries(index, rng)
        rows = np.full((len(query), self.num), -1, np.int64)
        similarity = np.zeros((len(query), self.num), np.float32)
        for number, partners in enumerate(self._partners):
            places = np.flatnonzero(city == number)
            rows[places], similarity[places] = partners.draw_positives(query[places], self.num, rng)
        found = rows[:, -1] >= 0
        return Pairs(city[found], query[found], rows[found], similarity[found])


@dataclass(frozen=True)
class Candidates:
    """What the triplets of a chunk are chosen from.

    Attributes:
        city, query: (P,) of each triplet.
        positives, similarity: (P, S) database rows, -1 where a query has fewer, and their similarity.
        pools: for each city the database rows that negatives are chosen from, (R,), in ascending order.
    """

    city: Ints
    query: Ints
    positives: Ints
    similarity: Floats
    pools: tuple[Ints, ...]

    def __len__(self) -> int:
        return len(self.city)


class TripletSampler(QueryChunks):
    """Queries with one positive and some hard negatives, which a network chooses (`training.mining`).

    A chunk's candidates follow from the seed and its number: some of each query's positives, and a pool of each city's
    database images, of which the similar ones are left out. That is partial mining (Berton et al. 2022, section 3.3):
    descriptors are made of these pictures alone. Queries without a positive, or with too few negatives in the pool,
    take no part.

    Args:
        graphs, seed, chunk_queries, passes: see `QueryChunks`.
        negatives: how many each triplet has.
        pool: database images of each city that a chunk's negatives are chosen from, at most.
        positives: positives of a query that the nearest is chosen from, at most.

    Raises:
        TrainingError: no query of any city has a positive, or a negative.
    """

    def __init__(
        self, graphs: Sequence[CityGraph], seed: int, chunk_queries: int, sizes: tuple[int, int, int],
        passes: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(graphs, seed, chunk_queries, passes)
        self.num_negatives, self.pool, self.num_positives = sizes
        self._partners = [Partners(graph) for graph in graphs]
        hard = self.num_negatives / (1 + self.num_negatives)
        self.notices = check_kinds([partners.kinds for partners in self._partners], (1 - hard, 0.0, hard))
        self._mined: tuple[int, Pairs] | None = None

    def candidates(self, index: int) -> Candidates:
        """What the triplets of a chunk are chosen from."""
        rng = self.rng(index)
        city, query = self.queries(index, rng)
        positives = np.full((len(query), self.num_positives), -1, np.int64)
        similarity = np.zeros((len(query), self.num_positives), np.float32)
        enough, pools = np.zeros(len(query), bool), list[Ints]()
        for number, (graph, partners) in enumerate(zip(self.graphs, self._partners, strict=True)):
            gallery = graph.gallery
            pool = np.sort(rng.choice(gallery, size=min(self.pool, len(gallery)), replace=False))
            pools.append(pool)
            at = np.flatnonzero(city == number)
            positives[at], similarity[at] = partners.draw_positives(query[at], self.num_positives, rng, fewer=True)
            similar = graph.similarity[query[at]][:, pool].getnnz(axis=1)
            enough[at] = len(pool) - similar >= self.num_negatives
        found = enough & (positives[:, 0] >= 0)
        return Candidates(city[found], query[found], positives[found], similarity[found], tuple(pools))

    def chunk(self, index: int) -> Pairs:
        """The triplets of a chunk: the positive, then the negatives; -1 as long as nobody has chosen them."""
        if self._mined is not None and self._mined[0] == index:
            return self._mined[1]
        found = self.candidates(index)
        shape = (len(found), 1 + self.num_negatives)
        return Pairs(found.city, found.query, np.full(shape, -1, np.int64), np.zeros(shape, np.float32))

    def choose(self, index: int, mined: Pairs) -> None:
        """Take what a network chose for a chunk; one chunk is kept."""
        self._mined = index, mined

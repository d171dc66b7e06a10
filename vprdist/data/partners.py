"""Partners for the queries of one city, drawn by kind, many at once; uniform among all partners of that kind."""

from __future__ import annotations

import numpy as np

from vprdist.data.graph import CityGraph, Floats, Ints
from vprdist.data.kinds import HARD, KINDS, POSITIVE, POSITIVE_SIMILARITY, SOFT, CityKinds

NUM_ROUNDS = 16
"""How often hard negatives are drawn from the whole gallery before the few left are drawn from a list of theirs."""


class Partners:
    """What the queries of a city may draw; panoramas take no part.

    Args:
        graph: its similarities are above 0 wherever they are stored.
    """

    def __init__(self, graph: CityGraph) -> None:
        self.graph = graph
        similarity = graph.similarity
        taken = np.zeros(similarity.shape[1], bool)
        taken[graph.gallery] = True
        inside, positive = taken[similarity.indices], similarity.data >= POSITIVE_SIMILARITY
        # The entries of each kind in the matrix's order, and where those of each row begin.
        entries = {POSITIVE: np.flatnonzero(inside & positive), SOFT: np.flatnonzero(inside & ~positive)}
        self._entries = {kind: found.astype(similarity.indices.dtype) for kind, found in entries.items()}
        self._begins = {kind: np.searchsorted(found, similarity.indptr) for kind, found in entries.items()}
        self._counts = {kind: np.diff(begins) for kind, begins in self._begins.items()}
        self._counts[HARD] = len(graph.gallery) - self._counts[POSITIVE] - self._counts[SOFT]

    @property
    def kinds(self) -> CityKinds:
        """The kinds that at least one query has."""
        graph = self.graph
        found = frozenset(kind for kind in KINDS if self._counts[kind][graph.queries].any())
        return CityKinds(graph.name, len(graph.queries), len(graph.gallery), found)

    @property
    def num_positives(self) -> Ints:
        """(N,) how many positives each query has."""
        counts: Ints = self._counts[POSITIVE]
        return counts

    def draw_positives(
        self, queries_P: Ints, num: int, rng: np.random.Generator, fewer: bool = False
    ) -> tuple[Ints, Floats]:
        """(P, num) rows of different positives of each query, and their similarities.

        Args:
            fewer: a query that has fewer gets all of them, and -1 behind; else -1 alone.
        """
        rows, values = np.full((len(queries_P), num), -1, np.int64), np.zeros((len(queries_P), num), np.float32)
        begins, counts = self._begins[POSITIVE][queries_P], self._counts[POSITIVE][queries_P]
        for place in np.flatnonzero(counts > 0 if fewer else counts >= num):
            count = min(num, int(counts[place]))
            entry = self._entries[POSITIVE][begins[place] + rng.choice(counts[place], size=count, replace=False)]
            rows[place, :count] = self.graph.similarity.indices[entry]
            values[place, :count] = self.graph.similarity.data[entry]
        return rows, values

    def draw(self, queries_P: Ints, kinds_P: Ints, rng: np.random.Generator) -> tuple[Ints, Floats]:
        """(P,) database rows, -1 where a query has no partner of its kind, and (P,) similarities."""
        rows, values = np.full(len(queries_P), -1, np.int64), np.zeros(len(queries_P), np.float32)
        for kind in (POSITIVE, SOFT):
            places = np.flatnonzero((kinds_P == kind) & (self._counts[kind][queries_P] > 0))
            query = queries_P[places]
            entry = self._entries[kind][self._begins[kind][query] + rng.integers(self._counts[kind][query])]
            rows[places], values[places] = self.graph.similarity.indices[entry], self.graph.similarity.data[entry]
        places = np.flatnonzero((kinds_P == HARD) & (self._counts[HARD][queries_P] > 0))
        rows[places] = self._hard(queries_P[places], rng)
        return rows, values

    def _hard(self, queries_P: Ints, rng: np.random.Generator) -> Ints:
        """(P,) rows with similarity 0; every query has one. Nearly all rows are hard: a draw seldom misses."""
        gallery, similarity = self.graph.gallery, self.graph.similarity
        rows = np.full(len(queries_P), -1, np.int64)
        for _ in range(NUM_ROUNDS):
            open_places = np.flatnonzero(rows < 0)
            if not len(open_places):
                return rows
            drawn = rng.choice(gallery, size=len(open_places))
            hard = np.asarray(similarity[queries_P[open_places], drawn]).ravel() == 0
            rows[open_places[hard]] = drawn[hard]
        for place in np.flatnonzero(rows < 0):
            begin, end = similarity.indptr[queries_P[place] : queries_P[place] + 2]
            rows[place] = rng.choice(np.setdiff1d(gallery, similarity.indices[begin:end]))
        return rows

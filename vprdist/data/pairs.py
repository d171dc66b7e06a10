"""Pairs for GCL training: every query draws one partner, by its graded similarity s (reference sampling).

Half the time a positive (s >= 0.5), a quarter a soft negative (0 < s < 0.5), a quarter a hard negative (s = 0), all of
the query's own city. A query without a partner of the drawn kind is skipped. Panoramas take no part. Pairs are drawn
in chunks of queries, each chunk from its own stream of random numbers, so that a run can be resumed at any pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from vprdist.data.msls import City
from vprdist.data.similarity import graded_similarity
from vprdist.errors import TrainingError
from vprdist.spec.trial import DataSpec

POSITIVE, SOFT, HARD = 0, 1, 2
SHARES = (0.5, 0.25, 0.25)
POSITIVE_SIMILARITY = 0.5
NUM_DRAWS = 64
"""How often a hard negative is drawn before the row is searched one by one."""
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Pairs:
    """P pairs: city index, query row, database row, each (P,) int64, and similarity (P,) float32."""

    city: Ints
    query: Ints
    database: Ints
    similarity: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.city)

    def part(self, which: slice) -> Pairs:
        return Pairs(self.city[which], self.query[which], self.database[which], self.similarity[which])


@dataclass(frozen=True)
class CityGraph:
    """What sampling needs of one city: queries and database rows that take part, and the graded similarity."""

    name: str
    queries: Ints
    gallery: Ints
    similarity: csr_matrix


def city_graph(city: City, spec: DataSpec) -> CityGraph:
    """Graded similarity of a training city, from positions and compass angles."""
    query, database = city.query, city.database
    assert query.ca is not None and database.ca is not None, "training cities come from train_val"
    similarity = graded_similarity(
        query.positions, query.ca, database.positions, database.ca, spec.fov_radius_m, spec.fov_degrees
    )
    return CityGraph(city.name, np.flatnonzero(~query.pano), np.flatnonzero(~database.pano), similarity)


def has_positive_pair(city: City, spec: DataSpec) -> bool:
    """Whether any query can draw a positive; stops at the first one, so that a whole city costs little."""
    query, database = city.query, city.database
    assert query.ca is not None and database.ca is not None, "training cities come from train_val"
    for begin in range(0, len(query), 256):
        some = slice(begin, begin + 256)
        similarity = graded_similarity(
            query.positions[some][~query.pano[some]], query.ca[some][~query.pano[some]],
            database.positions[~database.pano], database.ca[~database.pano], spec.fov_radius_m, spec.fov_degrees,
        )  # fmt: skip
        if (similarity.data >= POSITIVE_SIMILARITY).any():
            return True
    return False


class PairSampler:
    """The endless row of pairs of a trial, the same for every rank and worker count.

    Args:
        graphs: one a training city.
        seed: the trial's seed.
        chunk_queries: queries drawn (without repetition as far as there are that many) a chunk.

    Raises:
        TrainingError: no query of any city has a positive.
    """

    def __init__(self, graphs: Sequence[CityGraph], seed: int, chunk_queries: int) -> None:
        self.graphs, self.seed, self.chunk_queries = list(graphs), seed, chunk_queries
        self._city = np.concatenate([np.full(len(g.queries), i, np.int64) for i, g in enumerate(graphs)])
        self._query = np.concatenate([g.queries for g in graphs])
        self._taken = [_membership(g.gallery, g.similarity.shape[1]) for g in graphs]
        if not any(
            ((g.similarity[g.queries] >= POSITIVE_SIMILARITY).multiply(t[None, :])).sum()
            for g, t in zip(graphs, self._taken, strict=True)
        ):
            names = ", ".join(g.name for g in graphs) or "none"
            raise TrainingError(
                "trial.data.train", "training needs queries with a positive (similarity >= 0.5)", names,
                "Check the positions and compass angles of these cities, or choose others.",
            )  # fmt: skip

    def chunk(self, index: int) -> Pairs:
        """The pairs of chunk `index`; its length is the number of queries that found a partner."""
        rng = np.random.default_rng([self.seed, 0x9A15, index])
        total = len(self._query)
        rounds = -(-self.chunk_queries // total)
        order = np.concatenate([rng.permutation(total) for _ in range(rounds)])[: self.chunk_queries]
        kinds = rng.choice(3, size=len(order), p=SHARES)
        partner = np.full(len(order), -1, np.int64)
        similarity = np.zeros(len(order), np.float32)
        for place, (who, kind) in enumerate(zip(order.tolist(), kinds.tolist(), strict=True)):
            partner[place], similarity[place] = self._partner(int(self._city[who]), int(self._query[who]), kind, rng)
        found = partner >= 0
        return Pairs(self._city[order][found], self._query[order][found], partner[found], similarity[found])

    def _partner(self, city: int, query: int, kind: int, rng: np.random.Generator) -> tuple[int, float]:
        graph, taken = self.graphs[city], self._taken[city]
        begin, end = graph.similarity.indptr[query], graph.similarity.indptr[query + 1]
        rows, values = graph.similarity.indices[begin:end], graph.similarity.data[begin:end]
        if kind == HARD:
            return self._hard(graph, set(rows.tolist()), rng), 0.0
        fits = taken[rows] & ((values >= POSITIVE_SIMILARITY) if kind == POSITIVE else (values < POSITIVE_SIMILARITY))
        if not fits.any():
            return -1, 0.0
        choice = rng.choice(np.flatnonzero(fits))
        return int(rows[choice]), float(values[choice])

    def _hard(self, graph: CityGraph, similar: set[int], rng: np.random.Generator) -> int:
        for row in rng.choice(graph.gallery, size=NUM_DRAWS) if len(graph.gallery) else ():
            if int(row) not in similar:
                return int(row)
        rest = np.array([row for row in graph.gallery.tolist() if row not in similar], np.int64)
        return int(rng.choice(rest)) if len(rest) else -1


def _membership(rows: Ints, count: int) -> npt.NDArray[np.bool_]:
    inside = np.zeros(count, bool)
    inside[rows] = True
    return inside


class PairStream:
    """Pairs by their position in the endless row: `take(position, count)`; chunks are drawn as they are needed."""

    def __init__(self, sampler: PairSampler) -> None:
        self._sampler, self._chunks = sampler, [0]
        self._index, self._pairs = -1, Pairs(*(np.empty(0, np.int64),) * 3, np.empty(0, np.float32))

    def take(self, position: int, count: int) -> Pairs:
        """Pairs `position` … `position + count - 1`; a chunk's end is no gap.

        Raises:
            TrainingError: whole chunks find no partner at all.
        """
        parts: list[Pairs] = []
        while count:
            chunk = self._holding(position)
            start = position - self._chunks[chunk]
            part = self._load(chunk).part(slice(start, start + count))
            parts.append(part)
            position, count = position + len(part), count - len(part)
        joined = (
            np.concatenate([getattr(p, name) for p in parts]) for name in ("city", "query", "database", "similarity")
        )
        return Pairs(*joined)

    def _holding(self, position: int) -> int:
        """The chunk that holds a position; counts of the chunks before it are learnt by drawing them once."""
        empty = 0
        while self._chunks[-1] <= position:
            size = len(self._load(len(self._chunks) - 1))
            empty = empty + 1 if size == 0 else 0
            if empty == 10:
                raise TrainingError(
                    "trial.data.train", "queries find partners", "ten chunks without one", "Check the data."
                )
            self._chunks.append(self._chunks[-1] + size)
        return int(np.searchsorted(self._chunks, position, side="right")) - 1

    def _load(self, index: int) -> Pairs:
        if index != self._index:
            self._index, self._pairs = index, self._sampler.chunk(index)
        return self._pairs

"""Which database images lie near a query: for positives (MSLS: 25 m), and for fields of view that can meet.

Images at one position (a panorama that was cut into pictures, a camera that stood still) are one point of the tree, and
queries are asked as many at once as their pairs fit a fixed memory: whatever lies on top of each other, beside the
result there is no more than that.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
CHUNK_QUERIES = 65_536
"""Queries at once: the tree is asked faster for many than for few."""
CHUNK_PAIRS = 2**19
"""Pairs at once, some 150 bytes each while they are found; a query that has more is asked alone."""


class Neighbours:
    """The database images of a city, to be asked which of them are near.

    Args:
        database_M2: (M, 2) easting, northing in metres; M may be 0.
    """

    def __init__(self, database_M2: Floats) -> None:
        # Rows by position, the rows of one position in their own order.
        self._rows = np.lexsort(database_M2.T)
        sorted_M2 = database_M2[self._rows]
        begins = np.ones(len(sorted_M2), bool)
        begins[1:] = (sorted_M2[1:] != sorted_M2[:-1]).any(axis=1)
        self._begin_U = np.flatnonzero(begins)
        self._count_U = np.diff(self._begin_U, append=len(sorted_M2))
        self._position_U2 = sorted_M2[self._begin_U]
        # Shifted to one origin: UTM northings of millions of metres would cost the tree its last digits.
        self._origin = database_M2[0] if len(database_M2) else np.zeros(2)

    @cached_property
    def _tree(self) -> Any:
        return _tree_of(self._position_U2 - self._origin)

    def chunks(
        self, query_N2: Floats, radius_m: float, most_queries: int = CHUNK_QUERIES
    ) -> Iterator[tuple[slice, Rows, Rows]]:
        """All pairs at most `radius_m` apart (the rim counts, as in MSLS), some queries at a time, in order.

        Args:
            query_N2: (N, 2) easting, northing in metres.

        Yields:
            Which queries; (P,) rows within these queries and (P,) database rows, sorted by query, then database row.
        """
        for begin in range(0, len(query_N2), CHUNK_QUERIES):
            asked_N2 = query_N2[begin : begin + CHUNK_QUERIES]
            for some in _runs(self._most_near(asked_N2, radius_m), most_queries):
                query, point = self._near(asked_N2[some], radius_m)
                ends = np.searchsorted(query, np.arange(some.stop - some.start), side="right")
                images = np.cumsum(self._count_U[point])
                counts = np.diff(np.append(0, images)[ends], prepend=0)
                for part in _runs(counts, most_queries):
                    pairs = slice(ends[part.start - 1] if part.start else 0, ends[part.stop - 1])
                    rows = self._images(query[pairs] - part.start, point[pairs])
                    start = begin + some.start
                    yield slice(start + part.start, start + part.stop), *rows

    def _most_near(self, query_N2: Floats, radius_m: float) -> Rows:
        """(N,) how many positions the tree finds near each query: at least those that are."""
        if self._are_few(query_N2):  # at most all of them
            return np.full(len(query_N2), len(self._position_U2))
        found = self._tree.query_ball_point(query_N2 - self._origin, _hair_more(radius_m), return_length=True)
        return np.asarray(found, np.int64)

    def _near(self, query_N2: Floats, radius_m: float) -> tuple[Rows, Rows]:
        """(P,) queries and (P,) positions at most `radius_m` apart, by query."""
        if self._are_few(query_N2):  # the tree, whose library takes a while to load, is not worth it
            near_NU = np.hypot(*(self._position_U2 - query_N2[:, None]).transpose(2, 0, 1)) <= radius_m
            query, point = np.nonzero(near_NU)
            return query, point
        found = _tree_of(query_N2 - self._origin).sparse_distance_matrix(
            self._tree, _hair_more(radius_m), output_type="ndarray"
        )
        query, point = found["i"], found["j"]
        near = np.hypot(*(self._position_U2[point] - query_N2[query]).T) <= radius_m
        return _sorted_pairs(query[near], point[near], len(self._position_U2))

    def _are_few(self, query_N2: Floats) -> bool:
        """Whether all pairs with these queries can be looked at."""
        return len(query_N2) * len(self._position_U2) <= CHUNK_PAIRS

    def _images(self, query_P: Rows, point_P: Rows) -> tuple[Rows, Rows]:
        """Each pair of a query and a position as pairs of the query and its images, by query, then database row."""
        counts = self._count_U[point_P]
        before = np.cumsum(counts) - counts
        places = np.repeat(self._begin_U[point_P] - before, counts)
        places += np.arange(len(places))
        return _sorted_pairs(np.repeat(query_P, counts), self._rows[places], len(self._rows))


def _tree_of(position_N2: Floats) -> Any:
    from scipy.spatial import cKDTree

    return cKDTree(position_N2)


def rows_within(query_N2: Floats, database_M2: Floats, radius_m: float) -> list[Rows]:
    """For each query the sorted database rows at most `radius_m` metres away (the rim counts, as in MSLS).

    Args:
        query_N2: (N, 2) easting, northing in metres.
        database_M2: (M, 2), M may be 0.
        radius_m: metres.
    """
    rows: list[Rows] = []
    for some, query, database in Neighbours(database_M2).chunks(query_N2, radius_m):
        ends = np.searchsorted(query, np.arange(some.stop - some.start), side="right").tolist()
        rows += [database[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
    return rows


def _hair_more(radius_m: float) -> float:
    """What the tree is asked for: the rule is then applied as it is written, so that the rim is exact."""
    return radius_m * (1 + 1e-9) + 1e-6


def _runs(counts: Rows, most_queries: int) -> Iterator[slice]:
    """Queries that follow each other: at most so many, with at most CHUNK_PAIRS together, unless one alone has more."""
    ends, begin = np.cumsum(counts), 0
    while begin < len(counts):
        before = ends[begin - 1] if begin else 0
        end = int(np.searchsorted(ends, before + CHUNK_PAIRS, side="right"))
        end = max(begin + 1, min(end, begin + most_queries))
        yield slice(begin, end)
        begin = end


def _sorted_pairs(query_P: Rows, other_P: Rows, num_others: int) -> tuple[Rows, Rows]:
    """Sorted by query, then by the other; both in one number, which is sorted faster than an order is found."""
    bits = num_others.bit_length()
    both = np.left_shift(query_P, bits, dtype=np.int64)
    both |= other_P
    both.sort()
    query = both >> bits
    both &= (1 << bits) - 1
    return query, both

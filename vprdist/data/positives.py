"""Which database images lie near a query: for positives (MSLS: 25 m), and for fields of view that can meet."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
CHUNK_QUERIES = 4096
"""Queries at once: their pairs are held three times over while they are found."""


class Neighbours:
    """The database images of a city, to be asked which of them are near.

    Args:
        database_M2: (M, 2) easting, northing in metres; M may be 0.
    """

    def __init__(self, database_M2: Floats) -> None:
        self._database_M2 = database_M2
        # Shifted to one origin: UTM northings of millions of metres would cost the tree its last digits.
        self._origin = database_M2[0] if len(database_M2) else np.zeros(2)
        self._tree = cKDTree(database_M2 - self._origin) if len(database_M2) else None

    def within(self, query_N2: Floats, radius_m: float) -> tuple[Rows, Rows]:
        """All pairs at most `radius_m` apart (the rim counts, as in MSLS), sorted by query row, then database row.

        Args:
            query_N2: (N, 2) easting, northing in metres.

        Returns:
            (P,) query rows and (P,) database rows.
        """
        if self._tree is None or not len(query_N2):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        # The tree is asked for a hair more and the rule is then applied as it is written, so that the rim is exact.
        found = cKDTree(query_N2 - self._origin).sparse_distance_matrix(
            self._tree, radius_m * (1 + 1e-9) + 1e-6, output_type="ndarray"
        )
        query, database = found["i"].astype(np.int64), found["j"].astype(np.int64)
        near = np.hypot(*(self._database_M2[database] - query_N2[query]).T) <= radius_m
        query, database = query[near], database[near]
        order = np.argsort(query * len(self._database_M2) + database)
        return query[order], database[order]


def rows_within(query_N2: Floats, database_M2: Floats, radius_m: float) -> list[Rows]:
    """For each query the sorted database rows at most `radius_m` metres away (the rim counts, as in MSLS).

    Args:
        query_N2: (N, 2) easting, northing in metres.
        database_M2: (M, 2), M may be 0.
        radius_m: metres.
    """
    neighbours = Neighbours(database_M2)
    rows: list[Rows] = []
    for begin in range(0, len(query_N2), CHUNK_QUERIES):
        part_N2 = query_N2[begin : begin + CHUNK_QUERIES]
        query, database = neighbours.within(part_N2, radius_m)
        rows += np.split(database, np.searchsorted(query, np.arange(1, len(part_N2))))
    return rows

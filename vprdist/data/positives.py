"""Which database images show a query's place: those within a radius (MSLS: 25 m), by position alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

Rows = npt.NDArray[np.int64]


def rows_within(query_N2: npt.NDArray[np.float64], database_M2: npt.NDArray[np.float64], radius_m: float) -> list[Rows]:
    """For each query the sorted database rows at most `radius_m` metres away (the rim counts, as in MSLS).

    Args:
        query_N2: (N, 2) easting, northing in metres.
        database_M2: (M, 2), M may be 0.
        radius_m: metres.
    """
    if not len(database_M2):
        return [np.empty(0, np.int64) for _ in range(len(query_N2))]
    # Shifted to one origin: UTM eastings of millions of metres would cost the tree its last digits.
    origin = database_M2[0]
    database_M2, query_N2 = database_M2 - origin, query_N2 - origin
    # The tree is asked for a hair more and the rule is then applied as it is written, so that the rim is exact.
    found = cKDTree(database_M2).query_ball_point(query_N2, radius_m * (1 + 1e-9) + 1e-6, return_sorted=True)
    rows = []
    for position, candidates in zip(query_N2, found, strict=True):
        candidate = np.asarray(candidates, dtype=np.int64)
        near = np.hypot(*(database_M2[candidate] - position).T) <= radius_m
        rows.append(candidate[near])
    return rows

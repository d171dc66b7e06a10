"""Graded similarity of the images of a city: the overlap of their fields of view (GCL, section 3.1).

A field of view is a sector of radius `radius_m` that opens `degrees` about the compass angle. The similarity of a
query and a database image is the intersection over union of their sectors, in [0, 1], exactly (see `sectors`). Only
pairs whose sectors can meet (positions within two radii) are looked at: everything else is 0 and never stored.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.sparse import csr_matrix, vstack

from vprdist.data.positives import Floats, Neighbours
from vprdist.data.sectors import sector_overlap

BLOCK_QUERIES = 1024
CHUNK_PAIRS = 16_384
"""Pairs whose overlap is calculated at once: the arrays of a chunk stay within the processor's cache."""


def similarity_blocks(
    query_N2: Floats,
    ca_query_N: Floats,
    database_M2: Floats,
    ca_database_M: Floats,
    radius_m: float,
    degrees: float,
) -> Iterator[csr_matrix]:
    """The rows of `graded_similarity` in order, some queries at a time: who needs the first ones pays for no others.

    Pictures whose angle is NaN have no entries.
    """
    neighbours = Neighbours(database_M2)
    for begin in range(0, len(query_N2), BLOCK_QUERIES):
        block = slice(begin, begin + BLOCK_QUERIES)
        query, database = neighbours.within(query_N2[block], 2 * radius_m)
        known = ~np.isnan(ca_query_N[query + begin] + ca_database_M[database])
        query, database = query[known], database[known]
        values = np.empty(len(query), np.float32)
        for first in range(0, len(query), CHUNK_PAIRS):
            part = slice(first, first + CHUNK_PAIRS)
            q, d = query[part] + begin, database[part]
            offset = database_M2[d] - query_N2[q]
            values[part] = sector_overlap(offset, ca_query_N[q], ca_database_M[d], radius_m, degrees)
        keep = values > 0
        shape = (len(query_N2[block]), len(database_M2))
        yield csr_matrix((values[keep], (query[keep], database[keep])), shape=shape)


def graded_similarity(
    query_N2: Floats,
    ca_query_N: Floats,
    database_M2: Floats,
    ca_database_M: Floats,
    radius_m: float,
    degrees: float,
) -> csr_matrix:
    """(N, M) sparse similarities, float32; absent entries are 0. N >= 1. Positions in metres, angles in degrees."""
    blocks = similarity_blocks(query_N2, ca_query_N, database_M2, ca_database_M, radius_m, degrees)
    return vstack(list(blocks), format="csr")

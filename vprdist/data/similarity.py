"""Graded similarity of the images of a city: the overlap of their fields of view (GCL, section 3.1).

A field of view is a sector of radius `radius_m` that opens `degrees` about the compass angle. The similarity of a
query and a database image is the intersection over union of their sectors, in [0, 1], exactly (see `sectors`). Only
pairs whose sectors can meet (the circles around them do) are looked at: everything else is 0 and never stored.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from vprdist.data.positives import Floats, Neighbours
from vprdist.data.sectors import sector_overlap

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

BLOCK_QUERIES = 4096
Ints = npt.NDArray[np.int64]
CHUNK_PAIRS = 16_384
"""Pairs whose overlap is calculated at once: the arrays of a chunk stay within the processor's cache."""


class Block(NamedTuple):
    """Rows of similarities, with the parts and names of a `csr_matrix`, whose library takes a while to load."""

    data: npt.NDArray[np.float32]
    indices: Ints
    indptr: Ints
    shape: tuple[int, int]

    @property
    def matrix(self) -> csr_matrix:
        """The same as scipy has it."""
        from scipy.sparse import csr_matrix

        return csr_matrix((self.data, self.indices, self.indptr), shape=self.shape)


def similarity_blocks(
    query_N2: Floats,
    ca_query_N: Floats,
    database_M2: Floats,
    ca_database_M: Floats,
    radius_m: float,
    degrees: float,
) -> Iterator[Block]:
    """The rows of `graded_similarity` in order, some queries at a time: who needs the first ones pays for no others.

    Pictures whose angle is NaN have no entries.
    """
    ahead_m, reach_m = _circle(radius_m, degrees)
    asked_N2, known_M2 = (_centres(*side, ahead_m) for side in ((query_N2, ca_query_N), (database_M2, ca_database_M)))
    # A millimetre more than can meet, for rounding.
    for some, query, database in Neighbours(known_M2).chunks(asked_N2, 2 * reach_m + 1e-3, BLOCK_QUERIES):
        own_n2, own_ca_n = query_N2[some], ca_query_N[some]
        known = ~np.isnan(own_ca_n[query] + ca_database_M[database])
        query, database = query[known], database[known]
        values = np.empty(len(query), np.float32)
        for first in range(0, len(query), CHUNK_PAIRS):
            part = slice(first, first + CHUNK_PAIRS)
            q, d = query[part], database[part]
            values[part] = sector_overlap(database_M2[d] - own_n2[q], own_ca_n[q], ca_database_M[d], radius_m, degrees)
        keep = values > 0
        begins = np.searchsorted(query[keep], np.arange(len(own_n2) + 1))
        yield Block(values[keep], database[keep], begins, (len(own_n2), len(database_M2)))


def _circle(radius_m: float, degrees: float) -> tuple[float, float]:
    """How far ahead of the camera the smallest circle around a field of view has its centre, and its radius."""
    if degrees >= 180:  # half a disc, or more
        return 0.0, radius_m
    half = math.radians(degrees) / 2
    if half <= math.pi / 4:  # through the camera and both ends of the arc
        return (radius_m / (2 * math.cos(half)),) * 2
    return radius_m * math.cos(half), radius_m * math.sin(half)  # the ends of the arc are a diameter


def _centres(position_N2: Floats, ca_N: Floats, ahead_m: float) -> Floats:
    """(N, 2): so far ahead of each camera; at the camera itself where the angle is NaN."""
    angle_N = np.radians(ca_N)
    ahead_N2 = ahead_m * np.stack([np.sin(angle_N), np.cos(angle_N)], axis=1)
    return np.asarray(position_N2 + np.nan_to_num(ahead_N2))


def graded_similarity(
    query_N2: Floats,
    ca_query_N: Floats,
    database_M2: Floats,
    ca_database_M: Floats,
    radius_m: float,
    degrees: float,
) -> csr_matrix:
    """(N, M) sparse similarities, float32; absent entries are 0. N >= 1. Positions in metres, angles in degrees."""
    return joined(similarity_blocks(query_N2, ca_query_N, database_M2, ca_database_M, radius_m, degrees))


def joined(blocks: Iterable[Block | csr_matrix]) -> csr_matrix:
    """The rows of the blocks, at least one, below each other: no more memory than the result and a block.

    `scipy.sparse.vstack` holds both all blocks and the result.
    """
    from scipy.sparse import csr_matrix

    data, indices, ends, columns = np.empty(0, np.float32), np.empty(0, np.int32), [np.zeros(1, np.int64)], 0
    for block in blocks:
        filled, columns = len(data), block.shape[1]
        for whole, part in ((data, block.data), (indices, block.indices)):
            whole.resize(filled + len(part), refcheck=False)  # the system moves pages, not what is in them
            whole[filled:] = part
        ends.append(filled + block.indptr[1:].astype(np.int64))
    end = np.concatenate(ends)
    return csr_matrix((data, indices, end), shape=(len(end) - 1, columns))

"""Exact nearest neighbours with FAISS, in blocks of the gallery, and an order that nothing but the numbers decides.

FAISS measures in float32: which of two equal images comes first, and whether the last one is found at all, depends on
how a matrix product was cut. So FAISS proposes a few rows more than are wanted, and their order comes from distances
that are free of rounding: descriptors are put on a grid of 2^-25 of the largest norm (float32's own step there), so
that every product and sum fits the 53 bits of a float64, in whatever order it is taken. Equal distances are ordered
by gallery row. A query whose last rows lie too close for FAISS to tell is searched through in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from vprdist.errors import UserError

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.floating[Any]]
Doubles = npt.NDArray[np.float64]
Neighbours = Callable[[Floats, Floats, int], tuple[Floats, Rows]]

BLOCK_BYTES = 2**28
"""Memory for the part of the gallery that is looked at, and in the exact pass for its distances too."""
SPARE = 12
"""Rows that FAISS proposes beyond those that are wanted."""
GRID_BITS = 25
CHUNK = 128
"""Queries whose proposals are measured at once."""
PASS = 1024
"""Queries that share one exact pass through the gallery."""


def retrieve(
    query_QD: Floats, gallery_GD: Floats, k: int, rows: Rows | None = None, block_bytes: int = BLOCK_BYTES,
    neighbours: Neighbours | None = None,
) -> Rows:  # fmt: skip
    """(Q, min(k, G)) gallery rows, nearest first, by Euclidean distance; equal distances by row. Never approximate.

    The result depends neither on the size of the blocks nor on threads or device.

    Args:
        query_QD: float32 or float16.
        gallery_GD: the same; may be mapped from a file, of which a block is read at a time.
        k: how many.
        rows: search these rows of `gallery_GD` alone; the result counts within them.
        block_bytes: memory for a block, and for what is worked out from it.
        neighbours: proposes rows of a block, by float32 distances; None: FAISS. It changes nothing but time.

    Raises:
        UserError: there is no FAISS.
    """
    gallery = _Gallery(gallery_GD, rows, block_bytes)
    k = min(k, len(gallery))
    if k == 0 or not len(query_QD):
        return np.empty((len(query_QD), k), np.int64)
    query = np.ascontiguousarray(query_QD, np.float32)
    proposed_QP, reach_Q, largest = _propose(query, gallery, k + SPARE, neighbours or _neighbours())
    grid = _Grid(max(largest, _largest_norm(query)))
    found_QK, last_Q = _rank_exactly(query, gallery, proposed_QP, k, grid)
    # What FAISS left out lies at `reach` or beyond, give or take its rounding.
    unsure = np.flatnonzero(reach_Q <= last_Q + grid.float32_error(query.shape[1]))
    if proposed_QP.shape[1] < len(gallery):
        for begin in range(0, len(unsure), PASS):
            some = unsure[begin : begin + PASS]
            found_QK[some] = _search_exactly(query[some], gallery, k, grid)
    return found_QK


class _Gallery:
    """Some rows of an array, read a block at a time."""

    def __init__(self, values_GD: Floats, rows: Rows | None, block_bytes: int) -> None:
        self.values, self.rows = values_GD, rows
        self.block_bytes, self.dimensions = block_bytes, max(1, values_GD.shape[1])

    def __len__(self) -> int:
        return len(self.values if self.rows is None else self.rows)

    def __getitem__(self, places: Any) -> Floats:
        return np.ascontiguousarray(self.values[places if self.rows is None else self.rows[places]], np.float32)

    def blocks(self, row_bytes: int) -> Iterator[tuple[int, Floats]]:
        """The first place and the float32 rows of each block, of which a row costs so much memory."""
        step = max(1, self.block_bytes // row_bytes)
        for begin in range(0, len(self), step):
            yield begin, self[slice(begin, begin + step)]


class _Grid:
    """Descriptors as whole numbers of grid steps: sums of their products are exact in float64.

    The largest norm N lies within 2^e, so a coordinate is at most 2^25 steps, and a squared distance, at most 4 N^2,
    at most 2^52 of squared steps (and the hundredth that the exponent tolerates).
    """

    def __init__(self, largest_norm: float) -> None:
        # The hundredth keeps unit vectors, whose norms are 1 but for rounding, at one exponent.
        exponent = math.ceil(math.log2(0.99 * largest_norm)) if largest_norm > 0 else 0
        self.radius = 2.0**exponent
        self.step = self.radius / 2**GRID_BITS

    def put(self, values: Floats) -> Doubles:
        out = values.astype(np.float64)
        out *= 1 / self.step  # a power of two
        return np.asarray(np.rint(out, out=out))

    def float32_error(self, dimensions: int) -> float:
        """How far a squared distance by FAISS may be off: rounding errors add up like noise, of 2^-24 each."""
        return 8 * math.sqrt(dimensions) * 2.0**-24 * self.radius**2


def _neighbours() -> Neighbours:
    """FAISS' exhaustive search, on the GPU where this FAISS and this machine have one."""
    try:
        import faiss
    except ImportError:
        raise UserError(
            "faiss", "evaluation needs FAISS", None, "pip install 'vprdist[cpu]' or 'vprdist[gpu]'."
        ) from None
    if hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0:
        resources = faiss.StandardGpuResources()
        return lambda query, block, k: faiss.knn_gpu(resources, query, block, k)
    return lambda query, block, k: faiss.knn(query, block, k)


def _largest_norm(values_ND: Floats) -> float:
    return math.sqrt(float(np.einsum("nd,nd->n", values_ND, values_ND).max()))


def _propose(query: Floats, gallery: _Gallery, count: int, neighbours: Neighbours) -> tuple[Rows, Doubles, float]:
    """(Q, P) places that are found nearest, (Q,) the squared distance of the last, and the gallery's largest norm."""
    count, largest = min(count, len(gallery)), 0.0
    distances: Floats = np.empty((len(query), 0), np.float32)
    places: Rows = np.empty((len(query), 0), np.int64)
    for begin, block in gallery.blocks(4 * gallery.dimensions):
        largest = max(largest, _largest_norm(block))
        near, found = neighbours(query, block, min(count, len(block)))
        distances, places = np.hstack([distances, near]), np.hstack([places, found + begin])
        if distances.shape[1] > count:
            keep = np.argpartition(distances, count - 1, axis=1)[:, :count]
            distances, places = np.take_along_axis(distances, keep, 1), np.take_along_axis(places, keep, 1)
    return places, distances.max(axis=1).astype(np.float64), largest


def _rank_exactly(query: Floats, gallery: _Gallery, proposed: Rows, k: int, grid: _Grid) -> tuple[Rows, Doubles]:
    """(Q, k) of the proposed places in their exact order, and (Q,) the exact squared distance of the last."""
    proposed = np.sort(proposed, axis=1)  # a stable sort by distance then leaves equal ones in this order
    found, last = np.empty((len(query), k), np.int64), np.empty(len(query))
    for begin in range(0, len(query), CHUNK):
        some = slice(begin, begin + CHUNK)
        apart_QPD = grid.put(gallery[proposed[some]])
        apart_QPD -= grid.put(query[some])[:, None]  # whole numbers too
        distances = np.einsum("qpd,qpd->qp", apart_QPD, apart_QPD)
        order = np.argsort(distances, axis=1, kind="stable")[:, :k]
        found[some] = np.take_along_axis(proposed[some], order, axis=1)
        last[some] = np.take_along_axis(distances, order[:, -1:], axis=1)[:, 0] * grid.step**2
    return found, last


def _search_exactly(query: Floats, gallery: _Gallery, k: int, grid: _Grid) -> Rows:
    """(Q, k) places in their exact order, from exact distances to the whole gallery."""
    asked = grid.put(query)
    distances: Doubles = np.empty((len(query), 0))
    places: Rows = np.empty((len(query), 0), np.int64)
    # A row is held as float32 and twice as float64, and each of its distances in three arrays' worth of float64.
    for begin, block in gallery.blocks(20 * gallery.dimensions + 24 * len(query)):
        values = grid.put(block)
        # Without the query's own square, which changes no order.
        near = asked @ values.T
        near *= -2
        near += np.einsum("gd,gd->g", values, values)
        here = _first(near, k)
        distances = np.hstack([distances, np.take_along_axis(near, here, 1)])
        places = np.hstack([places, here + begin])
        order = _first(distances, k)
        distances, places = np.take_along_axis(distances, order, 1), np.take_along_axis(places, order, 1)
    return places


def _first(distances_QW: Doubles, k: int) -> Rows:
    """(Q, min(k, W)) columns of the smallest, equal ones by column; no whole width is sorted."""
    if k >= distances_QW.shape[1]:
        return np.argsort(distances_QW, axis=1, kind="stable")
    last_Q1 = np.partition(distances_QW, k - 1, axis=1)[:, k - 1 : k]
    chosen, ties = distances_QW < last_Q1, distances_QW == last_Q1
    left_Q1 = k - chosen.sum(axis=1, keepdims=True)
    chosen |= ties & (np.cumsum(ties, axis=1, dtype=np.int32) <= left_Q1)
    columns = np.nonzero(chosen)[1].reshape(len(distances_QW), k)
    order = np.argsort(np.take_along_axis(distances_QW, columns, 1), axis=1, kind="stable")
    return np.take_along_axis(columns, order, 1)

"""Exact nearest neighbours with FAISS, in blocks of the gallery, and an order that nothing but the numbers decides.

FAISS measures in float32: which of two equal images comes first, and whether the last one is found at all, depends on
how a matrix product was cut. So FAISS proposes a few rows more than are wanted, and those whose distances lie too close
together for its rounding are measured again, free of rounding: descriptors are put on a grid of 2^-25 of the largest
norm (float32's own step there), so that every product and sum fits the 53 bits of a float64, in whatever order it is
taken. Equal distances are ordered by gallery row. A query whose last rows lie too close to what was not proposed is
searched through in float64.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from vprdist.errors import UserError

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.floating[Any]]
Doubles = npt.NDArray[np.float64]
Neighbours = Callable[[Floats, Floats, int], tuple[Floats, Rows]]

BLOCK_BYTES = 2**28
"""Memory for the part of the gallery that is looked at, and in the exact pass for its distances too."""
COPY_BYTES = 2**26
"""As much of it where a block is a copy: memory that a process touches for the first time is slower than a search."""
SPARE = 12
"""Rows that FAISS proposes beyond those that are wanted."""
GRID_BITS = 25
PIECE = 512
"""Dimensions that a matrix product adds up one after another, at most."""
PAIR_BYTES = 2**20
"""Pairs that are measured again at once: they stay in a core's cache."""
PASS = 1024
"""Queries that share one exact pass through the gallery."""
GPU_K = 1024
"""The most rows that every version of FAISS finds on a GPU at once."""


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
    query = query_QD if _ready(query_QD) else _widened(query_QD, np.empty(query_QD.shape, np.float32))
    distances, places, largest = _propose(query, gallery, k + SPARE, neighbours or _neighbours())
    grid = _Grid(max(largest, _largest_norm(query)), query.shape[1])
    found_QK, unsure = _rank_exactly(query, gallery, (distances, places), k, grid)
    for begin in range(0, len(unsure), PASS):
        some = unsure[begin : begin + PASS]
        found_QK[some] = _search_exactly(query[some], gallery, k, grid)
    return found_QK


class _Gallery:
    """Some rows of an array, read a block at a time."""

    def __init__(self, values_GD: Floats, rows: Rows | None, block_bytes: int) -> None:
        if rows is not None and len(rows) and (np.diff(rows) == 1).all():  # a city's images mostly follow each other
            values_GD, rows = values_GD[rows[0] : rows[-1] + 1], None
        self.values, self.rows = values_GD, rows
        self.block_bytes, self.dimensions = block_bytes, max(1, values_GD.shape[1])

    def __len__(self) -> int:
        return len(self.values if self.rows is None else self.rows)

    def __getitem__(self, places: Any) -> Floats:
        """In the type that they are kept in."""
        values: Floats = self.values[places if self.rows is None else self.rows[places]]
        return values

    def blocks(self, row_bytes: int) -> Iterator[tuple[int, Floats]]:
        """The first place and the float32 rows of each block, of which a row costs so much memory.

        A block holds until the next one is asked for.
        """
        copied = self.rows is not None or not _ready(self.values)
        block_bytes = min(self.block_bytes, COPY_BYTES) if copied else self.block_bytes
        step = min(max(1, block_bytes // row_bytes), len(self))
        room = np.empty((step if copied else 0, self.values.shape[1]), np.float32)
        for begin in range(0, len(self), step):
            block = self[slice(begin, begin + step)]
            yield begin, _widened(block, room[: len(block)]) if copied else block


def _ready(values_ND: Floats) -> bool:
    """Whether FAISS can read them where they lie."""
    return values_ND.dtype == np.float32 and values_ND.flags.c_contiguous


def _widened(values_ND: Floats, out_ND: Floats) -> Floats:
    """`out_ND`, filled: the same numbers as float32."""
    if values_ND.dtype == np.float16 and values_ND.flags.c_contiguous:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # they may be mapped from a file, not to be written to
            torch.from_numpy(out_ND).copy_(torch.from_numpy(values_ND))  # takes a tenth of numpy's time
    else:
        np.copyto(out_ND, values_ND)
    return out_ND


class _Grid:
    """Descriptors as whole numbers of grid steps: sums of their products are exact in float64.

    The largest norm N lies within 2^e, so a coordinate is at most 2^25 steps, and a squared distance, at most 4 N^2,
    at most 2^52 of squared steps (and the hundredth that the exponent tolerates).
    """

    def __init__(self, largest_norm: float, dimensions: int) -> None:
        # The hundredth keeps unit vectors, whose norms are 1 but for rounding, at one exponent.
        exponent = math.ceil(math.log2(0.99 * largest_norm)) if largest_norm > 0 else 0
        radius = 2.0**exponent
        self.step = radius / 2**GRID_BITS
        # How far a squared distance by FAISS may be off: rounding errors of 2^-24 add up like noise, but where small
        # terms meet a large sum each may lose as much with the same sign, to the end of the piece that is added up.
        self.float32_error = (8 * math.sqrt(dimensions) + 2 * min(dimensions, PIECE)) * 2.0**-24 * radius**2

    def put(self, values: Floats) -> Doubles:
        out = values.astype(np.float64)
        out *= 1 / self.step  # a power of two
        return np.asarray(np.rint(out, out=out))


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
        return lambda query, block, k: (
            faiss.knn_gpu(resources, query, block, k) if k <= GPU_K else faiss.knn(query, block, k)
        )
    return lambda query, block, k: faiss.knn(query, block, k)


def _largest_norm(values_ND: Floats) -> float:
    return math.sqrt(float(np.einsum("nd,nd->n", values_ND, values_ND).max()))


def _propose(query: Floats, gallery: _Gallery, count: int, neighbours: Neighbours) -> tuple[Doubles, Rows, float]:
    """(Q, P) squared distances and places of those that are found nearest, and the gallery's largest norm."""
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
    return distances.astype(np.float64), places, largest


def _rank_exactly(
    query: Floats, gallery: _Gallery, proposed: tuple[Doubles, Rows], k: int, grid: _Grid
) -> tuple[Rows, Rows]:
    """(Q, k) of the proposed places in their exact order, and the queries for which others may belong there."""
    order = np.argsort(proposed[0], axis=1)
    near, places = np.take_along_axis(proposed[0], order, 1), np.take_along_axis(proposed[1], order, 1)
    # Two that lie further apart than twice FAISS' rounding are in order. The others of a row make runs without a gap.
    gap = np.diff(near, axis=1) > 2 * grid.float32_error
    # What FAISS left out lies at the last one's distance or beyond, give or take its rounding.
    tight = near[:, -1] - near[:, k - 1] <= 2 * grid.float32_error
    tight &= near.shape[1] < len(gallery)
    gap[tight] = False  # the distance of the k-th is needed too
    run = np.zeros(near.shape, np.int64)
    np.cumsum(gap, axis=1, out=run[:, 1:])
    alone = np.pad(gap, ((0, 0), (1, 0)), constant_values=True) & np.pad(gap, ((0, 0), (0, 1)), constant_values=True)
    asked, column = np.nonzero(~alone & (run <= run[:, k - 1 : k]))
    distances = np.zeros(near.shape)
    distances[asked, column] = _measure(query, gallery, (asked, places[asked, column]), grid)
    order = np.lexsort((places, distances, run), axis=1)[:, :k]
    last = np.take_along_axis(distances, order[:, -1:], axis=1)[:, 0] * grid.step**2
    unsure = np.flatnonzero(tight & (near[:, -1] <= last + grid.float32_error))
    return np.take_along_axis(places, order, axis=1), unsure


def _measure(query: Floats, gallery: _Gallery, pairs: tuple[Rows, Rows], grid: _Grid) -> Doubles:
    """(P,) exact squared distances, in steps of the grid, of P queries and places."""
    (asked, places), out = pairs, np.empty(len(pairs[0]))
    step = max(1, PAIR_BYTES // (8 * gallery.dimensions))
    for begin in range(0, len(asked), step):
        some = slice(begin, begin + step)
        own, which = np.unique(asked[some], return_inverse=True)
        apart_PD = grid.put(gallery[places[some]])
        apart_PD -= grid.put(query[own])[which]  # whole numbers too
        out[some] = np.einsum("pd,pd->p", apart_PD, apart_PD)
    return out


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

"""Which frames of one traversal of a route show the place of which frames of another: by counting, or by a file.

Files are as public data sets have them: matrices of VPR_Tutorial (Schubert et al. 2023), lists of VPR-Bench (Zaffar et
al. 2021) and of gsv-cities (Ali-bey et al. 2022), pairs, or a CSV.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from vprdist.arrays import kind_of, map_npy, npz_names, read_npz
from vprdist.data.layouts.csv_table import Table
from vprdist.data.layouts.frame_lists import Frames
from vprdist.data.layouts.pickled import read_pickled
from vprdist.errors import DataError, first_line, nearest

Rows = npt.NDArray[np.int64]
Pairs = tuple[Rows, Rows]
"""(P,) rows of queries and (P,) of the database."""
BLOCK_CELLS = 2**24
"""Cells of a matrix that are looked at together."""
FORMS = (
    "a matrix of 0 and 1, queries x database; lists of the database frames of each query; pairs [query, database]; or "
    "a CSV with the columns query, reference"
)
LENGTH = "Name the traversals in the order that it was made for (database, queries), or fetch the file that fits them."


def near_frames(places_N: Rows, tolerance: int) -> csr_matrix:
    """(N, N) booleans: frames at most `tolerance` apart show one place.

    Args:
        places_N: (N,) where each frame of either traversal stands, in frames, ascending.
    """
    first = np.searchsorted(places_N, places_N - tolerance, "left")
    last = np.searchsorted(places_N, places_N + tolerance, "right")
    begins = np.concatenate([[0], np.cumsum(last - first)])
    indices = np.arange(begins[-1]) - np.repeat(begins[:-1] - first, last - first)
    return csr_matrix((np.ones(len(indices), bool), indices, begins), shape=(len(places_N), len(places_N)))


def shared_windows(places_N: Rows, tolerance: int) -> csr_matrix:
    """(N, N) float32: the share of frames that the windows of +-tolerance frames around both have in common.

    That is (2t + 1 - d) / (2t + 1) for frames d apart: above 0.5 just where d <= t, and 0 from 2t + 1 on. It is what
    the overlap of fields of view is to positions (GCL, Leyva-Vallina et al. 2023).
    """
    found = near_frames(places_N, 2 * tolerance)
    width = 2 * tolerance + 1
    away = np.abs(np.repeat(places_N, np.diff(found.indptr)) - places_N[found.indices])
    return csr_matrix((((width - away) / width).astype(np.float32), found.indices, found.indptr), shape=found.shape)


def widened(positives: csr_matrix, tolerance: int) -> csr_matrix:
    """(N, M) booleans: with each positive the database frames at most `tolerance` away from it."""
    if not tolerance:
        return positives
    band = near_frames(np.arange(positives.shape[1]), tolerance)
    counts = positives.astype(np.int64) @ band.astype(np.int64)
    counts.sort_indices()
    return csr_matrix((np.ones(counts.nnz, bool), counts.indices, counts.indptr), shape=counts.shape)


def read_truth(path: Path, array: str | None, query: Frames, database: Frames) -> csr_matrix:
    """(N, M) booleans: the database frames that a file says each query shows.

    Args:
        array: of a `.npz` file; None: the only one, or GThard.

    Raises:
        DataError: it is none of the forms, or was made for other traversals.
    """
    if not path.is_file():
        there = sorted(each.name for each in path.parent.iterdir() if each.suffix in (".npy", ".npz", ".csv"))
        remedy = nearest(path.name, there) if there else "Put it there, or delete `truth`: then `tolerance` counts."
        raise DataError(path, "the file that says which frames belong together is missing", None, remedy)
    shape = (len(query), len(database))
    if path.suffix == ".csv":
        rows = _of_csv(path, query, database)
    else:
        try:
            rows = _of_array(path, *_array(path, array), shape)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
            raise DataError(path, "the file of correspondences cannot be read", reason, f"It is {FORMS}.") from None
    found = csr_matrix((np.ones(len(rows[0]), bool), rows), shape=shape)
    found.sum_duplicates()
    if not found.nnz:
        raise DataError(path, "no query has a database frame in this file of correspondences", None, LENGTH)
    return found


def _array(path: Path, name: str | None) -> tuple[Any, str]:
    """What a file holds, and what it is called in an archive."""
    if kind_of(path) == ".npz":
        names = sorted(npz_names(path))
        chosen = name or (names[0] if len(names) == 1 else "GThard")
        if chosen not in names:
            fault = "no such array in the file of correspondences"
            raise DataError(path, fault, chosen, f"{nearest(chosen, names)} Set `array`.")
        return read_npz(path, chosen), chosen
    try:
        return map_npy(path), ""
    except ValueError as error:
        if "pickled objects" not in str(error):
            raise
    return read_pickled(path), ""


def _of_array(path: Path, held: Any, name: str, shape: tuple[int, int]) -> Pairs:
    """The pairs of an array; see `FORMS`."""
    if isinstance(held, list):
        return _of_lists(path, held, shape)
    if name.startswith("GT"):  # VPR_Tutorial writes database x query
        held = held.T
    if held.ndim == 2 and held.shape == shape:
        return _of_matrix(path, held)
    whole = held.dtype.kind in "iu" or (held.dtype.kind == "f" and np.array_equal(held, np.trunc(held)))
    if held.ndim == 2 and held.shape[1] == 2 and whole:
        rows = held[:, 0].astype(np.int64), held[:, 1].astype(np.int64)
        for what, values, length in zip(("query", "database"), rows, shape, strict=True):
            _check_range(path, what, values, length)
        return rows
    if held.ndim == 2 and held.shape[1] == 1 and whole:
        return _of_lists(path, held.astype(np.int64).tolist(), shape)
    found = f"{held.dtype} {held.shape}"
    fault = f"the file must be a matrix of {shape[0]} queries x {shape[1]} database frames, or pairs of them"
    raise DataError(path, fault, found, LENGTH)


def _of_matrix(path: Path, held: npt.NDArray[Any]) -> Pairs:
    block = max(1, BLOCK_CELLS // max(1, held.shape[1]))
    rows, columns = list[Rows](), list[Rows]()
    for begin in range(0, len(held), block):
        part = np.asarray(held[begin : begin + block])
        if part.dtype.kind not in "biuf" or not ((part == 0) | (part == 1)).all():
            fault = "a matrix of correspondences must hold 0 and 1"
            numbers = part.dtype.kind in "biuf"
            other = part[(part != 0) & (part != 1)][0].item() if numbers else f"values of the kind {part.dtype}"
            raise DataError(path, fault, other, "Write it so: which frames show one place, not how similar they are.")
        query, database = np.nonzero(part)
        rows.append(query + begin)
        columns.append(database)
    return np.concatenate(rows), np.concatenate(columns)


def _of_lists(path: Path, held: list[Any], shape: tuple[int, int]) -> Pairs:
    """Lists of database frames, one a query; or [query, list] as VPR-Bench has them."""
    if held and all(isinstance(row, list) and len(row) == 2 and isinstance(row[1], list) for row in held):
        queries, lists = [row[0] for row in held], [row[1] for row in held]
        if sorted(map(str, queries)) != sorted(map(str, range(shape[0]))):
            fault = f"the lists must be of the queries 0 to {shape[0] - 1}, each once"
            raise DataError(path, fault, f"{len(queries)}, the last of query {queries[-1]}", LENGTH)
    else:
        queries, lists = list(range(len(held))), [row if isinstance(row, list) else [row] for row in held]
        if len(lists) != shape[0]:
            raise DataError(path, f"the file must have {shape[0]} lists, one a query", len(lists), LENGTH)
    if not all(type(frame) is int for row in lists for frame in row):
        raise DataError(path, "a list of frames must hold whole numbers", None, f"It is {FORMS}.")
    query = np.repeat(np.array(queries, np.int64), [len(row) for row in lists])
    database = np.array([frame for row in lists for frame in row], np.int64)
    # Published windows reach over the ends of a route (VPR-Bench's Gardens Point: 201 of 200), and -1 is no frame.
    over = max(map(len, lists), default=0)
    _check_range(path, "database", database, shape[1], over)
    inside = (database >= 0) & (database < shape[1])
    return query[inside], database[inside]


def _check_range(path: Path, what: str, frames: Rows, length: int, over: int = 0) -> None:
    """Frames stand among those of a traversal.

    Args:
        over: so many more at each end mean nothing, and are no mistake.
    """
    if len(bad := frames[(frames < -over) | (frames >= length + over)]):
        fault = f"{what} frames must be from 0 to {length - 1}: the traversal has {length}"
        raise DataError(path, fault, int(bad[0]), LENGTH)


def _of_csv(path: Path, query: Frames, database: Frames) -> Pairs:
    table = Table(path, ("query", "reference"))
    rows, columns = list[int](), list[int]()
    find_query, find_database = _finder(query), _finder(database)
    for row, cells in enumerate(zip(table.texts("query"), table.texts("reference"), strict=True)):
        asked, shown = (cell.strip() for cell in cells)
        found = list(find_query(asked, table.where(row)))
        for frame in find_database(shown, table.where(row)) if shown else ():
            rows += found
            columns += [frame] * len(found)
    return np.array(rows, np.int64), np.array(columns, np.int64)


def _finder(frames: Frames) -> Callable[[str, str], Iterator[int]]:
    """Answers the rows of the frames that a cell names: a name, the number in it, or a range of numbers."""
    names = {name: row for row, name in enumerate(frames.names)}
    numbers = {number: row for row, number in enumerate(frames.numbers) if number is not None}

    def find(cell: str, where: str) -> Iterator[int]:
        if (row := names.get(cell, names.get(Path(cell).stem))) is not None:
            yield row
            return
        ends = re.fullmatch(r"(\d{1,18})(?:\s*-\s*(\d{1,18}))?", cell)
        first, last = (int(ends[1]), int(ends[2] or ends[1])) if ends else (0, -1)
        if last - first > 10 * len(frames) or not ({first, last} <= numbers.keys()) or last < first:
            fault = f"{frames.folder.name} has no such frame"
            remedy = "Write a picture's name, the number in it, or a range of numbers: 12-20."
            raise DataError(where, fault, cell, remedy)
        yield from (numbers[number] for number in range(first, last + 1) if number in numbers)

    return find

"""Arrays of lists out of pickles: equal to numpy's own reading, and nothing that a pickle asks for is run."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from vprdist.data.layouts.pickled import read_pickled


def write(path: Path, held: object, protocol: int = 3, shape: tuple[int, ...] = (2,)) -> Path:
    """A `.npy` file of objects whose pickle is that of `held`."""
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": shape})
        stream.write(held if isinstance(held, bytes) else pickle.dumps(held, protocol))
    return path


def array(rows: list[object]) -> np.ndarray:
    found = np.empty(len(rows), object)
    found[:] = rows
    return found


CASES = {
    "lists": array([[1, 2], [], [3]]),
    "tuples": array([(1, 2), (3,)]),
    "arrays": array([np.array([1, 2]), np.array([], np.int64), np.array([2**40])]),
    "kinds": array([np.array([1, 2], kind) for kind in ("i1", "u1", "<i2", ">i4", "u8", "?")]),
    "orders": array([np.asfortranarray(np.arange(6).reshape(2, 3)), np.arange(6).reshape(3, 2)]),
    "numbers": array([np.int64(3), 4, True]),
    "nested": array([array([[1], [2, 3]]), [[4]]]),
}


def plain(held: object) -> object:
    if isinstance(held, (list, tuple, np.ndarray)):
        return [plain(each) for each in held]
    return int(held)  # type: ignore[call-overload]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("case", CASES)
def test_what_numpy_wrote_is_read_as_numpy_reads_it(tmp_path, case, protocol):
    path = write(tmp_path / "a.npy", CASES[case], protocol, CASES[case].shape)
    assert read_pickled(path) == plain(np.load(path, allow_pickle=True))


def test_two_columns_of_objects(tmp_path):
    rows = np.empty((2, 2), object)
    rows[0, 0], rows[0, 1], rows[1, 0], rows[1, 1] = 0, [0, 1], 1, [5]
    np.save(tmp_path / "a.npy", rows)
    assert read_pickled(tmp_path / "a.npy") == [[0, [0, 1]], [1, [5]]]


class Runs:
    def __init__(self, *call: object) -> None:
        self.call = call

    def __reduce__(self):
        return self.call[0], self.call[1:]


@pytest.mark.parametrize("protocol", range(6))
def test_nothing_is_run(tmp_path, protocol):
    mark = tmp_path / "ran"
    for call in ((os.system, f"touch {mark}"), (Path.touch, mark), (eval, f"open({str(mark)!r}, 'w')"), (np.load, "x")):
        path = write(tmp_path / "a.npy", array([Runs(*call), 1]), protocol)
        with pytest.raises(ValueError, match=r"it asks for .*, and may hold arrays, lists and whole numbers alone"):
            read_pickled(path)
    assert not mark.exists()


def test_what_is_no_numbers_is_refused_in_words(tmp_path):
    for held, message in (
        (array(["a", 1]), "it holds str"), (array([1.5, 1]), "it holds float"), (array([{}, 1]), "it holds dict"),
        (array([None, 1]), "it holds NoneType"), (array([np.array([1.5]), 1]), "values of the kind 'f8'"),
        (array([1, 2, 3]), "do not fit each other"), (7, "do not fit each other"),
        (pickle.dumps(CASES["arrays"])[:-20], "cannot be read as an array of lists"), (b"", "cannot be read"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            read_pickled(write(tmp_path / "a.npy", held))


def test_lists_that_are_endless_once_written_out_are_refused(tmp_path):
    inside: list[object] = [1] * 1000
    for _ in range(4):
        inside = [inside] * 1000
    with pytest.raises(ValueError, match="it holds more than"):
        read_pickled(write(tmp_path / "a.npy", array([inside, 1])))
    circle: list[object] = []
    circle.append(circle)
    with pytest.raises(ValueError, match="cannot be read as an array of lists"):
        read_pickled(write(tmp_path / "a.npy", array([circle, 1])))

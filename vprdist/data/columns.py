"""What somebody knows of some pictures as columns of one length and kind; a mistake is a rule of its column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from vprdist.errors import RuleError, nearest
from vprdist.spec.names import is_name
from vprdist.spec.vocabulary import SUBTASKS

FAR = 1e9
"""Metres and degrees that nothing on the Earth is away; their squares fit a float64 by far."""
KINDS = {"numbers": "fiu", "whole numbers": "iu", "booleans": "b", "words": "U"}
"""The kinds of numpy's dtypes that a column of each may come with."""


def numbers(name: str, values: npt.ArrayLike, count: int, may_lack: bool = False) -> npt.NDArray[np.float64]:
    """(count,) finite float64.

    Args:
        may_lack: NaN is a value that nobody knows.

    Raises:
        RuleError: another length or kind, NaN or infinity.
    """
    found = _column(name, values, count, "numbers").astype(np.float64)
    if len(bad := np.flatnonzero(np.isinf(found) if may_lack else ~np.isfinite(found))):
        row = int(bad[0])
        raise RuleError(name, f"{name} must be finite; row {row} is not", float(found[row]), "Leave the picture out.")
    if len(far := np.flatnonzero(np.abs(found) >= FAR)):
        row = int(far[0])
        fault = f"{name} must be below {FAR:g}; row {row} is not"
        raise RuleError(name, fault, float(found[row]), "Leave the picture out.")
    return found


def whole_numbers(name: str, values: npt.ArrayLike | None, count: int) -> npt.NDArray[np.int64]:
    """(count,) int64; zeros for None."""
    return np.zeros(count, np.int64) if values is None else _column(name, values, count, "whole numbers").astype(int)


def flags(name: str, values: npt.ArrayLike | None, count: int) -> npt.NDArray[np.bool_]:
    """(count,) booleans; False for None."""
    return np.zeros(count, bool) if values is None else _column(name, values, count, "booleans")


def words(name: str, values: npt.ArrayLike, count: int) -> npt.NDArray[np.str_]:
    """(count,) text; whole numbers become words."""
    if not count:
        return np.empty(0, "<U1")
    array = np.asarray(values)
    return _column(name, array.astype(str) if array.dtype.kind in "iu" else array, count, "words")


def subtask_flags(given: Mapping[str, npt.ArrayLike] | None, count: int) -> dict[str, npt.NDArray[np.bool_]]:
    """Every subtask with its pictures; all pictures are of `all` where nothing else is said.

    Raises:
        RuleError: an unknown subtask, or a column that is none.
    """
    given = {} if given is None else given
    for name in given:
        if name not in SUBTASKS:
            raise RuleError("subtasks", "no such subtask", name, nearest(name, SUBTASKS))
    everything = {"all": np.ones(count, bool)} | dict(given)
    return {name: flags(f"subtasks[{name!r}]", everything.get(name), count) for name in SUBTASKS}


def condition_words(given: npt.ArrayLike | None, count: int) -> npt.NDArray[np.str_]:
    """(count,) words, "" where no condition is known.

    Raises:
        RuleError: a condition that is no word, or one of MSLS' subtasks, which mean something else.
    """
    found = words("conditions", [""] * count if given is None else given, count)
    for word in np.unique(found).tolist():
        if word in SUBTASKS:
            raise RuleError("conditions", "a condition must not be called as a subtask of MSLS", word, "Rename it.")
        if word and (not is_name(word) or word != word.strip() or any(mark in word for mark in ',#"')):
            raise RuleError("conditions", "a condition must be a word", word, "Rename it.")
    return found


def _column(name: str, values: npt.ArrayLike, count: int, kind: str) -> npt.NDArray[Any]:
    try:
        array = np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise RuleError(name, f"{name} must be one column", str(error), "Give one value a picture.") from None
    if array.shape != (count,):
        fault = f"{name} must have one value a picture: {count}"
        raise RuleError(name, fault, len(array) if array.ndim == 1 else array.shape, "Give as many as paths.")
    if count and array.dtype.kind not in KINDS[kind]:
        raise RuleError(name, f"{name} must hold {kind}", _first(array), f"It has the dtype {array.dtype}.")
    return array


def _first(array: npt.NDArray[Any]) -> str:
    return str(array[0])[:60]

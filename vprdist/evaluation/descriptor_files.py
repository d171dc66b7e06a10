"""Descriptors that somebody else computed: arrays, `.npz` files, or `.npy` files with a list of keys beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vprdist.arrays import kind_of, map_npy, read_npz
from vprdist.data.places import Bools
from vprdist.errors import DataError, first_line
from vprdist.evaluation.descriptors import Descriptors, Rows, Values, Wanted, allocate, places_of
from vprdist.files import read_bytes
from vprdist.spec.vocabulary import Storage

BLOCK = 8192
"""Rows that are read at once."""
KEYS_BYTES = 2**28
"""Ten million keys."""
MOST_SQUARE = 2.0**120
"""Distances are measured in float32, whose largest number is 2^128."""
Keys = npt.NDArray[np.str_]
Part = tuple[Path | str, Keys, Values]
"""What it is called in messages, keys, descriptors."""


def read_descriptors(paths: Sequence[Path], wanted: Wanted, storage: Storage = "float32") -> Descriptors:
    """The wanted rows of all files together; what else they hold is passed over.

    A `.npz` holds `keys` (N) and `descriptors` (N, D). A `.npy` holds (N, D), is read a block at a time, and beside it
    lies a text of the same name that ends in `.txt`, with a key a line.

    Raises:
        DataError: the file (and row or line), for what cannot be read, a number that is not finite, another width,
            doubled or missing keys.
    """
    return gathered([_open(path) for path in paths], wanted, storage)


def part_of(name: str, keys: object, values: object) -> Part:
    """Keys (N) and descriptors (N, D) that are in memory, looked at as those of a file are.

    Raises:
        DataError: as `read_descriptors`.
    """
    try:
        return _checked(name, np.asarray(keys), np.asarray(values))
    except ValueError as error:
        remedy = "Give (keys, descriptors): N texts, and an array (N, D) of floats."
        raise DataError(name, "numpy cannot make arrays of them", first_line(error), remedy) from None


def gathered(parts: Sequence[Part], wanted: Wanted, storage: Storage = "float32") -> Descriptors:
    """The wanted rows of all parts together; what else they hold is passed over.

    Raises:
        DataError: as `read_descriptors`.
    """
    width = parts[0][2].shape[1]
    for path, _, values in parts:
        if values.shape[1] != width:
            fault = f"descriptors must have one width; those of {Path(parts[0][0]).name} have {width} dimensions"
            raise DataError(path, fault, values.shape[1], "Compute them with one network.")
    places = _all_places([(path, keys) for path, keys, _ in parts])
    chosen = _chosen(places, wanted, ", ".join(str(path) for path, *_ in parts))
    out = allocate(len(chosen), width, storage)
    begin = 0
    for path, keys, values in parts:
        inside = np.flatnonzero((chosen >= begin) & (chosen < begin + len(keys)))
        for block in _blocks(inside):
            rows = chosen[block] - begin
            with np.errstate(over="ignore"):  # too large for the storage: refused as not finite
                out[block] = values[rows]
            _check_finite(path, keys, out[block], rows)
        begin += len(keys)
    return Descriptors(out, places_of(wanted))


def _open(path: Path) -> Part:
    try:
        kind = kind_of(path)
        if kind and path.suffix != kind:
            raise DataError(
                path, "the file must be what its name says", kind, f"Name it {path.with_suffix(kind).name}."
            )
        if kind == ".npz":
            keys, values = read_npz(path, "keys"), read_npz(path, "descriptors")
        else:
            values = map_npy(path)
            keys = _read_keys(path.with_suffix(".txt"))
        return _checked(path, keys, values)
    except KeyError as error:
        fault = "a .npz of descriptors must hold `keys` and `descriptors`"
        raise DataError(path, fault, str(error.args[0]), "Save both: np.savez(file, keys=…, descriptors=…).") from None
    except FileNotFoundError:
        raise DataError(path, "no such file", None, "Check the path.") from None
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or first_line(error)
        remedy = "Save it with numpy, without pickled objects; what is larger than the memory as .npy."
        raise DataError(path, "numpy cannot read the file", reason, remedy) from None


def _checked(path: Path | str, keys: npt.NDArray[Any], values: Values) -> Part:
    """Keys as texts, beside what they are the keys of.

    Raises:
        DataError: no floats in two dimensions, or not as many keys.
        ValueError: keys that are no texts.
    """
    if keys.dtype.kind not in "USiu":
        raise ValueError(f"`keys` must be texts; they are {keys.dtype}")
    keys = np.char.decode(keys, "utf-8") if keys.dtype.kind == "S" else keys.astype(str)
    if values.ndim != 2 or values.dtype not in (np.float16, np.float32, np.float64) or values.shape[1] == 0:
        found = f"{values.dtype} {values.shape}"
        raise DataError(path, "descriptors must be an array (N, D) of floats", found, "Save float32 or float16.")
    if keys.shape != (len(values),):
        raise DataError(
            path, f"there must be a key for each of the {len(values)} descriptors", keys.shape, "Save both anew."
        )
    return path, keys, values


def _read_keys(path: Path) -> Keys:
    if not path.exists():
        raise DataError(
            path, "a .npy must have its keys beside it, one a line", None, "Write them in the order of the rows."
        )
    try:
        return np.array(read_bytes(path, KEYS_BYTES).decode("utf-8-sig").split())
    except OSError as error:
        raise DataError(path, "the list of keys cannot be read", error.strerror, "Is it the right file?") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        fault, found = "a list of keys must be UTF-8 text", error.object[error.start : error.start + 1]
        raise DataError(f"{path}:{line}", fault, found, "Save it as UTF-8.") from None


def _all_places(files: Sequence[tuple[Path | str, Keys]]) -> dict[str, int]:
    """Where each key lies, rows counted through all files."""
    places: dict[str, int] = {}
    for path, keys in files:
        for row, key in enumerate(keys.tolist()):
            if key in places:
                raise DataError(f"{path}: row {row}", "a picture has a second descriptor", key, "Delete one.")
            places[key] = len(places)
    return places


def _chosen(places: dict[str, int], wanted: Wanted, where: str) -> Rows:
    """Where the wanted rows lie, one side after the other."""
    keys = [str(key) for side, rows in wanted for key in side.keys[rows]]
    missing = [key for key in keys if key not in places]
    if missing:
        fault = f"pictures that take part have no descriptor ({len(missing)}), the first of them"
        raise DataError(where, fault, missing[0], "Name the files of both sides and of every city.")
    return np.array([places[key] for key in keys], np.int64)


def _blocks(places: Rows) -> Iterator[Rows]:
    return (places[begin : begin + BLOCK] for begin in range(0, len(places), BLOCK))


def _check_finite(path: Path | str, keys: Keys, values: Values, rows: Rows) -> None:
    numbers: Bools = np.asarray(np.isfinite(values).all(axis=1))
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("nd,nd->n", values, values, dtype=np.float32, casting="same_kind")
    good = numbers & (squares < MOST_SQUARE)
    if not good.all():
        place = int(np.argmin(good))
        row = int(rows[place])
        fault = f"descriptors must be finite numbers of {values.dtype}" + (
            f", and their squares add up to less than {MOST_SQUARE:g}" if numbers[place] else ""
        )
        found = "too long" if numbers[place] else None
        raise DataError(f"{path}: row {row} ({keys[row]})", fault, found, "Compute it again.")

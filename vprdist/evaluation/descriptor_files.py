"""Descriptors that somebody else computed: `.npz` files with keys, or `.npy` files with a list of keys beside them."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vprdist.errors import DataError
from vprdist.evaluation.descriptors import Descriptors, Rows, Values, Wanted, allocate, places_of
from vprdist.spec.vocabulary import Storage

BLOCK = 8192
"""Rows that are read at once."""
Keys = npt.NDArray[np.str_]


def read_descriptors(paths: Sequence[Path], wanted: Wanted, storage: Storage = "float32") -> Descriptors:
    """The wanted rows of all files together; what else they hold is passed over.

    A `.npz` holds `keys` (N) and `descriptors` (N, D). A `.npy` holds (N, D), is read a block at a time, and beside it
    lies a text of the same name that ends in `.txt`, with a key a line.

    Raises:
        DataError: the file (and row or line), for what cannot be read, a number that is not finite, another width,
            doubled or missing keys.
    """
    files = [(path, *_open(path)) for path in paths]
    width = files[0][2].shape[1]
    for path, _, values in files:
        if values.shape[1] != width:
            fault = f"descriptors must have one width; those of {paths[0].name} have {width} dimensions"
            raise DataError(path, fault, values.shape[1], "Compute them with one network.")
    places = _all_places([(path, keys) for path, keys, _ in files])
    chosen = _chosen(places, wanted, ", ".join(map(str, paths)))
    out = allocate(len(chosen), width, storage)
    begin = 0
    for path, keys, values in files:
        inside = np.flatnonzero((chosen >= begin) & (chosen < begin + len(keys)))
        for block in _blocks(inside):
            rows = chosen[block] - begin
            with np.errstate(over="ignore"):  # too large for the storage: refused as not finite
                out[block] = values[rows]
            _check_finite(path, keys, out[block], rows)
        begin += len(keys)
    return Descriptors(out, places_of(wanted))


def _open(path: Path) -> tuple[Keys, Values]:
    try:
        found = np.load(path, mmap_mode="r")
        kind = ".npz" if isinstance(found, np.lib.npyio.NpzFile) else ".npy"
        if path.suffix != kind:
            raise DataError(
                path, "the file must be what its name says", kind, f"Name it {path.with_suffix(kind).name}."
            )
        if kind == ".npz":
            with found:
                keys, values = found["keys"], found["descriptors"]
        else:
            keys, values = _read_keys(path.with_suffix(".txt")), found
        if keys.dtype.kind == "S":
            keys = np.char.decode(keys, "utf-8")
    except KeyError as error:
        fault = "a .npz of descriptors must hold `keys` and `descriptors`"
        raise DataError(path, fault, str(error.args[0]), "Save both: np.savez(file, keys=…, descriptors=…).") from None
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        remedy = "Save it with numpy, without pickled objects."
        raise DataError(path, "numpy cannot read the file", str(error).splitlines()[0], remedy) from None
    if values.ndim != 2 or values.dtype not in (np.float16, np.float32, np.float64) or values.shape[1] == 0:
        found = f"{values.dtype} {values.shape}"
        raise DataError(path, "descriptors must be an array (N, D) of floats", found, "Save float32 or float16.")
    if keys.shape != (len(values),):
        raise DataError(
            path, f"there must be a key for each of the {len(values)} descriptors", keys.shape, "Save both anew."
        )
    return keys.astype(str), values


def _read_keys(path: Path) -> Keys:
    if not path.exists():
        raise DataError(
            path, "a .npy must have its keys beside it, one a line", None, "Write them in the order of the rows."
        )
    try:
        return np.array(path.read_text(encoding="utf-8-sig").split())
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        fault, found = "a list of keys must be UTF-8 text", error.object[error.start : error.start + 1]
        raise DataError(f"{path}:{line}", fault, found, "Save it as UTF-8.") from None


def _all_places(files: Sequence[tuple[Path, Keys]]) -> dict[str, int]:
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


def _check_finite(path: Path, keys: Keys, values: Values, rows: Rows) -> None:
    good = np.isfinite(values).all(axis=1)
    if not good.all():
        row = int(rows[np.argmin(good)])
        where, fault = f"{path}: row {row} ({keys[row]})", f"descriptors must be finite numbers of {values.dtype}"
        raise DataError(where, fault, None, "Compute it again.")

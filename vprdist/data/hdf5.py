"""Reads one data set of a label file in a process of its own, for `official`: `python -m vprdist.data.hdf5`.

libhdf5 was not made for files of strangers: 9 kB of damaged ones end the process that reads them. So nobody else reads
any. The order comes as JSON on standard input; the answers are lines of JSON on standard output. A line with `rows`
tells of some rows and `nnz` values above 0; behind it stand, as bytes, how many of these each row has (int64), their
columns (int32), and the values (float32). `error` tells of a file that is refused, and `end` comes last.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from vprdist.errors import DataError, first_line

if TYPE_CHECKING:
    import h5py

MEMORY_BYTES = 3 * 2**30
"""What the process may map: libraries take 0.5 GB, a block and what is made of it as much."""
CHUNK_BYTES = 2**30
"""libhdf5 unpacks whole chunks."""
REMEDY = "Fetch the file again, or set trial.data.labels: computed."


class Order(NamedTuple):
    """What is to be read: (N, M) of a file's data set, some bytes at a time."""

    path: str
    name: str
    shape: tuple[int, int]
    block_bytes: int


def main() -> int:
    path, name, shape, block_bytes = json.load(sys.stdin)
    order = Order(path, name, tuple(shape), block_bytes)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)  # whatever a library prints is no answer
        try:
            for block in read_blocks(order):
                _send(out, block)
            _say(out, {"end": True})
        except DataError as error:
            _say(out, {"error": error.to_json()})
    return 0


def read_blocks(order: Order) -> Iterator[npt.NDArray[np.float32]]:
    """Dense rows in order, some at a time.

    Raises:
        DataError: the file is unreadable, lacks the data set or has its values elsewhere, is of another shape, or holds
            a value outside [0, 1].
    """
    import h5py

    path = Path(order.path)
    try:
        with h5py.File(path, "r") as file:
            labels = _dataset(file, path, order.name, order.shape)
            count = _block_rows(labels, order.block_bytes)
            for begin in range(0, order.shape[0], count):
                with np.errstate(over="ignore"):  # infinite: refused as outside
                    block = labels[begin : begin + count].astype(np.float32)
                _check_values(block, f"{path}: {order.name}", begin)
                yield block
    except DataError:
        raise
    except Exception as error:  # h5py has many words for a broken file
        reason = first_line(error)
        raise DataError(path, "a label file must be an HDF5 file that can be read", reason, REMEDY) from None


def _send(out: IO[bytes], block: npt.NDArray[np.float32]) -> None:
    rows, columns = np.nonzero(block)
    _say(out, {"rows": len(block), "nnz": len(columns)})
    out.write(np.bincount(rows, minlength=len(block)).astype(np.int64).tobytes())
    out.write(columns.astype(np.int32).tobytes())
    out.write(block[rows, columns].tobytes())
    out.flush()


def _say(out: IO[bytes], told: dict[str, object]) -> None:
    out.write(json.dumps(told).encode() + b"\n")
    out.flush()


def _dataset(file: h5py.File, path: Path, name: str, shape: tuple[int, int]) -> h5py.Dataset:
    import h5py

    found = file.get(name)
    if found is None and isinstance(file.get(name, getlink=True), h5py.ExternalLink | h5py.SoftLink):
        raise _elsewhere(path, name, "a link that leads nowhere")
    if not isinstance(found, h5py.Dataset):
        raise DataError(path, f"a label file must have the dataset {name!r}", ", ".join(file) or "nothing", REMEDY)
    if found.shape != shape:
        fault = (
            f"{name!r} must have one row a query and one column a database image of the CSVs, {shape[0]} x {shape[1]}"
        )
        raise DataError(path, fault, " x ".join(map(str, found.shape or ())) or "no shape", REMEDY)
    if (place := _place_elsewhere(found, file)) is not None:
        raise _elsewhere(path, name, place)
    if found.dtype.kind not in "fiub":
        raise DataError(path, f"{name!r} must hold numbers", str(found.dtype), REMEDY)
    if (size := int(np.prod(found.chunks or (0,), dtype=object)) * found.dtype.itemsize) > CHUNK_BYTES:
        raise DataError(path, f"a chunk of {name!r} must have {CHUNK_BYTES} bytes at most", size, REMEDY)
    return found


def _place_elsewhere(labels: h5py.Dataset, file: h5py.File) -> str | None:
    """Where the values lie, if that is not in the file itself; None where they do."""
    if labels.file.filename != file.filename:  # whatever the way: links of links, or of a group above
        return f"an external link to {labels.file.filename}"
    if labels.is_virtual:
        sources = sorted({source.file_name for source in labels.virtual_sources()})
        return f"a virtual data set of {', '.join(sources)}"
    return f"external storage in {labels.external[0][0]}" if labels.external else None


def _elsewhere(path: Path, name: str, place: str) -> DataError:
    """The trial's digest is that of this file: what lies in others could change without anybody's knowing."""
    remedy = f"Copy the values into one file, in h5py: new[{name!r}] = old[{name!r}][()]; or use `labels: computed`."
    return DataError(path, f"a label file must hold {name!r} itself", place, remedy)


def _block_rows(labels: h5py.Dataset, block_bytes: int) -> int:
    """Rows at once: within the budget, and whole chunks of the file where they fit, so that each is unpacked once."""
    rows = max(1, block_bytes // (int(labels.shape[1]) * int(labels.dtype.itemsize)))
    chunk = int(labels.chunks[0]) if labels.chunks else 1
    return rows - rows % chunk if rows > chunk else rows


def _check_values(block: npt.NDArray[np.float32], where: str, begin: int) -> None:
    if block.min() >= 0 and block.max() <= 1:  # NaN fails both
        return
    row, column = (int(i[0]) for i in np.nonzero(~((block >= 0) & (block <= 1))))
    raise DataError(
        f"{where}[{begin + row}, {column}]", "a similarity must lie in [0, 1]", float(block[row, column]), REMEDY
    )


if __name__ == "__main__":
    sys.exit(main())

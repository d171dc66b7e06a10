"""The official label files of GCL: `train_val/<city>_gt.h5`, query x database in the row order of the CSVs.

Their dataset `fov` holds the graded similarity, which is what GCL draws pairs by and trains with; it was made for
fields of view of 50 m and 90 degrees. As in the reference, values are float32 before they are compared with anything.
Their dataset `sim` holds the binary labels of the contrastive loss that GCL is compared with, for which it is read.
A file is a dense matrix, gigabytes for a large city: it is read some rows at a time and kept sparse.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from vprdist.data.places import City
from vprdist.errors import DataError, first_line

if TYPE_CHECKING:
    import h5py

FOV, SIM = DATASETS = ("fov", "sim")
"""The graded similarity, and the binary labels of the contrastive loss, as in the reference."""
BLOCK_BYTES = 2**27
NUM_SAMPLES, SAMPLE_BYTES = 256, 2**16
REMEDY = "Fetch the file again, or set trial.data.labels: computed."


@lru_cache(maxsize=256)
def official_digest(path: Path) -> str:
    """16 hex digits over a label file's size and 256 samples of 64 KiB spread evenly over it (16 MiB in all).

    The header with the shapes is in the first sample, and a smaller file is read whole. Labels made in another way
    differ in a quarter of a percent of a file as surely as in all of it; a single value changed by hand may be missed.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            digest = hashlib.sha256(f"{size}\0".encode())
            if size <= NUM_SAMPLES * SAMPLE_BYTES:
                digest.update(stream.read())
            else:
                for sample in range(NUM_SAMPLES):
                    stream.seek(sample * (size - SAMPLE_BYTES) // (NUM_SAMPLES - 1))
                    digest.update(stream.read(SAMPLE_BYTES))
    except OSError as error:
        raise DataError(path, "the label file cannot be read", error.strerror, REMEDY) from None
    return digest.hexdigest()[:16]


def official_blocks(city: City, name: str = FOV) -> Iterator[csr_matrix]:
    """The labels of a city, from its label file: float32 rows in order, some queries at a time, maybe none of them.

    Args:
        name: the file's dataset.

    Raises:
        DataError: the file is unreadable, lacks the dataset or has its values elsewhere, does not fit the city's CSVs,
            or holds a value outside [0, 1].
    """
    import h5py

    path = city.label_file
    assert path is not None, "its labels are official"
    try:
        with h5py.File(path, "r") as file:
            labels = _dataset(file, path, name, (city.query.num_whole, city.database.num_whole))
            count = _block_rows(labels)
            for begin in range(0, city.query.num_whole, count):
                block = labels[begin : begin + count].astype(np.float32)
                _check_values(block, f"{path}: {name}", begin)
                yield csr_matrix(_kept(block, begin, city))
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:  # h5py has many words for a broken file
        reason = first_line(error)
        raise DataError(path, "a label file must be an HDF5 file that can be read", reason, REMEDY) from None


def _kept(block: npt.NDArray[np.float32], begin: int, city: City) -> npt.NDArray[np.float32]:
    """Those of the file's rows from `begin` on that take part, and of its columns: the file knows all pictures."""
    queries, images = city.query.rows, city.database.rows
    if queries is not None:
        block = block[queries[(queries >= begin) & (queries < begin + len(block))] - begin]
    return block if images is None else block[:, images]


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
        raise DataError(path, fault, " x ".join(map(str, found.shape)), REMEDY)
    if (place := _place_elsewhere(found, file)) is not None:
        raise _elsewhere(path, name, place)
    if found.dtype.kind not in "fiub":
        raise DataError(path, f"{name!r} must hold numbers", str(found.dtype), REMEDY)
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


def _block_rows(labels: h5py.Dataset) -> int:
    """Rows at once: within the budget, and whole chunks of the file where they fit, so that each is unpacked once."""
    rows = max(1, BLOCK_BYTES // (int(labels.shape[1]) * int(labels.dtype.itemsize)))
    chunk = int(labels.chunks[0]) if labels.chunks else 1
    return rows - rows % chunk if rows > chunk else rows


def _check_values(block: npt.NDArray[np.float32], where: str, begin: int) -> None:
    if block.min() >= 0 and block.max() <= 1:  # NaN fails both
        return
    row, column = (int(i[0]) for i in np.nonzero(~((block >= 0) & (block <= 1))))
    raise DataError(
        f"{where}[{begin + row}, {column}]", "a similarity must lie in [0, 1]", float(block[row, column]), REMEDY
    )

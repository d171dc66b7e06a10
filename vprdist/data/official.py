"""The official label files of GCL: `train_val/<city>_gt.h5`, query x database in the row order of the CSVs.

Their dataset `fov` holds the graded similarity, which is what GCL draws pairs by and trains with; it was made for
fields of view of 50 m and 90 degrees. As in the reference, values are float32 before they are compared with anything.
Their dataset `sim` holds the binary labels of the contrastive loss that GCL is compared with, for which it is read.
A file is a dense matrix, gigabytes for a large city: it is read some rows at a time and kept sparse.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vprdist.data.hdf5 import REMEDY, Order
from vprdist.data.places import City
from vprdist.errors import DataError
from vprdist.files import open_file

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

FOV, SIM = DATASETS = ("fov", "sim")
"""The graded similarity, and the binary labels of the contrastive loss, as in the reference."""
BLOCK_BYTES = 2**27
NUM_SAMPLES, SAMPLE_BYTES = 256, 2**16
PATIENCE_S = 600
"""So long may a block take: 128 MiB of a slow disk."""


@lru_cache(maxsize=256)
def official_digest(path: Path) -> str:
    """16 hex digits over a label file's size and 256 samples of 64 KiB spread evenly over it (16 MiB in all).

    The header with the shapes is in the first sample, and a smaller file is read whole. Labels made in another way
    differ in a quarter of a percent of a file as surely as in all of it; a single value changed by hand may be missed.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        with open_file(path) as stream:
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

    The file is read by a process of its own (`hdf5`), which it cannot take along when it ends libhdf5.

    Args:
        name: the file's dataset.

    Raises:
        DataError: the file is unreadable, lacks the dataset or has its values elsewhere, does not fit the city's CSVs,
            or holds a value outside [0, 1]; it ends the process that reads it, or keeps it from answering.
    """
    path, width = city.label_file, city.database.num_whole
    assert path is not None, "its labels are official"
    try:
        open_file(path).close()
    except OSError as error:
        raise DataError(path, "the label file cannot be read", error.strerror, REMEDY) from None
    from scipy.sparse import csr_matrix

    begin = 0
    with _Reader(path, Order(str(path), name, (city.query.num_whole, width), BLOCK_BYTES)) as reader:
        while (said := reader.line()) != {"end": True}:
            if "error" in said:
                raise DataError.from_json(said["error"])
            rows, nnz = int(said["rows"]), int(said["nnz"])
            ends = np.cumsum(np.frombuffer(reader.read(8 * rows), np.int64))
            columns = np.frombuffer(reader.read(4 * nnz), np.int32)
            values = np.frombuffer(reader.read(4 * nnz), np.float32)
            starts = np.concatenate([[0], ends]).astype(np.int32)
            block = csr_matrix((values, columns, starts), shape=(rows, width))
            yield _kept(block, begin, city)
            begin += rows


class _Reader:
    """The process that reads a label file, and what it says; it ends with the block.

    Raises:
        DataError: the process died, or says nothing for too long.
    """

    def __init__(self, path: Path, order: Order) -> None:
        self._path = path
        package = str(Path(__file__).parents[2])
        more = {"PYTHONPATH": os.pathsep.join([package, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)}
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "vprdist.data.hdf5"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
            env=os.environ | more | {"OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError), self._process.stdin as stdin:
            stdin.write(json.dumps(order).encode())
        self._answers, self._held = self._process.stdout, bytearray()

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._answers.close()
        self._errors.close()

    def line(self) -> dict[str, Any]:
        """The next of its lines."""
        while (end := self._held.find(b"\n")) < 0:
            self._more()
        found: dict[str, Any] = json.loads(self._take(end + 1))
        return found

    def read(self, count: int) -> bytes:
        """The next bytes."""
        while len(self._held) < count:
            self._more()
        return self._take(count)

    def _take(self, count: int) -> bytes:
        taken = bytes(self._held[:count])
        del self._held[:count]
        return taken

    def _more(self) -> None:
        ready, _, _ = select.select([self._answers], [], [], PATIENCE_S)
        if not ready:
            fault = f"no row of the label file was read for {PATIENCE_S} s"
            raise DataError(self._path, fault, None, "Does its disk answer? If it does: " + REMEDY)
        if not (found := os.read(self._answers.fileno(), 2**20)):
            raise self._died()
        self._held += found

    def _died(self) -> DataError:
        code = self._process.wait()
        self._errors.seek(0)
        last = self._errors.read()[-2000:].decode(errors="replace").strip().splitlines()[-1:]
        ended = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        fault = f"the process that reads the label file died with {ended}"
        return DataError(self._path, fault, last[0][:200] if last else None, REMEDY)


def _kept(block: csr_matrix, begin: int, city: City) -> csr_matrix:
    """Those of the file's rows from `begin` on that take part, and of its columns: the file knows all pictures."""
    queries, images = city.query.rows, city.database.rows
    if queries is not None:
        block = block[queries[(queries >= begin) & (queries < begin + block.shape[0])] - begin]
    return block if images is None else block[:, images]

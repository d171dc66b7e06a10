"""Rows of float32 as Arrow files, published whole and mapped: any Arrow reader gives the same table.

A file is an Arrow IPC file of one batch with the columns `of` (utf8, what a row is of), `place` (int64, which of them)
and `values` (fixed_size_list<float>[M]), without nulls: all rows of the first `of`, then those of the next, each with
the same places in order. What the rows are stands in the schema's metadata.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vprdist.files import NotAFile, publish

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Rows:
    """What a file holds.

    Attributes:
        facts: of its metadata.
        names: the K values of `of`.
        first: the first of N places, which follow each other.
        values_KNM: float32; read from the file's pages as they are used, and not to be written to.
    """

    facts: Mapping[str, str]
    names: tuple[str, ...]
    first: int
    values_KNM: Floats


def write_rows(path: Path, names: Sequence[str], first: int, values_KNM: Floats, facts: Mapping[str, str]) -> None:
    """Publish rows; see `Rows`."""
    import pyarrow as pa

    num_names, count, width = values_KNM.shape
    flat = pa.array(np.ascontiguousarray(values_KNM, np.float32).reshape(-1))
    columns = {
        "of": pa.array(np.repeat(np.array(names, dtype=object), count), pa.utf8()),
        "place": pa.array(np.tile(np.arange(first, first + count), num_names), pa.int64()),
        "values": pa.FixedSizeListArray.from_arrays(flat, width),
    }
    batch = pa.record_batch(columns).replace_schema_metadata(dict(facts))
    with publish(path) as stream, pa.ipc.new_file(stream, batch.schema) as file:
        file.write_batch(batch)


def map_rows(path: Path) -> Rows:
    """The rows of a file.

    Raises:
        OSError: it is missing, or no file.
        ValueError: it is no such file.
    """
    import pyarrow as pa

    if path.exists() and not path.is_file():
        raise NotAFile(f"no file: {path}")
    pages = pa.memory_map(str(path))
    try:
        reader = pa.ipc.open_file(pages)
        if reader.num_record_batches != 1:
            raise ValueError(f"{reader.num_record_batches} batches instead of one")
        batch = reader.get_batch(0)
        batch.validate()
        of, place, values = (batch.column(name) for name in ("of", "place", "values"))
        if not pa.types.is_fixed_size_list(values.type) or values.type.value_type != pa.float32():
            raise ValueError(f"values of type {values.type}")
        names = tuple(dict.fromkeys(of.to_pylist()))
        count = len(batch) // max(1, len(names))
        places = place.to_numpy()
        first = int(places[0]) if count else 0
        flat = values.flatten()
        whole = len(flat) == len(batch) * values.type.list_size and not flat.null_count
        if not whole or of.to_pylist() != [name for name in names for _ in range(count)]:
            raise ValueError("rows are missing")
        if not np.array_equal(places, np.tile(np.arange(first, first + count), len(names))):
            raise ValueError("places do not follow each other")
        rows = flat.to_numpy(zero_copy_only=True).reshape(len(names), count, values.type.list_size)
    except (pa.ArrowException, KeyError, TypeError) as error:
        raise ValueError(str(error).split("\n")[0]) from None
    facts = {key.decode(): value.decode() for key, value in (reader.schema.metadata or {}).items()}
    return Rows(facts, names, first, rows)

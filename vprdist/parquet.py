"""Small tables as Parquet: published whole, and read without filling the memory, whoever wrote them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vprdist.files import open_file, publish

MOST_BYTES, GROWS = 64 * 2**20, 200
"""Bytes that a small table may become, and how many times its own bytes a large one may."""
MOST_VALUES, VALUES_A_BYTE = 4_000_000, 64


def write_parquet(path: Path, rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> None:
    """Publish rows as a Parquet table with the given columns in order (absent values are null)."""
    write_columns(path, {name: [row.get(name) for row in rows] for name in columns})


def write_columns(path: Path, columns: Mapping[str, Sequence[object]]) -> None:
    """Publish columns of one length as a Parquet table."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    with publish(path) as stream:
        parquet.write_table(pa.table(dict(columns)), stream, compression="zstd")


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> dict[str, list[Any]]:
    """The columns of a Parquet table as plain values; all of them, or those named, in that order.

    Raises:
        KeyError: a column that is not there.
        OSError: no such file.
        ValueError: no Parquet table, or a small file that would fill the memory.
    """
    import pyarrow.parquet as parquet

    with open_file(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        with parquet.ParquetFile(stream) as file:  # the footer alone says which columns there are
            known = file.schema_arrow.names
            for name in columns or ():
                if name not in known:
                    raise KeyError(name)
            _check_counts(file, columns, size)
            leaves = _texts_of(file.metadata)
        # Texts stay numbers of a dictionary until it is known how long they are, each time that they stand there.
        with parquet.ParquetFile(stream, read_dictionary=leaves) as file:
            table = _by_groups(file, list(columns) if columns is not None else None)
        bytes_of = {name: _bytes_of(table.column(name)) for name in columns or known}
        if sum(bytes_of.values()) > MOST_BYTES + GROWS * size:
            raise ValueError(f"{size:,} bytes that would become {sum(bytes_of.values()):,}")
    return {name: _plain(table.column(name)).to_pylist() for name in columns or known}


def _by_groups(file: Any, columns: Sequence[str] | None) -> Any:
    """What `file.read` gives: Arrow cannot put lists together whose texts are numbers of several dictionaries."""
    import pyarrow as pa

    groups = [file.read_row_group(place, columns=columns) for place in range(file.num_row_groups)]
    return pa.concat_tables(groups) if groups else file.read(columns=columns)


def _plain(column: Any) -> Any:
    """Numbers of a dictionary, in lists too, as what they stand for: Arrow makes Python's values of that faster."""
    plain = _plain_type(column.type)
    return column if plain == column.type else column.cast(plain)


def _plain_type(kind: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_list(kind):
        return pa.list_(_plain_type(kind.value_type))
    if not pa.types.is_dictionary(kind):
        return kind
    large = {pa.string(): pa.large_string(), pa.binary(): pa.large_binary()}  # where gigabytes fit
    return large.get(kind.value_type, kind.value_type)


def _texts_of(metadata: Any) -> list[str]:
    """The paths of columns of texts and bytes, those in lists too."""
    schema = [metadata.schema.column(index) for index in range(metadata.num_columns)]
    return [column.path for column in schema if column.physical_type == "BYTE_ARRAY"]


def _check_counts(file: Any, columns: Sequence[str] | None, size: int) -> None:
    """A table repeats itself, but each row is of another thing: its bytes bound how many values it has."""
    metadata = file.metadata
    most_values, most_bytes = MOST_VALUES + VALUES_A_BYTE * size, MOST_BYTES + GROWS * size
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    if metadata.num_rows > most_values or sum(group.total_byte_size for group in groups) > most_bytes:
        raise ValueError(f"{size:,} bytes that would become {metadata.num_rows:,} rows")
    wanted = None if columns is None else list(columns)
    for place, group in enumerate(groups):
        # Arrow ends the process where it is asked about a damaged column; where it is to read one, it says so.
        next(file.iter_batches(batch_size=1, row_groups=[place], columns=wanted), None)
        known = (group.column(index) for index in _leaves_of(metadata, wanted))
        if max((column.num_values for column in known), default=0) > most_values:
            raise ValueError(f"{size:,} bytes that would become too many values")


def _leaves_of(metadata: Any, columns: Sequence[str] | None) -> list[int]:
    """The places of what a file stores for some columns; a list stores its elements."""
    paths = [metadata.schema.column(index).path.split(".")[0] for index in range(metadata.num_columns)]
    return [index for index, path in enumerate(paths) if columns is None or path in columns]


def _bytes_of(column: Any) -> int:
    """What the plain values of a column take, about."""
    import pyarrow as pa
    import pyarrow.compute as compute

    total = 0
    for chunk in column.chunks:
        while pa.types.is_list(chunk.type) or pa.types.is_large_list(chunk.type):
            total += 8 * len(chunk)
            chunk = chunk.flatten()
        if not pa.types.is_dictionary(chunk.type):
            total += int(chunk.nbytes)
            continue
        longest = compute.max(compute.binary_length(chunk.dictionary)).as_py() or 0
        total += 8 * len(chunk)
        if longest * len(chunk) > MOST_BYTES:  # only then each is counted
            lengths = compute.binary_length(chunk.dictionary).cast(pa.int64())
            total += compute.sum(lengths.take(chunk.indices)).as_py() or 0
        else:
            total += longest * len(chunk)
    return total

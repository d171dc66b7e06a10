"""Columns of millions of texts, held and asked by Arrow: none becomes an object of Python, which takes ten times the
memory. A question that Arrow answers otherwise than Python would is answered with None: whoever asks looks for himself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vprdist.files import open_file

BLOCK = 2**17
"""Texts that are looked at together."""
LINE_BYTES = 2**16


def _array_of(block: Sequence[str]) -> Any:
    """A list's texts, as `pa.array` makes them: which imports pandas for it where that is installed, half a second."""
    import pyarrow as pa

    texts = [text.encode("utf-8") for text in block]
    ends = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(text) for text in texts], out=ends[1:])
    return pa.LargeStringArray.from_buffers(len(texts), pa.py_buffer(ends), pa.py_buffer(b"".join(texts)))


def _nowhere() -> Any:
    """-1 as Arrow has it, made without pandas too."""
    import pyarrow as pa

    return pa.Array.from_buffers(pa.int32(), 1, [None, pa.py_buffer(np.int32(-1).tobytes())])[0]


class Texts:
    """A column of texts in UTF-8.

    Raises:
        UnicodeEncodeError: a text is none: the system's name of a file in another encoding.
    """

    def __init__(self, column: Any) -> None:
        self._column = column

    @classmethod
    def of(cls, blocks: Iterable[Sequence[str]]) -> Texts:
        """The texts of some lists, one after the other; a list may be forgotten as soon as it is given."""
        import pyarrow as pa

        return cls(pa.chunked_array([_array_of(block) for block in blocks], pa.large_string()))

    @classmethod
    def of_array(cls, words: npt.NDArray[np.str_]) -> Texts:
        """Those of an array of numpy's."""
        parts = (words[start : start + BLOCK].tolist() for start in range(0, len(words), BLOCK))
        return cls.of(parts)

    @classmethod
    def joint(cls, columns: Sequence[Texts]) -> Texts:
        """The texts of some columns, one after the other."""
        import pyarrow as pa

        chunks = [chunk for each in columns for chunk in each._chunks()]
        return cls(pa.chunked_array(chunks, pa.large_string()))

    def _chunks(self) -> list[Any]:
        import pyarrow as pa

        return self._column.chunks if isinstance(self._column, pa.ChunkedArray) else [self._column]

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, row: int) -> str:
        return str(self._column[row].as_py())

    def blocks(self) -> Iterator[tuple[int, Texts]]:
        """Parts that follow each other, each with the row of its first text."""
        for start in range(0, len(self), BLOCK):
            yield start, Texts(self._column.slice(start, BLOCK))

    def take(self, rows: npt.NDArray[np.int64]) -> Texts:
        """Those of these rows."""
        return Texts(self._column.take(rows))

    def array(self) -> npt.NDArray[np.str_]:
        """(N,) as numpy has them: four bytes a character of the longest."""
        out = np.empty(len(self), f"<U{max(1, self._longest())}")
        for start, block in self.blocks():
            out[start : start + len(block)] = block._column.to_numpy(zero_copy_only=False)
        return out

    def _longest(self) -> int:
        import pyarrow.compute as compute

        return compute.max(compute.utf8_length(self._column)).as_py() or 0

    def split(self, mark: str, count: int) -> tuple[npt.NDArray[np.int64], list[Texts]]:
        """In how many parts a mark divides each text, and the first `count` of the parts, "" where there are fewer."""
        import pyarrow.compute as compute

        lists = compute.split_pattern(self._column, mark)
        lengths = compute.list_value_length(lists).to_numpy().astype(np.int64)
        if len(lengths) and lengths.min() < count:  # Arrow has no element where the list has none
            lists = compute.list_slice(lists, 0, count, return_fixed_size_list=True)
        parts = (compute.list_element(lists, place) for place in range(count))
        return lengths, [Texts(compute.fill_null(part, "")) for part in parts]

    def is_empty(self) -> npt.NDArray[np.bool_]:
        """(N,) whether nothing stands there."""
        return self.equal("")

    def equal(self, word: str) -> npt.NDArray[np.bool_]:
        """(N,) whether each is the word."""
        import pyarrow.compute as compute

        return np.asarray(compute.equal(self._column, word).to_numpy(), bool)

    def where(self, there: npt.NDArray[np.bool_]) -> Texts:
        """Those that are there, and "" in the place of the others."""
        import pyarrow as pa
        import pyarrow.compute as compute

        return Texts(compute.if_else(pa.array(there), self._column, pa.scalar("", pa.large_string())))

    def joined(self, other: Texts) -> Texts:
        """Each with the other column's text behind it."""
        import pyarrow as pa
        import pyarrow.compute as compute

        nothing = pa.scalar("", pa.large_string())
        return Texts(compute.binary_join_element_wise(self._column, other._column, nothing))

    def matches(self, pattern: str) -> npt.NDArray[np.bool_]:
        """(N,) whether a regular expression (RE2) is found in each."""
        import pyarrow.compute as compute

        return np.asarray(compute.match_substring_regex(self._column, pattern).to_numpy(), bool)

    def replaced(self, pattern: str, word: str) -> Texts:
        """With a word in the place of all that a regular expression (RE2) finds."""
        import pyarrow.compute as compute

        return Texts(compute.replace_substring_regex(self._column, pattern, word))

    def different(self) -> list[str]:
        """Each text once, in order."""
        import pyarrow.compute as compute

        return sorted(compute.unique(self._column).to_pylist())

    def num_different(self) -> int:
        """How many different ones there are."""
        import pyarrow.compute as compute

        return int(compute.count_distinct(self._column).as_py())

    def places_in(self, others: Texts) -> npt.NDArray[np.int64]:
        """(N,) where each stands among others that are all different; -1 where it does not."""
        import pyarrow.compute as compute

        found = compute.index_in(self._column, others._column)
        places = Texts(compute.if_else(found.is_valid(), found, _nowhere()))
        parts = [np.from_dlpack(chunk) for chunk in places._chunks()]  # `to_numpy` would import pandas
        return np.concatenate([np.empty(0, np.int64), *parts])

    def coded(self) -> tuple[npt.NDArray[np.int64], list[str]]:
        """(N,) the place of each among the different ones, and those."""
        import pyarrow.compute as compute

        words = compute.unique(self._column)
        found = compute.index_in(self._column, words)
        return np.asarray(found.to_numpy(), np.int64), words.to_pylist()

    def differs(self, other: Texts) -> npt.NDArray[np.bool_]:
        """(N,) whether the other column's text is another."""
        import pyarrow.compute as compute

        return np.asarray(compute.not_equal(self._column, other._column).to_numpy(), bool)

    def same_as(self, other: Texts) -> bool:
        """Whether another column has the same texts in the same order."""
        return bool(self._column.equals(other._column))

    def numbers(self) -> npt.NDArray[np.float64] | None:
        """(N,) each as a number, NaN where nothing stands or nan; None: Arrow cannot read one of them."""
        import pyarrow as pa
        import pyarrow.compute as compute

        filled = compute.if_else(compute.equal(self._column, ""), "nan", self._column)
        try:
            return np.asarray(compute.cast(filled, pa.float64()).to_numpy(), np.float64)
        except pa.ArrowInvalid:
            return None

    def whole_numbers(self) -> npt.NDArray[np.int64] | None:
        """(N,) each as a whole number; None: one is none, or is written otherwise than Python writes it."""
        import pyarrow as pa
        import pyarrow.compute as compute

        try:
            found = compute.cast(self._column, pa.int64())
        except pa.ArrowInvalid:
            return None
        same = compute.cast(found, pa.large_string()).equals(self._column)  # Arrow reads 0x1F, and 007
        return np.asarray(found.to_numpy(), np.int64) if same else None

    def bytes_of(self) -> Iterator[memoryview | bytes]:
        """What a digest is made of: the texts' lengths and bytes, equal for equal columns."""
        import pyarrow as pa

        for _, block in self.blocks():
            whole = pa.concat_arrays(block._chunks())
            ends = np.frombuffer(whole.buffers()[1], np.int64)[whole.offset : whole.offset + len(whole) + 1]
            yield np.diff(ends).tobytes()
            if ends[-1] > ends[0]:
                yield memoryview(whole.buffers()[2])[ends[0] : ends[-1]]


def ordered(first: npt.NDArray[np.int64], texts: Texts) -> npt.NDArray[np.int64]:
    """The rows in the order of a number, then of a text's bytes."""
    import pyarrow as pa
    import pyarrow.compute as compute

    table = pa.table({"first": first, "texts": texts._column})
    rows = compute.sort_indices(table, [("first", "ascending"), ("texts", "ascending")])
    return np.asarray(rows.to_numpy(), np.int64)


def read_plain_csv(path: Path, columns: Sequence[str]) -> dict[str, Texts] | None:
    """Columns of a CSV, by name, that has neither quotes nor anything else that readers of CSV differ about.

    Returns:
        None: it has, or has not all the columns, or rows of different lengths: a reader that says why has to look.

    Raises:
        OSError: it cannot be read.
    """
    import pyarrow as pa
    import pyarrow.csv as csv

    with open_file(path) as stream:
        data = stream.read()
    if not _is_plain(data):
        return None
    reading = csv.ReadOptions(block_size=2**24)
    parsing = csv.ParseOptions(quote_char=False, double_quote=False, escape_char=False, newlines_in_values=False)
    names = data[: data.index(b"\n")].decode("utf-8", "replace").split(",")
    if any(names.count(name) != 1 for name in columns):
        return None
    converting = csv.ConvertOptions(
        include_columns=list(columns), column_types=dict.fromkeys(columns, pa.large_string()), strings_can_be_null=False
    )
    try:
        table = csv.read_csv(pa.BufferReader(data), reading, parsing, converting)
    except (pa.ArrowException, UnicodeDecodeError):
        return None
    return {name: Texts(table.column(name)) for name in columns} if len(table) else None


def _is_plain(data: bytes) -> bool:
    """Whether it is lines of text that end as on Unix, none of them long, without quotes or a mark at the beginning."""
    if any(mark in data for mark in (b'"', b"\r", b"\0")) or data.startswith(b"\xef\xbb\xbf") or b"\n" not in data:
        return False
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))
    lengths = np.diff(ends, prepend=-1, append=len(data))
    return bool(lengths.max() < LINE_BYTES)

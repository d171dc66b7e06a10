"""A data set without some of its pictures: broken ones, and those that were withdrawn."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

from vprdist.data.layouts.base import Layout
from vprdist.data.places import City, Ints, Side
from vprdist.errors import DataError
from vprdist.files import at_home, digest_json, read_bytes
from vprdist.text_columns import BLOCK

LIST_BYTES = 2**26


class LessLayout(Layout):
    """Another layout without some pictures: whoever reads it sees a data set that never had them.

    Args:
        whole: the other layout.
        left_out: names of pictures: `key`, `city/key` or `city/side/key`. Names of no picture mean nothing.
    """

    def __init__(self, whole: Layout, left_out: Collection[str]) -> None:
        super().__init__(whole.root)
        self.whole, self.left_out = whole, frozenset(left_out)

    def names(self) -> list[str]:
        return self.whole.names()

    def read(self, city: str) -> City:
        found = self.whole.read(city)
        return found.take(*(self._kept(side) for side in found.sides))

    def digest(self, city: str) -> str:
        """That of the whole city where it keeps all its pictures, so that names of other cities change nothing."""
        whole, gone = self.whole.digest(city), list(names_in(self.whole.read(city), self.left_out))
        return digest_json([whole, sorted(gone)]) if gone else whole

    def whole_digest(self, city: str) -> str:
        return self.whole.whole_digest(city)

    def check(self, city: City, *, whole: bool = False) -> None:
        self.whole.check(city, whole=whole)

    @property
    def folders(self) -> list[Path]:
        return self.whole.folders

    def label_file(self, city: str) -> Path | None:
        return self.whole.label_file(city)

    def _kept(self, side: Side) -> Ints | None:
        """The rows that stay; None: all of them."""
        gone = gone_rows(side, self.left_out)
        if not gone:
            return None
        if len(gone) == len(side):
            fault = f"every picture of {side.city}/{side.side} is left out, and a side needs one"
            raise DataError(side.folder, fault, None, "Choose another city, or leave out fewer (trial.data.leave_out).")
        return np.delete(np.arange(len(side)), gone)


def gone_rows(side: Side, left_out: Collection[str]) -> list[int]:
    """The rows of a whole side whose pictures are among these names."""
    keys = {name.removeprefix(f"{side.city}/").removeprefix(f"{side.side}/") for name in left_out}
    near = keys.union(left_out)  # each picture that is meant is called by one of these, and few others are
    blocks = ((start, side.keys[start : start + BLOCK].tolist()) for start in range(0, len(side) if near else 0, BLOCK))
    names = ((start + row, key) for start, block in blocks for row, key in enumerate(block) if key in near)
    ours = f"{side.city}/", f"{side.city}/{side.side}/"
    return [row for row, key in names if key in left_out or any(f"{each}{key}" in left_out for each in ours)]


def names_in(city: City, left_out: Collection[str]) -> Iterator[str]:
    """`city/side/key` of each picture of a whole city that is among these names."""
    for side in city.sides:
        yield from (name_of(side, row) for row in gone_rows(side, left_out))


def name_of(side: Side, row: int) -> str:
    """`city/side/key`, which names one picture of a data set."""
    return f"{side.city}/{side.side}/{side.keys[row]}"


def read_names(given: str | Collection[str]) -> tuple[str, ...]:
    """The names themselves, or those of a file: one a line, `#` begins a comment.

    Raises:
        DataError: a file that cannot be read.
    """
    if not isinstance(given, str):
        return tuple(given)
    try:
        lines = read_bytes(at_home(given), LIST_BYTES).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        fault = "the list of pictures to leave out cannot be read"
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DataError(given, fault, reason, "A text names a file; name pictures as a list: [city/key].") from None
    return tuple(name for line in lines if (name := line.partition("#")[0].strip()))


def left_out_words(city: City) -> tuple[str, ...]:
    """What a person should know of how a city was read, and of pictures of the data set that it lacks."""
    counts = [f"{side.num_left_out} of {side.num_whole} {side.side} images" for side in city.sides if side.num_left_out]
    lacks = f"{city.name} is read without {' and '.join(counts)}: they are left out"
    return (*city.notes, lacks) if counts else city.notes

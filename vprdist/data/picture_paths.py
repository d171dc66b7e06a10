"""Where millions of pictures lie, as a sequence of paths that are made when they are asked for."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vprdist.text_columns import Texts

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.str_]


class MadePaths(Sequence[Path], abc.ABC):
    """A path is made when it is asked for, since a million of them take memory."""

    @abc.abstractmethod
    def take(self, rows: Ints | slice) -> MadePaths:
        """Those of these rows."""

    @abc.abstractmethod
    def by_folder(self) -> Iterator[tuple[str, Ints]]:
        """Each folder that holds some of them, once, and the rows of those."""

    @abc.abstractmethod
    def names(self, rows: Ints) -> Words:
        """The names of some rows in their folders."""

    @abc.abstractmethod
    def at(self, row: int) -> Path:
        """The path of a row."""

    def __getitem__(self, row: Any) -> Any:
        return self.take(row) if isinstance(row, slice) else self.at(row)


class KeyPaths(MadePaths):
    """`<folder>/<key>.jpg` for each key."""

    def __init__(self, folder: Path, keys: Words) -> None:
        self._folder, self._keys = folder, keys

    def __len__(self) -> int:
        return len(self._keys)

    def at(self, row: int) -> Path:
        return self._folder / f"{self._keys[row]}.jpg"

    def take(self, rows: Ints | slice) -> KeyPaths:
        return KeyPaths(self._folder, self._keys[rows])

    def by_folder(self) -> Iterator[tuple[str, Ints]]:
        if len(self):
            yield str(self._folder), np.arange(len(self))

    def names(self, rows: Ints) -> Words:
        return np.char.add(self._keys[rows], ".jpg")


class FolderPaths(MadePaths):
    """`<top>/<folder>/<key><ending>` for each key, where folders and endings are few.

    Args:
        folders: below the top.
        folder: (N,) the place of each picture's folder among them.
        endings: with their dot.
        ending: (N,) the place of each picture's ending among them.
        others: by key, the names (with ending) of the pictures that are called otherwise than their keys.
    """

    def __init__(
        self, top: Path, folders: Sequence[str], folder: Ints, endings: Sequence[str], ending: Ints, keys: Words,
        others: Mapping[str, str],
    ) -> None:  # fmt: skip
        self._top, self._folders, self._folder = top, folders, folder
        self._endings, self._ending, self._keys, self._others = endings, ending, keys, others

    def __len__(self) -> int:
        return len(self._keys)

    def at(self, row: int) -> Path:
        key = str(self._keys[row])
        name = self._others.get(key) or f"{key}{self._endings[self._ending[row]]}"
        return self._top.joinpath(self._folders[self._folder[row]], name)

    def take(self, rows: Ints | slice) -> FolderPaths:
        folder, ending = self._folder[rows], self._ending[rows]
        return FolderPaths(self._top, self._folders, folder, self._endings, ending, self._keys[rows], self._others)

    def by_folder(self) -> Iterator[tuple[str, Ints]]:
        order = np.argsort(self._folder, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(self._folder[order])) + 1):
            if len(rows):
                yield str(self._top / self._folders[self._folder[rows[0]]]), rows

    def names(self, rows: Ints) -> Words:
        keys = self._keys[rows]
        names = np.char.add(keys, np.array(self._endings)[self._ending[rows]])
        if self._others:
            pairs = zip(keys.tolist(), names.tolist(), strict=True)
            return np.array([self._others.get(key, name) for key, name in pairs])
        return names


class NamedPaths(MadePaths):
    """`<top>/<name>` for each name, which may have folders in it, or be absolute."""

    def __init__(self, top: Path, names: Words) -> None:
        self._top, self._names = top, names

    def __len__(self) -> int:
        return len(self._names)

    def at(self, row: int) -> Path:
        return self._top / str(self._names[row])

    def take(self, rows: Ints | slice) -> NamedPaths:
        return NamedPaths(self._top, self._names[rows])

    def by_folder(self) -> Iterator[tuple[str, Ints]]:
        place, folders = Texts.of_array(self._names).replaced(r"[^/]*$", "").coded()
        order = np.argsort(place, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(place[order])) + 1):
            if len(rows):
                yield str(self._top / folders[place[rows[0]]]), rows

    def names(self, rows: Ints) -> Words:
        return Texts.of_array(self._names[rows]).replaced(r"^.*/", "").array()


class ChainedPaths(Sequence[Path]):
    """The paths of some sequences, one after the other."""

    def __init__(self, parts: Sequence[Sequence[Path]]) -> None:
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            return [self[each] for each in range(*row.indices(len(self)))]
        row = range(len(self))[row]
        part = int(np.searchsorted(self._ends, row, side="right"))
        return self._parts[part][row - int(self._ends[part]) + len(self._parts[part])]

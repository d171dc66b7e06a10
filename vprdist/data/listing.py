"""What files lie in a folder, or in all folders below one, by the million: names as columns of Arrow."""

from __future__ import annotations

import contextlib
import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vprdist.errors import DataError
from vprdist.text_columns import BLOCK, Texts, ordered

PICTURES = (".jpg", ".jpeg", ".png")
"""The endings of pictures, in small letters; the same that VPR-methods-evaluation takes."""
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Tree:
    """The pictures below a folder, in the order of folders and names, as bytes are ordered.

    Attributes:
        top: the folder.
        folders: all those below it that were looked into, as paths from there, in order.
        stamps: (F, 2) when each was changed last, by both of its times, in nanoseconds.
        folder: (N,) the place of each picture's folder among them.
        names: (N,) the pictures' names, with ending.
        sizes: (N,) their bytes, 0 for a link that leads nowhere; None: nobody asked.
    """

    top: Path
    folders: tuple[str, ...]
    stamps: Ints
    folder: Ints
    names: Texts
    sizes: Ints | None

    def __len__(self) -> int:
        return len(self.names)

    def where(self, row: int) -> Path:
        """The path of a picture."""
        return self.top.joinpath(self.folders[self.folder[row]], self.names[row])


def list_tree(top: Path, starts: Sequence[str], *, sizes: bool = False) -> Tree:
    """The pictures in some folders below `top`, and in all folders below those; hidden files and folders are no part.

    A folder that links lead to twice is listed once.

    Raises:
        DataError: a folder that cannot be listed, or a name that is no UTF-8.
    """
    folders, stamps = list[str](), list[tuple[int, int]]()
    places, lengths = array("q"), array("q")

    def blocks() -> Iterator[list[str]]:
        waiting, seen = sorted(starts, reverse=True), set[tuple[int, int]]()
        while waiting:
            folder = waiting.pop()
            names, below = list[str](), list[str]()
            with cannot_list(top / folder):
                found = os.stat(top / folder)  # noqa: PTH116 (before it is listed: what changes later shows)
                if (found.st_dev, found.st_ino) in seen:
                    continue
                seen.add((found.st_dev, found.st_ino))
                with os.scandir(top / folder) as entries:
                    for entry in entries:
                        if entry.name.startswith("."):
                            continue
                        if entry.is_dir():
                            below.append(f"{folder}/{entry.name}")
                        elif entry.name.lower().endswith(PICTURES):
                            names.append(entry.name)
                            places.append(len(folders))
                            if sizes:
                                lengths.append(_size(entry))
                            if len(names) == BLOCK:
                                yield names
                                names = []
            folders.append(folder)
            stamps.append((found.st_mtime_ns, found.st_ctime_ns))
            waiting += sorted(below, reverse=True)
            yield names

    try:
        names = Texts.of(blocks())
    except UnicodeEncodeError as error:
        fault, remedy = "a picture's name must be UTF-8", "Rename it (convmv renames whole folders)."
        raise DataError(top, fault, os.fsencode(error.object[:120]), remedy) from None
    number = np.argsort(np.argsort(folders)) if folders else np.empty(0, np.int64)
    folder = number[np.array(places, np.int64)]
    rows = ordered(folder, names)
    return Tree(
        top=top,
        folders=tuple(sorted(folders)),
        stamps=np.array(stamps, np.int64).reshape(-1, 2)[np.argsort(folders)]
        if folders
        else np.empty((0, 2), np.int64),
        folder=folder[rows],
        names=names.take(rows),
        sizes=np.array(lengths, np.int64)[rows] if sizes else None,
    )


def has_many(top: Path, starts: Sequence[str], many: int) -> bool:
    """Whether so many files and folders lie in and below some folders; no more of them are looked at.

    Raises:
        DataError: a folder that cannot be listed.
    """
    waiting, seen = list(starts), 0
    while waiting:
        folder = waiting.pop()
        with cannot_list(top / folder), os.scandir(top / folder) as entries:
            for entry in entries:
                seen += 1
                if seen >= many:
                    return True
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(f"{folder}/{entry.name}")
    return False


def folder_stamps(top: Path, folders: Sequence[str]) -> Ints | None:
    """(F, 2) as `Tree.stamps`; None: one of them is gone."""
    try:
        found = [os.stat(top / folder) for folder in folders]  # noqa: PTH116 (a folder may be a link)
    except OSError:
        return None
    return np.array([(each.st_mtime_ns, each.st_ctime_ns) for each in found], np.int64).reshape(-1, 2)


def list_files(folder: Path, what: Callable[[os.stat_result], int]) -> tuple[Texts, npt.NDArray[np.uint64]]:
    """The names of a folder's files, and 64 bits of each file.

    Raises:
        DataError: it cannot be listed.
    """
    values = array("Q")

    def blocks() -> Iterator[list[str]]:
        names = list[str]()
        with cannot_list(folder), os.scandir(folder) as entries:
            for entry in entries:
                # A link that leads nowhere is no file: the picture is missing. So is a name that is no text.
                if _is_text(entry.name) and entry.is_file():
                    names.append(entry.name)
                    values.append(what(entry.stat()))
                    if len(names) == BLOCK:
                        yield names
                        names = []
        yield names

    return Texts.of(blocks()), np.array(values, np.uint64)


@contextlib.contextmanager
def cannot_list(folder: Path) -> Iterator[None]:
    """What the system says of a folder that is listed in the block, as a DataError."""
    try:
        yield
    except OSError as error:
        fault, remedy = "the folder of pictures cannot be listed", "Unpack it again, or see to its permissions."
        raise DataError(folder, fault, error.strerror, remedy) from None


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except FileNotFoundError:  # a link that leads nowhere
        return 0


def _is_text(name: str) -> bool:
    """Whether it can be written as UTF-8."""
    return name.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in name)

"""The pictures of a traversal in their order, and whether two traversals can be counted off against each other."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vprdist.errors import DataError
from vprdist.spec.names import is_name

WORD = re.compile(r"[^\s,#\"]+")
NUMBER = re.compile(r"\d+")
CHECK_RIGHTS = "Check its rights."
BY_FILE = "Or name a file that says which frames belong together: `truth`."


@dataclass(frozen=True)
class Frames:
    """The pictures of one traversal, in their order.

    Attributes:
        folder: where they lie.
        files: their names.
        names: the same without their endings.
        numbers: the last number in each name; None where a name has none.
    """

    folder: Path
    files: Sequence[str]
    names: Sequence[str]
    numbers: Sequence[int | None]

    def __len__(self) -> int:
        return len(self.names)


def read_frames(folder: Path, endings: tuple[str, ...]) -> Frames:
    """The pictures of a folder in their natural order: frame2 before frame10.

    Raises:
        DataError: a name that is no word, or that two pictures have.
    """
    files = sorted((name for name in _listed(folder) if is_picture(name, endings)), key=_natural)
    stems = [os.path.splitext(name)[0] for name in files]  # noqa: PTH122 (a million names)
    if (bad := next((stem for stem in stems if not is_word(stem)), None)) is not None:
        fault = "a picture must be called by a word without spaces, commas, `#` and quotes"
        raise DataError(folder, fault, bad, "Rename it: keys of predictions and caches are these names.")
    seen: set[str] = set()
    for stem in stems:
        if stem in seen:
            raise DataError(
                folder, "a picture's name stands twice, with two endings", stem, "Delete one, or set `endings`."
            )
        seen.add(stem)
    return Frames(folder, files, stems, [int(found[-1]) if (found := NUMBER.findall(stem)) else None for stem in stems])


def is_picture(name: str, endings: tuple[str, ...]) -> bool:
    """Whether a file is called as a picture is."""
    return name.lower().endswith(endings) and not name.startswith(".")


def has_pictures(folder: Path, endings: tuple[str, ...]) -> bool:
    """Whether pictures lie in a folder itself.

    Raises:
        DataError: it cannot be listed.
    """
    try:
        with os.scandir(folder) as found:
            return any(is_picture(each.name, endings) for each in found)
    except OSError as error:
        raise DataError(folder, "the folder cannot be listed", error.strerror, CHECK_RIGHTS) from None


def folders_in(folder: Path) -> list[Path]:
    """The folders in a folder, by name, those that are hidden left out; none where it cannot be listed."""
    try:
        found = [each for each in folder.iterdir() if each.is_dir() and not each.name.startswith(".")]
    except OSError:
        return []
    return sorted(found, key=lambda each: _natural(each.name))


@dataclass(frozen=True)
class Counted:
    """Traversals that are counted off against each other.

    Attributes:
        places: (N,) where each frame stands, in frames from the first on; where frames are missing it jumps.
        step: from one frame to the next the numbers in names grow by so many.
    """

    places: npt.NDArray[np.int64]
    step: int


def counted(queries: Sequence[Frames], database: Frames) -> Counted:
    """Frame i of each traversal is frame i of every other, and the numbers in names do not speak against it.

    Raises:
        DataError: traversals of different lengths, names without numbers, or numbers of which some are left out in one.
    """
    numbers = _numbers(database)
    for query in queries:
        _check_alike(query, _numbers(query), database, numbers)
    from_first = [number - numbers[0] for number in numbers]
    step = math.gcd(*from_first) or 1
    return Counted(np.array([each // step for each in from_first], np.int64), step)


def _numbers(frames: Frames) -> list[int]:
    """The number of each frame, ascending."""
    found = list[int]()
    for name, number in zip(frames.names, frames.numbers, strict=True):
        if number is None or number >= 2**62:
            fault = "a frame must have a number in its name where no file says which frames belong together"
            raise DataError(frames.folder, fault, name, f"Rename it. {BY_FILE}")
        if found and number <= found[-1]:
            fault = f"frames must be numbered upwards, each once; {number} stands after {found[-1]}"
            raise DataError(frames.folder, fault, name, f"Rename them in their order. {BY_FILE}")
        found.append(number)
    return found


def _check_alike(query: Frames, asked: list[int], database: Frames, numbers: list[int]) -> None:
    if len(asked) != len(numbers):
        fault = f"a traversal must have as many frames as {database.folder.name}: {len(numbers)}"
        raise DataError(query.folder, fault, len(asked), f"Leave frames out of the longer one. {BY_FILE}")
    shift = asked[0] - numbers[0]
    if (row := next((row for row, each in enumerate(asked) if each - numbers[row] != shift), None)) is not None:
        wanted = numbers[row] + shift
        fault = f"the partner of {database.names[row]} in {database.folder.name} must have the number {wanted}"
        raise DataError(query.folder, fault, query.names[row], f"A frame is missing in one of both. {BY_FILE}")


def is_word(text: str) -> bool:
    """Whether a name may be a key or a city's name."""
    return WORD.fullmatch(text) is not None and is_name(text)


def _listed(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 (a million names)
    except OSError as error:
        raise DataError(folder, "the folder cannot be listed", error.strerror, CHECK_RIGHTS) from None


def _natural(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Orders names as people count: runs of digits are numbers."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), "") if place % 2 else (1, 0, part) for place, part in enumerate(parts)], name

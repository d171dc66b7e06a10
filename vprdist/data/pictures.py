"""Whether the pictures of a side are there and whole, and what names and sizes they have."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vprdist.data.images import BROKEN_REMEDY, is_turned, load_image, missing_remedy
from vprdist.data.listing import cannot_list, list_files
from vprdist.data.picture_paths import MadePaths
from vprdist.data.places import City, Side
from vprdist.errors import DataError
from vprdist.files import NotAFile, file_stamp, open_file
from vprdist.text_columns import BLOCK, Texts

JPEG_BEGIN, JPEG_END = b"\xff\xd8", b"\xff\xd9"
HEAD_BYTES = 1024
FEW = 2**14
"""Fewer pictures are found by their names in Python: importing Arrow takes longer than all of them."""


@dataclass(frozen=True)
class Fault:
    """A picture that nobody can read: its row, and what is wrong, as the end of a sentence ("is empty")."""

    row: int
    what: str


def check_images(side: Side) -> None:
    """Look for every picture of a side, by one listing of each of its folders.

    Raises:
        DataError: the first missing or empty picture, and how many there are.
    """
    if bad := absent(side):
        more = f" ({len(bad) - 1} more like it)" if len(bad) > 1 else ""
        fault = f"a key of {side.city}/{side.side} has no picture: this one {bad[0].what}{more}"
        path = side.image_path(bad[0].row)
        raise DataError(path, fault, None, BROKEN_REMEDY if path.exists() else missing_remedy(path))


def check_whole(side: Side) -> None:
    """Look at both ends of every picture; see `picture_fault`.

    Raises:
        DataError: the first that cannot be read.
    """
    for path in side.paths:
        if (what := picture_fault(path)) is not None:
            raise DataError(path, "the picture cannot be read", f"it {what}", BROKEN_REMEDY)


def faults(side: Side, advance: Callable[[], object] = lambda: None, *, decode: bool = False) -> list[Fault]:
    """Every picture of a side that cannot be read, in the order of rows.

    Args:
        advance: told after each picture.
        decode: decode every picture whole, not only those whose ends look strange; this takes long.

    Raises:
        DataError: a folder of pictures that cannot be listed.
    """
    found = absent(side)
    gone = {fault.row for fault in found}
    for row, path in enumerate(side.paths):
        if row not in gone and (what := picture_fault(path, decode=decode)) is not None:
            found.append(Fault(row, what))
        advance()
    return sorted(found, key=lambda fault: fault.row)


def absent(side: Side) -> list[Fault]:
    """Pictures that are missing or empty, by one listing of each folder; none is opened.

    Raises:
        DataError: a folder of pictures that cannot be listed.
    """
    rows = np.flatnonzero(picture_sizes(side.paths) == 0).tolist()
    return [Fault(row, "is empty" if side.image_path(row).exists() else "is missing") for row in rows]


def picture_fault(path: Path, *, decode: bool = False) -> str | None:
    """What is wrong with a picture that is there: a JPEG that was cut has no end mark. None: nothing that shows.

    A JPEG that has both its marks is not decoded, unless all are to be: what was damaged between them is not seen.
    """
    try:
        with open_file(path) as stream:
            head = stream.read(HEAD_BYTES)
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - len(JPEG_END)))
            if not decode and head.startswith(JPEG_BEGIN) and stream.read() == JPEG_END:
                return None
    except (NotAFile, FileNotFoundError) as error:
        return f"is no file ({error.strerror})"
    try:
        # Some cameras write more after the mark, and a PNG has none: the decoder has the last word.
        load_image(path, 32, 32)
    except DataError as error:
        text = head.lower()
        if b"<html" in text or b"<!doctype html" in text:
            return "is a web page"
        # What the decoder found has a value; what it decoded, and nobody knows how to show, says so itself.
        return error.fault.removeprefix("the picture ") if error.value is None else "is cut, or no picture"
    return None


def turned_pictures(city: City) -> tuple[str, ...]:
    """What a person should know of pictures that are stored on their side or head: they are turned upright.

    Raises:
        DataError: one of them is missing, or is no picture.
    """
    facts = []
    for side in city.sides:
        if turned := [path for path in side.paths if _may_be_turned(path) and is_turned(path)]:
            facts.append(
                f"{len(turned)} of {len(side)} {side.side} images of {city.name} are stored turned or mirrored, as "
                f"EXIF says: they are put upright (the first: {turned[0].name})"
            )
    return tuple(facts)


def _may_be_turned(path: Path) -> bool:
    """False where a look at a JPEG's first segments, which hold EXIF, is enough."""
    with open_file(path) as stream:
        head = stream.read(4096)
    return not head.startswith(b"\xff\xd8") or b"Exif\0" in head or b"http://ns.adobe.com/xap" in head


def picture_folders(paths: Sequence[Path]) -> set[Path]:
    """The folders that pictures lie in, or should."""
    if isinstance(paths, MadePaths):
        return {Path(folder) for folder, _ in paths.by_folder()}
    return {path.parent for path in paths}


def picture_sizes(paths: Sequence[Path]) -> npt.NDArray[np.int64]:
    """(N,) the bytes of each picture, 0 where there is none.

    Raises:
        DataError: a folder of pictures that cannot be listed.
    """
    return _looked(paths, lambda found: found.st_size).astype(np.int64)


def picture_files(paths: Sequence[Path]) -> npt.NDArray[np.uint64]:
    """(N,) a number for each picture, equal where links or spellings lead to one file; 0 where there is none.

    It comes from the listing of each folder alone: only links are followed. Two files may have one number where
    several disks are mounted, so equal ones are to be compared.
    """
    out = np.zeros(len(paths), np.uint64)
    for folder, wanted in _by_folder(paths):
        numbers = _file_numbers(folder)
        for row, name in wanted:
            out[row] = numbers.get(name, 0)
    return out


def picture_stamps(paths: Sequence[Path]) -> npt.NDArray[np.uint64]:
    """(N,) `files.file_stamp` of each picture, that of the file behind a link; 0 where there is none.

    Raises:
        DataError: a folder of pictures that cannot be listed.
    """
    return _looked(paths, file_stamp)


def _looked(paths: Sequence[Path], what: Callable[[os.stat_result], int]) -> npt.NDArray[np.uint64]:
    """(N,) something of each picture that is there, 0 where none is."""
    out = np.zeros(len(paths), np.uint64)
    if not isinstance(paths, MadePaths) or len(paths) < FEW:
        for folder, rows_there in _by_folder(paths):
            wanted = list(rows_there)
            known = _of_files(Path(folder), what, only={name for _, name in wanted})
            for row, name in wanted:
                out[row] = known.get(name, 0)
        return out
    for folder, rows in paths.by_folder():
        names, values = list_files(Path(folder), what)
        for start in range(0, len(rows), BLOCK):
            some = rows[start : start + BLOCK]
            places = Texts.of_array(paths.names(some)).places_in(names)
            out[some[places >= 0]] = values[places[places >= 0]]
    return out


def _by_folder(paths: Sequence[Path]) -> Iterator[tuple[str, Iterable[tuple[int, str]]]]:
    """The rows and file names of the pictures of each folder."""
    if isinstance(paths, MadePaths):
        for folder, places in paths.by_folder():
            yield folder, zip(places.tolist(), paths.names(places).tolist(), strict=True)
        return
    rows: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
    for row, path in enumerate(paths):
        folder, name = os.path.split(path)
        rows[folder].append((row, name))
    yield from rows.items()


def _file_numbers(folder: str) -> dict[str, int]:
    try:
        with os.scandir(folder) as entries:
            disk = Path(folder).stat().st_dev
            return {
                entry.name: _number(*_followed(entry)) if entry.is_symlink() else _number(disk, entry.inode())
                for entry in entries
            }
    except OSError:
        return {}


def _followed(entry: os.DirEntry[str]) -> tuple[int, int]:
    """Disk and inode of what a link leads to; zeros where it leads nowhere."""
    try:
        found = entry.stat()
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino


def _number(disk: int, inode: int) -> int:
    return (inode + disk * 0x9E3779B97F4A7C15) % 2**64


def folder_sizes(folder: Path, ending: str = "") -> dict[str, int]:
    """By name, the bytes of each file of a folder.

    Raises:
        DataError: it cannot be listed.
    """
    return _of_files(folder, lambda found: found.st_size, ending)


def _of_files(
    folder: Path, what: Callable[[os.stat_result], int], ending: str = "", only: Container[str] | None = None
) -> dict[str, int]:
    """By name, something of each file of a folder, or of those of some names: there may be millions beside them."""
    with cannot_list(folder), os.scandir(folder) as entries:
        # A link that leads nowhere is no file: the picture is missing.
        named = (e for e in entries if e.name.endswith(ending) and (only is None or e.name in only))
        found = (entry for entry in named if entry.is_file())
        return {entry.name: what(entry.stat()) for entry in found}

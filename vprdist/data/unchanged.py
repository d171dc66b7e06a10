"""Whether the pictures of a city are still those that a run folder's trials were computed from.

A city's digest holds the names and sizes of its pictures: to read a million of them for every job would take longer
than the job. So a run folder notes, when it first uses a city, when each picture was last written, and what some of
them hold: all of a small city, an even sample of a large one. Every later start looks at all times of writing, reads
what was written since, and a few of the others. What it cannot tell it says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vprdist.data.images import BROKEN_REMEDY
from vprdist.data.layouts import Layout, city_digest_cached, layout_of, read_city_cached
from vprdist.data.picture_paths import ChainedPaths
from vprdist.data.pictures import picture_sizes, picture_stamps
from vprdist.data.places import City
from vprdist.errors import DataError
from vprdist.files import content_number, digest_json
from vprdist.spec.data import DataSpec
from vprdist.store.seen import SeenPictures, noted_pictures, read_pictures, write_pictures

SAMPLE_BYTES = 2**28
"""So much of a city is read, at most, when it is first used: some seconds on shared storage."""
NUM_AT_LEAST = 64
"""So many pictures of it are read even where they are larger."""
NUM_LOOKED = 16
"""So many pictures of a city are read at each start even where none was written: disks change bytes too."""

Advance = Callable[[int, int], None]


def note_pictures(data: DataSpec, cities: Sequence[str], runs: Path, advance: Advance) -> str | None:
    """Note the pictures of cities that the run folder has not used yet.

    Args:
        advance: called with the number of cities that were noted and of all.

    Returns:
        How many of them are known by their content, if that is not all; to be said.
    """
    layout, noted, known, total = layout_of(data), False, 0, 0
    for done, name in enumerate(cities, 1):
        digest, city = _noted_under(layout, name), read_city_cached(layout, name)
        seen = read_pictures(runs, digest)
        if seen is None or len(seen.stamps) != len(_paths(city)):
            seen, noted = _look(city), True
            write_pictures(runs, digest, seen)
            advance(done, len(cities))
        known, total = known + int(np.count_nonzero(seen.contents)), total + len(seen.contents)
    if not noted or known == total:
        return None
    return (
        f"the bytes of {known} of {total} pictures, evenly spread, are noted in {runs}: should one of the others be "
        "written over at the same size, results will say that it was, but not whether it changed"
    )


def check_unchanged(data: DataSpec, cities: Sequence[str], runs: Path) -> tuple[str, ...]:
    """The pictures of these cities hold what they held when the run folder first used them.

    Returns:
        What cannot be known: to be recorded beside the result.

    Raises:
        DataError: a picture was written over.
    """
    layout, notes = layout_of(data), []
    for name in cities:
        digest = _noted_under(layout, name)
        if (seen := read_pictures(runs, digest)) is not None:
            notes.append(_compare(read_city_cached(layout, name), digest, seen, runs))
    return tuple(note for note in notes if note is not None)


def _noted_under(layout: Layout, name: str) -> str:
    """A user's own layout may give all cities one digest."""
    return digest_json([name, city_digest_cached(layout, name)])


def _compare(city: City, digest: str, seen: SeenPictures, runs: Path) -> str | None:
    paths, stamps = _paths(city), _stamps(city)
    if len(stamps) != len(seen.stamps):  # a layout's own digest may say that this is no other city
        return None
    written, known = stamps != seen.stamps, seen.contents != 0
    others = np.flatnonzero(known & ~written)
    turn = np.random.default_rng().integers(max(1, len(others)))  # others at each start
    looked = np.roll(others, turn)[_spread(len(others), NUM_LOOKED)]
    rows = np.concatenate([np.flatnonzero(known & written), looked])
    found = np.array([_content(paths[row]) for row in rows.tolist()], np.uint64)
    if len(bad := rows[found != seen.contents[rows]]):
        more = f" ({len(bad) - 1} more like it)" if len(bad) > 1 else ""
        fault = f"a picture of {city.name} was changed since {runs} first used it, at the same size{more}"
        remedy = "Put it back. Or keep it, and run the sweep in another run folder: --runs FOLDER."
        raise DataError(paths[int(bad.min())], fault, None, remedy)
    if (known & written).any():  # copied or put back, byte for byte
        write_pictures(runs, digest, SeenPictures(np.where(known, stamps, seen.stamps), seen.contents))
    unknown = np.flatnonzero(written & ~known)
    if not len(unknown):
        return None
    return (
        f"{len(unknown)} of {len(paths)} pictures of {city.name} were written, moved or given other rights since "
        f"{runs} used them first, and nobody knows whether they hold the same (first: {paths[int(unknown[0])].name}). "
        f"Whoever knows that they do deletes {noted_pictures(runs, digest)}"
    )


def _look(city: City) -> SeenPictures:
    """What is to be noted of a city: all stamps, and contents up to so many bytes."""
    paths, stamps = _paths(city), _stamps(city)
    contents = np.zeros(len(paths), np.uint64)
    total = sum(int(picture_sizes(side.paths).sum()) for side in city.sides)
    for row in _spread(len(paths), max(NUM_AT_LEAST, len(paths) * SAMPLE_BYTES // max(total, 1))).tolist():
        contents[row] = _content(paths[row])
    return SeenPictures(stamps, contents)


def _content(path: Path) -> int:
    try:
        return content_number(path)
    except OSError as error:
        raise DataError(path, "the picture cannot be read", error.strerror, BROKEN_REMEDY) from None


def _paths(city: City) -> ChainedPaths:
    return ChainedPaths([side.paths for side in city.sides])


def _stamps(city: City) -> npt.NDArray[np.uint64]:
    return np.concatenate([picture_stamps(side.paths) for side in city.sides])


def _spread(count: int, most: int) -> npt.NDArray[np.int64]:
    """So many of `count` rows at most, evenly spaced from the first to the last."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))

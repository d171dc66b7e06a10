"""Cities that are one city under several names: by a link, or on a disk that does not tell `Aa` from `aa`.

A network that is evaluated on what it trained on has learnt it by heart; queries that are asked twice count twice. So
pictures are compared, by the file that each is in the end, not the names of cities.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from vprdist.data.layouts import layout_of, read_city_cached
from vprdist.data.pictures import picture_files
from vprdist.data.places import City, Side
from vprdist.errors import DataError
from vprdist.spec.data import DataSpec

Files = npt.NDArray[np.uint64]
REMEDY = "Take one of them out of trial.data, or let the data set's folders hold pictures of their own."


def check_apart(data: DataSpec) -> None:
    """No training picture is validated on, and no query asked twice: in names, folders, links to folders or to files.

    Cities of one list may share a database, as conditions of one place do.

    Raises:
        DataError: two cities that share pictures, and the first of these.
    """
    layout = layout_of(data)
    train, validate = (
        [read_city_cached(layout, name) for name in names] for names in (data.train, data.validate_cities)
    )
    files = {(side.city, side.side): picture_files(side.paths) for city in (*train, *validate) for side in city.sides}
    every = np.sort(np.concatenate([*files.values()]))
    if (every[1:] != every[:-1]).all():  # most often
        return

    def check(one: City, other: City, pairs: Iterable[tuple[Side, Side]], what: str) -> None:
        for mine, theirs in pairs:
            rows = _same(mine, theirs, files[mine.city, mine.side], files[theirs.city, theirs.side])
            if rows is not None:
                fault = f"a picture cannot be of two {what}, {one.name} and {other.name}; in {other.name} it is"
                raise DataError(mine.image_path(rows[0]), fault, str(theirs.image_path(rows[1])), REMEDY)

    for one, other in itertools.product(train, validate):
        check(one, other, itertools.product(one.sides, other.sides), "cities, to train and to validate")
    for cities, what in ((train, "training cities"), (validate, "validation cities")):
        for one, other in itertools.combinations(cities, 2):
            check(one, other, [(one.query, other.query)], what)


def _same(mine: Side, theirs: Side, my_files: Files, their_files: Files) -> tuple[int, int] | None:
    """The rows of the first picture of both; None where they share none."""
    shared, my_rows, their_rows = np.intersect1d(my_files, their_files, return_indices=True)
    for mine_at, number, theirs_at in sorted(zip(my_rows.tolist(), shared.tolist(), their_rows.tolist(), strict=True)):
        # Numbers of one folder's listing are those of the files, but for a few kinds of disks: the files decide.
        if number and mine.image_path(mine_at).samefile(theirs.image_path(theirs_at)):
            return mine_at, theirs_at
    return None

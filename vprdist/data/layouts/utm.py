"""Folders of pictures whose names tell where they were taken: the form of VPR-datasets-downloader.

On disk: `[images/]<part>/{database,queries}/`, or `database/` and `queries/` alone; pictures may lie in folders of
theirs. What names cannot tell may stand in a table beside a folder (see `beside`). `gallery` is another word for the
database. Further folders `queries_<word>/` hold queries of the condition <word>: `queries_night`. Parts are cities:
train, val, test.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vprdist.data.columns import condition_words, subtask_flags
from vprdist.data.layouts.base import Layout
from vprdist.data.layouts.beside import add_tables, tables_of, with_table
from vprdist.data.layouts.kept import FOLDER, KEPT_FROM, Columns, Index, disk_time_ns
from vprdist.data.layouts.utm_names import FORM
from vprdist.data.layouts.utm_sides import Reading, check_city, side_columns
from vprdist.data.listing import PICTURES, folder_stamps, has_many, list_tree
from vprdist.data.picture_paths import FolderPaths
from vprdist.data.places import City, Side
from vprdist.errors import DataError, RuleError, nearest
from vprdist.spec.names import is_name
from vprdist.spec.vocabulary import SIDES

DATABASES = ("database", "gallery")
QUERIES = re.compile(r"queries(?:_(.+))?")
FRESH_S = 60
"""Seconds for which a folder must have stayed as it is before an index of it is kept: a disk's clock is coarse."""
DAY_NS = 24 * 3600 * 10**9
LOOKED = 100
"""Entries of a folder that are looked at to guess what it holds."""


@dataclass(frozen=True)
class Part:
    """The folders of a city, as paths below `top`."""

    top: Path
    database: str
    queries: tuple[str, ...]

    def folders(self, side: str) -> tuple[str, ...]:
        """Those of a side."""
        return self.queries if side == "query" else (self.database,)


class Utm(Layout):
    """The layout of this module.

    Args:
        query_folders: those of queries that take part; none: all.
        sequence: what makes pictures one sequence: their panorama, the route that their numbers count along, nothing.
        heading: how the headings in names are counted from north; none: they are not used.
        heading_shift: degrees that are added, clockwise, to each.
        zones: whether a city has one zone of UTM, or several that are set far apart.
    """

    def __init__(
        self, root: Path, query_folders: Sequence[str] = (), sequence: str = "panorama", heading: str = "clockwise",
        heading_shift: float = 0.0, zones: str = "one",
    ) -> None:  # fmt: skip
        super().__init__(root)
        self.query_folders = tuple(query_folders)
        self.reading = Reading(sequence, heading, heading_shift, zones)

    @classmethod
    def evidence(cls, root: Path) -> str:
        for name, part in parts(root).items():
            if _has_names(part.top / part.database):
                return f"{name}/{{{part.database},{part.queries[0]}}} with pictures named @easting@northing@…"
        return ""

    def names(self) -> list[str]:
        if not (found := sorted(parts(self.root))):
            fault = "no folder holds database/ (or gallery/) and queries/, with pictures named by their position"
            remedy = f"Set trial.data.root to the folder with images/, or with both of them. Names: {FORM}."
            raise DataError(self.root, fault, None, remedy)
        if bad := next((name for name in found if not is_name(name) or re.search(r'[\s,#"]', name)), None):
            fault = "a city must be called by a word, and this folder of one is not"
            raise DataError(self.root, fault, bad, "Rename the folder.")
        return found

    def read(self, city: str) -> City:
        part, notes = self._part(city), list[str]()
        query, database = (self._side(city, part, side, notes) for side in SIDES)
        check_city(query, database, part.top)
        pairs = zip(SIDES, (query, database), strict=True)
        sides = [
            with_table(_side_of(city, word, part, columns), tables_of(part.top, part.folders(word)))
            for word, columns in pairs
        ]
        return City(name=city, query=sides[0], database=sides[1], split=city, notes=tuple(notes))

    def digest(self, city: str) -> str:
        """16 hex digits over the pictures' names and sizes, and the tables beside them: never the pixels."""
        part, digest = self._part(city), hashlib.sha256(b"utm 1")
        for side in SIDES:
            tree = list_tree(part.top, part.folders(side), sizes=True)
            folders = [_condition(folder) for folder in tree.folders]
            digest.update("\0".join([side, str(len(tree)), *folders]).encode())
            digest.update(tree.folder.tobytes())
            for data in tree.names.bytes_of():
                digest.update(data)
            digest.update(tree.sizes.tobytes() if tree.sizes is not None else b"")
            add_tables(digest, tables_of(part.top, part.folders(side)))
        return digest.hexdigest()[:16]

    def _part(self, city: str) -> Part:
        """The folders of a city that take part.

        Raises:
            DataError: there is no such city, or no such folder of queries.
        """
        names = self.names()
        if city not in names:
            raise DataError(self.root, f"no such city: {city!r}", None, nearest(city, names))
        part = parts(self.root)[city]
        for folder in self.query_folders:
            if folder not in part.queries:
                raise DataError(part.top, "no such folder of queries", folder, nearest(folder, part.queries))
        return Part(part.top, part.database, self.query_folders or part.queries)

    def _side(self, city: str, part: Part, side: str, notes: list[str]) -> Columns:
        folders = part.folders(side)

        def make() -> Columns:
            tree = list_tree(part.top, folders)
            if not len(tree):
                fault = f"a {side} side must have at least one picture: {', '.join(PICTURES)}"
                raise DataError(part.top / folders[0], fault, None, "Check trial.data.root.")
            return side_columns(tree, [_condition(folder) for folder in tree.folders], self.reading)

        if not has_many(part.top, folders, KEPT_FROM):
            return make()
        index = Index(self.root, f"{city}-{side}", ["utm", str(part.top), folders, self.reading.told])
        columns = index.get_or_make(lambda kept: _is_of(kept, part.top, self.root), make)
        notes += index.notes
        return columns


def parts(root: Path) -> dict[str, Part]:
    """The cities of a folder, by name: those of `images/` where it is there; or the folder itself is one."""
    for base in (root / "images", root):
        if found := {name: part for name in _folders(base) if (part := _part_of(base / name))}:
            return found
    alone = _part_of(root)
    return {root.absolute().name: alone} if alone else {}


def _part_of(folder: Path) -> Part | None:
    below = _folders(folder)
    queries = tuple(name for name in below if QUERIES.fullmatch(name))
    databases = [name for name in DATABASES if name in below]
    return Part(folder, databases[0], queries) if queries and databases else None


def _folders(folder: Path) -> list[str]:
    """The folders in a folder, in order; none where it is none."""
    try:
        with os.scandir(folder) as entries:  # which asks the disk about links alone
            return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    except OSError:
        return []


def _has_names(folder: Path) -> bool:
    """Whether one of the first entries below a folder is a picture with a position in its name."""
    waiting = [folder]
    for _ in range(LOOKED):
        if not waiting:
            return False
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in islice(entries, LOOKED):
                if entry.name.startswith("@") and entry.name.count("@") >= 3:
                    return True
                if entry.is_dir():
                    waiting.append(Path(entry.path))
    return False


def _condition(folder: str) -> str:
    """The condition that the pictures in a folder below a part have: that of the folder of queries."""
    found = QUERIES.fullmatch(folder.split("/")[0])
    return (found and found[1]) or ""


def _is_of(kept: Columns, top: Path, root: Path) -> bool:
    """Whether columns were made from what lies in their folders now, and nobody may still be changing that."""
    try:
        stamps = folder_stamps(top, kept["folders"].tolist())
        if stamps is None or not np.array_equal(stamps, kept["stamps"]):
            return False
        # Within one tick of the disk's clock a folder may change without another stamp. Clocks differ by seconds.
        newest = int(stamps.max())
        return time.time_ns() - newest > DAY_NS or disk_time_ns(root / FOLDER) - newest > FRESH_S * 10**9
    except (KeyError, AttributeError, TypeError, ValueError):
        return False


def _side_of(city: str, side: str, part: Part, columns: Columns) -> Side:
    top, below, keys, count = part.top, part.folders(side), columns["keys"], len(columns["keys"])
    folder = top / below[0] if len(below) == 1 else top
    words = {name: _words(columns, name) for name in ("conditions", "view_direction")}
    try:
        conditions = condition_words(words["conditions"], count)
    except RuleError as error:
        raise DataError(top, error.fault, error.value, "Rename its folder queries_<word>.") from None
    paths = FolderPaths(
        top, columns["folders"].tolist(), columns["folder"], columns["endings"].tolist(), columns["ending"], keys,
        dict(columns["others"].tolist()),
    )  # fmt: skip
    return Side(
        city=city, side=side, folder=folder, keys=keys, paths=paths, pano=np.zeros(count, bool),
        ca=None if np.isnan(columns["ca"]).all() else columns["ca"], easting=columns["easting"],
        northing=columns["northing"], night=columns["night"], view_direction=words["view_direction"],
        subtasks=subtask_flags(None, count), sequence_key=columns["sequence_key"],
        frame_number=columns["frame_number"], conditions=conditions,
    )  # fmt: skip


def _words(columns: Columns, name: str) -> npt.NDArray[Any]:
    """A column that is kept as few different words and their places."""
    return np.asarray(columns[f"{name}_words"][columns[name]])

"""Traversals of one route, a folder of pictures each, whose frames correspond: Nordland, Gardens Point, St Lucia.

On disk: `<root>/<traversal>/<picture>` is one route, a city called as the root's folder is;
`<root>/<route>/<traversal>/<picture>` is a city a route. Positions, headings and maps there are none.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from scipy.sparse import csr_matrix, vstack

from vprdist.data.layouts.base import Layout
from vprdist.data.layouts.frame_lists import (
    NUMBER,
    Frames,
    counted,
    folders_in,
    has_pictures,
    is_word,
    read_frames,
)
from vprdist.data.layouts.frame_truth import near_frames, read_truth, shared_windows, widened
from vprdist.data.places import City, Side, Truth
from vprdist.errors import DataError, RuleError, nearest

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".pgm", ".tif", ".tiff")
DATABASES = ("database", "reference", "ref", "db", "gallery", "map")
"""Folders that are the database by their names, where nobody says which is."""
TOLERANCE = 10
ELSEWHERE = ("train_val", "test", "Dataframes", "Images", "images")
"""Folders of other layouts, whose pictures lie as deep."""
LOOKED_AT = 8
"""Names of a folder that `evidence` reads."""


class FramesLayout(Layout):
    """Frame i of a query's traversal shows the place of the frames of the database about i, or of those of a file.

    Args:
        database: the traversal that is searched; None: see `DATABASES`, else the first by name.
        queries: those that ask; (): all others. The name of each is a condition of its queries.
        tolerance: frames; None: 10, or 0 beside a file.
        truth: a file in the route's folder, or in the query's: which frames belong together.
        array: of a `.npz` file.
        every: take each n-th frame.
        sections: cities that are parts of the route: name -> [first frame, the one after the last], counted from 0.
        endings: of the pictures' names.
    """

    def __init__(
        self, root: Path, *, database: str | None = None, queries: Sequence[str] = (), tolerance: int | None = None,
        truth: str | None = None, array: str | None = None, every: int = 1,
        sections: Mapping[str, Sequence[int]] | None = None, endings: Sequence[str] = (),
    ) -> None:  # fmt: skip
        super().__init__(root)
        self.database, self.queries = database, tuple(queries)
        self.tolerance = (0 if truth else TOLERANCE) if tolerance is None else tolerance
        self.truth, self.array, self.every = truth, array, every
        self.sections = {name: (first, last) for name, (first, last) in (sections or {}).items()}
        self.endings = tuple(f".{each.lower().lstrip('.')}" for each in endings) or ENDINGS

    @classmethod
    def evidence(cls, root: Path) -> str:
        """Two folders side by side with numbered pictures of one form of name."""
        for folder in (root, *folders_in(root)[:LOOKED_AT]):
            if folder.name in ELSEWHERE or any((folder / name).is_dir() for name in ELSEWHERE):
                continue
            forms = {each.name: form for each in folders_in(folder)[: 2 * LOOKED_AT] if (form := _form_of_names(each))}
            if len(forms) > 1 and len({*forms.values()}) == 1:
                names = ", ".join(list(forms)[:LOOKED_AT])
                return f"folders of numbered pictures side by side: {names}"
        return ""

    def names(self) -> list[str]:
        return [name for name, _, _ in self._cities()]

    def read(self, city: str) -> City:
        cities = self._cities()
        chosen = next((each for each in cities if each.name == city), None)
        if chosen is None:
            raise DataError(self.root, "no such route", city, nearest(city, [each.name for each in cities]))
        base, asking = self._traversals(chosen.route)
        database = read_frames(chosen.route / base, self.endings)
        queries = [read_frames(chosen.route / name, self.endings) for name in asking]
        truth = self._truth(chosen.route, queries, database, chosen.section)
        sides = [
            self._side(city, "query", chosen.route, queries, chosen.section),
            self._side(city, "database", chosen.route, [database], chosen.section),
        ]
        return City(name=city, query=sides[0], database=sides[1], truth=truth, notes=self._notes(city, base))

    def _notes(self, city: str, base: str) -> tuple[str, ...]:
        """Which traversal is searched, where neither a person nor its name chose it."""
        if self.database or self.queries or base in DATABASES:
            return ()
        return (f"{city}: the database is {base}, the first traversal by name; layout.database chooses another",)

    def _cities(self) -> list[_Place]:
        """Every city, and where its traversals lie."""
        if not self.root.is_dir():
            raise DataError(self.root, "no such folder", None, "Set trial.data.root to the folder of the traversals.")
        folders = folders_in(self.root)
        routes = [each for each in folders if sum(map(self._has_pictures, folders_in(each))) > 1]
        if any(map(self._has_pictures, folders)):
            if routes:
                fault = "pictures must lie at one depth: <root>/<traversal>/ or <root>/<route>/<traversal>/"
                raise DataError(self.root, fault, routes[0].name, "Move one kind of folder elsewhere.")
            routes = [self.root]
        if not routes:
            fault = "no two folders of pictures lie side by side, and two traversals of a route are needed"
            remedy = "Lay them as <root>/<traversal>/<picture> or <root>/<route>/<traversal>/<picture>."
            raise DataError(self.root, f"{fault} ({', '.join(self.endings)})", None, remedy)
        found = list[_Place]()
        for route in routes:
            called = Path(os.path.abspath(route)).name  # noqa: PTH100 (a link keeps its own name)
            if not is_word(called):
                fault = "a route's folder must be called by a word without spaces, commas, `#` and quotes"
                raise DataError(route, fault, called, "Rename it: it is the city's name.")
            before = "" if len(routes) == 1 else f"{called}-"
            found += [_Place(before + name, route, section) for name, section in self.sections.items()]
            found += [] if self.sections else [_Place(called, route, None)]
        return found

    def _traversals(self, route: Path) -> tuple[str, list[str]]:
        """The folder of the database, and those of the queries."""
        there = [each.name for each in folders_in(route) if self._has_pictures(each)]
        for name in filter(None, (self.database, *self.queries)):
            if name not in there:
                raise DataError(route, "no such traversal, or a folder without pictures", name, nearest(name, there))
        named = next((name for name in DATABASES if name in there and name not in self.queries), None)
        base = self.database or named or next(name for name in [*there, ""] if name not in self.queries)
        asking = [*self.queries] or [name for name in there if name != base]
        if not base or not asking:
            fault = "a route must have two traversals: one that is searched, and one or more that ask"
            raise DataError(route, fault, ", ".join(there), "Put another one beside it.")
        if doubled := next((name for name in asking if name == base or asking.count(name) > 1), None):
            raise DataError(route, "a traversal is named twice", doubled, "Name each once: database, queries.")
        return base, asking

    def _truth(
        self, route: Path, queries: Sequence[Frames], database: Frames, section: tuple[int, int] | None
    ) -> Truth:
        if self.truth is None:
            told = f"within {_frames(self.tolerance)}"
            off = counted(queries, database)
            told += f", numbered in steps of {off.step}" if off.step > 1 else ""
            rows = self._rows(database, section)
            places = off.places[rows.start : rows.stop : rows.step]
            near, alike = near_frames(places, self.tolerance), shared_windows(places, self.tolerance)
            positives, similarity = (_stacked([one] * len(queries)) for one in (near, alike))
            return Truth(positives=positives, told=told, similarity=similarity)
        found = []
        for query in queries:
            own = query.folder / self.truth
            path = own if own.exists() else route / self.truth
            read = read_truth(path, self.array, query, database)
            found.append(widened(read, self.tolerance))
        more = f", or within {_frames(self.tolerance)} of these" if self.tolerance else ""
        return Truth(positives=_stacked(found), told=f"that {self.truth} names{more}")

    def _rows(self, frames: Frames, section: tuple[int, int] | None) -> range:
        """The frames of a traversal that take part."""
        first, last = section or (0, len(frames))
        if last > len(frames) or first >= last:
            fault = f"a section must lie within the {len(frames)} frames of a traversal"
            remedy = "Write [first frame, the one after the last], counted from 0."
            raise DataError(frames.folder, fault, [first, last], remedy)
        return range(first, last, self.every)

    def _side(
        self, city: str, side: str, route: Path, traversals: Sequence[Frames], section: tuple[int, int] | None
    ) -> Side:
        """One side; keys are the pictures' names, with the traversal's before it where several ask."""
        several, asks = len(traversals) > 1, side == "query"
        chosen = [(one, one.folder.name, row) for one in traversals for row in self._rows(one, section)]
        try:
            return Side.of(
                city=city,
                side=side,
                folder=route if several else traversals[0].folder,
                paths=[one.folder / one.files[row] for one, _, row in chosen],
                keys=[f"{name}-{one.names[row]}" if several else one.names[row] for one, name, row in chosen],
                sequence_key=[name for _, name, _ in chosen],
                frame_number=[row for _, _, row in chosen],
                conditions=[name if asks else "" for _, name, _ in chosen],
            )
        except RuleError as error:
            remedy = "Rename the traversal's folder: it is a condition of its queries."
            raise DataError(route, error.fault, error.value, remedy) from None

    def _has_pictures(self, folder: Path) -> bool:
        return has_pictures(folder, self.endings)


class _Place(NamedTuple):
    """A city, the folder of its route, and the part of it that it is."""

    name: str
    route: Path
    section: tuple[int, int] | None


def _frames(count: int) -> str:
    return "1 frame" if count == 1 else f"{count} frames"


def _stacked(parts: Sequence[csr_matrix]) -> csr_matrix:
    return csr_matrix(parts[0] if len(parts) == 1 else vstack(parts, format="csr"))


def _form_of_names(folder: Path) -> str:
    """The name of one of its pictures, # for each number and * for the folder's name; "" where another layout has such
    names."""
    try:
        with os.scandir(folder) as found:
            names = [each.name for each in itertools.islice(found, LOOKED_AT)]
    except OSError:
        return ""
    pictures = [name for name in names if name.lower().endswith(ENDINGS)]
    if not pictures or any("@" in name or not NUMBER.search(name) for name in pictures):
        return ""
    return min(NUMBER.sub("#", name.replace(folder.name, "*")) for name in pictures)

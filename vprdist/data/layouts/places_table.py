"""Data sets of a table: a CSV with one row a picture, which says where it lies, on which side it stands, and where it
was taken. The columns that are known stand in `COLUMNS`; others are nobody's.

Latitude and longitude become metres of one zone of UTM for each city: that of the median of its places.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vprdist.data.columns import condition_words, subtask_flags
from vprdist.data.layouts.base import Layout
from vprdist.data.layouts.csv_table import AGAIN, LINE_BYTES, Table
from vprdist.data.layouts.plain_table import NotPlain, PlainTable
from vprdist.data.layouts.utm_names import NO_WORD, looks_like_radians
from vprdist.data.picture_paths import NamedPaths
from vprdist.data.places import City, Side
from vprdist.data.zones import to_utm, zone_of
from vprdist.errors import DataError, RuleError, nearest
from vprdist.files import open_file
from vprdist.spec.vocabulary import SIDES
from vprdist.text_columns import Texts

NEEDED = ("path", "side")
PAIRS = (("easting", "northing"), ("lat", "lon"))
NUMBERS = ("easting", "northing", "lat", "lon", "heading")
COLUMNS = (*NEEDED, "key", "city", *NUMBERS, "sequence", "frame", "condition", "pano")
WIDEST = 12.0
"""Degrees of longitude from a zone's middle beyond which metres of that zone are too long by more than 2%."""
MEND = "Mend the row."
KEYS = "a key must be a word, without spaces, commas, / and #"
FRAMES = "a frame must be a whole number, or nothing"


@dataclass(frozen=True)
class Rows:
    """The columns of one file, a value a row; None where it has no such column."""

    path: npt.NDArray[np.str_]
    side: npt.NDArray[np.str_]
    key: npt.NDArray[np.str_]
    city: npt.NDArray[np.str_]
    easting: npt.NDArray[np.float64] | None
    northing: npt.NDArray[np.float64] | None
    lat: npt.NDArray[np.float64] | None
    lon: npt.NDArray[np.float64] | None
    heading: npt.NDArray[np.float64] | None
    sequence: npt.NDArray[np.str_] | None
    frame: npt.NDArray[np.int64] | None
    condition: npt.NDArray[np.str_] | None
    pano: npt.NDArray[np.bool_] | None

    def take(self, chosen: npt.NDArray[np.bool_]) -> Rows:
        """The chosen rows alone."""
        columns = {each.name: getattr(self, each.name) for each in fields(self)}
        return replace(self, **{name: values[chosen] for name, values in columns.items() if values is not None})


class PlacesTable(Layout):
    """The layout of this module.

    Args:
        files: the tables, below `root`; none: every `*.csv` there.
        images: the folder that paths count from, below `root`.
    """

    def __init__(self, root: Path, files: Sequence[str] = (), images: str = "") -> None:
        super().__init__(root)
        self.files, self.images = tuple(files), root / images
        self._read: dict[Path, tuple[tuple[int, int], Rows]] = {}

    @classmethod
    def evidence(cls, root: Path) -> str:
        for path in sorted(root.glob("*.csv")):
            try:
                if set(NEEDED) <= set(_header(path)):
                    return f"{path.name} with the columns {' and '.join(NEEDED)}"
            except DataError:
                continue
        return ""

    def names(self) -> list[str]:
        return sorted({str(city) for path in self._paths() for city in np.unique(self._rows(path).city)})

    def read(self, city: str) -> City:
        names = self.names()
        if city not in names:
            raise DataError(self.root, f"no such city: {city!r}", None, nearest(city, names))
        found = [(path, rows.take(rows.city == city)) for path in self._paths() if (rows := self._rows(path))]
        path, *others = (path for path, rows in found if len(rows.path))
        if others:
            fault = f"a city must stand in one table, and {city} stands in {path.name} and {others[0].name}"
            raise DataError(others[0], fault, None, "Put its rows together, or name the tables: layout.files.")
        rows = next(rows for where, rows in found if where == path)
        easting, northing, notes = _metres(rows, city, path)
        unread = [name for name in _header(path) if name and name not in COLUMNS]
        if easting is None and unread:
            notes = (*notes, f"{path.name} has columns that nobody reads: {', '.join(unread)}; positions are read from "
                     f"{' and '.join(PAIRS[0])}, or {' and '.join(PAIRS[1])}")  # fmt: skip
        sides = []
        for word in SIDES:
            chosen = rows.side == word
            if not chosen.any():
                raise DataError(path, f"a city must have pictures of both sides, and {city} has no {word}", None, AGAIN)
            metres = [None if each is None else each[chosen] for each in (easting, northing)]
            sides.append(_side(rows.take(chosen), city, word, metres, (path, self.images)))
        return City(name=city, query=sides[0], database=sides[1], notes=notes)

    def _paths(self) -> list[Path]:
        paths = [self.root / name for name in self.files] or sorted(self.root.glob("*.csv"))
        if not paths:
            remedy = f"Write one with the columns {', '.join(COLUMNS[:4])}, lat and lon, or name it: layout.files."
            raise DataError(self.root, "no table lies in the folder: *.csv", None, remedy)
        return paths

    def _rows(self, path: Path) -> Rows:
        """The rows of a table, read once while nobody writes to it."""
        try:
            found = path.stat()
        except OSError as error:
            raise DataError(path, "the table cannot be read", error.strerror, "Check layout.files.") from None
        stamp = found.st_mtime_ns, found.st_size
        if path not in self._read or self._read[path][0] != stamp:
            self._read[path] = stamp, read_rows(path)
        return self._read[path][1]


def read_rows(path: Path) -> Rows:
    """The rows of a table by Arrow, or by the careful reader where something may be wrong.

    Raises:
        DataError: it is, with file and line.
    """
    header = _header(path)
    known = [name for name in COLUMNS if name in header]
    for name in NEEDED:
        if name not in known:
            remedy = f"{nearest(name, header)} Columns are {', '.join(COLUMNS)}."
            raise DataError(f"{path}:1", f"a table of places must have the column {name!r}", None, remedy)
    for pair in PAIRS:
        if (pair[0] in known) != (pair[1] in known):
            fault = f"a table of places must have {pair[0]} and {pair[1]}, or neither"
            raise DataError(f"{path}:1", fault, next(name for name in pair if name in known), "Write both columns.")
    try:
        return _Reader(PlainTable(path, known), known, path).rows()
    except NotPlain:
        return _Reader(Table(path, known), known, path).rows()


def _header(path: Path) -> list[str]:
    try:
        with open_file(path) as stream:
            line = stream.readline(LINE_BYTES)
        return next(csv.reader([line.decode("utf-8-sig").strip()]), [])
    except OSError as error:
        raise DataError(path, "the table cannot be read", error.strerror, AGAIN) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path}:1", "the header of a table must be UTF-8 text with commas", str(error), AGAIN
        ) from None


class _Reader:
    """The columns of one table as arrays, whichever reader it has; of one that is plain nothing is said."""

    def __init__(self, table: Table | PlainTable, known: Sequence[str], path: Path) -> None:
        self.table, self.known, self.path = table, known, path

    def rows(self) -> Rows:
        table, known = self.table, self.known
        found: dict[str, Any] = dict.fromkeys(each.name for each in fields(Rows))
        for name in NUMBERS:
            if name in known:
                found[name] = table.numbers(name, may_lack=name == "heading")
        found |= {name: table.words(name) for name in ("path", "side", "sequence", "condition") if name in known}
        count = len(found["path"])
        self._check("path", found["path"] == "", "a row must name the picture's path")
        sides = np.isin(found["side"], SIDES)
        self._check("side", ~sides, f"a side must be {' or '.join(SIDES)}")
        found["key"] = table.words("key") if "key" in known else _stems(found["path"])
        self._check("key" if "key" in known else "path", _no_words(found["key"]), KEYS)
        found["city"] = table.words("city") if "city" in known else np.full(count, self.path.stem)
        self._check(
            "city", _no_words(found["city"]), "a city must be called by a word, without spaces, commas, / and #"
        )
        if "frame" in known:
            frame = table.numbers("frame", may_lack=True)
            self._check("frame", frame != np.round(np.nan_to_num(frame, nan=0.5)), FRAMES, ~np.isnan(frame))
            found["frame"] = np.nan_to_num(frame).astype(np.int64)
        if "pano" in known:
            found["pano"] = table.flags("pano")
        self._check_degrees(found)
        self._check_twice(found)
        return Rows(**found)

    def _check_degrees(self, found: dict[str, Any]) -> None:
        if found["lat"] is not None:
            lat, lon = np.abs(found["lat"]), np.abs(found["lon"])
            swapped = (lat > 90) & (lat <= 180) & (lon <= 90)
            self._check("lat", swapped, "a latitude must lie within ±90 degrees; lat and lon look swapped")
            self._check("lat", lat > 90, "a latitude must lie within ±90 degrees")
            self._check("lon", lon > 180, "a longitude must lie within ±180 degrees")
        heading = found["heading"]
        if heading is not None and looks_like_radians(heading):
            fraction = ~np.isnan(heading) & (heading != np.round(heading))
            self._check(
                "heading", fraction, "headings must be degrees, and none of these leaves ±2π: they look like radians"
            )

    def _check_twice(self, found: dict[str, Any]) -> None:
        names = np.char.add(np.char.add(found["city"], "/"), np.char.add(np.char.add(found["side"], "/"), found["key"]))
        if Texts.of_array(names).num_different() < len(names):
            _, first = np.unique(names, return_index=True)
            again = np.ones(len(names), bool)
            again[first] = False
            self._check("key" if "key" in self.known else "path", again, "a key must stand once on a side of a city")

    def _check(self, name: str, bad: Any, fault: str, known: Any = True) -> None:
        """Nothing of a column is bad.

        Raises:
            DataError: something is, with its line.
            NotPlain: the same of a table that knows no lines.
        """
        rows = np.flatnonzero(bad & known)
        if not len(rows):
            return
        if isinstance(self.table, PlainTable):
            raise NotPlain
        row = int(rows[0])
        value = self.table.texts(name)[row][:60] if name in self.known else None
        raise DataError(self.table.where(row), fault, value, MEND)


def _no_words(words: npt.NDArray[np.str_]) -> npt.NDArray[np.bool_]:
    return Texts.of_array(words).matches(rf"{NO_WORD}|^\.{{0,2}}$")


def _stems(paths: npt.NDArray[np.str_]) -> npt.NDArray[np.str_]:
    return Texts.of_array(paths).replaced(r"^.*/", "").replaced(r"\.[^.]*$", "").array()


def _metres(rows: Rows, city: str, path: Path) -> tuple[Any, Any, tuple[str, ...]]:
    """Easting and northing of a city's rows, and what a person should know of them; None where nobody knows them.

    Raises:
        DataError: its places do not fit into one zone.
    """
    if rows.easting is not None:
        return rows.easting, rows.northing, ()
    if rows.lat is None or rows.lon is None:
        return None, None, ()
    round_first = (rows.lon - rows.lon[0] + 180) % 360 - 180  # a city may lie on the line where the date changes
    middle = float((np.median(round_first) + rows.lon[0] + 180) % 360 - 180)
    zone, south = zone_of(float(np.median(rows.lat)), middle)
    off = np.abs((rows.lon - (6 * zone - 183) + 180) % 360 - 180)
    widest = int(np.argmax(off))
    if off[widest] > WIDEST:
        fault = f"the places of a city must lie within {WIDEST:g}° of longitude of its zone's middle"
        found = f"{rows.key[widest]} at {rows.lon[widest]:g}, and zone {zone} of the median"
        raise DataError(path, fault, found, f"Divide {city} into cities, or mend lat and lon.")
    easting, northing = to_utm(rows.lat, rows.lon, zone, south)
    lacking = int((off > 3).sum())
    more = f"; {lacking} of {len(off)} places lie in other zones, and are counted in this one" if lacking else ""
    around = f"around lat {np.median(rows.lat):.3f}, lon {middle:.3f}"  # whoever swapped them sees it here
    told = f"lat and lon ({around}) became metres of UTM zone {zone}{'S' if south else 'N'}"
    return easting, northing, (f"{city}: {told}{more}",)


def _side(rows: Rows, city: str, side: str, metres: Sequence[Any], lies: tuple[Path, Path]) -> Side:
    (path, images), count = lies, len(rows.key)
    try:
        conditions = condition_words(rows.condition, count)
    except RuleError as error:
        raise DataError(f"{path}: column 'condition'", error.fault, error.value, error.remedy) from None
    nothing = np.full(count, "")
    heading = None if rows.heading is None or np.isnan(rows.heading).all() else rows.heading
    sequence = rows.key if rows.sequence is None else np.where(rows.sequence == "", rows.key, rows.sequence)
    return Side(
        city=city, side=side, folder=images, keys=rows.key, paths=NamedPaths(images, rows.path),
        pano=np.zeros(count, bool) if rows.pano is None else rows.pano, ca=heading, easting=metres[0],
        northing=metres[1], night=np.zeros(count, bool), view_direction=nothing,
        subtasks=subtask_flags(None, count), sequence_key=sequence,
        frame_number=np.zeros(count, np.int64) if rows.frame is None else rows.frame, conditions=conditions,
        files={"ca": path, "easting": path},
    )  # fmt: skip

"""GSV-Cities: places of four pictures and more, taken over years (Ali-bey et al., Neurocomputing 2022).

On disk, as published: `Dataframes/<City>.csv` with a row a picture, and
`Images/<City>/<City>_<place, 7 digits>_<year>_<month>_<northdeg, 3 digits>_<lat>_<lon>_<panoid>.jpg`.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

from vprdist.data.layouts.base import Layout
from vprdist.data.layouts.csv_table import Table
from vprdist.data.places import City, Ints, Side, Truth, Words
from vprdist.data.zones import to_utm, zone_of
from vprdist.errors import DataError, nearest
from vprdist.spec.names import is_name

TABLES, IMAGES = "Dataframes", "Images"
COLUMNS = ("place_id", "year", "month", "northdeg", "city_id", "lat", "lon", "panoid")
ENDINGS = (".jpg", ".JPG", ".jpeg", ".png")
"""The published files end in the one, those of copies in another."""
BOUNDS = {"place_id": (0, 10**7 - 1), "year": (1, 9999), "month": (1, 12), "northdeg": (-360, 360)}
DEGREES = {"lat": 84, "lon": 180}
"""Degrees that a place can be away from the equator, as far as UTM reaches, and from Greenwich."""


class GsvCities(Layout):
    """The earliest picture of each place asks, the others are searched; those of one place are its positives.

    Positions are metres of the one zone of UTM that the city's middle lies in, headings `northdeg`, conditions years.
    A place is one sequence, so that intervals are drawn over places.
    """

    @classmethod
    def evidence(cls, root: Path) -> str:
        tables = sorted((root / TABLES).glob("*.csv")) if (root / IMAGES).is_dir() else []
        return f"{TABLES}/{tables[0].name} beside {IMAGES}/" if tables else ""

    def names(self) -> list[str]:
        if not (found := sorted(path.stem for path in (self.root / TABLES).glob("*.csv"))):
            fault = f"a folder of GSV-Cities must have {TABLES}/<City>.csv and {IMAGES}/<City>/"
            raise DataError(self.root, fault, None, "Set trial.data.root to the folder that holds both.")
        return found

    def read(self, city: str) -> City:
        known = self.names()
        if city not in known:
            raise DataError(self.root / TABLES, "no such city", city, nearest(city, known))
        path = self.root / TABLES / f"{city}.csv"
        table = Table(path, COLUMNS)
        columns = {name: _whole(table, name) for name in BOUNDS}
        if (row := next((row for row, name in enumerate(table.texts("city_id")) if name != city), None)) is not None:
            found = table.texts("city_id")[row]
            raise DataError(table.where(row), f"column 'city_id' must hold the city, {city}", found, "Mend the row.")
        paths, keys = self._pictures(city, table, columns)
        asks = _earliest(columns, keys)
        if asks.all():
            fault = "no place has a second picture, and the database needs one at least"
            raise DataError(
                path, fault, f"{len(keys)} pictures", "Fetch the table again: its places have four or more."
            )
        positions, places = _positions(table), columns["place_id"]
        dates = 12 * columns["year"] + columns["month"] - 1
        query, database = (
            Side.of(
                city=city,
                side=side,
                folder=self.root / IMAGES / city,
                paths=[paths[row] for row in rows.tolist()],
                keys=keys[rows].tolist(),
                easting=positions[0][rows],
                northing=positions[1][rows],
                ca=columns["northdeg"][rows].astype(np.float64) % 360,
                sequence_key=places[rows],
                frame_number=dates[rows],
                conditions=columns["year"][rows].astype(str).tolist(),
            )
            for side, rows in (("query", np.flatnonzero(asks)), ("database", np.flatnonzero(~asks)))
        )
        return City(name=city, query=query, database=database, truth=_same_place(places[asks], places[~asks]))

    def _pictures(self, city: str, table: Table, columns: dict[str, Ints]) -> tuple[list[Path], Words]:
        """Where each picture lies, and its key: its name."""
        folder = self.root / IMAGES / city
        try:
            there = set(os.listdir(folder))  # noqa: PTH208 (as many names as pictures)
        except OSError as error:
            remedy = f"Unpack {IMAGES} beside {TABLES}."
            raise DataError(folder, "the folder of pictures cannot be listed", error.strerror, remedy) from None
        paths, seen = list[Path](), dict[str, int]()
        texts = [table.texts(name) for name in ("lat", "lon", "panoid")]
        for row, (lat, lon, panoid) in enumerate(zip(*texts, strict=True)):
            place, year, month, north = (int(columns[name][row]) for name in BOUNDS)
            before = f"{city}_{place:07d}_{year:04d}_{month:02d}_{north:03d}"
            # Names were written of numbers: where a table was saved anew, 10.0 may have become 10.
            stems = [f"{before}_{lat}_{lon}_{panoid}", f"{before}_{float(lat)}_{float(lon)}_{panoid}"]
            names = [stem + ending for stem in stems for ending in ENDINGS]
            name = next((name for name in names if name in there), names[0])
            key = os.path.splitext(name)[0]  # noqa: PTH122 (a million names)
            if not is_name(key) or any(mark in key for mark in " ,#\t"):
                fault = "a picture's name must be a word without spaces, commas and `#`"
                raise DataError(table.where(row), fault, key, "Mend the row.")
            if key in seen:
                fault = f"a picture stands twice; it is also at {table.where(seen[key])}"
                raise DataError(table.where(row), fault, key, "Delete one of the rows.")
            seen[key] = row
            paths.append(folder / name)
        return paths, np.array([*seen])


def _whole(table: Table, name: str) -> Ints:
    values: Ints = table.whole_numbers(name)
    low, high = BOUNDS[name]
    if len(bad := np.flatnonzero((values < low) | (values > high))):
        fault = f"column {name!r} must hold numbers from {low} to {high}"
        raise DataError(table.where(int(bad[0])), fault, int(values[bad[0]]), "Mend the row.")
    return values


def _earliest(columns: dict[str, Ints], keys: Words) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """(N,) whether a picture is the first of its place by date; of equal ones the first by name."""
    order = np.lexsort((keys, columns["month"], columns["year"], columns["place_id"]))
    places = columns["place_id"][order]
    asks = np.zeros(len(keys), bool)
    asks[order[np.concatenate([[True], places[1:] != places[:-1]])]] = True
    return asks


def _positions(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """(N,) easting and northing in metres, of the zone that the middle of the pictures lies in."""
    degrees = []
    for name, most in DEGREES.items():
        values = table.numbers(name)
        if len(bad := np.flatnonzero(np.abs(values) > most)):
            fault = f"column {name!r} must hold degrees from {-most} to {most}"
            raise DataError(table.where(int(bad[0])), fault, float(values[bad[0]]), "Mend the row.")
        degrees.append(values)
    latitude, longitude = degrees
    zone, south = zone_of(float(np.median(latitude)), float(np.median(longitude)))
    easting, northing = to_utm(latitude, longitude, zone, south)
    if len(bad := np.flatnonzero(~(np.isfinite(easting) & np.isfinite(northing)))):
        fault = "a picture must lie near its city, and this one is on the other side of the Earth"
        raise DataError(table.where(int(bad[0])), fault, None, "Mend the row.")
    return easting, northing


def _same_place(query: Ints, database: Ints) -> Truth:
    """Database pictures of a query's own place are its positives."""
    order = np.argsort(database, kind="stable")
    first, last = (np.searchsorted(database[order], query, side) for side in ("left", "right"))
    begins = np.concatenate([[0], np.cumsum(last - first)])
    indices = order[np.arange(begins[-1]) - np.repeat(begins[:-1] - first, last - first)]
    shape = (len(query), len(database))
    found = csr_matrix((np.ones(len(indices), bool), indices, begins), shape=shape)
    found.sort_indices()
    return Truth(positives=found, told="of the same place_id")

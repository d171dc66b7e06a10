"""Zones of UTM: which one a place lies in, and where in it, in metres (pyproj, PROJ's transverse Mercator)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
NORTH = "NPQRSTUVWX"
"""The letters of the bands north of the equator."""
LETTERS = f"CDEFGHJKLM{NORTH}"
EASTINGS, NORTHINGS = (1e5, 1e6), (0.0, 1e7)
"""Metres between which all places of a zone lie."""


def to_utm(latitude: Floats, longitude: Floats, zone: int, south: bool) -> tuple[Floats, Floats]:
    """(N,) easting and northing in metres, on WGS 84, of degrees; infinite where a place is on the other side of the
    Earth.

    Args:
        zone: 1 to 60.
        south: northings count from the south pole's side, as south of the equator.
    """
    from pyproj import Transformer

    there = Transformer.from_crs("EPSG:4326", f"EPSG:{(32700 if south else 32600) + zone}")
    easting, northing = there.transform(latitude, longitude)
    return np.asarray(easting, np.float64), np.asarray(northing, np.float64)


def zone_of(latitude: float, longitude: float) -> tuple[int, bool]:
    """The zone of a place, and whether it lies south of the equator; with Norway's and Svalbard's wider zones."""
    zone = int((longitude + 180) // 6) % 60 + 1
    if 56 <= latitude < 64 and 3 <= longitude < 12:
        zone = 32
    elif 72 <= latitude <= 84 and 0 <= longitude < 42:
        zone = 31 + 2 * int((longitude + 3) // 12)
    return zone, latitude < 0

"""What file names of pictures tell, in the form of VPR-datasets-downloader:

`@easting@northing@zone@letter@latitude@longitude@pano@tile@heading@pitch@roll@height@timestamp@note@.jpg`

Most fields may be empty. Names with fewer marks tell a position alone, as VPR-methods-evaluation reads them:
`@easting@northing@anything@.jpg`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vprdist.data.columns import FAR
from vprdist.data.listing import PICTURES, Tree
from vprdist.errors import DataError
from vprdist.text_columns import BLOCK, Texts

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
EASTING, NORTHING, ZONE, LETTER, LATITUDE, LONGITUDE, PANO, TILE, HEADING, NOTE, COUNT = (
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
    14,
    16,
)
FORM = "@easting@northing@zone@letter@latitude@longitude@…@.jpg"
RENAME = f"Name the pictures {FORM}, as VPR-datasets-downloader does, or describe them in a table (layout csv)."
NO_WORD = r'[\s\p{Z}\p{C},#/\\"]'
"""What no key may hold: keys are words of prediction files."""
NONE = "None"
"""What the downloader writes for a panorama's name that it was not given."""
MSLS_NOTE = re.compile(r"(day|night)_([a-z]*)_([a-z]+)")
"""What the downloader notes of MSLS: light, direction, city."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """What names tell, a value a picture.

    Attributes:
        keys: the names without ending; `_` stands for what no key may hold.
        easting, northing: metres.
        zone: the place of its zone among `zones`; "" is the zone of names that tell none.
        latitude, longitude: degrees; NaN where none is told.
        heading: as the names have it; NaN where none is told.
        sequence: the panorama's name; "" where none is told.
        tile: the number of the picture in its panorama.
        note: its place among `notes`.
    """

    keys: Texts
    easting: Floats
    northing: Floats
    zone: Ints
    zones: list[str]
    latitude: Floats
    longitude: Floats
    heading: Floats
    sequence: Texts
    tile: Ints
    note: Ints
    notes: list[str]


def read_names(tree: Tree) -> Told:
    """What the names of some pictures tell, some at a time.

    Raises:
        DataError: one tells no position, or a field that must be a number is none.
    """
    count = len(tree)
    found = {name: np.empty(count) for name in ("easting", "northing", "latitude", "longitude", "heading")}
    tile = np.zeros(count, np.int64)
    zones, notes, sequences = list[Texts](), list[Texts](), list[Texts]()
    for start, block in tree.names.blocks():
        rows = slice(start, start + BLOCK)
        lengths, parts = block.split("@", COUNT)
        if (short := np.flatnonzero(lengths < 4)).size:
            fault = f"a picture's name must tell its position: {FORM}"
            raise DataError(tree.where(start + int(short[0])), fault, None, RENAME)
        if lengths.min() < COUNT:  # what stands behind the position in a short name is nobody's field
            parts = [part.where(lengths >= COUNT) if place > NORTHING else part for place, part in enumerate(parts)]
        for name, place in (
            *(("easting", EASTING), ("northing", NORTHING), ("latitude", LATITUDE), ("longitude", LONGITUDE)),
            ("heading", HEADING),
        ):
            found[name][rows] = _numbers(parts[place], name, tree, start, place > NORTHING)
        tiles = parts[TILE].numbers()
        tile[rows] = 0 if tiles is None else np.nan_to_num(tiles, posinf=0, neginf=0).clip(-(2**31), 2**31)
        zones.append(parts[ZONE].joined(parts[LETTER]))
        notes.append(parts[NOTE])
        sequences.append(parts[PANO].replaced(f"^{NONE}$", ""))
    zone, told_zones = Texts.joint(zones).coded()
    note, told_notes = Texts.joint(notes).coded()
    return Told(
        keys=keys_of(tree.names), zone=zone, zones=told_zones, tile=tile, sequence=Texts.joint(sequences), note=note,
        notes=told_notes, **found,
    )  # fmt: skip


def keys_of(names: Texts) -> Texts:
    """The keys of pictures of some names."""
    ending = "|".join(re.escape(each[1:]) for each in PICTURES)
    return names.replaced(rf"(?i)\.({ending})$", "").replaced(NO_WORD, "_")


def _numbers(texts: Texts, name: str, tree: Tree, start: int, may_lack: bool) -> Floats:
    """A field of some names as numbers.

    Raises:
        DataError: one is no finite number, or none where there must be one.
    """
    found = texts.numbers()
    if found is None:
        found = np.array([_number(texts[row]) for row in range(len(texts))])
    bad = ~((np.abs(found) < FAR) | (np.isnan(found) & texts.is_empty() & may_lack))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        more = ", or nothing" if may_lack else ""
        fault = f"the {name} in a picture's name must be a number below {FAR:g}{more}"
        raise DataError(tree.where(start + row), fault, texts[row][:40], RENAME)
    return found


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.inf if text else math.nan


def looks_like_radians(heading: Floats) -> bool:
    """Whether some headings have fractions and all lie between -2π and 2π, as those of no camera in degrees do."""
    known = heading[~np.isnan(heading)]
    few = len(np.unique(known)) < 3
    return not few and bool(np.abs(known).max() <= 2 * math.pi) and not bool((known == np.round(known)).all())


def check_radians(told: Told, where: Callable[[int], str]) -> None:
    """Headings are degrees: numbers with fractions that all lie between -2π and 2π are taken for radians, and those
    beyond two turns for another field, since a name with one @ too many shifts all behind it.

    Raises:
        DataError: they are.
    """
    if (shifted := np.flatnonzero(np.abs(told.heading) > 720)).size:
        fault = "the heading in a picture's name must lie within ±720 degrees; fields may be shifted by an @ too many"
        remedy = "Mend the names, or leave headings out: layout: {name: utm, heading: none}."
        raise DataError(where(int(shifted[0])), fault, float(told.heading[shifted[0]]), remedy)
    if not looks_like_radians(told.heading):
        return
    row = int(np.flatnonzero(~np.isnan(told.heading) & (told.heading != np.round(told.heading)))[0])
    fault = "headings must be degrees, and none of these leaves ±2π: they look like radians"
    remedy = "Write degrees into the names, or leave headings out: layout: {name: utm, heading: none}."
    raise DataError(where(row), fault, float(told.heading[row]), remedy)

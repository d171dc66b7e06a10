"""One side of a city whose pictures' names tell all: its columns, and what of them cannot be right."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vprdist.data.layouts.kept import Columns
from vprdist.data.layouts.utm_names import MSLS_NOTE, Told, check_radians, read_names
from vprdist.data.listing import PICTURES, Tree
from vprdist.data.zones import EASTINGS, LETTERS, NORTH, NORTHINGS, to_utm
from vprdist.errors import DataError
from vprdist.text_columns import BLOCK, Texts

NUM_COMPARED = 1000
"""Pictures, evenly spread, whose degrees are compared with their metres."""
TOLERANCE_M = 25.0
"""Metres that both may differ by: many write few decimals of degrees."""
APART_M = 2_000_000.0
"""Metres between the zones of a city that are set apart."""
SWAPPED = "Swap them in the names."
ZONE = re.compile(r"0*([1-9]\d?)([A-Za-z]?)")


@dataclass(frozen=True)
class Reading:
    """How fields of names are read; see `Utm`."""

    sequence: str
    heading: str
    heading_shift: float
    zones: str

    @property
    def told(self) -> list[Any]:
        """The same as JSON."""
        return [self.sequence, self.heading, self.heading_shift, self.zones]


def side_columns(tree: Tree, conditions: Sequence[str], reading: Reading) -> Columns:
    """All that is known of the pictures of a side.

    Args:
        conditions: of each of the tree's folders.

    Raises:
        DataError: a name that tells no position, two equal ones, or what cannot be right.
    """
    told = read_names(tree)
    _check_twice(tree, told)
    zone = np.array([_zone(word, tree, told, place) for place, word in enumerate(told.zones)], np.int64)[told.zone]
    _check_places(tree, told, zone)
    if reading.heading != "none":
        check_radians(told, lambda row: str(tree.where(row)))
    condition, night, view, words = _conditions(tree, conditions, told)
    sequence, frame = _sequences(told, reading.sequence)
    known, first, counts = np.unique(zone, return_index=True, return_counts=True)
    ending, endings = _endings(tree)
    keys = told.keys.array()
    changed = np.flatnonzero(told.keys.joined(endings_of(ending, endings)).differs(tree.names))
    others = [(keys[row], tree.names[row]) for row in changed.tolist()]
    return {
        "keys": keys, "easting": told.easting + (zone * APART_M if reading.zones == "apart" else 0.0),
        "northing": told.northing, "ca": _compass(told.heading, reading), "sequence_key": sequence,
        "frame_number": frame, "conditions": condition, "conditions_words": np.array(words, dtype=str),
        "night": night, "view_direction": view[0], "view_direction_words": np.array(view[1], dtype=str),
        "folder": tree.folder.astype(np.int32), "folders": np.array(tree.folders), "stamps": tree.stamps,
        "ending": ending.astype(np.uint8), "endings": np.array(endings),
        "others": np.array(others, dtype=str).reshape(-1, 2),
        "zones": known, "zones_first": keys[first], "zones_counts": counts,
        "apart": np.array(reading.zones == "apart"),
    }  # fmt: skip


def check_city(query: Columns, database: Columns, top: Path) -> None:
    """All pictures of a city lie in one zone, unless zones are set apart.

    Raises:
        DataError: they do not.
    """
    found: dict[int, list[str]] = {}
    for side, columns in (("query", query), ("database", database)):
        if columns["apart"]:
            return
        facts = (columns[name].tolist() for name in ("zones", "zones_first", "zones_counts"))
        for zone, first, count in zip(*facts, strict=True):
            if zone:
                found.setdefault(zone, []).append(f"{count} {side} images, the first {first}")
    if len(found) > 1:
        told = "; ".join(f"{zone_word(zone)}: {', '.join(said)}" for zone, said in sorted(found.items()))
        fault = "a city must lie in one zone of UTM, for positions in two of them cannot be subtracted"
        remedy = (
            "Zones whose pictures lie far from each other may be set apart: layout: {name: utm, zones: apart}. A city "
            "across a border needs a table with lat and lon (layout csv)."
        )
        raise DataError(top, fault, told, remedy)


def zone_word(zone: int) -> str:
    """ "10N", "56S": a number and its half of the Earth."""
    return f"{zone % 61}{'S' if zone > 60 else 'N'}"


def _zone(word: str, tree: Tree, told: Told, place: int) -> int:
    """A zone as one number: 61 more in the south; 0 for names that tell none.

    Raises:
        DataError: there is no such zone.
    """
    if not word:
        return 0
    found = ZONE.fullmatch(word)
    letter = found[2].upper() if found else ""
    if found is None or int(found[1]) > 60 or (letter and letter not in LETTERS):
        row = int(np.flatnonzero(told.zone == place)[0])
        fault = "the zone in a picture's name must be 1 to 60, and its letter one of C to X without I and O"
        raise DataError(tree.where(row), fault, word, "Mend the name, or leave both empty.")
    return int(found[1]) + (61 if letter and letter not in NORTH else 0)


def _check_twice(tree: Tree, told: Told) -> None:
    """Keys are unique in their side.

    Raises:
        DataError: one stands twice.
    """
    if told.keys.num_different() == len(tree):
        return
    key = next(key for key, count in Counter(told.keys.array().tolist()).items() if count > 1)
    rows = np.flatnonzero(told.keys.equal(key))[:2].tolist()
    first, second = (tree.where(row) for row in rows)
    fault = f"two pictures of a side must have different names; this one's is that of {first}"
    remedy = (
        "Delete one. Where one folder of queries repeats another's, name those that take part: "
        "layout: {name: utm, query_folders: [queries]}."
    )
    raise DataError(second, fault, None, remedy)


def _check_places(tree: Tree, told: Told, zone: npt.NDArray[np.int64]) -> None:
    """Metres and degrees are where such numbers can be, and say the same.

    Raises:
        DataError: they do not.
    """
    bad = (np.abs(told.latitude) > 90) | (np.abs(told.longitude) > 180)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        latitude, longitude = float(told.latitude[row]), float(told.longitude[row])
        swapped = abs(longitude) <= 90 and abs(latitude) <= 180
        fault = "a latitude must lie within ±90 degrees, and a longitude within ±180" + (
            "; both look swapped" if swapped else ""
        )
        remedy = SWAPPED if swapped else "Mend the name, or leave both empty."
        raise DataError(tree.where(row), fault, (latitude, longitude), remedy)
    within = _in_zone(told.easting, told.northing)
    if (bad := (zone > 0) & ~within).any():
        row = int(np.flatnonzero(bad)[0])
        easting, northing = float(told.easting[row]), float(told.northing[row])
        swapped = bool(_in_zone(told.northing[row], told.easting[row]))
        fault = f"an easting must lie within {EASTINGS} m in a zone, and a northing within {NORTHINGS}" + (
            "; both look swapped" if swapped else ""
        )
        remedy = SWAPPED if swapped else "Mend the name, or leave its zone empty."
        raise DataError(tree.where(row), fault, (easting, northing), remedy)
    _compare(tree, told, zone)


def _in_zone(easting: Any, northing: Any) -> Any:
    return (easting >= EASTINGS[0]) & (easting < EASTINGS[1]) & (northing >= NORTHINGS[0]) & (northing <= NORTHINGS[1])


def _compare(tree: Tree, told: Told, zone: npt.NDArray[np.int64]) -> None:
    """The degrees of some pictures are where their metres are.

    Raises:
        DataError: they are not; what would mend it is tried.
    """
    known = np.flatnonzero((zone > 0) & ~np.isnan(told.latitude) & ~np.isnan(told.longitude))
    rows = known[np.unique(np.linspace(0, len(known) - 1, min(len(known), NUM_COMPARED)).astype(int))]
    for each in np.unique(zone[rows]).tolist():
        some = rows[zone[rows] == each]
        latitude, longitude = told.latitude[some], told.longitude[some]
        wanted = told.easting[some], told.northing[some]
        off = _distance(latitude, longitude, wanted, each)
        if not (bad := ~(off <= TOLERANCE_M)).any():
            continue
        row, place = int(some[bad][0]), int(np.flatnonzero(bad)[0])
        fault, remedy = "degrees and metres in a picture's name must be of one place", "Mend the name."
        if _distance(longitude, latitude, wanted, each)[place] <= TOLERANCE_M:
            fault, remedy = "latitude and longitude in a picture's name must not be swapped", SWAPPED
        elif _distance(latitude, longitude, wanted[::-1], each)[place] <= TOLERANCE_M:
            fault, remedy = "easting and northing in a picture's name must not be swapped", SWAPPED
        told_m = "nowhere in this zone" if not np.isfinite(off[place]) else f"{off[place]:.0f} m apart"
        raise DataError(tree.where(row), fault, told_m, f"{remedy} {len(rows)} of {len(tree)} names were compared.")


def _distance(latitude: Any, longitude: Any, wanted: Sequence[Any], zone: int) -> npt.NDArray[np.float64]:
    """(N,) metres between degrees and metres; infinite where degrees are nowhere near the zone."""
    inside = np.abs(latitude) <= 90
    easting, northing = to_utm(np.where(inside, latitude, 0.0), longitude, zone % 61, zone > 60)
    apart = np.hypot(easting - wanted[0], northing - wanted[1])
    return np.where(inside & np.isfinite(apart), apart, np.inf)


def _compass(heading: npt.NDArray[np.float64], reading: Reading) -> npt.NDArray[np.float64]:
    """(N,) degrees clockwise from north; NaN where none is told, or -1, which Mapillary writes for none."""
    if reading.heading == "none":
        return np.full(len(heading), np.nan)
    turned = -heading if reading.heading == "counterclockwise" else heading
    return np.where(heading == -1, np.nan, (turned + reading.heading_shift) % 360)


def _conditions(tree: Tree, conditions: Sequence[str], told: Told) -> tuple[Any, Any, Any, list[str]]:
    """The place of each picture's condition among words, whether it is night, the place of its direction of view among
    others, and the words: what the folder says, or else a note of MSLS."""
    notes = [MSLS_NOTE.fullmatch(note) for note in told.notes]
    lights = [note[1] if note else "" for note in notes]
    views = ["", *sorted({note[2].capitalize() for note in notes if note} - {""})]
    words = sorted({"", *conditions, *lights})
    of_folder = np.array([words.index(word) for word in conditions], np.int16)[tree.folder]
    of_note = np.array([words.index(word) for word in lights], np.int16)[told.note]
    night = np.array([light == "night" for light in lights], bool)[told.note]
    view = np.array([views.index(note[2].capitalize()) if note else 0 for note in notes], np.int16)[told.note]
    return np.where(of_folder == words.index(""), of_note, of_folder), night, (view, views), words


def _sequences(told: Told, kind: str) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.int64]]:
    """The sequence of each picture and its number there; where names tell none, each picture is one of its own."""
    alone = told.sequence.is_empty()
    if kind == "none" or alone.all():
        return told.keys.array(), np.zeros(len(told.keys), np.int64)
    sequence, frame = told.sequence, told.tile
    if kind == "route":
        sequence = told.sequence.replaced(r"^[_-]?[0-9]+$", "route").replaced(r"[_-]?[0-9]+$", "")
        numbers = told.sequence.replaced(r"^.*?([0-9]{0,18})$", r"\1").numbers()
        frame = np.zeros(len(alone), np.int64) if numbers is None else np.nan_to_num(numbers).astype(np.int64)
    words = sequence.where(~alone).joined(told.keys.where(alone)).array()
    return words, np.where(alone, 0, frame)


def _endings(tree: Tree) -> tuple[npt.NDArray[np.int64], list[str]]:
    """The place of each picture's ending among the different ones, and those."""
    ending = "|".join(each[1:] for each in PICTURES)
    parts = (block.replaced(rf"(?is)^.*(\.(?:{ending}))$", r"\1") for _, block in tree.names.blocks())
    return Texts.joint(list(parts)).coded()


def endings_of(ending: npt.NDArray[np.int64], endings: Sequence[str]) -> Texts:
    """The endings themselves."""
    words = np.array(endings)
    return Texts.of(words[ending[start : start + BLOCK]].tolist() for start in range(0, len(ending), BLOCK))

"""A data set written anew in another layout: pictures as links or copies, and the tables that the layout has.

Two forms are written, the field's most common ones. What a form has no word for is told (`lost`), and never dropped in
silence. A city is written into a folder beside its place and moved there when it is whole.
"""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vprdist.data.layouts.base import Layout
from vprdist.data.layouts.beside import BESIDE
from vprdist.data.places import City, Side
from vprdist.data.positives import rows_within
from vprdist.errors import DataError
from vprdist.files import locked, publish
from vprdist.spec.vocabulary import SUBTASKS

JPEG = (".jpg", ".jpeg")
NAME_BYTES = 255
"""Longer names of files no file system takes."""
RADIUS_M = 25.0
"""MSLS' rule for positives."""
PARTIAL = ".partial"
LOCK = ".converting"
Advance = Callable[[int], None]


@dataclass(frozen=True)
class Target:
    """Where and how cities are written.

    copy: pictures are copied; else they are symbolic links to where they lie.
    frame_m: metres between two frames of a city that has frames and no positions, as the makers of data sets invent
        them; None: such a city is refused.
    """

    out: Path
    form: str
    copy: bool = False
    frame_m: float | None = None

    def folder(self, city: City) -> Path:
        """Where a city is written."""
        if self.form == "utm":
            return self.out / "images" / city.name
        return self.out / ("test" if city.split == "test" else "train_val") / city.name


def convert(layout: Layout, cities: Sequence[str], target: Target, advance: Advance) -> dict[str, list[str]]:
    """Write some cities; a city that lies there already is left alone.

    Args:
        advance: told how many more pictures are written.

    Returns:
        For each city what the form could not hold, in words.

    Raises:
        DataError: a city that the form cannot hold at all, a missing picture, a folder that cannot be written to, or
            that another process writes into; before it is begun.
    """
    if target.out.resolve() == layout.root.resolve():
        fault = "a data set must be written into a folder of its own: nobody could tell which of two layouts is meant"
        raise DataError(target.out, fault, None, "Name another.")
    read = [placed(layout.read(name), target.frame_m) for name in cities]
    for city in read:
        check_convertible(city, target)
        if not target.folder(city).exists():
            layout.check(city)  # a link to nothing would be made as well as any
    with _alone(target.out):
        return {city.name: _write(city, target, advance) for city in read}


def check_convertible(city: City, target: Target) -> None:
    """The form can hold the city.

    Raises:
        DataError: it cannot, or the target is the source.
    """
    for side in city.sides:
        if target.folder(city).resolve() in (side.folder.resolve(), *side.folder.resolve().parents):
            raise DataError(target.out, "a data set cannot be written over the one that is read", None, "Name another.")
        if side.easting is None and (city.truth is not None or target.form == "utm"):
            fault = f"the layout {target.form} must have positions, and {city.name} has none"
            remedy = (
                "It knows its positives by frames or a file: use it as it lies, or say how many metres lie between two "
                "frames (--frame-m): positions are then made up, along one line."
            )
            raise DataError(side.where("easting"), fault, None, remedy if city.truth is not None else "Add its truth.")
        names = _utm_names(side) if target.form == "utm" else []
        if twice := next((name for name, count in Counter(names).items() if count > 1), None):
            fault = "keys of a side must differ in more than @, which parts the fields of a file's name"
            raise DataError(side.folder, fault, twice, "Rename one of the pictures.")
        if long := next((name for name in names if len(name.encode()) > NAME_BYTES), None):
            fault = f"a file's name must have {NAME_BYTES} bytes at most, and this key makes a longer one"
            raise DataError(side.folder, fault, long, "Shorten the key.")


def lost(city: City, form: str) -> list[str]:
    """What of a city the form has no place for, in words."""
    words = []
    if form == "msls" and (found := sorted({w for side in city.sides for w in np.unique(side.conditions) if w})):
        words.append(
            f"conditions ({', '.join(found)}), which are words, and MSLS' tables know their own subtasks alone"
        )
    if city.truth is not None:
        words.append(f"its own truth ({city.truth.told}): positives will be those within the radius{_differing(city)}")
    if city.label_file is not None and city.label_file.exists() and form == "utm":
        words.append(f"its official labels ({city.label_file.name}): labels will be computed")
    others = sorted({path.suffix for side in city.sides for path in side.paths if path.suffix.lower() not in JPEG})
    if others and form == "msls":
        words.append(f"endings ({', '.join(others)}): MSLS' pictures are called .jpg; what they hold stays")
    return words


def placed(city: City, frame_m: float | None) -> City:
    """A city without positions on one line, its frames so many metres apart; any other as it is."""
    if frame_m is None or city.truth is None or city.query.easting is not None:
        return city
    query, database = (
        replace(side, easting=frame_m * side.frame_number.astype(np.float64), northing=np.zeros(len(side)))
        for side in city.sides
    )
    return replace(city, query=query, database=database)


def _differing(city: City) -> str:
    """In how many pairs the rule of MSLS differs from the city's own truth."""
    if city.query.easting is None or city.truth is None:
        return ""
    own = city.truth.positives
    pairs = set(zip(*(rows.tolist() for rows in own.nonzero()), strict=True))
    near = rows_within(city.query.positions, city.database.positions, RADIUS_M)
    found = {(query, row) for query, rows in enumerate(near) for row in rows.tolist()}
    return f"; within {RADIUS_M:g} m {len(pairs ^ found)} pairs differ from its {len(pairs)}"


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Holds the folder, which is made where it is missing: two processes would write each other's cities.

    Raises:
        DataError: it cannot be made, or another process holds it.
    """
    with ExitStack() as stack:
        try:
            out.mkdir(parents=True, exist_ok=True)
            ours = stack.enter_context(locked(out / LOCK, blocking=False))
        except OSError as error:
            raise DataError(out, "the folder cannot be written to", error.strerror, "Name another.") from None
        if not ours:
            fault = "the folder cannot be written to while another process converts into it"
            raise DataError(out, fault, None, "Wait until it is done, and run this again.")
        yield
        (out / LOCK).unlink(missing_ok=True)


def _write(city: City, target: Target, advance: Advance) -> list[str]:
    folder = target.folder(city)
    if folder.exists():
        advance(sum(map(len, city.sides)))
        return [f"nothing was written: {folder} is there already"]
    partial = folder.with_name(folder.name + PARTIAL)
    write = _write_utm if target.form == "utm" else _write_msls
    for side in city.sides:
        write(side, partial, target.copy, advance)
    if target.form == "msls" and city.label_file is not None and city.label_file.exists():
        _place(city.label_file, folder.with_name(f"{folder.name}_gt.h5"), target.copy)
    partial.rename(folder)
    return lost(city, target.form)


def _write_msls(side: Side, city: Path, copy: bool, advance: Advance) -> None:
    folder = city / side.side
    for row in range(len(side)):
        _place(side.image_path(row), folder / "images" / f"{side.keys[row]}.jpg", copy)
        advance(1)
    for name, (header, rows) in _msls_tables(side).items():
        _table(folder / name, ("", *header), ([index, *row] for index, row in enumerate(rows)))


def _msls_tables(side: Side) -> Mapping[str, tuple[tuple[str, ...], Iterator[list[object]]]]:
    keys, ca = side.keys.tolist(), side.headings.tolist()
    count = range(len(side))
    tables: dict[str, tuple[tuple[str, ...], Iterator[list[object]]]] = {
        "seq_info.csv": (
            ("key", "sequence_key", "frame_number"),
            ([keys[row], side.sequence_key[row], side.frame_number[row]] for row in count),
        ),
        "subtask_index.csv": (SUBTASKS, ([side.subtasks[name][row] for name in SUBTASKS] for row in count)),
    }
    tables["raw.csv"] = (
        ("key", "lon", "lat", "ca", "captured_at", "pano"),
        ([keys[row], "", "", "" if np.isnan(ca[row]) else ca[row], "", side.pano[row]] for row in count),
    )
    if side.easting is not None and side.northing is not None:
        positions = side.positions.tolist()
        tables["postprocessed.csv"] = (
            ("key", "easting", "northing", "unique_cluster", "control_panel", "night", "view_direction"),
            ([keys[row], *positions[row], 0, False, side.night[row], side.view_direction[row]] for row in count),
        )
    return tables


def _write_utm(side: Side, city: Path, copy: bool, advance: Advance) -> None:
    word = "queries" if side.side == "query" else "database"
    names = _utm_names(side)
    for row, name in enumerate(names):
        _place(side.image_path(row), city / word / name, copy)
        advance(1)
    columns = (side.pano, side.night, side.view_direction, side.sequence_key, side.frame_number, side.conditions)
    flags = [side.subtasks[name] for name in SUBTASKS]
    rows = ([name, *(column[row] for column in (*columns, *flags))] for row, name in enumerate(names))
    _table(city / f"{word}.csv", BESIDE, rows)


def _utm_names(side: Side) -> list[str]:
    """Files' names in the form of VPR-datasets-downloader: numbers as they are, to the last digit; the key stands for
    the panorama, without the @ that part the fields: the keys of utm itself have many."""
    names, columns = [], (side.keys.tolist(), side.positions.tolist(), side.headings.tolist(), side.night.tolist())
    for row, (key, (easting, northing), ca, night) in enumerate(zip(*columns, strict=True)):
        heading = "" if np.isnan(ca) else repr(ca)
        note = f"{'night' if night else 'day'}_{side.view_direction[row].lower()}_{side.city.lower()}"
        fields = [repr(easting), repr(northing), "", "", "", "", key, "", heading, "", "", "", "", note]
        fields = [field.replace("@", "_") for field in fields]
        names.append(f"@{'@'.join(fields)}@{side.image_path(row).suffix}")
    return names


def _place(source: Path, place: Path, copy: bool) -> None:
    """A picture in its place; what an interrupted run left stays, if it is what this one would make."""
    try:
        if place.is_symlink() and (copy or place.readlink() != source.absolute()):
            place.unlink()
        if place.is_symlink() or place.exists():
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        if copy:
            with publish(place) as stream, source.open("rb") as picture:
                shutil.copyfileobj(picture, stream, 2**20)
        else:
            place.symlink_to(source.absolute())
    except FileNotFoundError:
        raise DataError(source, "the picture is missing", None, "Fetch or unpack it again.") from None
    except OSError as error:
        raise DataError(place, "the picture cannot be written", error.strerror, "See to the disk, and run it again: "
                        "what is written stays.") from None  # fmt: skip


def _table(path: Path, header: Sequence[str], rows: Iterator[list[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with publish(path, "w") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)

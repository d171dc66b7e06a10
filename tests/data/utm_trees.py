"""Trees of pictures that are named as VPR-datasets-downloader names them, and their plain reading."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

PIXEL = b"\xff\xd8\xff\xd9"
"""What lies in the place of a picture where nobody looks at it."""
FIELDS = ("zone", "letter", "lat", "lon", "pano", "tile", "heading", "pitch", "roll", "height", "timestamp", "note")


def utm_name(easting: object, northing: object, **fields: object) -> str:
    """A file name with all fifteen marks; other fields are empty."""
    assert set(fields) <= set(FIELDS)
    return "@".join(["", str(easting), str(northing), *(str(fields.get(each, "")) for each in FIELDS), ".jpg"])


def write_names(folder: Path, names: Sequence[str], pixels: bytes = PIXEL) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pixels)


def write_part(folder: Path, queries: Sequence[str], database: Sequence[str]) -> None:
    """The two folders of a city."""
    write_names(folder / "queries", queries)
    write_names(folder / "database", database)


def plainly(folders: Sequence[Path]) -> list[tuple[Path, list[str]]]:
    """Every picture below some folders with the parts of its name, in order, one after the other."""
    paths = [
        path for folder in folders for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png")
    ]
    return [(path, path.name.split("@")) for path in sorted(paths, key=lambda path: (str(path.parent), path.name))]

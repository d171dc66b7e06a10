"""A picture sheet: visits of one place side by side, each with its label colours and its static-class mask."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from vprdist.data.palette import PALETTE
from vprdist.demo.mark import MARK
from vprdist.errors import DataError, nearest
from vprdist.files import publish, read_json
from vprdist.spec.vocabulary import CLASSES, SIDES, STATIC_CLASSES

GAP, CAPTION = 6, 14


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _by_place(folder: Path, city: str) -> dict[str, list[tuple[str, str, str]]]:
    """Place (unique_cluster) -> (side, key, caption) of its pictures that are no panoramas, database first."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for side in reversed(SIDES):
        base = folder / "train_val" / city / side
        for raw, post in zip(_rows(base / "raw.csv"), _rows(base / "postprocessed.csv"), strict=True):
            if raw["pano"] == "False":
                night = ", night" if post["night"] == "True" else ""
                caption = f"{side} {raw['captured_at'][:7]}{night}"
                found.setdefault(post["unique_cluster"], []).append((side, raw["key"], caption))
    return found


def _cell(folder: Path, city: str, side: str, key: str, caption: str) -> Image.Image:
    """Picture, labels and masked picture side by side under a caption."""
    with Image.open(folder / "train_val" / city / side / "images" / f"{key}.jpg") as file:
        rgb: NDArray[np.uint8] = np.asarray(file.convert("RGB"))
    with Image.open(folder / "labels" / city / side / f"{key}.png") as file:
        labels = np.asarray(file)
    static = np.isin(labels, [CLASSES.index(name) for name in STATIC_CLASSES])
    strip = np.concatenate([rgb, PALETTE[labels], rgb * static[..., None].astype(np.uint8)], 1)
    height, width = strip.shape[:2]
    scale = max(1, round(160 / (width / 3)))
    cell = Image.new("RGB", (width * scale, height * scale + CAPTION), "white")
    cell.paste(Image.fromarray(strip).resize((width * scale, height * scale), Image.Resampling.NEAREST), (0, CAPTION))
    ImageDraw.Draw(cell).text((2, 1), caption, fill="black")
    return cell


def sheet(folder: Path, out: Path, *, city: str | None = None, places: int = 4, visits: int = 4) -> None:
    """Write a PNG: one row a place, one cell a visit (picture, Cityscapes colours, picture under the static mask).

    Args:
        folder: a complete demo city.
        city: which city; the last one when None.
        places: rows, spread evenly over the city.
        visits: cells a row, database first.

    Raises:
        DataError: the folder is no complete demo city, or has no such city.
    """
    mark = Path(folder) / MARK
    if not mark.is_file():
        raise DataError(
            folder, "a sheet must be made of a complete demo city", remedy="Make it first, or mend the path."
        )
    spec = read_json(mark)
    cities = [*spec["train"], *spec["validate"]]
    chosen = cities[-1] if city is None else city
    if chosen not in cities:
        raise DataError(mark, "the demo has no such city", chosen, nearest(chosen, cities))
    found = list(_by_place(Path(folder), chosen).values())
    full = [row for row in found if len(row) >= min(visits, max(map(len, found)))]
    picked = [full[int((n + 0.5) * len(full) / places)] for n in range(places)] if len(full) > places else full
    grid = [[_cell(Path(folder), chosen, *visit) for visit in row[:visits]] for row in picked]
    width, height = grid[0][0].size
    columns = max(len(row) for row in grid)
    image = Image.new("RGB", (columns * (width + GAP) + GAP, len(grid) * (height + GAP) + GAP), "white")
    for r, row in enumerate(grid):
        for c, cell in enumerate(row):
            image.paste(cell, (GAP + c * (width + GAP), GAP + r * (height + GAP)))
    with publish(Path(out)) as stream:
        image.save(stream, format="PNG")

"""A sheet of the first pairs that a trial is trained on: each picture as it is, and as its network sees it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from vprdist.data.palette import palette_of
from vprdist.evaluation.sheet import network_views, publish_sheet, view_labels
from vprdist.network.inputs import PlaceReader, Reading
from vprdist.network.stem import IMAGENET_MEAN
from vprdist.semantics.resize import placed
from vprdist.training.batches import PairImages
from vprdist.training.steps import RankPart

NUM_PAIRS, GAP, LINE, SMALLEST = 6, 6, 14, 96
COLUMNS = ("query", "as trained on", "partner, {:.2f} alike", "as trained on")


def write_augmented(
    path: Path, pictures: PairImages, part: RankPart, mean: Sequence[float] = IMAGENET_MEAN
) -> None:  # fmt: skip
    """A PNG: a row for each of the first queries of a step, with its first partner.

    Args:
        pictures: how they are read and changed. They are shown through the trial's own mask, whatever arm a step has.
        mean: of RGB in [0, 1], the colour of fill `mean`.

    Raises:
        UserError: a picture that cannot be read.
    """
    reader = pictures.reader
    rows = [_row(pictures, part, number) for number in range(min(NUM_PAIRS, len(part.pairs)))]
    views = [[_views(reader, reading, mean) for reading in row] for row in rows]
    height, width = reader.image_size
    scale = max(1, -(-SMALLEST // height))
    cell = (width * scale + GAP, len(views[0][0]) * height * scale + LINE + GAP)
    sheet = Image.new("RGB", (len(COLUMNS) * cell[0] + GAP, len(rows) * cell[1] + 2 * LINE), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((GAP, 1), f"The first pairs of training; each from top to bottom: {', '.join(_labels(reader))}", "black")
    first = part.pairs.similarity.reshape(len(part.pairs), -1)[:, 0].tolist()
    for line, (row, found) in enumerate(zip(views, first, strict=False)):
        for column, pile in enumerate(row):
            left, top = GAP + column * cell[0], 2 * LINE + line * cell[1]
            title = COLUMNS[column].format(found)
            pen.text((left, top - 1), title, "black")
            for number, view in enumerate(pile):
                shown = view.resize((width * scale, height * scale), Image.Resampling.NEAREST)
                sheet.paste(shown, (left, top + LINE + number * height * scale))
    publish_sheet(path, sheet)


def _row(pictures: PairImages, part: RankPart, number: int) -> list[Reading]:
    """A query and its first partner, each as it is and as it is trained on."""
    pairs, found = part.pairs, list[Reading]()
    for side, rows in enumerate((pairs.query[:, None], pairs.database.reshape(len(pairs), -1))):
        plain = pictures.reader.read(pictures.cities[pairs.city[number]][side], int(rows[number, 0]))
        found += [plain, pictures.changed(plain, part, side, number * rows.shape[1])]
    return found


def _labels(reader: PlaceReader) -> tuple[str, ...]:
    maps = reader.input.needs_cache and not reader.input.uses_mask
    return ("picture", "likeliest classes") if maps else view_labels(reader.input)


def _views(reader: PlaceReader, reading: Reading, mean: Sequence[float]) -> list[Image.Image]:
    """What enters the network; in the place of many activations, the likeliest class of each pixel."""
    image, extra = reading
    views = network_views(reader, image, extra, mean)
    if extra is None or reader.input.uses_mask:
        return views
    return [*views, Image.fromarray(_likeliest(reader, extra))]


def _likeliest(reader: PlaceReader, extra_Khw: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """(H, W, 3) in the classes' colours; black where none is seen."""
    maps = placed(extra_Khw.numpy(), reader.image_size, reader.grid)
    colours = palette_of(reader.classes)[maps.argmax(axis=0)]
    return np.where(maps.max(axis=0)[..., None] > 0, colours, 0).astype(np.uint8)

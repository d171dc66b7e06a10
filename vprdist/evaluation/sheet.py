"""A sheet of queries with what was retrieved for them: a look at what the numbers mean."""

from __future__ import annotations

import math
from bisect import bisect_right
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from vprdist.data.places import Side
from vprdist.evaluation.ranking import Ranking
from vprdist.files import publish
from vprdist.network.inputs import PlaceReader

NUM_QUERIES, NUM_RETRIEVED, GAP, TITLE = 8, 4, 6, 14
# Blue and orange are told apart by everybody; a found place has a solid frame as well, a wrong one a thin one.
RIGHT, WRONG = (0, 114, 178), (213, 94, 0)


def network_view(image_3HW: Tensor, extra_Chw: Tensor | None, mode: str) -> Image.Image:
    """What the network sees as a picture; a mask is brightened to its own maximum, so that its shape can be seen."""
    pixels = image_3HW.numpy().transpose(1, 2, 0)
    if extra_Chw is None or mode == "rgb+semantics":
        return Image.fromarray(pixels)
    mask = extra_Chw[0].numpy().astype(np.float32)
    grey = Image.fromarray(np.uint8(np.round(255 * mask / max(float(mask.max()), 1e-6))))
    shape = np.asarray(grey.resize((pixels.shape[1], pixels.shape[0]), Image.Resampling.BILINEAR))
    return Image.fromarray((pixels * (shape[..., None] / 255)).astype(np.uint8))


def write_sheet(path: Path, reader: PlaceReader, ranking: Ranking) -> None:
    """A PNG: evenly spaced queries, each with its nearest gallery pictures, a frame for right and wrong."""
    tasks = ranking.tasks
    asked = [(number, index) for number, task in enumerate(tasks) for index in range(len(task.queries))]
    chosen = [asked[i] for i in np.linspace(0, len(asked) - 1, min(NUM_QUERIES, len(asked))).astype(int)]
    height, width = reader.image_size
    scale = max(1, math.ceil(96 / height))
    cell = (width * scale + GAP, height * scale + GAP + TITLE)
    sheet = Image.new("RGB", (cell[0] * (NUM_RETRIEVED + 1) + GAP, cell[1] * len(chosen) + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for line, (number, index) in enumerate(chosen):
        rows: list[tuple[Side, int, bool | None]] = [
            (tasks[number].city.query, int(tasks[number].queries[index]), None)
        ]
        rows += _retrieved(ranking, number, index)
        for column, (side, row, right) in enumerate(rows):
            corner = (GAP + column * cell[0], GAP + line * cell[1])
            _draw(sheet, draw, corner, _picture(reader, side, row, scale), right)
    with publish(path) as stream:
        sheet.save(stream, "PNG")


def _retrieved(ranking: Ranking, number: int, index: int) -> list[tuple[Side, int, bool | None]]:
    """(side, database row, is it right) of the nearest pictures; in a merged gallery they may be of any city."""
    right = ranking.tasks[number].positives[index] + ranking.starts[number]
    out: list[tuple[Side, int, bool | None]] = []
    for image in ranking.retrieved[number][index][:NUM_RETRIEVED].tolist():
        owner = bisect_right(ranking.starts, image) - 1
        task = ranking.tasks[owner]
        out.append((task.city.database, int(task.gallery[image - ranking.starts[owner]]), image in right))
    return out


def _picture(reader: PlaceReader, side: Side, row: int, scale: int) -> Image.Image:
    image = network_view(*reader.read(side, row), reader.input.mode)
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)


def _draw(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, corner: tuple[int, int], image: Image.Image, right: bool | None
) -> None:
    left, top = corner
    sheet.paste(image, (left, top + TITLE))
    if right is None:
        draw.text(corner, "query", fill="black")
        return
    draw.text(corner, "right place" if right else "wrong place", fill=RIGHT if right else WRONG)
    box = (left - 1, top + TITLE - 1, left + image.width, top + TITLE + image.height)
    draw.rectangle(box, outline=RIGHT if right else WRONG, width=4 if right else 2)

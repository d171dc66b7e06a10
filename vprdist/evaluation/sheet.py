"""A sheet of queries with what was retrieved for them: a look at what the numbers mean."""

from __future__ import annotations

import math
import textwrap
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from torch import Tensor

from vprdist.data.places import Side
from vprdist.evaluation.ranking import Ranking
from vprdist.files import publish
from vprdist.network.inputs import PlaceReader
from vprdist.network.model import form_of
from vprdist.network.stem import IMAGENET_MEAN, InputStem
from vprdist.semantics.arms import arm_words, stretch_of
from vprdist.semantics.filling import filled_words
from vprdist.semantics.masks import full_level
from vprdist.spec.input import InputSpec

NUM_QUERIES, NUM_RETRIEVED, GAP, TITLE, LINE = 8, 4, 6, 14, 14
LETTER = 6.2
"""Pixels that a letter takes, about."""
# Blue and orange are told apart by everybody; a found place has a solid frame as well, a wrong one a thin one.
RIGHT, WRONG = (0, 114, 178), (213, 94, 0)


def write_sheet(path: Path, reader: PlaceReader, ranking: Ranking, mean: Sequence[float] = IMAGENET_MEAN) -> None:
    """A PNG: evenly spaced queries, each with its nearest gallery pictures, a frame for right and wrong.

    Queries and gallery pictures are as the network sees them (`network_views`).

    Args:
        mean: of RGB in [0, 1], by which the network's pictures are normalised: the colour of fill `mean`.
    """
    tasks = ranking.tasks
    asked = [(number, index) for number, task in enumerate(tasks) for index in range(len(task.queries))]
    chosen = [asked[i] for i in np.linspace(0, len(asked) - 1, min(NUM_QUERIES, len(asked))).astype(int)]
    height, width = reader.image_size
    scale = max(1, math.ceil(96 / height))
    labels = view_labels(reader.input)
    cell = (width * scale + GAP, len(labels) * (height * scale + GAP) + TITLE)
    sheet_width = cell[0] * (NUM_RETRIEVED + 1) + GAP
    head = textwrap.wrap(headline(reader.input), int((sheet_width - 2 * GAP) / LETTER))
    top = GAP + LINE * len(head)
    sheet = Image.new("RGB", (sheet_width, top + cell[1] * len(chosen)), "white")
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(head):
        draw.text((GAP, GAP // 2 + LINE * number), line, fill="black")
    for line_number, (number, index) in enumerate(chosen):
        rows: list[tuple[Side, int, bool | None]] = [
            (tasks[number].city.query, int(tasks[number].queries[index]), None)
        ]
        rows += _retrieved(ranking, number, index)
        for column, (side, row, right) in enumerate(rows):
            corner = (GAP + column * cell[0], top + line_number * cell[1])
            _draw(sheet, draw, corner, _pictures(reader, side, row, scale, mean), right)
    publish_sheet(path, sheet)


def publish_sheet(path: Path, sheet: Image.Image) -> None:
    """A PNG whole or not at all: of pictures, packed in half of the time that the usual level takes, 1 % larger."""
    with publish(path) as stream:
        sheet.save(stream, "PNG", compress_level=3)


def view_labels(given: InputSpec) -> tuple[str, ...]:
    """What the pictures of a place are, from top to bottom."""
    if not given.uses_mask:
        return ("picture",)
    beside = ("picture", "weights of the features" if given.at_features else "mask")
    labels = (f"picture x mask{filled_words(given)}",) if given.hides else beside
    stretch = _stretch(given)
    what = "" if not given.hides or given.mask_fill == "black" else "its mask "
    return (*labels, f"{what}stretched {stretch} x") if stretch > 1 else labels


def headline(given: InputSpec) -> str:
    """What the sheet shows."""
    if given.learns_mask:
        return "Queries and what was retrieved, without the mask that was learnt: masks.png beside this sheet shows it."
    if not given.uses_mask:
        return "Queries and what was retrieved: pictures as the network sees them."
    assert given.mask_reduce is not None
    labels = view_labels(given)
    below = f"; below, {' and '.join(labels[1:])}" if len(labels) > 1 else ""
    return (
        f"Queries and what was retrieved, all as the network sees them: {labels[0]}{below}. "
        f"Mask: {arm_words(given.arm, given.mask_reduce)}{'; it weighs the features' if given.at_features else ''}."
    )


def network_views(
    reader: PlaceReader, image_3HW: Tensor, extra_Chw: Tensor | None, mean: Sequence[float] = IMAGENET_MEAN
) -> list[Image.Image]:
    """What enters the network as pictures, in the order of `view_labels`; a masked one as dark as it is.

    A mask that hides nothing is shown in grey. Where masks are dark by their reduction, what they let through is shown
    stretched as well; under another fill than black their mask is, since the fill is as bright as it is.
    """
    given, pixels_HW3 = reader.input, image_3HW.numpy().transpose(1, 2, 0)
    if extra_Chw is None or not given.uses_mask:
        return [Image.fromarray(pixels_HW3)]
    assert given.mask_reduce is not None
    full, form = full_level(len(given.class_names), given.mask_reduce), form_of(given)
    stem = InputStem(given.mode, full, reader.grid, *form, mean)
    stretch = _stretch(given)
    if given.hides and given.mask_fill != "black":
        stems = [stem, InputStem(given.mode, full // stretch, reader.grid, *form, mean)]
        views = [_shown(each, image_3HW, extra_Chw) for each in stems[: 1 + (stretch > 1)]]
    elif given.hides:
        shown_HW3 = _shown(stem, image_3HW, extra_Chw)
        views = [shown_HW3, *([stretch * shown_HW3] if stretch > 1 else [])]
    else:
        mask_HW1 = stem.placed(extra_Chw[None], reader.image_size)[0].permute(1, 2, 0).numpy()
        shown_HW3 = mask_HW1 * np.full_like(pixels_HW3, 255)
        views = [pixels_HW3, shown_HW3, *([stretch * shown_HW3] if stretch > 1 else [])]
    return [Image.fromarray(np.round(view).clip(0, 255).astype(np.uint8)) for view in views]


def _shown(stem: InputStem, image_3HW: Tensor, extra_Chw: Tensor) -> npt.NDArray[np.float32]:
    shown: npt.NDArray[np.float32] = 255 * stem.shown(image_3HW[None], extra_Chw[None])[0].permute(1, 2, 0).numpy()
    return shown


def _stretch(given: InputSpec) -> int:
    assert given.mask_reduce is not None
    return stretch_of(given.arm, given.mask_reduce)


def _retrieved(ranking: Ranking, number: int, index: int) -> list[tuple[Side, int, bool | None]]:
    """(side, database row, is it right) of the nearest pictures; in a merged gallery they may be of any city."""
    right = ranking.tasks[number].positives[index] + ranking.starts[number]
    out: list[tuple[Side, int, bool | None]] = []
    for image in ranking.retrieved[number][index][:NUM_RETRIEVED].tolist():
        owner = bisect_right(ranking.starts, image) - 1
        task = ranking.tasks[owner]
        out.append((task.city.database, int(task.gallery[image - ranking.starts[owner]]), image in right))
    return out


def _pictures(reader: PlaceReader, side: Side, row: int, scale: int, mean: Sequence[float]) -> list[Image.Image]:
    views = network_views(reader, *reader.read(side, row), mean)
    return [view.resize((view.width * scale, view.height * scale), Image.Resampling.NEAREST) for view in views]


def _draw(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, corner: tuple[int, int], images: list[Image.Image],
    right: bool | None,
) -> None:  # fmt: skip
    left, top = corner
    title = "query" if right is None else "right place" if right else "wrong place"
    ink = "black" if right is None else RIGHT if right else WRONG
    draw.text(corner, title, fill=ink)
    for number, image in enumerate(images):
        y = top + TITLE + number * (image.height + GAP)
        sheet.paste(image, (left, y))
        if right is not None:
            box = (left - 1, y - 1, left + image.width, y + image.height)
            draw.rectangle(box, outline=ink, width=4 if right else 2)

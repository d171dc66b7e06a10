"""A sheet of what a cache holds: pictures, their classes, the mask of some classes, the masked pictures.

The paper's Figure 2, for any cache and any classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from vprdist.data.images import load_image
from vprdist.data.layouts import open_layout
from vprdist.data.palette import PALETTE
from vprdist.errors import CacheError, nearest
from vprdist.files import publish
from vprdist.semantics.cache import Cache, open_cache
from vprdist.semantics.masks import Activations, reduce_mask
from vprdist.semantics.resize import placed
from vprdist.spec.doors import MSLS, LayoutName
from vprdist.spec.vocabulary import CLASS_GROUPS, CLASSES, MaskReduce

CELL_WIDTH, GAP, MARGIN = 272, 6, 24
LABEL_WIDTH, HEAD, CAPTION = 132, 62, 22
SWATCH, LEGEND_ROW, LEGEND_COLUMN = 16, 26, 132
INK, GREY, FRAME = (28, 30, 34), (128, 132, 140), (214, 217, 222)
BIG, NORMAL, SMALL = 19, 14, 12


@dataclass(frozen=True, kw_only=True)
class Column:
    """One picture on its way: all (H, W, …) uint8 of one size."""

    caption: str
    picture: Activations
    classes: Activations
    mask: Activations
    masked: Activations


def write_sheet(
    path: Path,
    root: Path,
    out: Path,
    *,
    layout: LayoutName = MSLS,
    city: str | None = None,
    classes: str = "static",
    reduce: MaskReduce = "sum",
    images: int = 6,
) -> None:
    """Write a PNG of evenly spaced queries of a city, one a column.

    Activations are enlarged to the picture before the likeliest class is chosen, so that its edges are as fine as
    the cache allows.

    Args:
        path: a cache.
        root: the data set that it was made for.
        layout: how it lies there.
        city: None: the cache's last.
        classes: a group, or class names with commas between.
        images: columns, at most.

    Raises:
        CacheError: no such cache, city or class, or the cache of another tree.
        DataError: a broken data set, or a missing picture.
    """
    cache, chosen = open_cache(path), class_names(classes)
    known = tuple(cache.manifest.cities)
    if city is not None and city not in known:
        raise CacheError(path, "the cache has no such city", city, nearest(city, known))
    if images < 1:
        raise CacheError("--images", "a sheet must have at least one column", images, "Ask for more.")
    name = city or known[-1]
    data = open_layout(root, layout)
    cache.covers({name: data.digest(name)})
    side = data.read(name).query
    rows = np.unique(np.linspace(0, len(side) - 1, images).astype(int))
    with Image.open(side.image_path(int(rows[0]))) as first:
        size = (round(CELL_WIDTH * first.height / first.width), CELL_WIDTH)
    columns = [
        _column(cache, name, str(side.keys[row]), load_image(side.image_path(row), *size), chosen, reduce)
        for row in map(int, rows)
    ]
    titles = (name, f"{cache.manifest.segmenter}; activations of {cache.size[0]} x {cache.size[1]}")
    with publish(Path(out)) as stream:
        _draw(columns, titles, classes, chosen, reduce).save(stream, format="PNG")


def class_names(text: str) -> tuple[str, ...]:
    """The classes of a group's name or of a list with commas, in trainId order.

    Raises:
        CacheError: an unknown one.
    """
    if text in CLASS_GROUPS:
        return CLASS_GROUPS[text]
    wanted = [word.strip().replace("_", " ") for word in text.split(",")]
    for word in wanted:
        if word not in CLASSES:
            fault = "a class must be one of the 19, or a group must name them all"
            raise CacheError("--classes", fault, word, nearest(word, (*CLASS_GROUPS, *CLASSES)))
    return tuple(name for name in CLASSES if name in wanted)


def _column(
    cache: Cache, city: str, key: str, picture: Activations, chosen: tuple[str, ...], reduce: MaskReduce
) -> Column:
    height, width = picture.shape[:2]
    activations = placed(cache.activations(city, "query", key), (height, width), cache.grid)
    mask = reduce_mask(activations[[CLASSES.index(name) for name in chosen]], reduce)
    return Column(
        caption=key,
        picture=picture,
        classes=PALETTE[activations.argmax(axis=0)],
        mask=_bytes(255 * np.repeat(mask[..., None], 3, axis=2)),
        masked=_bytes(picture * mask[..., None]),
    )


def _bytes(values: npt.NDArray[np.float32]) -> Activations:
    rounded: Activations = np.round(values).astype(np.uint8)
    return rounded


def _draw(
    columns: list[Column], titles: tuple[str, str], classes: str, chosen: tuple[str, ...], reduce: MaskReduce
) -> Image.Image:
    height = columns[0].picture.shape[0]
    lines = (
        ("picture", ("as the data set", "has it")),
        ("classes", ("the likeliest of", "the 19")),
        ("mask", (f"{reduce} of {len(chosen)} classes", f"({classes})" if classes in CLASS_GROUPS else "")),
        ("masked picture", ("picture x mask,", "as the network", "sees it")),
    )
    width = max(LABEL_WIDTH + len(columns) * (CELL_WIDTH + GAP) - GAP, LABEL_WIDTH + 4 * LEGEND_COLUMN)
    legend_columns = (width - LABEL_WIDTH) // LEGEND_COLUMN
    left_out = tuple(name for name in CLASSES if name not in chosen)
    groups = (("in the mask", chosen), ("left out", left_out))
    legend_rows = [-(-len(names) // legend_columns) for _, names in groups]
    top = MARGIN + HEAD
    bottom = top + len(lines) * (height + GAP) + CAPTION
    total = bottom + sum(legend_rows) * LEGEND_ROW + GAP * 4 + MARGIN
    sheet = Image.new("RGB", (width + 2 * MARGIN, total), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, MARGIN), titles[0], fill=INK, font=ImageFont.load_default(BIG))
    pen.text((MARGIN, MARGIN + 28), titles[1], fill=GREY, font=ImageFont.load_default(SMALL))
    for row, (title, more) in enumerate(lines):
        y = top + row * (height + GAP)
        pen.text((MARGIN, y), title, fill=INK, font=ImageFont.load_default(NORMAL))
        pen.multiline_text((MARGIN, y + 22), "\n".join(more), fill=GREY, font=ImageFont.load_default(SMALL), spacing=4)
        for index, column in enumerate(columns):
            cell = (column.picture, column.classes, column.mask, column.masked)[row]
            x = MARGIN + LABEL_WIDTH + index * (CELL_WIDTH + GAP)
            sheet.paste(Image.fromarray(cell), (x, y))
            # A mask is white where it lets all through, and so is the sheet.
            pen.rectangle((x - 1, y - 1, x + CELL_WIDTH, y + height), outline=FRAME)
    for index, column in enumerate(columns):
        x = MARGIN + LABEL_WIDTH + index * (CELL_WIDTH + GAP)
        pen.text((x, bottom - CAPTION), _fitted(column.caption), fill=GREY, font=ImageFont.load_default(SMALL))
    y = bottom + GAP * 2
    for (title, names), num_rows in zip(groups, legend_rows, strict=True):
        if names:
            pen.text((MARGIN, y), title, fill=INK, font=ImageFont.load_default(NORMAL))
        for index, name in enumerate(names):
            row, column_index = divmod(index, legend_columns)
            corner = (MARGIN + LABEL_WIDTH + column_index * LEGEND_COLUMN, y + row * LEGEND_ROW)
            _draw_class(pen, corner, name)
        y += num_rows * LEGEND_ROW + GAP
    return sheet


def _draw_class(pen: ImageDraw.ImageDraw, corner: tuple[int, int], name: str) -> None:
    x, y = corner
    red, green, blue = (int(value) for value in PALETTE[CLASSES.index(name)])
    pen.rounded_rectangle((x, y, x + SWATCH, y + SWATCH), radius=4, fill=(red, green, blue))
    pen.text((x + SWATCH + 7, y), name, fill=INK, font=ImageFont.load_default(NORMAL))


def _fitted(caption: str) -> str:
    """A caption that fits below its picture; MSLS keys do."""
    most = CELL_WIDTH // 7
    return caption if len(caption) <= most else caption[: most - 1] + "…"

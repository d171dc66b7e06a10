"""A sheet of what a cache holds: pictures, their classes, masks of some classes, the masked pictures.

The paper's Figure 2, for any cache and any classes. A masked picture is as dark as the network sees it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from vprdist.data.images import load_image, upright_size
from vprdist.data.layouts import open_layout
from vprdist.data.palette import palette_of
from vprdist.data.places import Side
from vprdist.errors import CacheError, nearest
from vprdist.files import parse_json, publish
from vprdist.semantics.arms import PLACEBO_WORDS, ArmMasks, arm_words, stretch_of
from vprdist.semantics.cache import Cache, open_cache
from vprdist.semantics.filling import MEAN, UNTOLD, Shown, filled
from vprdist.semantics.masks import Activations
from vprdist.semantics.resize import placed, placed_mask
from vprdist.spec.arms import Arm
from vprdist.spec.base import Names
from vprdist.spec.class_table import CITYSCAPES, ClassTable, table_of
from vprdist.spec.doors import MSLS, LayoutName
from vprdist.spec.vocabulary import FORM_WORDS, STATIC_CLASSES, MaskFill, MaskReduce

STATIC = Arm(STATIC_CLASSES)
CELL_WIDTH, GAP, MARGIN = 272, 6, 24
LABEL_WIDTH, HEAD, CAPTION = 132, 62, 22
SWATCH, LEGEND_ROW, LEGEND_COLUMN = 16, 26, 132
INK, GREY, FRAME = (28, 30, 34), (128, 132, 140), (214, 217, 222)
BIG, NORMAL, SMALL = 19, 14, 12


@dataclass(frozen=True, kw_only=True)
class ShownMask:
    """A mask that a sheet shows.

    Attributes:
        seed: decides a placebo.
        form: a key of `FORM_WORDS`: how the mask hides the picture, or that it weighs the features. None: it is a
            channel of its own.
        mean: the colour of form `mean`, in [0, 1]; None: it is not known, and ImageNet's is shown.
    """

    arm: Arm = STATIC
    reduce: MaskReduce = "sum"
    seed: int = 0
    form: MaskFill | Literal["features"] | None = "black"
    mean: Sequence[float] | None = MEAN

    @property
    def words(self) -> str:
        """What the mask is made of, and its form where it is not the paper's."""
        form = {"black": "", "features": "; it weighs the features"}.get(self.form or "black")
        untold = f" ({UNTOLD})" if self.form == "mean" and self.mean is None else ""
        return arm_words(self.arm, self.reduce) + (
            f"; filled with {FORM_WORDS[str(self.form)]}{untold}" if form is None else form
        )


class Line(NamedTuple):
    """One line of the sheet: what it shows, and a cell (H, W, 3) uint8 for each picture."""

    title: str
    more: tuple[str, ...]
    cells: list[Activations]


class Shot(NamedTuple):
    """A picture of the sheet, (H, W, 3) uint8."""

    side: Side
    row: int
    pixels: Activations

    @property
    def key(self) -> str:
        return str(self.side.keys[self.row])

    @property
    def size(self) -> tuple[int, int]:
        return self.pixels.shape[0], self.pixels.shape[1]


def write_sheet(
    path: Path,
    root: Path,
    out: Path,
    *,
    layout: LayoutName = MSLS,
    city: str | None = None,
    masks: Sequence[ShownMask] = (ShownMask(),),
    images: int = 6,
) -> None:
    """Write a PNG of evenly spaced queries of a city, one a column.

    Activations are enlarged to the picture before the likeliest class is chosen, so that its edges are as fine as
    the cache allows. Where a mask is dark by its reduction, it and what it lets through are shown stretched as well.

    Args:
        path: a cache.
        root: the data set that it was made for.
        layout: how it lies there.
        city: None: the cache's last.
        masks: at least one; the first one's classes are told below the pictures.
        images: columns, at most.

    Raises:
        CacheError: no such cache or city, or the cache of another tree.
        DataError: a broken data set, or a missing picture.
    """
    cache = open_cache(path)
    known = tuple(cache.manifest.cities)
    if city is not None and city not in known:
        raise CacheError(path, "the cache has no such city", city, nearest(city, known))
    if images < 1:
        raise CacheError("--images", "a sheet must have at least one column", images, "Ask for more.")
    name = city or known[-1]
    data = open_layout(root, layout)
    cache.covers({name: data.whole_digest(name)})
    side = data.read(name).query
    held = set(cache.keys(name, "query"))
    there = [row for row, key in enumerate(side.keys.tolist()) if key in held]  # it may have been made without some
    rows = np.array(there)[np.unique(np.linspace(0, len(there) - 1, images).astype(int))]
    height, width = upright_size(side.image_path(int(rows[0])))
    size = (max(1, round(CELL_WIDTH * height / width)), CELL_WIDTH)
    shots = [Shot(side, row, load_image(side.image_path(row), *size)) for row in map(int, rows)]
    lines = [Line("picture", ("as the data set", "has it"), [shot.pixels for shot in shots])]
    lines.append(
        Line(
            "classes",
            ("the likeliest of", f"the {len(cache.classes)}"),
            [_classes(cache, name, shot) for shot in shots],
        )
    )
    lines += [line for mask in masks for line in _mask_lines(cache, mask, shots)]
    titles = (name, f"{cache.manifest.segmenter}; activations of {cache.size[0]} x {cache.size[1]}")
    with publish(Path(out)) as stream:
        _draw(lines, [shot.key for shot in shots], titles, masks[0].arm.classes, cache.classes).save(
            stream, format="PNG"
        )


def class_names(text: str, table: ClassTable | None = None) -> tuple[str, ...]:
    """The classes of a group's name or of a list with commas (of JSON, where names have commas), in the table's order.

    Args:
        table: None: the 19.

    Raises:
        CacheError: an unknown one.
    """
    table = table or table_of(CITYSCAPES)
    if text in table.groups:
        return table.groups[text]
    for word in (wanted := _written(text, table)):
        if word not in table.classes:
            fault = f"a class must be one of {table.words}, or a group must name them all"
            raise CacheError("--classes", fault, word, nearest(word, (*table.groups, *table.classes)))
    return table.ordered(wanted)


def _written(text: str, table: ClassTable) -> list[str]:
    """The names of a list; an underscore may stand for a blank."""
    if text.startswith("["):
        try:
            found = parse_json(text.encode())
        except ValueError as error:
            raise CacheError("--classes", "the list must be JSON", str(error)[:80], 'Write ["a, b", "c"].') from None
        return [str(each) for each in found]
    words = [word.strip() for word in text.split(",")]
    return [word if word in table.classes else word.replace("_", " ") for word in words]


def _classes(cache: Cache, city: str, shot: Shot) -> Activations:
    activations = placed(cache.activations(city, "query", shot.key), shot.size, cache.grid)
    colours: Activations = palette_of(cache.classes)[activations.argmax(axis=0)]
    return colours


def _mask_lines(cache: Cache, shown: ShownMask, shots: Sequence[Shot]) -> list[Line]:
    """The mask and what it lets through in its form; each once more below, where it is dark by its reduction."""
    weighs, stretch = shown.form == "features", stretch_of(shown.arm, shown.reduce)
    made = ArmMasks(cache, shown.reduce, shown.seed, at_features=weighs)
    masks = [placed_mask(made.mask(s.side, s.row, shown.arm), s.size, cache.grid)[..., None] for s in shots]
    group = next(
        (f"({name})" for name, names in table_of(cache.classes).groups.items() if names == shown.arm.classes), ""
    )
    placebo = PLACEBO_WORDS.get(shown.arm.placebo, "").replace(": ", ":\n").replace(", ", ",\n").split("\n")
    words = tuple(filter(None, (f"{shown.reduce} of {len(shown.arm.classes)} classes", group, *placebo)))
    more = ("weights of the", "features: the", "network sees the", "whole picture") if weighs else ()
    grey = [np.repeat(255 * mask, 3, axis=2) for mask in masks]
    bright = [stretch * cell for cell in grey]
    lines = _dark_and_bright("mask", (*words, *more), (grey, bright), stretch)
    if shown.form is None or shown.form == "features":
        return lines
    fill, outline = shown.form, shown.arm.placebo == "outline"
    through = [filled(shot.pixels, mask, fill, outline, shown.mean) for shot, mask in zip(shots, masks, strict=True)]
    if fill == "black":
        bright = [stretch * cell for cell in through]
        told: tuple[str, ...] = ("picture x mask,", "as the network", "sees it", *placebo)
    else:
        whole = [np.minimum(stretch * mask, 1) for mask in masks]
        bright = [filled(shot.pixels, mask, fill, outline, shown.mean) for shot, mask in zip(shots, whole, strict=True)]
        told = (f"{FORM_WORDS[fill]} where", "the mask is zero", *placebo)
    return lines + _dark_and_bright("masked picture", told, (through, bright), stretch)


def _dark_and_bright(
    title: str, words: tuple[str, ...], cells: tuple[Sequence[Shown], Sequence[Shown]], stretch: int
) -> list[Line]:
    """A line as the network sees it, and one to be seen where that is dark by its reduction."""
    dark, bright = cells
    lines = [Line(title, words, [_bytes(cell) for cell in dark])]
    if stretch > 1:
        lines.append(Line(f"stretched {stretch} x", (f"the {title}", "above, to be seen"), list(map(_bytes, bright))))
    return lines


def _bytes(values: npt.NDArray[np.float32]) -> Activations:
    rounded: Activations = np.round(values).clip(0, 255).astype(np.uint8)
    return rounded


def _draw(
    lines: Sequence[Line], captions: Sequence[str], titles: tuple[str, str], chosen: Names, classes: Names
) -> Image.Image:
    height = lines[0].cells[0].shape[0]
    width = max(LABEL_WIDTH + len(captions) * (CELL_WIDTH + GAP) - GAP, LABEL_WIDTH + 4 * LEGEND_COLUMN)
    legend_columns = (width - LABEL_WIDTH) // LEGEND_COLUMN
    left_out = tuple(name for name in classes if name not in chosen)
    groups = (("in the mask", chosen), ("left out", left_out))
    legend_rows = [-(-len(names) // legend_columns) for _, names in groups]
    top = MARGIN + HEAD
    bottom = top + len(lines) * (height + GAP) + CAPTION
    total = bottom + sum(legend_rows) * LEGEND_ROW + GAP * 4 + MARGIN
    palette = palette_of(classes)
    sheet = Image.new("RGB", (width + 2 * MARGIN, total), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, MARGIN), titles[0], fill=INK, font=ImageFont.load_default(BIG))
    pen.text((MARGIN, MARGIN + 28), titles[1], fill=GREY, font=ImageFont.load_default(SMALL))
    for row, (title, more, cells) in enumerate(lines):
        y = top + row * (height + GAP)
        pen.text((MARGIN, y), title, fill=INK, font=ImageFont.load_default(NORMAL))
        pen.multiline_text((MARGIN, y + 22), "\n".join(more), fill=GREY, font=ImageFont.load_default(SMALL), spacing=4)
        for index, cell in enumerate(cells):
            x = MARGIN + LABEL_WIDTH + index * (CELL_WIDTH + GAP)
            sheet.paste(Image.fromarray(cell), (x, y))
            # A mask is white where it lets all through, and so is the sheet.
            pen.rectangle((x - 1, y - 1, x + CELL_WIDTH, y + height), outline=FRAME)
    for index, caption in enumerate(captions):
        x = MARGIN + LABEL_WIDTH + index * (CELL_WIDTH + GAP)
        pen.text((x, bottom - CAPTION), _fitted(caption), fill=GREY, font=ImageFont.load_default(SMALL))
    y = bottom + GAP * 2
    for (title, names), num_rows in zip(groups, legend_rows, strict=True):
        if names:
            pen.text((MARGIN, y), title, fill=INK, font=ImageFont.load_default(NORMAL))
        for index, name in enumerate(names):
            row, column_index = divmod(index, legend_columns)
            corner = (MARGIN + LABEL_WIDTH + column_index * LEGEND_COLUMN, y + row * LEGEND_ROW)
            _draw_class(pen, corner, name, palette[classes.index(name)])
        y += num_rows * LEGEND_ROW + GAP
    return sheet


def _draw_class(pen: ImageDraw.ImageDraw, corner: tuple[int, int], name: str, colour: Activations) -> None:
    x, y = corner
    red, green, blue = (int(value) for value in colour)
    pen.rounded_rectangle((x, y, x + SWATCH, y + SWATCH), radius=4, fill=(red, green, blue))
    pen.text(
        (x + SWATCH + 7, y), _fitted(name, LEGEND_COLUMN - 2 * SWATCH), fill=INK, font=ImageFont.load_default(NORMAL)
    )


def _fitted(caption: str, width: int = CELL_WIDTH) -> str:
    """A caption that fits below its picture, or beside its colour; MSLS keys and the 19 do."""
    most = width // 7
    return caption if len(caption) <= most else caption[: most - 1] + "…"

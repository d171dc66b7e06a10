"""What a learnt mask came to: how much it shows of each class, and what it makes of some pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from vprdist.data.places import Side
from vprdist.data.tasks import Task
from vprdist.evaluation.sheet import publish_sheet
from vprdist.network.inputs import PlaceReader
from vprdist.network.model import PlaceNetwork

NUM_PICTURES, MOST_READ = 6, 1000
"""Columns of the sheet; validation pictures whose weights are averaged, spread evenly over all of them."""
GAP, LINE, LEAST_HEIGHT = 6, 14, 96
HEAD = "What the learnt mask shows of some queries: the picture, the mask (white: shown), the picture times the mask."


@torch.no_grad()
def mask_weights(network: PlaceNetwork, reader: PlaceReader, tasks: Sequence[Task]) -> dict[str, float] | None:
    """How much of each class the mask shows, the most shown 1, on average over validation pictures.

    None where no mask is learnt, or where it does not weigh classes.
    """
    if network.mask is None:
        return None
    chosen, found = _spread([side for task in tasks for side in task.sides], MOST_READ), list[np.ndarray]()
    for side, row in chosen:
        gates_BK = network.mask.gates(reader.activations(side, row)[None].to(_device(network)))
        if gates_BK is None:
            return None
        found.append(gates_BK[0].double().cpu().numpy())
    means: list[float] = np.mean(found, axis=0).round(6).tolist()
    return dict(zip(reader.input.map_names, means, strict=True))


@torch.no_grad()
def write_masks(path: Path, network: PlaceNetwork, reader: PlaceReader, tasks: Sequence[Task]) -> None:
    """A PNG of evenly spaced queries and their masks; nothing where no mask is learnt."""
    if network.mask is None:
        return
    chosen = _spread([(task.city.query, task.queries) for task in tasks], NUM_PICTURES)
    height, width = reader.image_size
    scale = max(1, math.ceil(LEAST_HEIGHT / height))
    cell = (width * scale + GAP, height * scale + GAP)
    sheet = Image.new("RGB", (GAP + cell[0] * len(chosen), GAP + LINE + 3 * cell[1]), "lightgrey")
    ImageDraw.Draw(sheet).text((GAP, GAP // 2), HEAD, fill="black")
    for column, (side, row) in enumerate(chosen):
        for line, view in enumerate(_views(network, *reader.read(side, row))):
            place = (GAP + column * cell[0], GAP + LINE + line * cell[1])
            sheet.paste(view.resize((width * scale, height * scale), Image.Resampling.NEAREST), place)
    publish_sheet(path, sheet)


def _views(network: PlaceNetwork, image_3HW: Tensor, extra_Khw: Tensor | None) -> list[Image.Image]:
    """The picture, its mask, and the picture times the mask."""
    assert network.mask is not None and extra_Khw is not None, "a mask is learnt from activations"
    image_B3HW, extra_BKhw = (each[None].to(_device(network)) for each in (image_3HW, extra_Khw))
    mask_B1hw = network.mask(image_B3HW, extra_BKhw)
    mask_HW1 = (
        network.stem.placed(mask_B1hw, (image_3HW.shape[1], image_3HW.shape[2]))[0].permute(1, 2, 0).cpu().numpy()
    )
    pixels_HW3 = image_3HW.numpy().transpose(1, 2, 0)
    views = (pixels_HW3, 255 * np.repeat(mask_HW1, 3, axis=2), pixels_HW3 * mask_HW1)
    return [Image.fromarray(np.round(view).clip(0, 255).astype(np.uint8)) for view in views]


def _spread(sides: Sequence[tuple[Side, np.ndarray]], most: int) -> list[tuple[Side, int]]:
    """Some rows of some sides, evenly spaced over all of them."""
    every = [(side, int(row)) for side, rows in sides for row in rows]
    return [every[i] for i in np.unique(np.linspace(0, len(every) - 1, min(most, len(every))).astype(int))]


def _device(network: PlaceNetwork) -> torch.device:
    return network.stem.mean.device

"""A segmenter of a user's own: `path/file.py:Name` or `package.module:Name`."""

from __future__ import annotations

from typing import Any, get_args

import torch
from torch import Tensor, nn

from vprdist.errors import OwnCodeError, WeightsError, first_line
from vprdist.spec.class_table import ClassTable
from vprdist.spec.own_load import blamed, load_own
from vprdist.spec.segmenter import MSLS_SIZE, SegmenterSpec
from vprdist.spec.vocabulary import Grid

REMEDY = "Mend the file, and run the sweep again."
NEAR = 1e-2
"""How far the probabilities of a pixel may sum from 1."""


class OwnSegmenter:
    """Calls a user's class, and looks at what it answers.

    The class is made with its parameters (and `weights=` a path, where the sweep names weights). Called with pictures,
    (B, 3, H, W) uint8 RGB, it answers with probabilities of the classes of the table, in its order, (B, C, h, w) float,
    which sum to 1 at each place. Its attribute `grid` says how these places lie on the picture; without one they are
    cells. A torch module is brought to the device and into evaluation mode.

    Raises:
        OwnCodeError: its grid is none.
    """

    def __init__(self, spec: SegmenterSpec, made: Any, device: str, table: ClassTable) -> None:
        self.name, self.made, self.device, self.table = spec.name, made, torch.device(device), table
        self.image_size = spec.picture_size or MSLS_SIZE
        self.description = spec.family
        self.grid: Grid = getattr(made, "grid", "cells")
        if self.grid not in get_args(Grid):
            fault = f"`grid` of a segmenter must be {' or '.join(get_args(Grid))}"
            raise OwnCodeError(self.name, fault, str(self.grid), REMEDY)

    def output_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Found by asking for a black picture of that size."""
        _, _, height, width = self(torch.zeros(1, 3, *image_size, dtype=torch.uint8)).shape
        return height, width

    def __call__(self, image_B3HW: Tensor) -> Tensor:
        with blamed(self.name, otherwise=self.name, at_once=True):
            found = self.made(image_B3HW.to(self.device))
        count, num_classes = len(image_B3HW), len(self.table.classes)
        if not isinstance(found, Tensor) or found.ndim != 4 or tuple(found.shape[:2]) != (count, num_classes):
            got = str(tuple(found.shape)) if isinstance(found, Tensor) else type(found).__name__
            fault = f"a segmenter must answer {count} pictures with ({count}, {num_classes}, h, w) probabilities"
            raise OwnCodeError(self.name, fault, got, REMEDY)
        if not found.is_floating_point():
            raise OwnCodeError(self.name, "a segmenter must answer with floats", str(found.dtype), REMEDY)
        sums = found.float().sum(dim=1)
        if not ((sums - 1).abs() < NEAR).all() or found.min() < 0:
            fault = "the probabilities of a place must be none below 0, and sum to 1"
            raise OwnCodeError(
                self.name,
                fault,
                round(float(sums.flatten()[0]), 4),
                "Take the softmax over the classes, of finite logits.",
            )
        return found


def open_network(spec: SegmenterSpec, device: str, table: ClassTable) -> OwnSegmenter:
    """The class of a spec, made with its parameters.

    Raises:
        OwnCodeError: it cannot be loaded or made.
        WeightsError: weights that it cannot use.
    """
    more = {} if spec.weights is None else {"weights": spec.weights}
    try:
        own = load_own(spec.name, spec.digest)
        with blamed(spec.name, otherwise=spec.name):
            made = own(**spec.parameters, **more)
    except OSError as error:
        where, remedy = spec.source or spec.name, "Check the paths that its class opens, and their permissions."
        raise WeightsError(where, "the segmenter's files cannot be read", first_line(error), remedy) from None
    if isinstance(made, nn.Module):
        made = made.to(device).eval()
    return OwnSegmenter(spec, made, device, table)

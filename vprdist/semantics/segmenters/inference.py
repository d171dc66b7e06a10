"""What goes around any segmenter: windows, the mirrored picture, short floats, another size."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F

from vprdist.errors import CacheError, WeightsError
from vprdist.semantics.resize import area_weights
from vprdist.semantics.segmenters.base import Segmenter
from vprdist.spec.segmenter import CELL, SegmenterSpec
from vprdist.spec.vocabulary import Grid

Size = tuple[int, int]


def check_device(device: str) -> None:
    """Raises CacheError for a GPU that torch cannot use."""
    if device != "cpu" and not torch.cuda.is_available():
        raise CacheError("device", "torch finds no GPU on this machine", device, "Use cpu, or another machine.")


def wrap(network: Segmenter, spec: SegmenterSpec, device: str) -> Segmenter:
    """A network with the inference of a spec around it.

    Raises:
        WeightsError: windows that do not lie on the network's grid.
    """
    precision = spec.effective_precision(device)
    if precision != spec.precision:
        warnings.warn(f"{spec.family} computes in {precision}: a CPU has no {spec.precision}", stacklevel=2)
    segmenter: Segmenter = Exact(network, precision, device)
    if spec.window is not None:
        assert spec.picture_size is not None and spec.share is not None, "sliding inference has both"
        segmenter = Sliding(segmenter, spec.picture_size, spec.window, spec.share)
    if spec.flip:
        segmenter = Flipped(segmenter)
    return Sized(segmenter, spec.size)


class Exact:
    """No gradients, one precision, and nothing that is chosen by timing or by the number of cores.

    A CPU computes with one thread: with more, sums are cut elsewhere and round to other bytes. Cores are used by
    making several shards at once, which also wastes less of them.
    """

    def __init__(self, inner: Segmenter, precision: str, device: str) -> None:
        self.inner, self.image_size, self.description = inner, inner.image_size, inner.description
        self.grid = inner.grid
        self.dtype: torch.dtype = getattr(torch, precision)
        self.device = torch.device(device)

    def output_size(self, image_size: Size) -> Size:
        return self.inner.output_size(image_size)

    def __call__(self, image_B3HW: Tensor) -> Tensor:
        short = self.dtype != torch.float32
        # TF32 is cuDNN's default for convolutions, and no float32.
        exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
        autocast = torch.autocast(self.device.type, self.dtype, enabled=short)
        with torch.inference_mode(), exact, autocast, _one_thread():
            return self.inner(image_B3HW).float()


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class Sliding:
    """Windows over the picture; where they overlap, the mean of their probabilities.

    Windows start at the top left corner, one step apart; the last of a row or column is moved back to end at the
    picture's edge, so that every pixel is covered and none is padded. They are put together on the network's own
    grid where a window holds its cells a whole number of times, and else on cells of a quarter of the picture, to which
    each window's probabilities are brought.

    Raises:
        WeightsError: windows or picture that do not lie on that grid.
    """

    grid: Grid = "cells"

    def __init__(self, inner: Segmenter, image_size: Size, window: Size, overlap: float) -> None:
        self.inner, self.image_size, self.description = inner, image_size, inner.description
        self.window = window
        answer = inner.output_size(window)
        is_whole = inner.grid == "cells" and window[0] % answer[0] == 0 and window[1] % answer[1] == 0
        self.cell = (window[0] // answer[0], window[1] // answer[1]) if is_whole else (CELL, CELL)
        for length, part, cell in zip(image_size, window, self.cell, strict=True):
            if part % cell or length % cell:
                fault = f"windows and pictures must lie on a grid of {self.cell[0]} x {self.cell[1]} pixels here"
                found = f"a window of {part} in a picture of {length}"
                raise WeightsError("segmenter.window", fault, found, "Choose whole multiples, or `inference: resized`.")
        self.answer = (window[0] // self.cell[0], window[1] // self.cell[1])
        self.starts = tuple(
            window_starts(length, part, cell, overlap)
            for length, part, cell in zip(image_size, window, self.cell, strict=True)
        )

    def output_size(self, image_size: Size) -> Size:
        return image_size[0] // self.cell[0], image_size[1] // self.cell[1]

    def __call__(self, image_B3HW: Tensor) -> Tensor:
        assert tuple(image_B3HW.shape[2:]) == self.image_size, "the windows were laid out for one picture size"
        height, width = self.output_size(self.image_size)
        total_BCHW: Tensor | None = None
        count_HW = torch.zeros(height, width)
        for top, left in product(*self.starts):
            window_B3HW = image_B3HW[:, :, top : top + self.window[0], left : left + self.window[1]]
            part_BCHW = _celled(self.inner(window_B3HW), self.answer, self.inner.grid)
            if total_BCHW is None:
                total_BCHW = part_BCHW.new_zeros(*part_BCHW.shape[:2], height, width)
                count_HW = count_HW.to(part_BCHW.device)
            y, x = top // self.cell[0], left // self.cell[1]
            total_BCHW[:, :, y : y + self.answer[0], x : x + self.answer[1]] += part_BCHW
            count_HW[y : y + self.answer[0], x : x + self.answer[1]] += 1
        assert total_BCHW is not None, "there is at least one window"
        return total_BCHW / count_HW


def window_starts(length: int, window: int, cell: int, overlap: float) -> tuple[int, ...]:
    """Where windows start along one axis, in pixels, on a grid of `cell` pixels; the last ends at `length`."""
    step = max(cell, int(window * (1 - overlap)) // cell * cell)
    return (*range(0, length - window, step), length - window)


class Flipped:
    """The mean of a picture's probabilities and those of its mirror image, mirrored back."""

    def __init__(self, inner: Segmenter) -> None:
        self.inner, self.image_size, self.description = inner, inner.image_size, inner.description
        self.grid = inner.grid

    def output_size(self, image_size: Size) -> Size:
        return self.inner.output_size(image_size)

    def __call__(self, image_B3HW: Tensor) -> Tensor:
        return (self.inner(image_B3HW) + self.inner(image_B3HW.flip(-1)).flip(-1)) / 2


class Sized:
    """Probabilities as cells at a chosen (height, width); None: as the network has them.

    Cells are filtered bilinearly with antialiasing. Every output pixel is a weighted mean, so probabilities still sum
    to one.
    """

    def __init__(self, inner: Segmenter, size: Size | None) -> None:
        self.inner, self.image_size, self.description = inner, inner.image_size, inner.description
        self.size = size
        self.grid: Grid = inner.grid if size is None else "cells"

    def output_size(self, image_size: Size) -> Size:
        return self.size or self.inner.output_size(image_size)

    def __call__(self, image_B3HW: Tensor) -> Tensor:
        probability_BCHW = self.inner(image_B3HW)
        return probability_BCHW if self.size is None else _celled(probability_BCHW, self.size, self.inner.grid)


def _celled(probability_BCHW: Tensor, size: Size, grid: Grid) -> Tensor:
    """Probabilities as so many cells."""
    if grid == "corners":
        sides = zip(probability_BCHW.shape[2:], size, strict=True)
        rows, columns = (torch.from_numpy(area_weights(*side, grid)).to(probability_BCHW) for side in sides)
        return rows @ probability_BCHW @ columns.T
    if tuple(probability_BCHW.shape[2:]) == size:
        return probability_BCHW
    return F.interpolate(probability_BCHW, size, mode="bilinear", antialias=True)

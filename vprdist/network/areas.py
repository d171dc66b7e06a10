"""Exact means over equal parts of pictures and maps, by matrices that are made once."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from vprdist.semantics.resize import area_weights
from vprdist.spec.vocabulary import Grid


def area_means(maps_BChw: Tensor, size: tuple[int, int], grid: Grid) -> Tensor:
    """(B, C, *size): means of maps over so many equal parts of the picture, in the maps' own dtype.

    Args:
        grid: how the maps' points lie on the picture.
    """
    height, width = maps_BChw.shape[-2:]
    rows = _parts(height, size[0], grid, maps_BChw.dtype, maps_BChw.device)
    columns = _parts(width, size[1], grid, maps_BChw.dtype, maps_BChw.device)
    return rows @ maps_BChw @ columns.T


def cells_of(levels_BChw: Tensor, full: int, grid: Grid, dtype: torch.dtype = torch.float32) -> Tensor:
    """(B, C, h, w) in [0, 1]: levels at their own size, as cells of the picture, whatever their grid.

    Args:
        full: the level that stands for 1.
    """
    shares = levels_BChw.to(dtype) / full
    return shares if grid == "cells" else area_means(shares, (shares.shape[2], shares.shape[3]), grid)


@lru_cache(maxsize=64)
def _made(count: int, parts: int, grid: Grid, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(parts, count): how much each point of an axis counts in the mean over each equal part of it."""
    with torch.inference_mode(False):  # it is made in an evaluation perhaps, and kept for the training's gradients
        return torch.from_numpy(area_weights(count, parts, grid)).to(device, dtype)


_parts: Callable[[int, int, Grid, torch.dtype, torch.device], Tensor] = torch.compiler.disable(_made)
"""torch.compile would translate numpy's sums, and take float32 for numpy's float64."""

"""Geometry of pictures and of what lies on them: one matrix for both, whatever their sizes and grids.

Coordinates are relative to the picture: -1 and 1 are its left and right edge, its upper and lower one. A matrix leads
from a point of the new picture to the point of the old one that is seen there. Those of several operations are
multiplied, and pixels are sampled once.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from vprdist.spec.vocabulary import Grid

Matrix = npt.NDArray[np.float64]
EDGE = 1 + 1e-6
"""A point on the picture's edge is of the picture, however it was rounded."""


def crop(left: float, top: float, width: float, height: float) -> Matrix:
    """A part of the picture, given as shares of its width and height, fills the new one."""
    return np.array([[width, 0, 2 * left + width - 1], [0, height, 2 * top + height - 1], [0, 0, 1]], float)


def flip() -> Matrix:
    """Left for right."""
    return np.diag([-1.0, 1, 1])


def shift(right: float, down: float) -> Matrix:
    """The picture moves by shares of its width and height."""
    return np.array([[1, 0, -2 * right], [0, 1, -2 * down], [0, 0, 1]], float)


def shear(along_x: float, along_y: float, aspect: float) -> Matrix:
    """Rows slide left by `along_x` pixels a row, columns up by `along_y` a column; the upper left corner stays.

    Args:
        aspect: width by height, in pixels.
    """
    # In pixels from the corner: x_old = x + along_x y, y_old = y + along_y x.
    x_by_y, y_by_x = along_x / aspect, along_y * aspect
    return np.array([[1, x_by_y, x_by_y], [y_by_x, 1, y_by_x], [0, 0, 1]])


def rotation(degrees: float, aspect: float) -> Matrix:
    """The picture turns about its centre, counter-clockwise. Args as `shear`."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[cos, -sin / aspect, 0], [sin * aspect, cos, 0], [0, 0, 1]])


def moved(values_Chw: Tensor, matrix: Matrix, grid: Grid = "cells") -> Tensor:
    """Whole numbers that lie on a picture, as they lie on the new one: (C, h, w), same size, grid and type.

    Between points they change linearly, beyond the outermost they go on up to the picture's edge, and there is nothing
    outside it: 0. They are rounded half up, and stay within the range that they had (and 0).

    Args:
        values_Chw: pixels (`cells`), levels of a mask, or activations.
        grid: how they lie on the picture.
    """
    found, outside_hw = _looked_at(values_Chw.float(), matrix, grid)
    # What is rounded is never negative: cutting the rest off is rounding down.
    return found.add_(0.5).to(values_Chw.dtype).masked_fill_(outside_hw, 0)


def _looked_at(values_Chw: Tensor, matrix: Matrix, grid: Grid) -> tuple[Tensor, Tensor]:
    """What is seen at every new point, (C, h, w), and where it is outside the old picture, (h, w)."""
    height, width = values_Chw.shape[1:]
    x_w, y_h = _relative(width, grid), _relative(height, grid)[:, None]
    points_hw2 = torch.stack([(row[1] * y_h + row[2]).float() + (row[0] * x_w).float() for row in matrix[:2]], dim=-1)
    corners_34 = np.array([[-1, 1, -1, 1], [-1, -1, 1, 1], [1, 1, 1, 1]])
    outside = torch.zeros((), dtype=torch.bool)
    if np.abs((matrix @ corners_34)[:2]).max() > EDGE:  # what has its corners inside lies inside
        outside = (points_hw2[..., 0].abs() > EDGE) | (points_hw2[..., 1].abs() > EDGE)
    found = nn.functional.grid_sample(
        values_Chw[None], points_hw2[None], mode="bilinear", padding_mode="border", align_corners=grid == "corners"
    )
    return found[0], outside


def _relative(count: int, grid: Grid) -> Tensor:
    """Where the points of an axis lie, float64."""
    if grid == "corners":
        return torch.linspace(-1, 1, count, dtype=torch.float64)
    return (2 * torch.arange(count, dtype=torch.float64) + 1) / count - 1

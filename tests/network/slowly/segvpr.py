"""`segvpr`: F·A / mean A, A = softplus(w * [r_3, r_5, r_7]), r_k = relu(conv_k(F)) at the places of r_3."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.network.slowly.pieces import relu, values


def between(grid_Chw: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear from corner to corner, a place after the other."""
    out = np.empty((len(grid_Chw), *size))
    (tall, wide) = grid_Chw.shape[1:]
    for row, column in np.ndindex(size):
        y = row * (tall - 1) / (size[0] - 1) if size[0] > 1 else 0.0
        x = column * (wide - 1) / (size[1] - 1) if size[1] > 1 else 0.0
        top, left = min(int(y), tall - 1), min(int(x), wide - 1)
        low, right = min(top + 1, tall - 1), min(left + 1, wide - 1)
        down, over = y - top, x - left
        upper = grid_Chw[:, top, left] * (1 - over) + grid_Chw[:, top, right] * over
        lower = grid_Chw[:, low, left] * (1 - over) + grid_Chw[:, low, right] * over
        out[:, row, column] = upper * (1 - down) + lower * down
    return out


def within(layer: Any, picture: np.ndarray) -> np.ndarray:
    """A convolution without padding; a picture that is smaller than the kernel is filled up by its border."""
    kernels = values(layer.weight)
    size = kernels.shape[2]
    lacks = [max(0, size - length) for length in picture.shape[1:]]
    picture = np.pad(picture, [(0, 0), *((each // 2, each - each // 2) for each in lacks)], mode="edge")
    places = [length - size + 1 for length in picture.shape[1:]]
    out = np.empty((len(kernels), *places))
    for row, column in np.ndindex(*places):
        seen = picture[:, row : row + size, column : column + size]
        for channel, kernel in enumerate(kernels):
            out[channel, row, column] = (kernel * seen).sum() + values(layer.bias)[channel]
    return out


def slowly(module: Any, features_BChw: Any) -> np.ndarray:
    inner, out = module.factor, []
    for picture in values(features_BChw):
        seen = [relu(within(each, picture)) for each in inner.convolutions]
        seen = [seen[0], *(between(each, seen[0].shape[1:]) for each in seen[1:])]
        weight = values(inner.mix.weight)[0, :, 0, 0]
        logits = np.einsum("c,chw->hw", weight, np.concatenate(seen)) + values(inner.mix.bias)[0]
        factor = between(np.log1p(np.exp(logits))[None], picture.shape[1:])[0]
        out.append(picture * factor / factor.mean())
    return np.stack(out)

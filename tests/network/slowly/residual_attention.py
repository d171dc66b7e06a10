"""`residual_attention`: F + γ M F, M from an hourglass of pre-activation bottlenecks."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.network.slowly.pieces import Map, conv, norm, relu, sigmoid, values


def slowly(module: Any, features_BChw: Any) -> np.ndarray:
    gamma, out = float(module.gamma), []
    for picture in values(features_BChw):
        seen, levels = picture, []
        for down in module.down:
            seen = unit(down, halved(seen))
            levels.append(seen)
        seen = unit(module.lowest, seen)
        for at in range(len(levels) - 2, -1, -1):
            seen = unit(module.up[at], resized(seen, levels[at]) + unit(module.skip[at], levels[at]))
        mask = sigmoid(activated(module.out, resized(seen, picture)))
        out.append(picture + gamma * mask * picture)
    return np.stack(out)


def activated(layers: Any, features_Chw: Map) -> Map:
    """BatchNorm, ReLU, convolution, again and again."""
    for at in range(0, len(layers), 3):
        features_Chw = conv(layers[at + 2], relu(norm(layers[at], features_Chw)))
    return features_Chw


def unit(module: Any, features_Chw: Map) -> Map:
    out: Map = features_Chw + activated(module.layers, features_Chw)
    return out


def halved(features_Chw: Map) -> Map:
    """Windows of 3x3 at every second place; as many as begin inside and reach the last place."""
    sizes = [max(1, -(-(size - 3) // 2) + 1) for size in features_Chw.shape[1:]]
    out = np.empty((len(features_Chw), *sizes))
    for row, column in np.ndindex(*sizes):
        out[:, row, column] = features_Chw[:, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3].max(axis=(1, 2))
    return out


def resized(features_Chw: Map, like: Map) -> Map:
    """Bilinear, corner to corner."""
    (_, height, width), (_, rows, columns) = features_Chw.shape, like.shape
    out = np.empty((len(features_Chw), rows, columns))
    for row, column in np.ndindex(rows, columns):
        y = row * (height - 1) / (rows - 1) if rows > 1 else 0.0
        x = column * (width - 1) / (columns - 1) if columns > 1 else 0.0
        top, left = int(y), int(x)
        below, right = min(top + 1, height - 1), min(left + 1, width - 1)
        down, across = y - top, x - left
        out[:, row, column] = (
            (1 - down) * (1 - across) * features_Chw[:, top, left]
            + (1 - down) * across * features_Chw[:, top, right]
            + down * (1 - across) * features_Chw[:, below, left]
            + down * across * features_Chw[:, below, right]
        )
    return out

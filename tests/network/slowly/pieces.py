"""Layers recomputed place by place in float64, from the parameters of torch's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch import nn

Map = np.ndarray
"""(C, h, w) float64."""


def values(tensor: Any) -> np.ndarray:
    out: np.ndarray = tensor.detach().double().numpy()
    return out


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def relu(x: Any) -> Any:
    return np.maximum(x, 0)


def conv(layer: nn.Conv2d, features_Chw: Map) -> Map:
    """A convolution of stride 1 with its padding, zeros or the border's values."""
    kernels, (_, height, width) = values(layer.weight), features_Chw.shape
    pad, gap = (int(layer.padding[0]), int(layer.dilation[0]))
    out = np.zeros((len(kernels), height, width))
    for row, column in np.ndindex(height, width):
        for down, right in np.ndindex(kernels.shape[2:]):
            y, x = row - pad + down * gap, column - pad + right * gap
            if layer.padding_mode == "replicate":
                y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
            if 0 <= y < height and 0 <= x < width:
                out[:, row, column] += kernels[:, :, down, right] @ features_Chw[:, y, x]
        if layer.bias is not None:
            out[:, row, column] += values(layer.bias)
    return out


def norm(layer: nn.BatchNorm2d, features_Chw: Map) -> Map:
    """BatchNorm in evaluation mode."""
    out = np.empty_like(features_Chw)
    mean, variance = values(layer.running_mean), values(layer.running_var)
    weight, bias = values(layer.weight), values(layer.bias)
    for channel in range(len(out)):
        scale = weight[channel] / math.sqrt(variance[channel] + layer.eps)
        out[channel] = (features_Chw[channel] - mean[channel]) * scale + bias[channel]
    return out


def mean_of(features_Chw: Map) -> np.ndarray:
    """(C,) the mean over all places, one after the other."""
    total = np.zeros(len(features_Chw))
    for row, column in np.ndindex(features_Chw.shape[1:]):
        total += features_Chw[:, row, column]
    out: np.ndarray = total / features_Chw[0].size
    return out


def largest_of(features_Chw: Map) -> np.ndarray:
    """(C,) the largest over all places."""
    best = np.full(len(features_Chw), -np.inf)
    for row, column in np.ndindex(features_Chw.shape[1:]):
        best = np.maximum(best, features_Chw[:, row, column])
    return best


def linear(layer: Any, x_C: np.ndarray) -> np.ndarray:
    """A fully connected layer, or a 1x1 convolution of one place."""
    weight = values(layer.weight).reshape(len(layer.weight), -1)
    return weight @ x_C + (0 if layer.bias is None else values(layer.bias))

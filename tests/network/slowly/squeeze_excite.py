"""`squeeze_excite`: a factor a channel, from the mean of all places."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from tests.network.slowly.pieces import linear, mean_of, relu, sigmoid, values


def slowly(module: Any, features_BChw: Any) -> np.ndarray:
    largest = 1 if isinstance(module.gate.scale_activation, nn.Sigmoid) else 2
    out = []
    for picture in values(features_BChw):
        factor = largest * sigmoid(linear(module.gate.fc2, relu(linear(module.gate.fc1, mean_of(picture)))))
        answer = np.empty_like(picture)
        for row, column in np.ndindex(picture.shape[1:]):
            answer[:, row, column] = picture[:, row, column] * factor
        out.append(answer)
    return np.stack(out)

"""`cbam`: channels by the mean and the largest of places, then places by those of channels."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.network.slowly.pieces import conv, largest_of, linear, mean_of, norm, relu, sigmoid, values


def slowly(module: Any, features_BChw: Any) -> np.ndarray:
    out = []
    for picture in values(features_BChw):
        logits = np.zeros(len(picture))
        for pooled in (mean_of(picture), largest_of(picture)):
            logits += linear(module.excite, relu(linear(module.squeeze, pooled)))
        gated = np.empty_like(picture)
        seen = np.empty((2, *picture.shape[1:]))
        for row, column in np.ndindex(picture.shape[1:]):
            gated[:, row, column] = picture[:, row, column] * module.scale * sigmoid(logits)
            seen[:, row, column] = max(gated[:, row, column]), sum(gated[:, row, column]) / len(picture)
        places = sigmoid(norm(module.place_norm, conv(module.place, seen)))[0]
        for row, column in np.ndindex(picture.shape[1:]):
            gated[:, row, column] *= module.scale * places[row, column]
        out.append(gated)
    return np.stack(out)

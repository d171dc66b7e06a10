"""`spatial`: F·A, A = σ(z) / max σ(z), z from three convolutions of features of unit mean square."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tests.network.slowly.pieces import conv, relu, sigmoid, values


def slowly(module: Any, features_BChw: Any) -> np.ndarray:
    out = []
    for picture in values(features_BChw):
        unit = np.empty_like(picture)
        for row, column in np.ndindex(picture.shape[1:]):
            here = picture[:, row, column]
            unit[:, row, column] = here / np.linalg.norm(here) * math.sqrt(len(here))
        seen = np.concatenate([relu(conv(each, unit)) for each in module.convolutions])
        factor = sigmoid(conv(module.mix, seen))
        out.append(picture * factor / factor.max())
    return np.stack(out)

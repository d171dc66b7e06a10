"""`deattention`: 2 A F, or F (1 + A) / 1.5; A = σ(BN(relu(w * [g_3, g_5, g_7]))), of features of unit mean square."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tests.network.slowly.pieces import conv, norm, relu, sigmoid, values


def slowly(module: Any, features_BChw: Any) -> np.ndarray:
    inner, out = module.factor, []
    for picture in values(features_BChw):
        unit = np.empty_like(picture)
        for row, column in np.ndindex(picture.shape[1:]):
            here = picture[:, row, column]
            unit[:, row, column] = here / np.linalg.norm(here) * math.sqrt(len(here))
        both = zip(inner.convolutions, inner.norms, strict=True)
        seen = np.concatenate([norm(after, relu(conv(layer, unit))) for layer, after in both])
        shown = sigmoid(norm(inner.last, relu(conv(inner.mix, seen))))
        out.append(picture * (2 * shown if inner.version == 1 else (1 + shown) / 1.5))
    return np.stack(out)

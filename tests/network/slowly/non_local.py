"""`non_local`: each place takes the values of all places, by the softmax of its query with their keys."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.network.slowly.pieces import linear, values


def slowly(module: Any, features_BChw: Any) -> np.ndarray:
    gamma, out = float(module.gamma), []
    for picture in values(features_BChw):
        answer = picture.copy()
        places = list(np.ndindex(picture.shape[1:]))
        keys = [linear(module.key, picture[:, y, x]) for y, x in places]
        seen = [linear(module.value, picture[:, y, x]) for y, x in places]
        for row, column in places:
            query = linear(module.query, picture[:, row, column])
            shares = np.array([np.exp(query @ key) for key in keys])
            for share, value in zip(shares / shares.sum(), seen, strict=True):
                answer[:, row, column] += gamma * share * value
        out.append(answer)
    return np.stack(out)

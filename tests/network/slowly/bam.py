"""`bam`: F (1 + σ(M_c ∘ M_s)) over its largest start, ∘ a sum or a product."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from tests.network.slowly.pieces import conv, linear, mean_of, norm, relu, sigmoid, values


def slowly(module: Any, features_BChw: Any) -> np.ndarray:
    out = []
    for picture in values(features_BChw):
        hidden = linear(module.channel_in, mean_of(picture))
        hidden = relu(norm(module.channel_norm, hidden[:, None, None])[:, 0, 0])
        channel = linear(module.channel_out, hidden)
        seen = picture
        for layer in module.place:
            seen = (
                conv(layer, seen)
                if isinstance(layer, nn.Conv2d)
                else norm(layer, seen)
                if _norms(layer)
                else relu(seen)
            )
        place = conv(module.place_out, seen)[0]
        answer = np.empty_like(picture)
        for c, row, column in np.ndindex(picture.shape):
            a, b = channel[c], place[row, column]
            z = a + b if module.combine == "sum" else a * b
            answer[c, row, column] = picture[c, row, column] * (1 + sigmoid(z)) / module.largest
        out.append(answer)
    return np.stack(out)


def _norms(layer: nn.Module) -> bool:
    return isinstance(layer, nn.BatchNorm2d)

"""A number for each class that depends on the picture: which classes, when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vprdist.network.masks.base import HIDDEN, SHOWN, Mask, gauged, weighed


class SqueezeExcite(Mask):
    """As class weights, with w(x) = W2 ReLU(W1 mean(a)) (Hu et al. 2018, eq. 3, over classes instead of channels).

    W2 is zero at the start, so that every picture begins with the same weights. The most shown class of a picture has
    1.

    Args:
        hidden: the width between W1 and W2.
    """

    def __init__(self, classes: Sequence[str], chosen: Sequence[str], hidden: int = 5) -> None:
        super().__init__()
        self.squeeze, self.excite = nn.Linear(len(classes), hidden), nn.Linear(hidden, len(classes))
        with torch.no_grad():
            self.excite.weight.zero_()
            self.excite.bias.copy_(torch.tensor([SHOWN if name in chosen else HIDDEN for name in classes]))

    def forward(self, activations_BKhw: Tensor, **more: Any) -> Tensor:
        return weighed(self.gates(activations_BKhw), activations_BKhw)

    def gates(self, activations_BKhw: Tensor) -> Tensor:
        logits_BK = self.excite(torch.relu(self.squeeze(activations_BKhw.mean(dim=(2, 3)))))
        return gauged(logits_BK, dim=1)

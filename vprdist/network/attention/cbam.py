"""The convolutional block attention module, behind units."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vprdist.network.attention.base import Attention, Start, reduced


class CBAM(Attention):
    """Which channels, then which places (Woo et al., ECCV 2018, arXiv 1807.06521, eq. 1-3).

    F1 = F σ(MLP(mean) + MLP(max)), mean and max over places, MLP C → C/r → C with ReLU.
    F2 = F1 σ(BN(conv([max; mean]))), max and mean over channels.

    Adapted: it stands behind a unit, and not in every residual block before the addition, where pretrained weights
    would have to be opened.

    Begun as published, the BatchNorm's weight and all biases are zero, which makes some quarter of every feature.
    Begun as identity, the factors are 2σ and the MLP's last layer is zero as well.

    Args:
        reduction: r.
        kernel: the side of the convolution over places.
    """

    logits = ("excite", "place_norm")

    def __init__(self, channels: int, reduction: int = 16, kernel: int = 7, start: Start = "identity") -> None:
        super().__init__()
        width = reduced(channels, reduction)
        self.squeeze, self.excite = nn.Conv2d(channels, width, 1), nn.Conv2d(width, channels, 1)
        self.place = nn.Conv2d(2, 1, kernel, padding=kernel // 2, bias=False)
        self.place_norm = nn.BatchNorm2d(1, momentum=0.01)
        self.scale = 2.0 if start == "identity" else 1.0
        nn.init.kaiming_normal_(self.place.weight, mode="fan_out")
        nn.init.zeros_(self.place_norm.weight)
        for layer in (self.squeeze, self.excite):
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        if start == "identity":
            nn.init.zeros_(self.excite.weight)

    def forward(self, features_BChw: Tensor, **more: Any) -> Tensor:
        mean_BC11, most_BC11 = features_BChw.mean(dim=(2, 3), keepdim=True), features_BChw.amax((2, 3), keepdim=True)
        features_BChw = features_BChw * self._gate(self._mlp(mean_BC11) + self._mlp(most_BC11))
        seen_B2hw = torch.cat([features_BChw.amax(1, keepdim=True), features_BChw.mean(1, keepdim=True)], dim=1)
        return features_BChw * self._gate(self.place_norm(self.place(seen_B2hw)))

    def _mlp(self, pooled_BC11: Tensor) -> Tensor:
        out: Tensor = self.excite(self.squeeze(pooled_BC11).relu())
        return out

    def _gate(self, logits: Tensor) -> Tensor:
        return self.scale * logits.sigmoid()

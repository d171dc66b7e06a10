"""The bottleneck attention module."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from vprdist.network.attention.base import Attention, Start, reduced


class BAM(Attention):
    """Which channels and which places, side by side (Park et al., BMVC 2018, arXiv 1807.06514, eq. 1-4).

    F' = F (1 + σ(M_c + M_s)). M_c: the mean over all places → C/r → BatchNorm, ReLU → C. M_s: 1x1 to C/r, two 3x3 of
    some dilation, each with BatchNorm and ReLU, 1x1 to 1. The authors' code multiplies M_c M_s (`combine: product`),
    and its mean is that of one window as wide as the map is high; here it is that of all places.

    Begun as identity, the last layers are zero and the factor is (1 + σ)/1.5. In a product M_s stays as drawn: two
    zeros would keep each other.

    Args:
        reduction: r.
        dilation: of the 3x3 convolutions.
    """

    logits = ("channel_out", "place_out")

    def __init__(
        self, channels: int, reduction: int = 16, dilation: int = 4,
        combine: Literal["sum", "product"] = "sum", start: Start = "identity",
    ) -> None:  # fmt: skip
        super().__init__()
        width = reduced(channels, reduction)
        self.channel_in, self.channel_norm = nn.Conv2d(channels, width, 1), nn.BatchNorm2d(width)
        self.channel_out = nn.Conv2d(width, channels, 1)
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 1), nn.BatchNorm2d(width), nn.ReLU()]
        for _ in range(2):
            seen = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation)
            layers += [seen, nn.BatchNorm2d(width), nn.ReLU()]
        self.place, self.place_out = nn.Sequential(*layers), nn.Conv2d(width, 1, 1)
        self.combine, self.largest = combine, 1.0 if start == "published" else 1.5
        if start == "identity":
            for layer in (self.channel_out, self.place_out) if combine == "sum" else (self.channel_out,):
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, features_BChw: Tensor, **more: Any) -> Tensor:
        channel_BC11 = self._of_channels(features_BChw.mean(dim=(2, 3), keepdim=True))
        place_B1hw: Tensor = self.place_out(self.place(features_BChw))
        both = channel_BC11 + place_B1hw if self.combine == "sum" else channel_BC11 * place_B1hw
        return features_BChw * ((1 + both.sigmoid()) / self.largest)

    def _of_channels(self, mean_BC11: Tensor) -> Tensor:
        hidden, norm = self.channel_in(mean_BC11), self.channel_norm
        if norm.training and len(hidden) == 1:
            # One picture alone (`batch_norm: reference`) has one value a channel, which is no statistic.
            hidden = nn.functional.batch_norm(
                hidden, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.0, norm.eps
            )
        else:
            hidden = norm(hidden)
        out: Tensor = self.channel_out(hidden.relu())
        return out

"""What an aggregator is."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vprdist.errors import UserError
from vprdist.network.clusters import Advanced, silent

LEAST_WEIGHT = 1e-12
"""Less than this in all places together is nothing, and no weight is divided by less.

Nothing is added to each weight instead: an empty mask would then weigh all places alike, as no mask does, and a mask of
a rare class, empty on most pictures, would look like a good one.
"""


@dataclass(frozen=True)
class Samples:
    """Local features of training pictures, from which an aggregator may start.

    features_NC: float32 on the CPU, as the network pools them before it is trained.
    labels_N: for each the number of the class that covers most of its place; None: the aggregator asks for none.
    classes: the names that labels count.
    seed: the trial's, for whatever is drawn.
    """

    features_NC: Tensor
    labels_N: Tensor | None
    classes: tuple[str, ...]
    seed: int

    def of(self, names: Collection[str]) -> Tensor:
        """(M, C) the features of some classes."""
        assert self.labels_N is not None, "an aggregator that asks for classes states it"
        wanted = torch.tensor([place for place, name in enumerate(self.classes) if name in names], dtype=torch.long)
        return self.features_NC[torch.isin(self.labels_N, wanted)]


class Aggregator(nn.Module):
    """Features to one descriptor, (B, C, h, w) float32 -> (B, D) float32, which the network normalises afterwards.

    A subclass is made with `channels` (C) and its own parameters, and says in `dimensions` what D is. It need not
    inherit from here: any torch module that does so will do. In the body of the class it may state, as plain values:

    - `weighs = True`: `forward` honours `weights`, so that masks can be applied to features.
    - `asks = ("places",)`: it is made with `places=` as well, the (h, w) of features, and bound to them: pictures of
      another size are refused. `"token"`: with `token=`, the channels of the backbone's class token, or None.
    - `sums = True`: what it pools is a sum over places, which `sums_of` and `from_sums` tell apart, so that the
      descriptors under all masks follow from one pass over the pictures.
    - `starts = True`: before the first step `start_from` is given local features of training pictures, on one rank;
      whatever it sets in the state is shared with the others, and kept for other trials.
    - `activations = "start"`: it is given their classes too, from the cache that the trial must have then.
    """

    dimensions: int

    def forward(self, features_BChw: Tensor, **more: Any) -> Tensor:
        """(B, D) descriptors.

        Args:
            features_BChw: of the backbone's last unit, float32.
            more: what an aggregator may use and may ignore: `token` (B, C), a backbone's class token or None;
                `weights` (B, 1, h, w), how much each place counts, or None.
        """
        raise NotImplementedError

    def sums_of(self, features_BChw: Tensor, maps_BKhw: Tensor) -> Tensor:
        """(B, K, M): for each of some maps the sums over all places that a descriptor is made of.

        They are linear in the map: the sums of a weighted sum of maps are the weighted sum of theirs.
        """
        raise NotImplementedError

    def from_sums(self, sums_BM: Tensor) -> Tensor:
        """(B, D): the descriptors that `forward` gives with the map as `weights`, from the map's sums."""
        raise NotImplementedError

    def start_from(self, samples: Samples, advanced: Advanced = silent) -> None:
        """Set the parameters that start from data; all that is random in it comes from `samples.seed`.

        Args:
            advanced: told now and then how much is done, of how much; it may raise to end it.

        Raises:
            TrainingError: there are too few features.
        """
        raise NotImplementedError


def shares_of(weights_B1hw: Tensor) -> tuple[Tensor, Tensor]:
    """Weights as multiples of their mean, (B, 1, h, w), and whether there are any, (B, 1).

    Ones stay exactly 1 on every device: they are counted without rounding. No weight at all becomes 0.
    """
    total_B1 = weights_B1hw.sum(dim=(2, 3))
    mean_B1 = total_B1.clamp(min=LEAST_WEIGHT) / (weights_B1hw.shape[2] * weights_B1hw.shape[3])
    return weights_B1hw / mean_B1[:, :, None, None], total_B1 >= LEAST_WEIGHT


def check_clusters(clusters: int, num: int) -> None:
    """What features are assigned to are fewer than they.

    Args:
        num: features that there are to assign.

    Raises:
        UserError: they are not.
    """
    if clusters >= num:
        fault = f"clusters must be fewer than the features that are assigned to them, {num}"
        remedy = f"Set at most {num - 1}, or larger pictures." if num > 1 else "Use larger pictures."
        raise UserError("trial.network.aggregator.clusters", fault, clusters, remedy)


def places_of(features_BChw: Tensor) -> Tensor:
    """(B, h w, C) of features, without a copy where channels lie last in memory."""
    return features_BChw.permute(0, 2, 3, 1).flatten(1, 2)


def summed(maps_BKhw: Tensor, values_BNC: Tensor) -> Tensor:
    """(B, K, C + 1): the sums of some values over all places, weighted by each map, and the sums of the maps."""
    maps_BKN = maps_BKhw.flatten(2).to(values_BNC.dtype)
    return torch.cat([maps_BKN @ values_BNC, maps_BKN.sum(dim=2, keepdim=True)], dim=2)

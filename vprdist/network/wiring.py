"""How features reach the pooling: of which units, divided by their length or not, and where attention comes in.

Attention that is a factor of each place cancels where features are divided by their length at each place afterwards
(methods.md, A0). So an aggregator says whether, and by whom, they are divided, and the factor comes after that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor
from torch.nn import functional as F

from vprdist.network.areas import cells_of
from vprdist.network.parts import unfit
from vprdist.semantics.masks import FULL
from vprdist.spec.base import Names
from vprdist.spec.network import NetworkSpec
from vprdist.spec.vocabulary import Grid

Maps = Any
"""Features or weights: a tensor (B, C, h, w), or a tuple of them, one a scale."""


@dataclass(frozen=True)
class Wiring:
    """What of a network's choices says how its parts are joined.

    Attributes:
        attention, pool: their names, for messages.
        scales: the units whose features are pooled; empty: the last one's alone, not in a tuple.
        factor: attention answers with a factor of each place, (B, 1, h, w), for all features that are pooled.
        published: the factor is multiplied in before features are divided by their lengths, where it cancels.
        normalises: who divides features by their length at each place: "" nobody, "before" the network for the
            aggregator, "within" the aggregator, which the factor then reaches as weights of places.
        taught: whether attention, and the aggregator, are given the activations of all classes in training.
        grid: how these lie on the pictures.
    """

    attention: str = "none"
    pool: str = "gem"
    scales: Names = ()
    factor: bool = False
    published: bool = False
    normalises: str = ""
    taught: tuple[bool, bool] = (False, False)
    grid: Grid = "cells"

    def multiplied(self, maps: Maps, factors: list[Tensor]) -> tuple[Maps, list[Tensor]]:
        """Features as the aggregator is given them, and the factors that reach it as weights."""
        if self.normalises == "within" and not self.published:
            return maps, factors
        if self.normalises == "before" and not self.published:
            maps = each(maps, _unit)
        for factor in factors:
            maps = each(maps, partial(_times, factor))
        return each(maps, _unit) if self.published else maps, []

    def cells(self, activations_BKhw: Tensor | None) -> Tensor | None:
        """Levels of all classes in [0, 1] at their own size, as cells of the picture."""
        return None if activations_BKhw is None else cells_of(activations_BKhw, FULL, self.grid)


PLAIN = Wiring()
"""The last unit's features, and no attention that is a factor."""


class Seen(NamedTuple):
    """What is pooled of B pictures.

    Attributes:
        maps: (B, C, h, w) float32, or a tuple of them, one a scale.
        token: the backbone's class token, (B, C), or None.
        factors: attention that reaches the pooling as weights of places, each (B, 1, h, w).
    """

    maps: Maps
    token: Tensor | None
    factors: list[Tensor]

    @property
    def last(self) -> Tensor:
        """The features of the last scale."""
        out: Tensor = self.maps[-1] if isinstance(self.maps, tuple) else self.maps
        return out

    def weights(self, of: Callable[[Tensor], Tensor] | None) -> Maps:
        """How much each place counts, at each scale; None: all alike.

        Args:
            of: a mask's weights for features, (B, 1, h, w); None: there is none.
        """
        if of is None and not self.factors:
            return None
        return each(self.maps, lambda one: self._weighed(one, None if of is None else of(one)))

    def _weighed(self, features_BChw: Tensor, weights_BKhw: Tensor | None) -> Tensor:
        out = weights_BKhw
        for factor in self.factors:
            fitting = resized(factor, features_BChw)
            out = fitting if out is None else out * fitting
        assert out is not None, "there is a mask or a factor"
        return out


def each(maps: Maps, do: Callable[[Tensor], Tensor]) -> Maps:
    """Something of the features of every scale, or of the one tensor."""
    return tuple(do(one) for one in maps) if isinstance(maps, tuple) else do(maps)


def resized(factor_B1hw: Tensor, like_BChw: Tensor) -> Tensor:
    """A factor at the places of other features, bilinear between the corners (SegVPR's `interpol`)."""
    if factor_B1hw.shape[2:] == like_BChw.shape[2:]:
        return factor_B1hw
    return F.interpolate(factor_B1hw, like_BChw.shape[2:], mode="bilinear", align_corners=True)


def _times(factor_B1hw: Tensor, features_BChw: Tensor) -> Tensor:
    return features_BChw * resized(factor_B1hw, features_BChw)


def told(name: str, answer: Any, losses: dict[str, Tensor], num_pictures: int) -> Any:
    """What a part answers, without the losses of each picture that it may have put beside.

    Args:
        name: of the part, for messages.
        losses: takes them; of one name they are added.

    Raises:
        OwnCodeError: they are not one number a picture, by name.
    """
    if not (isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[1], dict)):
        return answer
    answer, more = answer
    for key, value in more.items():
        if not isinstance(value, Tensor) or value.shape != (num_pictures,):
            found = list(value.shape) if isinstance(value, Tensor) else value
            raise unfit(name, f"must answer its loss {key!r} with one number a picture, ({num_pictures},)", found)
        losses[str(key)] = value if key not in losses else losses[str(key)] + value
    return answer


def _unit(features_BChw: Tensor) -> Tensor:
    return F.normalize(features_BChw, dim=1)


def wiring_of(spec: NetworkSpec, grid: Grid) -> Wiring:
    """How a network's choices are joined."""
    attention, pool = spec.attention, spec.aggregator
    return Wiring(
        attention.name, pool.name, spec.scales, attention.fact("answers") == "factor",
        attention.parameters.get("order") == "published", pool.normalises if spec.pools else "",
        (attention.fact("activations") == "training", pool.fact("activations") == "training"), grid,
    )  # fmt: skip

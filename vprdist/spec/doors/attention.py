"""Attention by name."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from vprdist.spec.base import Spec
from vprdist.spec.named import BuiltIn, Door, Named


class AttentionPlaces(Spec):
    """Where attention stands: what every attention but `none` is told beside its own parameters."""

    at: tuple[str, ...] = Field(default=(), description="the units behind which it stands; empty: the last")


class _Spatial(AttentionPlaces):
    budget: float = Field(default=0.5, gt=0, le=1, description="mean of its factor that is aimed at")
    budget_weight: float = Field(default=0.0, ge=0, description="weight of its squared distance to it; 0: none")


class AttentionName(Named):
    """Features to features, behind named units; `none` leaves them as they are."""

    door: ClassVar[Door] = Door(
        "attention",
        {
            "none": BuiltIn(""),
            "spatial": BuiltIn("vprdist.network.attention.spatial:Spatial", _Spatial),
        },
        provided=("channels",),
        beside=AttentionPlaces,
    )

    @property
    def at(self) -> tuple[str, ...]:
        """The units behind which it stands; empty: the last."""
        return tuple(self.parameters.get("at", ()))

"""Attention by name."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from vprdist.spec.base import Spec
from vprdist.spec.named import BuiltIn, Door, Named


class AttentionPlaces(Spec):
    """Where attention stands: what every attention but `none` is told beside its own parameters."""

    at: tuple[str, ...] = Field(default=(), description="the units behind which it stands; empty: the last")


class _Spatial(AttentionPlaces):
    budget: float = Field(default=0.5, gt=0, le=1, description="mean of its factor that is aimed at")
    budget_weight: float = Field(default=0.0, ge=0, description="weight of its squared distance to it; 0: none")


class _Started(AttentionPlaces):
    start: Literal["identity", "published"] = Field(
        default="identity", description="it changes nothing at the start, or begins as its authors' does"
    )


class _Reduced(_Started):
    reduction: int = Field(default=16, ge=1, description="channels over the width of its bottleneck")


class _BAM(_Reduced):
    dilation: int = Field(default=4, ge=1, description="of its convolutions over places")
    combine: Literal["sum", "product"] = Field(
        default="sum", description="of channels and places: as in the paper, or as in its public code"
    )


class _CBAM(_Reduced):
    kernel: Literal[3, 7] = Field(default=7, description="side of its convolution over places")


class _ResidualAttention(_Started):
    levels: int = Field(
        default=1, ge=1, le=6, description="how often its map is halved; the paper: 3, 2, 1 behind stages 1, 2, 3"
    )


class _NonLocal(AttentionPlaces):
    reduction: int = Field(default=8, ge=1, description="channels over those of its queries and keys")


REJECTED = ("sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")
"""Cityscapes' categories human, vehicle and sky."""
_TAUGHT = {"answers": "factor", "activations": "training", "asks": ("classes", "last_channels")}
_ORDER = "works: it comes after features are divided by their length; published: before, where it cancels"


class _SegVPR(AttentionPlaces):
    weight: float = Field(default=0.5, ge=0, description="weight of the cross-entropy of its segmentation")
    order: Literal["works", "published"] = Field(default="works", description=_ORDER)


class _DeAttention(AttentionPlaces):
    rejected: tuple[str, ...] = Field(default=REJECTED, description="classes whose places are to count for nothing")
    version: Literal[1, 2] = Field(default=1, description="1: F times A; 2: F plus F times A")
    weight: float = Field(default=0.1, ge=0, description="weight of A's squared distance to what is not rejected")
    order: Literal["works", "published"] = Field(default="works", description=_ORDER)


class AttentionName(Named):
    """Features to features, behind named units; `none` leaves them as they are.

    Facts: `answers`, `features`, or `factor` of each place, which the network multiplies into all that is pooled;
    `factors`, whether its features are those that it was given times a factor of each place;
    `activations`, `training` where its training is given those of all classes beside each picture, from the cache;
    `asks`, what it is made with beside the channels: `classes`, their names, and `last_channels`, of the last unit.
    """

    door: ClassVar[Door] = Door(
        "attention",
        {
            "none": BuiltIn(""),
            "segvpr": BuiltIn("vprdist.network.attention.segvpr:SegVPR", _SegVPR, facts=_TAUGHT),
            "deattention": BuiltIn("vprdist.network.attention.deattention:DeAttention", _DeAttention, facts=_TAUGHT),
            "spatial": BuiltIn("vprdist.network.attention.spatial:Spatial", _Spatial, facts={"factors": True}),
            "bam": BuiltIn("vprdist.network.attention.bam:BAM", _BAM),
            "cbam": BuiltIn("vprdist.network.attention.cbam:CBAM", _CBAM),
            "squeeze_excite": BuiltIn("vprdist.network.attention.squeeze_excite:SqueezeExcite", _Reduced),
            "residual_attention": BuiltIn(
                "vprdist.network.attention.residual_attention:ResidualAttention", _ResidualAttention
            ),
            "non_local": BuiltIn("vprdist.network.attention.non_local:NonLocal", _NonLocal),
        },
        provided=("channels",),
        offered=("classes", "last_channels"),
        facts={"answers": "features", "factors": False, "activations": "", "asks": ()},
        beside=AttentionPlaces,
    )

    @property
    def at(self) -> tuple[str, ...]:
        """The units behind which it stands; empty: the last."""
        return tuple(self.parameters.get("at", ()))

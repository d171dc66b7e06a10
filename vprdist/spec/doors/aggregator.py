"""Aggregators by name."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from vprdist.errors import RuleError
from vprdist.spec.base import Names, Spec, hashed_unless, marked
from vprdist.spec.named import BuiltIn, Door, Named, parameters

GEMS = ("gem", "gem_weighted")
"""Those that are generalized mean pooling and nothing more: their one parameter is its exponent."""
Length = Literal["pooled", "places"]

CENTRE_CLASSES = ("road", "building", "wall", "pole", "traffic light", "traffic sign", "vegetation")
"""What SRALNet's authors take for places' own; everything else is a candidate for a shadow."""


class _NetVLAD(Spec):
    clusters: int = Field(default=64, ge=1, description="centres whose residuals are summed")
    start: Literal["random", "clusters"] = hashed_unless(
        "random", description="centres at the start: random directions, or clusters of training pictures' features"
    )
    form: Literal[1, 2] = hashed_unless(
        2, description="of assignments at the start: 1 by cosines, without offsets; 2 by distances"
    )


class _SRALNet(Spec):
    clusters: int = Field(default=64, ge=1, description="centres whose residuals are summed")
    shadows: int = Field(default=4, ge=0, description="shadow centres of each; 0: none, which is NetVLAD")
    centre_classes: Names = Field(
        default=CENTRE_CLASSES, min_length=1, description="centres start from features of these classes",
        json_schema_extra=marked(entry="class"),
    )  # fmt: skip
    shadow_classes: Names = Field(
        default=(), description="shadows start from the means of these classes; empty: all others",
        json_schema_extra=marked(entry="class"),
    )  # fmt: skip

    @model_validator(mode="after")
    def _room(self) -> _SRALNet:
        if self.shadows >= self.clusters and self.shadows:
            fault = f"shadows are filled up by other centres: they must be fewer than the clusters, {self.clusters}"
            raise RuleError("shadows", fault, self.shadows, "Lower it, or raise clusters.")
        if both := next((name for name in self.shadow_classes if name in self.centre_classes), None):
            raise RuleError("shadow_classes", "a class cannot be of centres and of shadows", both, "Delete one.")
        return self


_SUMS: dict[str, Any] = {"weighs": True, "sums": True}
_P = (float, Field(default=3.0, gt=0, description="exponent at the start; it is learnt"))
_GEM = parameters(p=_P)
_ABOUT_LENGTH = "what is divided by its length before the linear map: what GeM pooled, or each place, as published"


def _count(default: int, about: str) -> tuple[Any, Any]:
    return int, Field(default=default, ge=1, description=about)


class AggregatorName(Named):
    """Features to one descriptor: (B, C, h, w) -> (B, D).

    Facts: `weighs`, whether it honours how much each place counts; `sums`, whether what it pools is a sum over places,
    so that the descriptors under all masks follow from one pass; `starts`, whether its parameters start from local
    features of training pictures; `activations`, whether those of training pictures are needed: at the `start`, for the
    class of each feature, or in `training` beside each picture (`network.aggregators.base`); `scales`, whether it is
    given the features of several units, `at`; `normalises`, who divides features by their length at each place, after
    which alone attention to places tells: `before` the network, `within` itself; `needs_mask`, whether without a mask
    at the features it is refused; `asks`, what it is made with beside the channels: `places`, the features' (h, w), to
    which it is bound then; `token`, the channels of the backbone's class token, None without one.
    """

    door: ClassVar[Door] = Door(
        "aggregator",
        {
            "gem": BuiltIn("vprdist.network.aggregators.gem:GeM", _GEM, facts=_SUMS),
            "gem_weighted": BuiltIn(
                "vprdist.network.aggregators.gem:GeM", _GEM, facts={**_SUMS, "needs_mask": True}
            ),
            "gem+linear": BuiltIn(
                "vprdist.network.aggregators.gem_linear:GeMLinear",
                parameters(
                    out_channels=_count(512, "dimensions of the descriptor"), p=_P,
                    length=(Length, Field(default="pooled", description=_ABOUT_LENGTH)),
                ),
                facts=_SUMS,
            ),
            "multi_scale_gem": BuiltIn(
                "vprdist.network.aggregators.multi_scale_gem:MultiScaleGeM",
                parameters(
                    at=(tuple[str, ...], Field(default=(), description="units that are pooled; empty: the last two")),
                    p=(float, Field(default=3.0, gt=0, description="exponent at the start, of all; it is learnt")),
                ),
                facts={"weighs": True, "sums": True, "scales": True, "normalises": "before"},
            ),
            "netvlad": BuiltIn(
                "vprdist.network.aggregators.netvlad:NetVLAD",
                _NetVLAD,
                facts={**_SUMS, "starts": True, "normalises": "within"},
            ),
            "sralnet": BuiltIn(
                "vprdist.network.aggregators.sralnet:SRALNet",
                _SRALNet,
                facts={**_SUMS, "starts": True, "activations": "start", "normalises": "within"},
            ),
            "mixvpr": BuiltIn(
                "vprdist.network.aggregators.mixvpr:MixVPR",
                parameters(
                    out_channels=_count(1024, "channels after their linear map"),
                    rows=_count(4, "numbers a channel after the linear map of places"),
                    depth=_count(4, "mixing blocks"), ratio=_count(1, "hidden numbers of a block, as times the places"),
                ),
                facts={"asks": ("places",)},
            ),
            "salad": BuiltIn(
                "vprdist.network.aggregators.salad:SALAD",
                parameters(
                    clusters=_count(64, "clusters that places are assigned to, beside one that takes the rest"),
                    out_channels=_count(128, "numbers that a cluster sums"),
                    token_channels=_count(256, "numbers that are made of the class token"),
                    hidden=_count(512, "hidden channels of all maps"),
                    iterations=_count(3, "rounds of Sinkhorn's algorithm"),
                ),
                facts={**_SUMS, "asks": ("token",)},
            ),
            "boq": BuiltIn(
                "vprdist.network.aggregators.boq:BoQ",
                parameters(
                    out_channels=(int, Field(
                        default=512, ge=64, multiple_of=64, description="channels of places and queries; 64 a head"
                    )),
                    queries=_count(64, "learnt queries of a block"), depth=_count(2, "blocks"),
                    rows=_count(32, "numbers a channel after the linear map of queries"),
                ),
            ),
        },
        provided=("channels",),
        offered=("places", "token"),
        facts={
            "weighs": False, "sums": False, "starts": False, "activations": "", "needs_mask": False, "asks": (),
            "scales": False, "normalises": "",
        },
        default="gem",
    )  # fmt: skip

    @property
    def starts_from_data(self) -> bool:
        """Whether local features of training pictures set its parameters before the first step."""
        return bool(self.fact("starts")) and self.parameters.get("start", "clusters") == "clusters"

    @property
    def at(self) -> tuple[str, ...]:
        """The units whose features it is given; empty: the last one's, or of several scales the last two."""
        return tuple(self.parameters.get("at", ())) if self.fact("scales") else ()

    @property
    def normalises(self) -> str:
        """What divides features by their length at each place: `before` the network, `within` itself; or ""."""
        return "within" if self.parameters.get("length") == "places" else str(self.fact("normalises"))

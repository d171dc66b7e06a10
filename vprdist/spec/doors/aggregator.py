"""Aggregators by name."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from vprdist.errors import RuleError
from vprdist.spec.base import Names, Spec, hashed_unless, marked
from vprdist.spec.named import BuiltIn, Door, Named, parameters

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


class AggregatorName(Named):
    """Features to one descriptor: (B, C, h, w) -> (B, D).

    Facts: `weighs`, whether it honours how much each place counts; `sums`, whether what it pools is a sum over places,
    so that the descriptors under all masks follow from one pass; `starts`, whether its parameters start from local
    features of training pictures; `activations`, whether those of training pictures are needed: at the `start`, for the
    class of each feature (`network.aggregators.base`).
    """

    door: ClassVar[Door] = Door(
        "aggregator",
        {
            "gem": BuiltIn(
                "vprdist.network.aggregators.gem:GeM",
                parameters(p=(float, Field(default=3.0, gt=0, description="exponent at the start; it is learnt"))),
                facts={"weighs": True, "sums": True},
            ),
            "netvlad": BuiltIn(
                "vprdist.network.aggregators.netvlad:NetVLAD",
                _NetVLAD,
                facts={"weighs": True, "sums": True, "starts": True},
            ),
            "sralnet": BuiltIn(
                "vprdist.network.aggregators.sralnet:SRALNet",
                _SRALNet,
                facts={"weighs": True, "sums": True, "starts": True, "activations": "start"},
            ),
        },
        provided=("channels",),
        facts={"weighs": False, "sums": False, "starts": False, "activations": ""},
        default="gem",
    )

    @property
    def starts_from_data(self) -> bool:
        """Whether local features of training pictures set its parameters before the first step."""
        return bool(self.fact("starts")) and self.parameters.get("start") != "random"

"""Masks that are learnt, by name."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from vprdist.spec.base import Spec
from vprdist.spec.named import BuiltIn, Door, Named

FLAT = "its learning rate is that of the network, so many times: σ is flat at the start"


class MaskTraining(Spec):
    """How a mask that is learnt is trained: what every one is told beside its own parameters."""

    start: Literal["all", "classes"] = Field(
        default="all", description="what it shows at the start: everything, or the classes of input.classes"
    )
    budget: float = Field(default=0.5, gt=0, le=1, description="share of the picture that it should show, on average")
    budget_weight: float = Field(
        default=0.05,
        ge=0,
        description="weight of its squared distance to the budget (GCL is some 0.03); 0: none",
    )
    lr_factor: float = Field(default=1.0, gt=0, description="its learning rate is that of the network, so many times")


class _ClassWeights(MaskTraining):
    lr_factor: float = Field(default=300.0, gt=0, description=FLAT)


class _SqueezeExcite(MaskTraining):
    lr_factor: float = Field(default=100.0, gt=0, description=FLAT)
    hidden: int = Field(default=5, ge=1, description="width between its two layers")


class _ConvHead(MaskTraining):
    width: int = Field(default=16, ge=1, description="channels between its convolutions")


class MaskName(Named):
    """A mask that is learnt: activations of K classes (and the picture) to a mask, (B, K, h, w) -> (B, 1, h, w)."""

    door: ClassVar[Door] = Door(
        "mask",
        {
            "none": BuiltIn(""),
            "class_weights": BuiltIn("vprdist.network.masks.class_weights:ClassWeights", _ClassWeights),
            "squeeze_excite": BuiltIn("vprdist.network.masks.squeeze_excite:SqueezeExcite", _SqueezeExcite),
            "conv_head": BuiltIn("vprdist.network.masks.conv_head:ConvHead", _ConvHead),
        },
        provided=("classes", "chosen"),
        beside=MaskTraining,
    )

    @property
    def training(self) -> MaskTraining | None:
        """How it is trained; None for `none`."""
        if self.name == "none":
            return None
        given = {key: self.parameters[key] for key in MaskTraining.model_fields if key in self.parameters}
        return MaskTraining.model_validate(given)

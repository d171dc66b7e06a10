"""The open doors: every choice that a word of a registry makes, or a class of a user's own.

To add a built-in: write its file in the room that the line names, and the line here. CONTRIBUTING.md shows how a user
brings one without touching this package.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from vprdist.spec.base import Spec
from vprdist.spec.methods import METHODS
from vprdist.spec.named import BuiltIn, Door, Named, parameters

RESNET_UNITS = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
LITE_UNITS = ("stem_conv", "stem_bn", "blocks1", "blocks2", "blocks3", "blocks4", "blocks5", "head")

_MARGIN = parameters(margin=(float, Field(default=0.5, gt=0, description="distance from which a pair is told apart")))


class BackboneName(Named):
    """Pictures to features, in ordered units: (B, 3+, H, W) -> (B, C, h, w)."""

    door: ClassVar[Door] = Door(
        "backbone",
        {
            **{
                f"resnet{depth}": BuiltIn(
                    "vprdist.network.backbones.resnet:ResNet",
                    facts={"units": RESNET_UNITS, "num_parameters": count},
                    fixed={"depth": depth},
                )
                for depth, count in (
                    (18, 11_176_512), (34, 21_284_672), (50, 23_508_032), (101, 42_500_160), (152, 58_143_808),
                )
            },
            "efficientnet_lite0": BuiltIn(
                "vprdist.network.backbones.efficientnet_lite:EfficientNetLite0",
                facts={"units": LITE_UNITS, "num_parameters": 3_371_008},
            ),
        },
        facts={"units": (), "num_parameters": None},
    )  # fmt: skip


class AttentionPlaces(Spec):
    """Where attention stands: what every attention but `none` is told beside its own parameters."""

    at: tuple[str, ...] = Field(default=(), description="the units behind which it stands; empty: the last")


class AttentionName(Named):
    """Features to features, behind named units; `none` leaves them as they are."""

    door: ClassVar[Door] = Door(
        "attention",
        {"none": BuiltIn("")},
        provided=("channels",),
        beside=AttentionPlaces,
    )

    @property
    def at(self) -> tuple[str, ...]:
        """The units behind which it stands; empty: the last."""
        return tuple(self.parameters.get("at", ()))


class AggregatorName(Named):
    """Features to one descriptor: (B, C, h, w) -> (B, D).

    Facts: `weighs`, whether it honours how much each place counts; `sums`, whether what it pools is a sum over places,
    so that the descriptors under all masks follow from one pass (`network.aggregators.base`).
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
                parameters(clusters=(int, Field(default=64, ge=1, description="centres whose residuals are summed"))),
                facts={"weighs": True, "sums": True},
            ),
        },
        provided=("channels",),
        facts={"weighs": False, "sums": False},
        default="gem",
    )


class LossName(Named):
    """The number that training minimises.

    Facts: `wants`, the batches that it is given (`pairs`: each query with its own partner, or with all where
    `train.pairs: all`; `all`: always every query with every partner); `draws`, how often a positive, a soft and a hard
    negative are drawn; `labels`, the dataset of the official label files that it learns from.
    """

    door: ClassVar[Door] = Door(
        "loss",
        {
            "gcl": BuiltIn(
                "vprdist.training.losses.gcl:GeneralizedContrastiveLoss",
                _MARGIN,
                facts={"wants": "pairs", "draws": (0.5, 0.25, 0.25), "labels": "fov"},
            ),
            "contrastive": BuiltIn(
                "vprdist.training.losses.contrastive:ContrastiveLoss",
                _MARGIN,
                facts={"wants": "pairs", "draws": (0.5, 0.0, 0.5), "labels": "sim"},
            ),
        },
        facts={"wants": "all", "draws": (0.5, 0.25, 0.25), "labels": "fov"},
        default="gcl",
    )


class LayoutName(Named):
    """How a data set lies in its folder: a folder -> cities with positions, headings, sequences, conditions."""

    door: ClassVar[Door] = Door(
        "layout", {"msls": BuiltIn("vprdist.data.layouts.msls:Msls")}, provided=("root",), default="msls"
    )


MSLS = LayoutName.of("msls")


class SearcherName(Named):
    """What proposes the trials of a sweep, told the values of earlier ones."""

    door: ClassVar[Door] = Door(
        "searcher",
        {word: BuiltIn(method.target, method.parameters) for word, method in METHODS.items()},
        provided=("space", "seed"),
    )

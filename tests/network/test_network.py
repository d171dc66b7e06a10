"""The network: units, freezing, stems, pooling, weights."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
import torchvision
from pydantic import ValidationError
from torchvision.models.feature_extraction import create_feature_extractor

from vprdist.errors import WeightsError
from vprdist.network.aggregators.gem import GeM
from vprdist.network.backbones.efficientnet_lite import EfficientNetLite0
from vprdist.network.backbones.resnet import ResNet
from vprdist.network.folded import folded
from vprdist.network.model import build_network
from vprdist.network.stem import InputStem
from vprdist.spec.doors import BackboneName
from vprdist.spec.input import InputSpec
from vprdist.spec.network import NetworkSpec
from vprdist.spec.trial import Digests, TrialSpec

DIGESTS = Digests(dataset="d", cache="c", weights="none")
OURS = sorted(name for name, each in BackboneName.door.built_in.items() if not each.facts.get("elsewhere"))
IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 64, 96), np.uint8))


def network(mode="rgb", backbone="resnet18", unfreeze="0-2", conv1_init="inflate", seed=0, weights=None):
    trial = TrialSpec(
        input=InputSpec(mode=mode, conv1_init=conv1_init),
        network=NetworkSpec(backbone=backbone, unfreeze=unfreeze, weights="none"),
        seed=seed,
    )
    return build_network(trial.resolved(DIGESTS), weights).eval()


@pytest.mark.parametrize("backbone", OURS)
def test_every_backbone_has_the_units_that_sweep_files_may_name(backbone):
    built = BackboneName.of(backbone).make()
    units, channels = built.modules_by_unit(), built.channels
    assert tuple(units) == tuple(BackboneName.of(backbone).fact("units"))
    assert sum(each.numel() for each in built.parameters()) == BackboneName.of(backbone).fact("num_parameters")
    features = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        for unit in units.values():
            features = unit.eval()(features)
    assert features.shape == (1, channels, 2, 2)


@pytest.mark.parametrize("backbone", OURS)
def test_a_folded_network_describes_as_the_network_in_evaluation_mode(backbone):
    light = backbone.startswith("efficientnet")  # random weights of it describe all pictures alike
    whole = network(backbone=backbone, weights=EfficientNetLite0().find_weights() if light else None).train()
    generator = torch.Generator().manual_seed(0)
    for module in whole.modules():
        if isinstance(module, torch.nn.BatchNorm2d) and not light:  # far from where they begin: mean 0, variance 1
            for values, low in ((module.running_mean, -0.5), (module.running_var, 0.5), (module.bias, -0.5)):
                values.data.copy_(low + torch.rand(len(values), generator=generator))
    before = {name: value.clone() for name, value in whole.state_dict().items()}
    with torch.no_grad():
        lean = folded(whole)
        for size in ((64, 96), (49, 81)):
            images = torch.randint(0, 256, (4, 3, *size), generator=generator, dtype=torch.uint8)
            expected = whole.eval()(images)
            apart = float((expected[0] - expected[1]).abs().max())  # random weights tell noise from noise by little
            assert float((lean(images) - expected).abs().max()) < 0.01 * apart, size
            whole.train()
    assert whole.training, "folding leaves the network as it was"
    assert all(torch.equal(value, before[name]) for name, value in whole.state_dict().items() if "running" not in name)
    if not backbone.startswith("densenet"):  # whose BatchNorm stands before a convolution's ReLU, too
        assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in lean.modules())


def test_resnet_units_are_torchvisions_network():
    torch.manual_seed(0)
    reference = torchvision.models.resnet18(weights=None).eval()
    torch.manual_seed(0)
    units = ResNet("resnet18", end="layer4").modules_by_unit()
    image = torch.rand(2, 3, 64, 96)
    features = image
    for unit in units.values():
        features = unit.eval()(features)
    pooled = reference.fc(features.mean(dim=(2, 3)))
    assert torch.allclose(pooled, reference(image), atol=1e-5)


def test_a_resnet_that_ends_early_is_the_beginning_of_the_whole_one(tmp_path):
    reference = torchvision.models.resnet50(weights=None).eval()
    torch.save(reference.state_dict(), tmp_path / "r50.pth")
    cut = network(backbone={"name": "resnet50", "end": "layer3"}, unfreeze="0-1", weights=tmp_path / "r50.pth")
    assert cut.trained == ("layer3",) and cut.dimensions == 1024 == cut(IMAGES).shape[1]
    features = cut.stem(IMAGES, None)
    answers = create_feature_extractor(reference, ["layer3"])(features)["layer3"]
    # Random weights make features of 10 or of 100: what floats round is a part of the largest.
    assert (cut.features(IMAGES, None).maps - answers).abs().max() <= 1e-5 * answers.abs().max()
    pooled = GeM(1024, 3.0)(answers)
    assert torch.allclose(cut(IMAGES), torch.nn.functional.normalize(pooled, dim=1), atol=1e-5)


def test_where_a_resnet_ends_is_part_of_what_it_is():
    whole = NetworkSpec(backbone="resnet50")
    assert NetworkSpec(backbone={"name": "resnet50", "end": "layer4"}).hashed() == whole.hashed()
    cut = NetworkSpec(backbone={"name": "resnet50", "end": "layer3"})
    assert cut.hashed() != whole.hashed() and cut.units == whole.units[:-1] and cut.trained == ("layer2", "layer3")
    with pytest.raises(ValidationError, match="no such unit"):
        NetworkSpec(backbone={"name": "resnet50", "end": "layer3"}, attention={"name": "bam", "at": ["layer4"]})


def test_a_parameter_of_a_users_own_that_is_called_end_cuts_nothing(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(
        "from torch import nn\n\nclass Own(nn.Module):\n    units = ('stem', 'body')\n    channels = 4\n\n"
        "    def __init__(self, end: str = 'body'):\n        super().__init__()\n"
    )
    chosen = BackboneName.of(f"{file}:Own", end="stem")
    assert chosen.units == ("stem", "body") == NetworkSpec(backbone=chosen, weights="none").units


def test_efficientnet_lite_carries_its_imagenet_weights():
    package = pytest.importorskip("efficientnet_lite_pytorch", reason="needs the extra `demo`")
    path = EfficientNetLite0().find_weights()
    reference = package.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(path)).eval()
    built = EfficientNetLite0()
    units = built.modules_by_unit()
    built.load_weights(path)
    image = torch.rand(2, 3, 96, 128)
    features = image
    for unit in units.values():
        features = unit.eval()(features)
    theirs = reference.extract_features(image)
    assert torch.equal(features, theirs)
    # Gradients too, though most of its padding is left to the convolutions.
    features.square().sum().backward()
    theirs.square().sum().backward()
    known = {name: parameter.grad for name, parameter in reference.named_parameters() if parameter.grad is not None}
    found = [parameter.grad for unit in units.values() for parameter in unit.parameters()]
    assert len(found) == len(known)
    assert all(map(torch.equal, found, known.values()))
    padded = [module for module in built.modules() if isinstance(module, torch.nn.Conv2d) and any(module.padding)]
    assert len(padded) > 10


def test_other_weights_are_refused(tmp_path):
    torch.save(torchvision.models.resnet34(weights=None).state_dict(), tmp_path / "r34.pth")
    with pytest.raises(WeightsError, match="must be this backbone's"):
        network(weights=tmp_path / "r34.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "r34.pth").read_bytes()[:1000])
    with pytest.raises(WeightsError, match="must hold a state dict"):
        network(weights=tmp_path / "cut.pth")


@pytest.mark.parametrize("name", ["vgg16", "densenet121"])
def test_published_weights_of_torchvisions_other_families_load(tmp_path, name):
    reference = torchvision.models.get_model(name, weights=None).eval()
    old = {re.sub(r"(denselayer\d+\.\w+)([12])\.", r"\1.\2.", key): v for key, v in reference.state_dict().items()}
    torch.save({key: v for key, v in old.items() if "num_batches" not in key}, tmp_path / "published.pth")
    built = network(backbone=name, weights=tmp_path / "published.pth")
    normalised = (IMAGES / 255 - built.stem.mean) / built.stem.std
    with torch.no_grad():
        torch.testing.assert_close(built.features(IMAGES, None)[0], reference.features(normalised), rtol=0, atol=1e-5)


def test_vgg_may_end_at_its_last_convolution():
    torch.manual_seed(0)
    reference = torchvision.models.vgg16(weights=None).features[:-2].eval()
    torch.manual_seed(0)
    built = BackboneName.of("vgg16", end="conv5_3").make().eval()
    image = torch.rand(2, 3, 64, 96)
    features = image.clone()
    with torch.no_grad():
        for unit in built.modules_by_unit().values():
            features = unit(features)
        assert torch.equal(features, reference(image)) and features.shape == (2, 512, 4, 6)


def test_resnet_weights_load(tmp_path):
    reference = torchvision.models.resnet18(weights=None)
    torch.save(reference.state_dict(), tmp_path / "r18.pth")
    loaded = network(weights=tmp_path / "r18.pth", seed=5)
    assert torch.equal(loaded.units["layer3"][0].conv1.weight, reference.layer3[0].conv1.weight)


@pytest.mark.parametrize("unfreeze", ["0-2", "2-2", "0-4", "all", "0-0", ("layer2", "layer4")])
def test_what_is_frozen_gets_no_gradient(unfreeze):
    net = network(unfreeze=unfreeze)
    net(IMAGES).sum().backward()
    trained = NetworkSpec(backbone="resnet18", unfreeze=unfreeze).trained
    for name, unit in net.units.items():
        for parameter in unit.parameters():
            assert (parameter.grad is not None) == (name in trained), name
    assert net.pool.p.grad is not None


def test_gem_is_the_generalized_mean():
    pool = GeM(5, 3.0)
    features = torch.rand(2, 5, 3, 4)
    expected = [
        [(sum(v**3 for v in channel.flatten().tolist()) / 12) ** (1 / 3) for channel in image] for image in features
    ]
    assert torch.allclose(pool(features), torch.tensor(expected), atol=1e-6)
    average = GeM(5, 1.0)
    assert torch.allclose(average(features), features.mean((2, 3)))


def test_descriptors_have_length_one():
    assert torch.allclose(network()(IMAGES).norm(dim=1), torch.ones(2))


def test_the_mask_multiplies_before_normalisation():
    stem = InputStem("masked")
    mask = torch.randint(0, 256, (2, 1, 64, 96), dtype=torch.uint8)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    out = stem(IMAGES, mask)
    for b, c, y, x in [(0, 0, 0, 0), (1, 2, 63, 95), (1, 1, 30, 7)]:
        value = IMAGES[b, c, y, x].item() / 255 * mask[b, 0, y, x].item() / 255
        assert out[b, c, y, x].item() == pytest.approx((value - mean[c].item()) / std[c].item(), abs=1e-5)


def test_a_mask_of_ones_is_rgb():
    assert torch.allclose(
        InputStem("masked", full=2550)(IMAGES, torch.full((2, 1, 16, 24), 2550, dtype=torch.int16)),
        InputStem("rgb")(IMAGES, None),
    )


@pytest.mark.parametrize(("mode", "channels"), [("rgb+mask", 4), ("rgb+semantics", 22)])
def test_inflated_networks_start_as_the_rgb_network(mode, channels):
    extra = torch.randint(0, 256, (2, channels - 3, 32, 48), dtype=torch.uint8)
    wide = network(mode, unfreeze="2-2")
    assert wide.units["conv1"].weight.shape[1] == channels
    assert torch.allclose(wide(IMAGES, extra), network()(IMAGES), atol=1e-6)
    drawn = network(mode, unfreeze="2-2", conv1_init="random")
    assert not torch.allclose(drawn(IMAGES, extra), network()(IMAGES), atol=1e-2)


def test_the_stem_adds_channels_after_rgb():
    extra = torch.randint(0, 256, (2, 19, 64, 96), dtype=torch.uint8)
    out = InputStem("rgb+semantics")(IMAGES, extra)
    assert out.shape == (2, 22, 64, 96)
    assert torch.equal(out[:, 3:], extra / 255)
    assert torch.equal(out[:, :3], InputStem("rgb")(IMAGES, None))


def test_the_seed_decides_everything_random():
    state = torch.random.get_rng_state()
    one, same, other = (network("rgb+mask", unfreeze="2-2", conv1_init="random", seed=s) for s in (3, 3, 4))
    assert torch.equal(one.units["conv1"].weight, same.units["conv1"].weight)
    assert not torch.equal(one.units["conv1"].weight, other.units["conv1"].weight)
    assert torch.equal(torch.random.get_rng_state(), state), "building draws nothing from the global stream"

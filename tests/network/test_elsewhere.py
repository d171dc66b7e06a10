"""Networks that are trained already: files, models of timm's, torch.hub; what they answer, and what is refused."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from vprdist.errors import UserError, WeightsError
from vprdist.network.folded import folded
from vprdist.network.model import PlaceNetwork, build_network
from vprdist.network.weights import look
from vprdist.spec.doors import BackboneName
from vprdist.spec.trial import TrialSpec
from vprdist.tensors import save_tensors
from vprdist.training.try_out import try_out

SIZE = [64, 96]
IMAGES = torch.randint(0, 256, (3, 3, *SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


class Net(nn.Module):
    """A small network; `kind` says what it answers with."""

    def __init__(self, kind: str = "descriptors", width: int = 8) -> None:
        super().__init__()
        self.kind = kind
        self.conv = nn.Conv2d(3, width, 3, stride=4, padding=1)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, image_B3HW: torch.Tensor) -> Any:
        features = torch.relu(self.norm(self.conv(image_B3HW)))
        return {
            "descriptors": lambda: features.mean(dim=(2, 3)),
            "features": lambda: features,
            "token": lambda: (features, features.mean(dim=(2, 3))),
            "tokens": lambda: features.flatten(2),
            "nan": lambda: features.mean(dim=(2, 3)) / 0 * 0,
            "one size": lambda: (features.flatten(2) @ torch.ones(16 * 24, 1)).squeeze(2),
        }[self.kind]()


def net(kind: str = "descriptors") -> Net:
    torch.manual_seed(3)
    made = Net(kind).eval()
    made.norm.running_mean.uniform_(-0.5, 0.5)
    return made


def torchscript(folder: Path, kind: str = "descriptors") -> Path:
    path = folder / f"{kind}.pt"
    torch.jit.save(torch.jit.trace(net(kind), torch.rand(2, 3, *SIZE), check_trace=False), path)
    return path


def onnx(folder: Path, kind: str = "descriptors", batch: int | None = None) -> Path:
    pytest.importorskip("onnx", reason="writing an ONNX file needs onnx")
    pytest.importorskip("onnxruntime", reason="running an ONNX file needs onnxruntime")
    path = folder / f"{kind}{batch or ''}.onnx"
    free = {} if batch else {"dynamic_axes": {"input": {0: "batch"}}}
    torch.onnx.export(net(kind), (torch.rand(batch or 2, 3, *SIZE),), path, dynamo=False, input_names=["input"], **free)
    return path


HUBCONF = """
import torch
from helpers import WIDTH

def tiny(width=WIDTH, fetched=False):
    if fetched:
        torch.hub.load_state_dict_from_url("https://example.org/weights.pth")
    network = torch.nn.Sequential(torch.nn.Conv2d(3, width, 4, 4), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    return network

def number():
    return 7
"""


def hub(folder: Path, width: int = 5) -> Path:
    folder.mkdir(parents=True)
    (folder / "hubconf.py").write_text(HUBCONF)
    (folder / "helpers.py").write_text(f"WIDTH = {width}\n")
    return folder


def trial(backbone: Any, **more: Any) -> TrialSpec:
    values = {"network": {"backbone": backbone, **more.pop("network", {})}, "train": {"steps": 0, "image_size": SIZE}}
    return TrialSpec.model_validate_json(json.dumps(values | more))


def built(backbone: Any, weights: Path | None = None, **more: Any) -> PlaceNetwork:
    return build_network(trial(backbone, **more), weights).eval()


@torch.no_grad()
def plain(network: nn.Module, mean: Any = (0.485, 0.456, 0.406), std: Any = (0.229, 0.224, 0.225)) -> torch.Tensor:
    """The slow way: normalise, ask the network itself, bring to unit length."""
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (mean, std))
    return nn.functional.normalize(network((IMAGES / 255 - mean) / std).float(), dim=1)


def refusal(backbone: Any, **more: Any) -> str:
    with pytest.raises(UserError) as caught:
        try_out(trial(backbone, **more))
    return str(caught.value)


@torch.no_grad()
def test_a_file_describes_as_the_network_that_it_was_written_from(tmp_path):
    wanted = plain(net())
    for backbone in (
        f"torchscript:{torchscript(tmp_path)}",
        f"onnx:{onnx(tmp_path)}",
        f"onnx:{onnx(tmp_path, batch=2)}",
    ):
        network = built(backbone)
        torch.testing.assert_close(network(IMAGES), wanted, rtol=0, atol=1e-6)
        torch.testing.assert_close(folded(network)(IMAGES), wanted, rtol=0, atol=1e-6)
        assert network.dimensions == 8 and not any(each.requires_grad for each in network.parameters())


@torch.no_grad()
def test_features_of_a_file_are_pooled_here(tmp_path):
    pooled = nn.functional.normalize(
        net("features")(_normalised()).clamp(min=1e-6).pow(3).mean((2, 3)).pow(1 / 3), dim=1
    )
    for path in (torchscript(tmp_path, "features"), torchscript(tmp_path, "token"), onnx(tmp_path, "token")):
        name = "onnx" if path.suffix == ".onnx" else "torchscript"
        found = built({"name": name, "file": str(path), "answers": "features"})(IMAGES)
        torch.testing.assert_close(found, pooled, rtol=0, atol=1e-6)


def _normalised() -> torch.Tensor:
    mean, std = (
        torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1),
        torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1),
    )
    return (IMAGES / 255 - mean) / std


def test_a_file_says_by_what_its_pictures_are_normalised(tmp_path):
    mean, std = [0.5, 0.4, 0.3], [0.2, 0.3, 0.5]
    network = built({"name": "torchscript", "file": str(torchscript(tmp_path)), "mean": mean, "std": std})
    torch.testing.assert_close(network(IMAGES), plain(net(), mean, std), rtol=0, atol=1e-6)


def test_another_content_is_another_trial_and_another_place_is_not(tmp_path):
    one = torchscript(tmp_path)
    moved = tmp_path / "elsewhere.pt"
    moved.write_bytes(one.read_bytes())
    other = torchscript(tmp_path, "features")
    digests = [look(trial(f"torchscript:{path}").network)["digest"] for path in (one, moved, other)]
    assert digests[0] == digests[1] != digests[2]
    assert trial(f"torchscript:{one}").hashed() == trial(f"torchscript:{moved}").hashed()


def test_weights_beside_an_onnx_file_are_part_of_it(tmp_path):
    pytest.importorskip("onnxruntime")
    onnx_ = pytest.importorskip("onnx")
    model = onnx_.load(onnx(tmp_path))
    path = tmp_path / "split.onnx"
    onnx_.save_model(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    before = look(trial(f"onnx:{path}").network)["digest"]
    torch.testing.assert_close(built(f"onnx:{path}")(IMAGES), plain(net()), rtol=0, atol=1e-6)
    data = bytearray((tmp_path / "weights.bin").read_bytes())
    data[0] ^= 1
    (tmp_path / "weights.bin").write_bytes(data)
    assert look(trial(f"onnx:{path}").network)["digest"] != before


def test_an_entry_of_a_hub_folder_is_the_same_every_time(tmp_path):
    place = {"name": "hub", "repo": str(hub(tmp_path / "a")), "entry": "tiny"}
    first, again = built(place), built(place, seed=5)
    assert torch.equal(first(IMAGES), again(IMAGES)) and first.dimensions == 5
    assert built({**place, "arguments": {"width": 3}}).dimensions == 3
    # Another folder has modules of the same names.
    other = {**place, "repo": str(hub(tmp_path / "b", width=6))}
    assert built(other).dimensions == 6 and built(place).dimensions == 5
    digests = [look(trial(each).network)["digest"] for each in (place, {**place, "arguments": {"width": 3}}, other)]
    assert len(set(digests)) == 3
    (tmp_path / "a" / "unused.py").write_text("# a comment\n")
    assert look(trial(place).network)["digest"] != digests[0], "its source text is part of it"


def test_a_repository_is_found_in_torchs_store_and_never_fetched(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    entry = {"name": "hub", "repo": "me/net", "entry": "tiny"}
    message = refusal(entry)
    assert "me_net_main or me_net_master" in message and "torch.hub.list('me/net')" in message
    hub(tmp_path / "hub" / "me_net_master")
    assert built(entry).dimensions == 5
    message = refusal({**entry, "arguments": {"fetched": True}})
    assert "must lie in torch's local store" in message and "https://example.org/weights.pth" in message


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"entry": "nosuch"}, ("could not be made", "nosuch")),
        ({"entry": "number"}, ("must answer with a torch module; found 'int'",)),
        ({"entry": "tiny", "arguments": {"wdith": 3}}, ("could not be made", "wdith")),
        ({"entry": "tiny", "answers": "features"}, ("features (2, C, h, w)", "(2, 5)", "answers: descriptors")),
    ],
)
def test_a_hub_entry_that_cannot_be_used_is_refused(tmp_path, entry, words):
    message = refusal({"name": "hub", "repo": str(hub(tmp_path / "a")), **entry})
    assert message.startswith("trial.network.backbone: ") and all(word in message for word in words), message


@pytest.mark.parametrize(
    ("kind", "more", "words"),
    [
        ("features", {}, ("must answer 2 pictures with (2, D); found '(2, 8, 16, 24)'", "answers: features")),
        ("descriptors", {"answers": "features"}, ("features (2, C, h, w)", "found '(2, 8)'", "answers: descriptors")),
        ("tokens", {"answers": "features"}, ("found '(2, 8, 384)'",)),
        ("token", {}, ("2 answers: (2, 8, 16, 24), (2, 8)",)),
        ("nan", {}, ("must be finite; found '16 of 16 values that are not'",)),
    ],
)
def test_what_a_file_answers_is_looked_at_before_anything_starts(tmp_path, kind, more, words):
    message = refusal({"name": "torchscript", "file": str(torchscript(tmp_path, kind)), **more})
    assert message.startswith("trial.network.backbone: ") and all(word in message for word in words), message


def test_pictures_of_another_size_than_a_network_takes_are_refused(tmp_path):
    path = torchscript(tmp_path, "one size")
    try_out(trial(f"torchscript:{path}"))
    message = refusal(f"torchscript:{path}", evaluate={"image_size": [96, 96]})
    assert "must take pictures of 96x96" in message and "image_size" in message


def test_a_broken_or_foreign_file_is_refused_without_running_what_is_in_it(tmp_path):
    class Trap:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"model": Trap()}, tmp_path / "trap.pt")
    save_tensors(tmp_path / "state.pt", net().state_dict())
    (tmp_path / "text.pt").write_text("no network")
    cut = tmp_path / "cut.pt"
    cut.write_bytes(torchscript(tmp_path).read_bytes()[:-3000])
    with zipfile.ZipFile(tmp_path / "zip.pt", "w") as archive:
        archive.writestr("a/b.txt", "c")
    for name, words in {
        "nosuch.pt": "no such file", "trap.pt": "weights without a network", "state.pt": "network.weights: FILE",
        "text.pt": "must be a network in TorchScript", "cut.pt": "must be a network in TorchScript",
        "zip.pt": "an archive of b.txt",
    }.items():  # fmt: skip
        assert words in refusal(f"torchscript:{tmp_path / name}"), name
        if name != "nosuch.pt" and onnx(tmp_path):
            assert "must be a network in ONNX" in refusal(f"onnx:{tmp_path / name}")
    assert not (tmp_path / "ran").exists()


@torch.no_grad()
def test_models_of_timms_give_their_features_in_one_form():
    timm = pytest.importorskip("timm", reason="timm is not installed")
    for name in ("test_resnet", "test_vit", "swin_tiny_patch4_window7_224"):
        network = built(f"timm:{name}", network={"weights": "none"})
        with torch.random.fork_rng():
            torch.manual_seed(0)
            alone = timm.create_model(name, **({} if name == "test_resnet" else {"dynamic_img_size": True})).eval()
        alone.load_state_dict({**alone.state_dict(), **network.units["network"].net.state_dict()})
        mean, std = (torch.tensor(alone.pretrained_cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
        told = alone.forward_intermediates((IMAGES / 255 - mean) / std, indices=1, norm=True, intermediates_only=True)
        pooled = nn.functional.normalize(told[0].clamp(min=1e-6).pow(3).mean(dim=(2, 3)).pow(1 / 3), dim=1)
        if name != "swin_tiny_patch4_window7_224":  # its last norm is not among timm's intermediates
            torch.testing.assert_close(network(IMAGES), pooled, rtol=0, atol=1e-5)
        assert network(IMAGES).shape == (3, alone.num_features)


@torch.no_grad()
def test_a_saved_state_of_a_timm_model_is_its_weights(tmp_path):
    timm = pytest.importorskip("timm", reason="timm is not installed")
    torch.manual_seed(9)
    model = timm.create_model("test_resnet").eval()
    whole, headless, other = (tmp_path / name for name in ("whole.pth", "headless.pth", "other.pth"))
    torch.save(model.state_dict(), whole)
    torch.save(
        {key: value for key, value in model.state_dict().items() if not key.startswith(("fc.", "head."))}, headless
    )
    torch.save(timm.create_model("test_vit").state_dict(), other)
    wanted = None
    for path in (whole, headless):
        spec = {"weights": str(path)}
        assert "digest" in look(trial("timm:test_resnet", network=spec).network)
        found = built("timm:test_resnet", path, network=spec)(IMAGES)
        wanted = found if wanted is None else wanted
        assert torch.equal(found, wanted)
    mean, std = (torch.tensor(model.pretrained_cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    features = model.forward_features((IMAGES / 255 - mean) / std).clamp(min=1e-6).pow(3).mean(dim=(2, 3)).pow(1 / 3)
    torch.testing.assert_close(wanted, nn.functional.normalize(features, dim=1), rtol=0, atol=1e-5)
    refused = look(trial("timm:test_resnet", network={"weights": str(other)}).network)["refused"]
    assert "the weights must be this model's" in str(refused) and "an unknown" in str(refused)


def test_a_model_that_timm_does_not_have_is_refused_with_those_that_are_near():
    pytest.importorskip("timm", reason="timm is not installed")
    assert "Did you mean resnet18" in refusal("timm:resnet1")
    assert "resnet18.a1_in1k" in refusal("timm:resnet18.a1_in1")


def test_published_weights_that_are_not_there_are_no_random_ones(monkeypatch, tmp_path):
    pytest.importorskip("timm", reason="timm is not installed")

    def nowhere(*arguments: Any, **more: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr("socket.create_connection", nowhere)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    refused = look(trial("timm:resnet18.a1_in1k").network)["refused"]
    assert isinstance(refused, dict) and "could not be fetched" in refused["rule"]
    assert "timm.create_model('resnet18.a1_in1k'" in refused["remedy"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"train": {"steps": 3}}, "net.pt, a network that is trained already, cannot be trained here"),
        ({"network": {"weights": "none"}}, "has the weights that it comes with, and no others"),
        ({"network": {"aggregator": {"name": "gem", "p": 4.0}}}, "answers with descriptors, which no aggregator"),
        ({"input": {"mode": "masked", "mask_at": "features"}}, "there are no features for a mask to weigh"),
    ],
)
def test_what_a_network_of_descriptors_cannot_have_is_refused_when_the_file_is_read(values, words):
    with pytest.raises(ValueError, match=words):
        trial("torchscript:net.pt", **values)


def test_a_network_of_one_unit_needs_no_layers_until_it_is_trained(tmp_path):
    (tmp_path / "mine.py").write_text("class Mine:\n    units = ('body',)\n")
    mine = f"{tmp_path}/mine.py:Mine"
    assert trial(mine).network.trained == ()
    with pytest.raises(ValueError, match="impossible layer set"):
        trial(mine, train={"steps": 3})
    assert trial(mine, train={"steps": 3}, network={"unfreeze": "all"}).network.trained == ("body",)
    assert trial("timm:resnet18", train={"steps": 3}).network.trained == ("network",), "of which parts are trained"


def test_a_users_class_may_answer_with_descriptors(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\nfrom vprdist.network.backbones.base import Backbone\n\n\n"
        "class Mine(Backbone):\n    units = ('body',)\n    answers = 'descriptors'\n\n"
        "    def __init__(self):\n        super().__init__()\n        self.channels = 12\n"
        "        self.body = nn.Sequential(nn.Conv2d(3, 12, 4, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
    )
    network = built(f"{tmp_path}/mine.py:Mine", network={"weights": "none"})
    assert network(IMAGES).shape == (3, 12)


def test_shorthand_is_the_mapping():
    assert BackboneName.of("timm:resnet18.a1_in1k") == BackboneName.of("timm", model="resnet18.a1_in1k")
    assert BackboneName.of("onnx:/a/net.onnx", answers="features").title == "net.onnx"
    with pytest.raises(ValueError, match="written twice"):
        BackboneName.of("onnx:/a/net.onnx", file="/b")


def test_errors_of_weights_are_of_weights(tmp_path):
    with pytest.raises(WeightsError, match="no such file"):
        built(f"onnx:{tmp_path / 'net.onnx'}")

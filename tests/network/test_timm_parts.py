"""Models of timm's that are trained here: the parts that `unfreeze` counts, sizes by patch, position embeddings."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from vprdist.errors import UserError
from vprdist.network.batch_norm import BATCH_NORM, SyncedBatchNorm, synchronise
from vprdist.network.model import PlaceNetwork, build_network, set_mode
from vprdist.spec.trial import Digests, TrialSpec
from vprdist.training.try_out import try_out

timm = pytest.importorskip("timm", reason="timm is not installed")
IMAGES = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def trial(model: str, unfreeze: str = "0-2", steps: int = 3, **more: Any) -> TrialSpec:
    train = {"steps": steps, "image_size": [64, 96], **more.pop("train", {})}
    network = {"backbone": f"timm:{model}", "weights": "none", "unfreeze": unfreeze, **more.pop("network", {})}
    return TrialSpec.model_validate_json(json.dumps({"network": network, "train": train, **more}))


def built(model: str, unfreeze: str = "0-2", **more: Any) -> PlaceNetwork:
    return build_network(trial(model, unfreeze, **more), None)


def refusal(*arguments: Any, **more: Any) -> str:
    with pytest.raises(UserError) as caught:
        try_out(trial(*arguments, **more))
    return str(caught.value)


def trained(network: PlaceNetwork) -> set[str]:
    """What is trained of the model, by the first two parts of its names."""
    names = [name for name, each in network.units["network"].net.named_parameters() if each.requires_grad]
    return {".".join(name.split(".")[:2]) for name in names}


STEM = {"cls_token", "pos_embed", "patch_embed.proj"}
NORM = {"norm.weight", "norm.bias"}
RESNET_STEM = {f"conv1.{at}" for at in (0, 1, 3, 4, 6)} | {"bn1.weight", "bn1.bias"}


@pytest.mark.parametrize(
    ("model", "unfreeze", "wanted"),
    [
        ("test_vit", "0-1", {"blocks.5"} | NORM),
        ("test_vit", "0-2", {"blocks.4", "blocks.5"} | NORM),
        ("test_vit", "2-1", STEM | {"blocks.0", "blocks.5"} | NORM),
        ("test_vit", "0-7", STEM | {f"blocks.{at}" for at in range(6)} | NORM),
        ("test_vit", "all", STEM | {f"blocks.{at}" for at in range(6)} | NORM),
        ("test_vit", "0-0", set()),
        ("test_resnet", "0-2", {"layer3.0", "layer4.0"}),
        ("test_resnet", "1-1", RESNET_STEM | {"layer4.0"}),
        # Tokens that are put before the patches are the stem's; the norm of a head is no part of the answer.
        ("test_vit2", "1-1", {"reg_token", "pos_embed", "patch_embed.proj", "blocks.7"}),
        ("test_vit2", "0-1", {"blocks.7"}),
        ("test_convnext", "0-1", {"stages.3"}),
    ],
)
def test_layer_sets_count_stages_and_blocks(model, unfreeze, wanted):
    network = built(model, unfreeze)
    assert trained(network) == wanted
    network(IMAGES).sum().backward()
    for name, parameter in network.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name  # DDP waits for every one of them


def test_frozen_blocks_run_without_autograd():
    network = built("test_vit", "0-1")
    seen = {}
    for at, block in enumerate(network.units["network"].net.blocks):
        block.register_forward_hook(lambda module, given, found, at=at: seen.update({at: found.requires_grad}))
    network(IMAGES)
    assert seen == {0: False, 1: False, 2: False, 3: False, 4: False, 5: True}


@pytest.mark.parametrize("mode", ["reference", "sync", "frozen"])
@pytest.mark.parametrize("model", ["test_resnet", "test_efficientnet"])
def test_statistics_of_frozen_parts_stay(model, mode):
    network = built(model, "0-1")
    before = {name: value.clone() for name, value in network.state_dict().items() if "running_mean" in name}
    set_mode(network, mode, training=True)
    network(IMAGES)
    now = network.state_dict()
    moved = {name for name, value in before.items() if not torch.equal(now[name], value)}
    last = {name for name in before if any(part in name for part in ("layer4", "blocks.4", "net.bn2"))}
    assert moved == {"reference": set(before), "sync": last, "frozen": set()}[mode] and last
    modes = {m.training for m in network.pool.modules()}
    assert modes == {True}


def test_a_batch_norm_that_holds_its_activation_is_synchronised_with_it(tmp_path):
    torch.manual_seed(0)
    first = timm.layers.BatchNormAct2d(5, act_layer=nn.SiLU)
    first.bias.data.normal_()
    holder = nn.ModuleDict({"unit": nn.Sequential(first)})
    pictures, size = torch.randn(4, 5, 6, 7), dist.get_world_size
    wanted = first(pictures)
    running = first.running_mean.clone()
    first.reset_running_stats()
    dist.init_process_group("gloo", store=dist.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    try:
        dist.get_world_size = lambda: 2
        synchronise(holder, ["unit"])
        dist.get_world_size = size
        (synced,) = holder["unit"]
        assert isinstance(synced, SyncedBatchNorm) and isinstance(synced, BATCH_NORM)
        torch.testing.assert_close(synced(pictures), wanted, rtol=0, atol=1e-5)
        torch.testing.assert_close(synced.running_mean, running)
    finally:
        dist.get_world_size = size
        dist.destroy_process_group()


def test_more_parts_than_there_are_are_refused_before_anything_starts():
    message = refusal("test_vit", "3-5")
    assert (
        message.startswith("trial.network.unfreeze: impossible layer set") and "test_vit has no more than 7" in message
    )
    assert "its stem and 6 stages or blocks" in message and "'3-5'. Use 0-7 or less" in message
    try_out(trial("test_vit", "3-4"))
    try_out(trial("test_vit", "3-5", steps=0))  # nothing is trained


@pytest.mark.parametrize(
    ("size", "near"),
    [([60, 100], "[64, 96] and [48, 96]"), ([64, 100], "[64, 96] and [64, 112]"), ([40, 96], "[32, 96] and [48, 96]")],
)
def test_sizes_that_no_patch_divides_are_refused_with_the_nearest_that_fit(size, near):
    for message in (
        refusal("test_vit", train={"image_size": size}),
        refusal("test_vit", evaluate={"image_size": size}),
        refusal("test_vit", steps=0, evaluate={"image_size": size}),
    ):
        assert f"must take pictures of {size[0]}x{size[1]}" in message and "evaluate.image_size" in message
        assert f"its patches are of 16x16; the nearest sizes that fit are {near}" in message


@torch.no_grad()
def test_position_embeddings_are_resampled_to_the_grid_of_a_picture():
    network = built("test_vit").eval()
    net = network.units["network"].net
    other = timm.create_model("test_vit", img_size=(64, 96), num_classes=0).eval()
    state = net.state_dict()
    token, places = state["pos_embed"][:, :1], state["pos_embed"][:, 1:]
    grid = places.reshape(1, 10, 10, -1).permute(0, 3, 1, 2)
    resampled = nn.functional.interpolate(grid, (4, 6), mode="bicubic", antialias=True).flatten(2).transpose(1, 2)
    other.load_state_dict({**state, "pos_embed": torch.cat([token, resampled], dim=1)})
    picture = (IMAGES / 255 - network.stem.mean) / network.stem.std
    torch.testing.assert_close(net.forward_features(picture), other.forward_features(picture), rtol=0, atol=1e-5)
    features, found, _ = network.features(IMAGES, None)
    assert features.shape == (2, 64, 4, 6) and found is not None and found.shape == (2, 64)


@torch.no_grad()
@pytest.mark.parametrize("model", ["vit_tiny_patch16_dinov3_qkvb", "vit_small_patch14_reg4_dinov2"])
def test_dinos_give_a_grid_and_a_class_token(model):
    size = [70, 98] if "patch14" in model else [64, 96]
    network = built(model, "0-4", train={"image_size": size}).eval()
    features, token, _ = network.features(torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8), None)
    net: Any = network.units["network"].net
    tokens = net.forward_features((torch.zeros(1, 3, *size) - network.stem.mean) / network.stem.std)
    assert features.shape[2:] == ((5, 7) if "patch14" in model else (4, 6)) and token is not None
    assert tokens.shape[1] == 5 + features[0, 0].numel() and token.shape == (1, net.num_features)
    assert trained(network) == {f"blocks.{at}" for at in range(8, 12)} | NORM


def test_a_layer_set_of_parts_is_another_trial_and_networks_that_nobody_trains_keep_their_ids():
    def hashed(unfreeze: str, steps: int) -> str:
        return trial("test_vit", unfreeze, steps).resolved(Digests(dataset="d", cache=None, weights="none")).trial_id

    at_rest = {each: hashed(each, 0) for each in ("0-2", "0-1", "all", "0-0")}
    assert at_rest["0-1"] == at_rest["all"] != at_rest["0-2"] == at_rest["0-0"], "as units were counted before"
    trains = [hashed(each, 3) for each in ("all", "0-1", "1-0", "0-2", "0-0")]
    assert len(set(trains)) == len(trains)
    assert hashed("00-2", 3) == hashed("0-2", 3)


def test_attention_stands_behind_the_whole_model():
    with pytest.raises(ValueError, match="has no such unit") as caught:
        trial("test_vit", network={"attention": {"name": "spatial", "at": ["blocks.3"]}})
    assert (
        caught.value.errors()[0]["ctx"]["error"].remedy
        == "Attention stands behind a model of timm's as a whole: delete the key."
    )

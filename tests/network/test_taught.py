"""What teaches attention, recomputed by hand; several scales; and where the published order cancels."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.network.contract import DIGESTS, pictures, shake
from tests.network.slowly.segvpr import between
from tests.public_code import checkout
from vprdist.network.aggregators.gem import GeM
from vprdist.network.attention.deattention import DeAttention
from vprdist.network.attention.labels import UNKNOWN, likeliest
from vprdist.network.attention.segvpr import SegVPR
from vprdist.network.model import PlaceNetwork, build_network
from vprdist.spec.doors import AggregatorName, AttentionName
from vprdist.spec.network import NetworkSpec
from vprdist.spec.trial import TrialSpec

WORDS = ("segvpr", "deattention")
words = pytest.mark.parametrize("word", WORDS)
CLASSES = ("road", "sky", "car")


def built(attention: AttentionName, aggregator: str = "gem", **given: object) -> PlaceNetwork:
    pool = AggregatorName.of(aggregator)
    spec = NetworkSpec(backbone="resnet18", unfreeze="all", weights="none", attention=attention, aggregator=pool)
    trial = TrialSpec.model_validate({"input": given})
    return build_network(trial.model_copy(update={"network": spec}).resolved(DIGESTS), None).eval()


def moved(network: PlaceNetwork) -> float:
    """How far another attention moves descriptors, at least."""
    found = []
    for seed in (1, 2):
        shake(network.attention, seed)
        with torch.no_grad():
            found.append(network(pictures()))
    return float((found[0] - found[1]).norm(dim=1).min())


@words
@pytest.mark.parametrize("aggregator", ["gem", "multi_scale_gem", "netvlad"])
def test_attention_tells_in_the_order_that_works_and_cancels_as_published(word: str, aggregator: str) -> None:
    works, published = (
        moved(built(AttentionName.of(word, at=("layer3",), order=order), aggregator))
        for order in ("works", "published")
    )
    print(f"{word} {aggregator}: works {works:.2g}, published {published:.2g}")
    assert works > 1e-3
    assert published < 1e-6, "the published order is said to cancel: if it does not, the claim is to go"


@words
@pytest.mark.parametrize("aggregator", ["multi_scale_gem", "netvlad"])
def test_it_begins_as_the_network_without_it(word: str, aggregator: str) -> None:
    plain, ours = (
        built(attention, aggregator) for attention in (AttentionName.of("none"), AttentionName.of(word, at=("layer3",)))
    )
    for name, module in plain.named_modules():
        if name == "pool":
            ours.pool.load_state_dict(module.state_dict())
    assert torch.allclose(ours(pictures()), plain(pictures()), atol=1e-6)


def test_labels_are_the_likeliest_classes_and_none_where_there_is_none() -> None:
    activations = torch.tensor([[[[9, 0], [4, 1]], [[9, 0], [5, 0]], [[2, 0], [0, 3]]]]) / 255
    assert likeliest(activations).tolist() == [[[0, UNKNOWN], [1, 2]]]


def test_the_target_of_deattention_is_the_share_of_each_place_that_is_not_rejected() -> None:
    module = DeAttention(4, CLASSES, rejected=("sky", "car"))
    labels = torch.tensor([[[0, 0, 1, 2], [0, 1, 2, 0]]])  # two places: 3 of 4 kept, and 1 of 4
    shown = torch.tensor([[[[0.5, 0.75]]]])
    by_hand = ((0.5 - 3 / 4) ** 2 + (0.75 - 1 / 4) ** 2) / 2
    assert module.apart(shown, labels).tolist() == pytest.approx([by_hand])
    labels = torch.tensor([[[0, 0, 1, UNKNOWN], [0, 1, 2, UNKNOWN]]])  # the second place counts half, and is rejected
    by_hand = ((0.5 - 3 / 4) ** 2 + 0.5 * 0.75**2) / 1.5
    assert module.apart(shown, labels).tolist() == pytest.approx([by_hand])
    answer = module.eval()(
        torch.rand(1, 4, 1, 2), activations=F.one_hot(labels.clamp(min=0), 3).permute(0, 3, 1, 2) * 1.0
    )
    assert set(answer[1]) == {"deattention"} and answer[1]["deattention"].shape == (1,)


def test_the_cross_entropy_of_segvpr_is_what_a_loop_says() -> None:
    torch.manual_seed(0)
    module = SegVPR(6, CLASSES, last_channels=5).double()
    for head in module.taught:
        torch.nn.init.normal_(head.weight)
    last, factor = torch.randn(2, 5, 3, 4).double(), torch.rand(2, 1, 6, 8).double() + 0.5
    labels = torch.randint(0, 3, (2, 5, 7))
    labels[0, 0, 0] = UNKNOWN
    expected = []
    for picture in range(2):
        logits = np.zeros((3, 3, 4))
        for head in module.taught:
            (gap,), weight = {head.dilation[0]}, head.weight.detach().numpy()
            for row, column, down, right in np.ndindex(3, 4, 3, 3):
                y, x = row + (down - 1) * gap, column + (right - 1) * gap
                if 0 <= y < 3 and 0 <= x < 4:
                    logits[:, row, column] += weight[:, :, down, right] @ last[picture, :, y, x].numpy()
            logits += head.bias.detach().numpy()[:, None, None]
        large = between(logits, (5, 7)) * between(factor[picture].numpy(), (5, 7))
        told = []
        for row, column in np.ndindex(5, 7):
            label = int(labels[picture, row, column])
            if label != UNKNOWN:
                scores = large[:, row, column]
                told.append(math.log(sum(math.exp(each) for each in scores)) - scores[label])
        expected.append(sum(told) / len(told))
    assert module.cross_entropy(last, factor, labels).tolist() == pytest.approx(expected, rel=1e-9)


def test_what_segmentation_teaches_does_not_move_the_attention_itself() -> None:
    module = SegVPR(6, CLASSES)
    shake(module, 1)
    features = torch.rand(2, 6, 9, 9)
    _, told = module(features, last=features, activations=torch.rand(2, 3, 12, 12))
    told["semantics"].sum().backward()
    assert module.mix.weight.grad is None and module.taught[0].weight.grad is not None


@pytest.mark.parametrize("seed", [0, 1])
def test_scales_are_pooled_by_one_gem_after_their_lengths_are_divided_out(seed: int) -> None:
    network = built(AttentionName.of("segvpr", at=("layer3",)), "multi_scale_gem")
    shake(network.attention, seed)
    held: dict[str, Tensor] = {}
    for name in ("layer3", "layer4"):
        network.units[name].register_forward_hook(lambda _, __, out, name=name: held.update({name: out}))
    with torch.no_grad():
        found = network(pictures())
        factor, gem, parts = network.attention["layer3"].factor(held["layer3"]), GeM(1), []
        for name in ("layer3", "layer4"):
            unit = held[name] / held[name].norm(dim=1, keepdim=True)
            size = unit.shape[2:]
            parts.append(gem(unit * F.interpolate(factor, size, mode="bilinear", align_corners=True)))
    expected = torch.cat(parts, dim=1)
    assert found.shape == (4, 256 + 512)
    assert torch.allclose(found, expected / expected.norm(dim=1, keepdim=True), atol=1e-6)


@pytest.mark.parametrize("aggregator", ["gem", "multi_scale_gem", "netvlad"])
@pytest.mark.parametrize("word", ["none", *WORDS])
def test_masks_at_the_features_weigh_every_scale_and_are_sums_of_their_classes(word: str, aggregator: str) -> None:
    attention = AttentionName.of(word, at=("layer3",)) if word != "none" else AttentionName.of(word)
    form = {"mode": "masked", "mask_at": "features", "mask_reduce": "sum", "classes": ("building", "pole")}
    network = built(attention, aggregator, **form)
    shake(network.attention, 3)
    maps = torch.randint(0, 120, (4, 2, 12, 16), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    with torch.no_grad():
        ones = torch.full_like(maps[:, :1], 255)
        masked = network(pictures(), maps.sum(dim=1, keepdim=True).to(torch.uint8))
        pooled = network.from_sums(network.map_sums(pictures(), maps).sum(dim=1))
        assert torch.allclose(pooled, masked, atol=1e-5)
        assert float((masked - network(pictures(), ones)).norm(dim=1).min()) > 1e-4


@pytest.fixture(scope="module")
def segvpr_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkout("VPRDIST_SEGVPR", "valeriopaolicelli+SegVPR", "src", tmp_path_factory) / "src"


def test_it_is_the_authors_module_with_the_same_weights(segvpr_code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(segvpr_code))
    from net.deeplab import ClassifierModule  # type: ignore[import-not-found]
    from net.network import MultiScaleAttention  # type: ignore[import-not-found]

    torch.manual_seed(0)
    theirs, head = MultiScaleAttention(64), ClassifierModule(96, [6, 12, 18, 24], [6, 12, 18, 24], 19)
    ours = SegVPR(64, last_channels=96)
    layers = (theirs.layer1, theirs.layer2, theirs.layer3)
    for mine, other in zip((*ours.convolutions, ours.mix), (*layers, theirs.final_conv), strict=True):
        mine.load_state_dict(other.state_dict())
    ours.taught.load_state_dict(head.conv2d_list.state_dict())
    features, last = torch.rand(2, 64, 30, 40), torch.rand(2, 96, 15, 20)
    with torch.no_grad():
        differences = [ours.map(features) - theirs(features), ours.segmented(last) - head(last)]
    print("largest differences", [float(each.abs().max()) for each in differences])
    assert all(float(each.abs().max()) < 1e-5 for each in differences)

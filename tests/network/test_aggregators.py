"""Aggregators: what they pool, weights of places, and descriptors of all masks from sums."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.public_code import checkout
from vprdist.errors import UserError
from vprdist.network.aggregators.base import LEAST_WEIGHT, Samples
from vprdist.network.aggregators.gem import GeM
from vprdist.network.aggregators.netvlad import SHARPNESS, NetVLAD
from vprdist.network.aggregators.sralnet import SRALNet
from vprdist.network.clusters import centres_of
from vprdist.spec.doors import AggregatorName
from vprdist.spec.vocabulary import CLASSES

BUILT_IN = sorted(name for name, each in AggregatorName.door.built_in.items() if each.facts.get("weighs"))
"""Those that take weights of places; all of them pool sums."""
OF_WHOLE_PICTURES = ("salad",)
"""Places that no weight shows have a say in what others are assigned to."""
SMALL = {"salad": {"clusters": 3, "out_channels": 5, "hidden": 8}, "gem+linear": {"out_channels": 7}}
SIZES = ((1, 1), (7, 7), (9, 12), (15, 20), (30, 41))


def pool_of(name: str, channels: int, seed: int = 0, **parameters: float) -> nn.Module:
    """An aggregator whose parameters are not those that it starts with."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        asked = {"token": None} if "token" in AggregatorName.of(name).fact("asks") else {}
        chosen = AggregatorName.of(name, **(SMALL.get(name, {}) | parameters))
        made: nn.Module = chosen.make(channels=channels, **asked)
        for value in made.parameters():
            value.data += 0.1 * torch.rand_like(value)
    return made


def drawn(*shape: int, seed: int = 0, low: float = -1.0) -> Tensor:
    """Features, of which half would not pass a ReLU."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * (1 - low) + low


def masks(count: int, number: int, size: tuple[int, int], seed: int = 1) -> Tensor:
    """Maps as class activations are: most of them mostly 0, the last one empty everywhere."""
    maps = drawn(count, number, *size, seed=seed, low=-1.0).clamp(min=0) * 255
    maps[:, -1] = 0
    return maps


@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_equal_weights_change_no_bit(name, size, layout):
    features = drawn(3, 48, *size).contiguous(memory_format=layout)
    pool = pool_of(name, 48)
    if name == "salad" and size == (1, 1):
        with pytest.raises(UserError, match="clusters must be fewer than the features that are assigned to them, 1; "):
            pool(features)
        return
    plain = pool(features, token=None, weights=None)
    assert plain.shape == (3, pool.dimensions)
    for level in (1.0, 255.0, 0.25):
        assert torch.equal(pool(features, token=None, weights=torch.full((3, 1, *size), level)), plain), level


@pytest.mark.parametrize("name", [name for name in BUILT_IN if name not in OF_WHOLE_PICTURES])
def test_a_weight_of_zero_hides_what_stands_there(name):
    features, pool = drawn(2, 8, 6, 5), pool_of(name, 8)
    weights = masks(2, 2, (6, 5))[:, :1]
    weights[:, :, 2:4] = 0
    other = features.clone()
    other[:, :, 2:4] = 17.0
    assert torch.equal(pool(features, weights=weights), pool(other, weights=weights))
    assert not torch.allclose(pool(features), pool(other), atol=1e-3)
    shown = features[:, :, [0, 1, 4, 5]]
    ones = torch.ones(2, 1, 6, 5)
    ones[:, :, 2:4] = 0
    assert torch.allclose(pool(features, weights=ones), pool(shown), atol=1e-6)
    assert torch.allclose(pool(features, weights=weights), pool(features, weights=weights / 7), atol=1e-6)


@pytest.mark.parametrize("name", BUILT_IN)
def test_no_weight_at_all_is_one_constant_descriptor_with_finite_gradients(name):
    pool = pool_of(name, 8)
    features = drawn(4, 8, 3, 5).requires_grad_()
    weights = masks(4, 2, (3, 5))[:, :1]
    weights[1:3] = 0
    weights[3] = LEAST_WEIGHT / 100
    weights.requires_grad_()
    found = pool(features, weights=weights)
    assert torch.equal(found[1], found[2]) and torch.equal(found[1], found[3])
    assert found[1].unique().numel() == 1 or name == "gem+linear"
    assert found[1].norm() > 0 and not torch.allclose(found[0], found[1])
    found.square().sum().backward()
    for value in (features, weights, *pool.parameters()):
        assert value.grad is not None and torch.isfinite(value.grad).all()
    assert features.grad is not None and not features.grad[1:].any() and features.grad[0].any()


def test_gem_weighs_as_the_slow_way_does():
    features, weights, pool = drawn(3, 6, 4, 7), masks(3, 2, (4, 7))[:, :1], pool_of("gem", 6, p=2.5)
    power, found = float(pool.p.detach().double()), pool(features, weights=weights).detach()
    for image in range(3):
        for channel in range(6):
            top = below = 0.0
            for row in range(4):
                for column in range(7):
                    weight = float(weights[image, 0, row, column])
                    top += weight * max(float(features[image, channel, row, column]), 1e-6) ** power
                    below += weight
            assert float(found[image, channel]) == pytest.approx((top / below) ** (1 / power), rel=1e-5)


def netvlad_slowly(pool: NetVLAD, features: Tensor, weights: Tensor | None) -> np.ndarray:
    """Equations 1 and 4 of the paper, place by place and cluster by cluster, in float64."""
    centres = pool.centres.detach().double().numpy()
    filters = pool.assignment.weight.detach().double().numpy()[:, :, 0, 0]
    offsets = np.zeros(len(centres)) if pool.form == 1 else pool.assignment.bias.detach().double().numpy()
    out = []
    for image, picture in enumerate(features.double().numpy()):
        residuals = np.zeros(centres.shape)
        for row, column in np.ndindex(picture.shape[1:]):
            x = picture[:, row, column] / np.linalg.norm(picture[:, row, column])
            logits = np.array([filters[k] @ x + offsets[k] for k in range(len(centres))])
            shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
            weight = 1.0 if weights is None else float(weights[image, 0, row, column])
            for k in range(len(centres)):
                residuals[k] += weight * shares[k] * (x - centres[k])
        residuals /= np.linalg.norm(residuals, axis=1, keepdims=True)
        out.append(residuals.ravel() / np.linalg.norm(residuals))
    return np.stack(out)


@pytest.mark.parametrize("form", [1, 2])
@pytest.mark.parametrize("weighted", [False, True])
def test_netvlad_is_what_its_paper_says(weighted, form):
    features, pool = drawn(3, 6, 4, 5), pool_of("netvlad", 6, clusters=4, form=form)
    weights = masks(3, 2, (4, 5))[:, :1] if weighted else None
    found = pool(features, weights=weights)
    assert found.shape == (3, 24)
    assert np.allclose(found.detach().numpy(), netvlad_slowly(pool, features, weights), atol=1e-5)


def test_netvlad_starts_with_assignments_by_distance():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        pool = NetVLAD(channels=5, clusters=7)
    x = nn.functional.normalize(drawn(1, 5, 3, 4), dim=1)
    far = (x[:, None] - pool.centres[None, :, :, None, None]).square().sum(dim=2)
    assert torch.allclose(pool.assignment(x).softmax(dim=1), (-SHARPNESS * far).softmax(dim=1), atol=1e-4)
    assert torch.allclose(pool.centres.norm(dim=1), torch.ones(7))


def test_both_forms_of_netvlad_start_as_one_function_of_random_centres():
    features, found = drawn(2, 5, 3, 4), []
    for form in (1, 2):
        with torch.random.fork_rng():
            torch.manual_seed(3)
            found.append(NetVLAD(channels=5, clusters=7, form=form)(features))
    assert torch.allclose(*found, atol=1e-5)


def samples_of(count: int = 300, channels: int = 6, seed: int = 0, labels: int = 0) -> Samples:
    """Features, with the label of the first `labels` classes where there are such."""
    found = None if not labels else torch.arange(count) % labels
    return Samples(drawn(count, channels, seed=seed), found, CLASSES if labels else (), seed=2)


@pytest.mark.parametrize("form", [1, 2])
def test_netvlad_starts_from_clusters_and_prefers_the_nearest_a_hundred_times(form):
    pool, samples = NetVLAD(channels=6, clusters=5, start="clusters", form=form), samples_of()
    pool.start_from(samples)
    x = nn.functional.normalize(samples.features_NC, dim=1)
    assert torch.equal(pool.centres, centres_of(x, 5, seed=2).float())
    centres, shares = pool.centres.detach().double().numpy(), pool._assigned(x.T[None, :, :, None])[0, :, :, 0]
    logarithms = []
    for place, feature in enumerate(x.double().numpy()):
        cosines = [float(feature @ centre / np.linalg.norm(centre)) for centre in centres]
        nearness = cosines if form == 1 else [-float(((feature - centre) ** 2).sum()) for centre in centres]
        order = np.argsort(nearness)[::-1]
        share = shares[:, place].detach().double().numpy()
        assert list(np.argsort(share)[::-1][:2]) == list(order[:2])
        logarithms.append(np.log(share[order[0]] / share[order[1]]))
    assert np.mean(logarithms) == pytest.approx(np.log(100), rel=1e-4)
    assert NetVLAD(channels=6).starts is False and pool.starts is True


def public_netvlad(factory) -> Any:
    pytest.importorskip("sklearn", reason="the public file imports it")
    folder = checkout("VPRDIST_NETVLAD", "Nanne+pytorch-NetVlad", "netvlad.py", factory)
    found = importlib.util.spec_from_file_location("public_netvlad", Path(folder) / "netvlad.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module.NetVLAD


@pytest.mark.parametrize("form", [1, 2])
def test_netvlad_equals_a_public_implementation(form, tmp_path_factory):
    public = public_netvlad(tmp_path_factory)
    theirs, ours = public(num_clusters=5, dim=6, vladv2=form == 2), pool_of("netvlad", 6, clusters=5, form=form)
    theirs.centroids.data.copy_(ours.centres.data)
    theirs.conv.load_state_dict(ours.assignment.state_dict())
    features = drawn(2, 6, 4, 3)
    assert torch.allclose(theirs(features), ours(features), atol=1e-5)


def test_netvlad_starts_as_a_public_implementation_does_from_the_same_centres(tmp_path_factory):
    theirs = public_netvlad(tmp_path_factory)(num_clusters=5, dim=6, vladv2=False)
    ours, samples = NetVLAD(channels=6, clusters=5, start="clusters", form=1), samples_of()
    ours.start_from(samples)
    x = nn.functional.normalize(samples.features_NC, dim=1).numpy()
    theirs.init_params(ours.centres.detach().numpy().copy(), x)
    assert torch.allclose(theirs.conv.weight, ours.assignment.weight, rtol=1e-4)
    features = drawn(2, 6, 4, 3)
    assert torch.allclose(theirs(features), ours(features), atol=1e-5)


def sralnet_slowly(pool: SRALNet, features: Tensor, weights: Tensor | None) -> np.ndarray:
    """The equations of the paper, over places i, clusters k and shadows m, in float64."""
    centres = pool.centres.detach().double().numpy()
    filters = pool.assignment.weight.detach().double().numpy()[:, :, 0, 0]
    offsets = pool.assignment.bias.detach().double().numpy()
    shadow_filters = pool.shadow_weight.detach().double().numpy()
    shadow_offsets = pool.shadow_bias.detach().double().numpy()
    out = []
    for image, picture in enumerate(features.double().numpy()):
        residuals = np.zeros(centres.shape)
        for row, column in np.ndindex(picture.shape[1:]):
            x = picture[:, row, column] / np.linalg.norm(picture[:, row, column])
            scores = [float(filters[k] @ x + offsets[k]) for k in range(len(centres))]
            weight = 1.0 if weights is None else float(weights[image, 0, row, column])
            for k in range(len(centres)):
                a = 1 / sum(np.exp(other - scores[k]) for other in scores)
                against = 0.0
                for m in range(shadow_offsets.shape[1]):
                    against += np.exp(shadow_filters[k, m] @ x + shadow_offsets[k, m] - scores[k])
                residuals[k] += weight * a / (1 + against) * (x - centres[k])
        residuals /= np.linalg.norm(residuals, axis=1, keepdims=True)
        out.append(residuals.ravel() / np.linalg.norm(residuals))
    return np.stack(out)


@pytest.mark.parametrize("weighted", [False, True])
def test_sralnet_is_what_its_paper_says(weighted):
    features, pool = drawn(3, 6, 4, 5), pool_of("sralnet", 6, clusters=4, shadows=3)
    weights = masks(3, 2, (4, 5))[:, :1] if weighted else None
    for sharpness in (1.0, 0.05):  # as sharp as it starts, and so soft that every shadow counts
        for value in (pool.assignment.weight, pool.assignment.bias, pool.shadow_weight, pool.shadow_bias):
            value.data *= sharpness
        found = pool(features, weights=weights).detach().numpy()
        assert np.allclose(found, sralnet_slowly(pool, features, weights), atol=1e-5)


def netvlad_of(pool: SRALNet) -> NetVLAD:
    plain = NetVLAD(channels=6, clusters=len(pool.centres))
    state = pool.state_dict()
    plain.load_state_dict({name: value for name, value in state.items() if not name.startswith("shadow")})
    return plain


def test_sralnet_without_shadows_or_with_distant_ones_is_netvlad():
    features = drawn(2, 6, 4, 5)
    none = pool_of("sralnet", 6, clusters=4, shadows=0)
    assert torch.equal(none(features), netvlad_of(none)(features))
    assert len(list(none.parameters())) == len(list(netvlad_of(none).parameters()))
    far = pool_of("sralnet", 6, clusters=4, shadows=3)
    assert not torch.allclose(far(features), netvlad_of(far)(features), atol=1e-3)
    far.shadow_bias.data.fill_(-1e9)
    assert torch.equal(far(features), netvlad_of(far)(features))


def test_a_shadow_takes_all_weight_of_what_it_was_made_from():
    """A picture half road, half car, whose features lie near each other: what is of the car tells nothing."""
    road, car = torch.tensor([1.0, 0.0, 0.2, 0.0]), torch.tensor([1.0, 0.0, 0.0, 0.2])
    noise = 0.01 * drawn(400, 4, seed=5)
    features = torch.cat([road.expand(200, 4), car.expand(200, 4)]) + noise
    labels = torch.tensor([CLASSES.index("road")] * 200 + [CLASSES.index("car")] * 200)
    pool = SRALNet(channels=4, clusters=2, shadows=1, centre_classes=("road",))
    pool.start_from(Samples(features, labels, CLASSES, seed=0))
    picture = torch.stack([road, car], dim=1)[None, :, :, None].expand(1, 4, 2, 3)
    shares = pool._assigned(nn.functional.normalize(picture, dim=1))[0].sum(dim=0)
    assert (shares[0] > 0.99).all() and (shares[1] < 0.01).all()
    other = picture.clone()
    other[:, :, 1] = (car + torch.tensor([0.0, 0.0, -0.01, 0.05]))[None, :, None]
    assert torch.allclose(pool(picture), pool(other), atol=1e-3)
    plain = netvlad_slowly(pool, picture, None), netvlad_slowly(pool, other, None)
    assert np.abs(plain[0] - plain[1]).max() > 0.02, "and without its shadow it does"


def test_sralnet_starts_from_classes():
    """Centres are of their classes; shadows are means of the others, the nearest by directions, then other centres."""
    samples = samples_of(count=700, labels=14)  # road to car are seen, train is not
    chosen = ("road", "building", "sky")
    pool = SRALNet(channels=6, clusters=6, shadows=4, centre_classes=chosen, shadow_classes=("car", "pole", "train"))
    pool.start_from(samples)
    x = nn.functional.normalize(samples.features_NC, dim=1)
    names = np.array(CLASSES)[samples.labels_N.numpy()]
    mine = x[torch.from_numpy(np.isin(names, chosen))]
    assert torch.equal(pool.centres, centres_of(mine, 6, seed=2).float())
    means = [x[torch.from_numpy(names == name)].double().mean(dim=0) for name in ("car", "pole")]
    alpha = float((pool.assignment.weight.detach()[0, :, 0, 0] / pool.centres.detach()[0] / 2).mean())
    shadows = pool.shadow_weight.detach().double() / (2 * alpha)
    assert torch.allclose(pool.shadow_bias.detach().double(), -alpha * shadows.square().sum(dim=2), rtol=1e-4)
    centres = pool.centres.detach().double()

    def far(one: Tensor, other: Tensor) -> float:
        return float((one / one.norm() - other / other.norm()).norm())

    for k, centre in enumerate(centres):
        expected = sorted(means, key=lambda other: far(centre, other))
        others = [other for place, other in enumerate(centres) if place != k]
        expected += sorted(others, key=lambda other: far(centre, other))[:2]
        assert torch.allclose(shadows[k], torch.stack(expected), atol=1e-4)


@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_any_weighted_sum_of_maps_has_the_sums_of_its_maps(name, layout):
    features, maps = drawn(3, 32, 9, 12).contiguous(memory_format=layout), masks(3, 6, (9, 12))
    pool = pool_of(name, 32).requires_grad_(False)
    sums = pool.sums_of(features, maps)
    assert sums.shape[:2] == (3, 6)
    for mix in ([1, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1], [0.5, 2.0, 0, 0, 0.1, 1], [0, 0, 0, 0, 0, 1]):
        each = torch.tensor(mix, dtype=torch.float32)
        pooled = pool.from_sums(torch.einsum("k,bkm->bm", each, sums))
        asked = pool(features, weights=torch.einsum("k,bkhw->bhw", each, maps)[:, None])
        unit, other = nn.functional.normalize(pooled, dim=1), nn.functional.normalize(asked, dim=1)
        assert torch.allclose(unit, other, atol=1e-6), mix


def test_what_aggregators_state_is_known_before_torch_loads():
    assert {"gem", "gem_weighted", "gem+linear", "netvlad", "salad"} <= set(BUILT_IN)
    assert all(AggregatorName.of(name).fact("sums") for name in BUILT_IN)
    assert not any(AggregatorName.of(name).fact("weighs") for name in ("mixvpr", "boq"))
    assert isinstance(AggregatorName.of("gem").make(channels=3), GeM)

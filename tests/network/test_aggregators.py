"""Aggregators: what they pool, weights of places, and descriptors of all masks from sums."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.public_code import checkout
from vprdist.network.aggregators.base import LEAST_WEIGHT
from vprdist.network.aggregators.gem import GeM
from vprdist.network.aggregators.netvlad import SHARPNESS, NetVLAD
from vprdist.spec.doors import AggregatorName

BUILT_IN = sorted(AggregatorName.door.built_in)
SIZES = ((1, 1), (7, 7), (9, 12), (15, 20), (30, 41))


def pool_of(name: str, channels: int, seed: int = 0, **parameters: float) -> nn.Module:
    """An aggregator whose parameters are not those that it starts with."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made: nn.Module = AggregatorName.of(name, **parameters).make(channels=channels)
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
    plain = pool(features, token=None, weights=None)
    assert plain.shape == (3, pool.dimensions)
    for level in (1.0, 255.0, 0.25):
        assert torch.equal(pool(features, token=None, weights=torch.full((3, 1, *size), level)), plain), level


@pytest.mark.parametrize("name", BUILT_IN)
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
    assert torch.equal(found[1], found[2]) and torch.equal(found[1], found[3]) and found[1].unique().numel() == 1
    assert found[1, 0] > 0 and not torch.allclose(found[0], found[1])
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
    offsets = pool.assignment.bias.detach().double().numpy()
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


@pytest.mark.parametrize("weighted", [False, True])
def test_netvlad_is_what_its_paper_says(weighted):
    features, pool = drawn(3, 6, 4, 5), pool_of("netvlad", 6, clusters=4)
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


def test_netvlad_equals_a_public_implementation(tmp_path_factory):
    pytest.importorskip("sklearn", reason="the public file imports it")
    folder = checkout("VPRDIST_NETVLAD", "Nanne+pytorch-NetVlad", "netvlad.py", tmp_path_factory)
    found = importlib.util.spec_from_file_location("public_netvlad", Path(folder) / "netvlad.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    theirs, ours = module.NetVLAD(num_clusters=5, dim=6, vladv2=True), pool_of("netvlad", 6, clusters=5)
    theirs.centroids.data.copy_(ours.centres.data)
    theirs.conv.load_state_dict(ours.assignment.state_dict())
    features = drawn(2, 6, 4, 3)
    assert torch.allclose(theirs(features), ours(features), atol=1e-5)


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
    assert all(AggregatorName.of(name).fact("weighs") and AggregatorName.of(name).fact("sums") for name in BUILT_IN)
    assert isinstance(AggregatorName.of("gem").make(channels=3), GeM)

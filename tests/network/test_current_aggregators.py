"""Today's aggregators beside slow recomputations in float64, and beside their authors' code with the same weights."""

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
from vprdist.network.aggregators.boq import BoQ
from vprdist.network.aggregators.gem_linear import GeMLinear
from vprdist.network.aggregators.mixvpr import MixVPR
from vprdist.network.aggregators.salad import SALAD, transported

CHANNELS, SIZE = 6, (4, 5)
Array = np.ndarray


def seeded(kind: type[nn.Module], **parameters: Any) -> Any:
    """An aggregator in evaluation mode, no parameter of which is as it starts."""
    with torch.random.fork_rng():
        torch.manual_seed(4)
        made = kind(**{"channels": CHANNELS, **parameters})
        for value in made.parameters():
            value.data += 0.1 * torch.randn_like(value)
    return made.eval()


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


MAKE = {
    "gem+linear": lambda: seeded(GeMLinear, out_channels=7),
    "gem+linear, places": lambda: seeded(GeMLinear, out_channels=7, length="places"),
    "mixvpr": lambda: seeded(MixVPR, places=SIZE, out_channels=3, rows=2, depth=2, ratio=2),
    "salad": lambda: seeded(SALAD, clusters=4, out_channels=3, hidden=8, iterations=3),
    "salad, token": lambda: seeded(SALAD, token=9, clusters=4, out_channels=3, token_channels=5, hidden=8),
    "boq": lambda: seeded(BoQ, out_channels=64, queries=3, depth=2, rows=2),
}


def linear(layer: nn.Module, rows: Array) -> Array:
    """A linear map of every row, number by number."""
    weight, bias = (getattr(layer, name).detach().double().numpy() for name in ("weight", "bias"))
    return np.array([[sum(w * x for w, x in zip(line, row, strict=True)) + b
                      for line, b in zip(weight, bias, strict=True)] for row in rows])  # fmt: skip


def layer_norm(layer: Any, rows: Array) -> Array:
    weight, bias = (value.detach().double().numpy() for value in (layer.weight, layer.bias))
    out = []
    for row in rows:
        mean = sum(row) / len(row)
        variance = sum((x - mean) ** 2 for x in row) / len(row)
        out.append((row - mean) / np.sqrt(variance + layer.eps) * weight + bias)
    return np.array(out)


def unit(values: Array) -> Array:
    return values / np.sqrt(sum(x * x for x in values.ravel()))


def places(picture: Array) -> Array:
    """(n, C), row by row of the picture."""
    return np.array([picture[:, row, column] for row, column in np.ndindex(picture.shape[1:])])


def gem_linear_slowly(pool: GeMLinear, picture: Array, token: Array, weights: Array) -> Array:
    p, rows = float(pool.p.detach().double()), places(picture)
    if pool.length == "places":
        rows = np.array([unit(row) for row in rows])
    pooled = np.array([
        (sum(w * max(x, 1e-6) ** p for w, x in zip(weights, column, strict=True)) / sum(weights)) ** (1 / p)
        for column in rows.T
    ])  # fmt: skip
    return linear(pool.linear, [unit(pooled) if pool.length == "pooled" else pooled])[0]


def mixvpr_slowly(pool: MixVPR, picture: Array, token: Array, weights: Array) -> Array:
    rows = places(picture).T
    for block in pool.blocks:
        norm, first, _, second = block.mix
        rows = rows + linear(second, np.maximum(linear(first, layer_norm(norm, rows)), 0))
    return linear(pool.row_map, linear(pool.channel_map, rows.T).T).ravel()


def plan_slowly(scores: Array, iterations: int) -> Array:
    """Sinkhorn's algorithm as it is usually written, on masses and not on their logarithms."""
    kernel = np.exp(scores)
    masses = np.array([*[1.0] * (len(scores) - 1), scores.shape[1] - (len(scores) - 1)])
    v = np.ones(scores.shape[1])
    for _ in range(iterations):
        u = masses / np.array([sum(line * v) for line in kernel])
        v = 1 / np.array([sum(line * u) for line in kernel.T])
    return np.array([[u[m] * kernel[m, n] * v[n] for n in range(len(v))] for m in range(len(u))])


def salad_slowly(pool: SALAD, picture: Array, token: Array, weights: Array) -> Array:
    rows = places(picture)

    def mapped(layers: Any, given: Array) -> Array:
        return linear(layers[2], np.maximum(linear(layers[0], given), 0))

    features, scores = mapped(pool.features, rows), mapped(pool.scores, rows).T
    dustbin = np.full((1, len(rows)), float(pool.dustbin.detach().double()))
    plan = plan_slowly(np.concatenate([scores, dustbin]), pool.iterations)
    sums = np.zeros((pool.clusters, features.shape[1]))
    for m, i in np.ndindex(pool.clusters, len(rows)):
        sums[m] += weights[i] * plan[m, i] * features[i]
    told = [] if pool.token is None else [unit(mapped(pool.token, [token])[0])]
    return np.concatenate([*told, *(unit(each) for each in sums)])


def attention_slowly(layer: nn.MultiheadAttention, asked: Array, given: Array) -> Array:
    weight, bias = layer.in_proj_weight.detach().double().numpy(), layer.in_proj_bias.detach().double().numpy()
    width, size = weight.shape[1], weight.shape[1] // layer.num_heads
    q, k, v = (rows @ weight[i * width : (i + 1) * width].T + bias[i * width : (i + 1) * width]
               for i, rows in enumerate((asked, given, given)))  # fmt: skip
    out = np.zeros_like(q)
    for head in range(layer.num_heads):
        part = slice(head * size, (head + 1) * size)
        for i in range(len(q)):
            scores = np.array([q[i, part] @ k[j, part] / np.sqrt(size) for j in range(len(k))])
            shares = np.exp(scores - scores.max())
            out[i, part] = sum(s * v[j, part] for j, s in enumerate(shares / shares.sum()))
    return linear(layer.out_proj, out)


def boq_slowly(pool: BoQ, picture: Array, token: Array, weights: Array) -> Array:
    filters, bias = (value.detach().double().numpy() for value in (pool.project.weight, pool.project.bias))
    height, width = picture.shape[1:]
    projected = np.tile(bias[:, None, None], (1, height, width))
    for row, column, down, right in np.ndindex(height, width, 3, 3):
        y, x = row + down - 1, column + right - 1
        if 0 <= y < height and 0 <= x < width:
            projected[:, row, column] += filters[:, :, down, right] @ picture[:, y, x]
    rows, found = layer_norm(pool.norm, places(projected)), []
    for block in pool.blocks:
        layer = block.encoder
        rows = layer_norm(layer.norm1, rows + attention_slowly(layer.self_attn, rows, rows))
        rows = layer_norm(layer.norm2, rows + linear(layer.linear2, np.maximum(linear(layer.linear1, rows), 0)))
        asked = block.queries.detach().double().numpy()[0]
        asked = layer_norm(block.norm_among, asked + attention_slowly(block.among, asked, asked))
        found.append(layer_norm(block.norm_across, attention_slowly(block.across, asked, rows)))
    return linear(pool.row_map, np.concatenate(found).T).ravel()


SLOWLY = {"gem+linear": gem_linear_slowly, "mixvpr": mixvpr_slowly, "salad": salad_slowly, "boq": boq_slowly}


WEIGHING = [name for name in MAKE if name.startswith(("gem", "salad"))]


@pytest.mark.parametrize(
    ("name", "weighted"), [*((name, False) for name in MAKE), *((name, True) for name in WEIGHING)]
)
def test_an_aggregator_is_what_its_paper_says(name, weighted):
    features, token, pool = drawn(2, CHANNELS, *SIZE), drawn(2, 9, seed=1), MAKE[name]()
    weights = drawn(2, 1, *SIZE, seed=2).abs()
    given = {"weights": weights} if weighted else {}
    found = pool(features, token=token, **given)
    assert found.shape == (2, pool.dimensions) and found.dtype == torch.float32
    given = {key: value.double() for key, value in given.items()}
    exact = pool.double()(features.double(), token=token.double(), **given)
    for image in range(2):
        counts = weights[image].flatten().double().numpy() if weighted else np.ones(SIZE[0] * SIZE[1])
        asked = SLOWLY[name.partition(",")[0]]
        wanted = asked(pool, features[image].double().numpy(), token[image].double().numpy(), counts)
        assert np.allclose(exact[image].detach().numpy(), wanted, rtol=0, atol=1e-9)
        assert np.allclose(found[image].detach().numpy(), wanted, rtol=0, atol=3e-5)


CANCELLED = ("dustbin", "scores.2.bias")
"""Parameters of SALAD that change nothing, as the next test shows."""


def test_salads_scores_that_are_the_same_at_every_place_cancel():
    features, pool = drawn(2, CHANNELS, *SIZE), MAKE["salad"]().double()
    before = pool(features.double())
    for key in CANCELLED:
        pool.get_parameter(key).data += 3
    assert torch.allclose(pool(features.double()), before, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", MAKE)
def test_gradients_reach_every_parameter_and_every_place(name):
    features, token, pool = drawn(3, CHANNELS, *SIZE).requires_grad_(), drawn(3, 9, seed=1), MAKE[name]().train()
    descriptors = nn.functional.normalize(pool(features, token=token), dim=1)
    (descriptors[0] - descriptors[1]).square().sum().backward()
    for key, value in pool.named_parameters():
        assert value.grad is not None and value.grad.isfinite().all()
        assert (key in CANCELLED) == (float(value.grad.abs().max()) < 1e-7), key
    assert features.grad is not None and features.grad[:2].abs().sum(dim=1).gt(0).all()


def test_the_same_picture_has_the_same_descriptor_in_training_and_beside_others():
    features = drawn(3, CHANNELS, *SIZE)
    for name, make in MAKE.items():
        pool = make()
        with torch.no_grad():
            alone, all_of_them = pool(features[:1], token=None), pool(features, token=None)
        assert torch.allclose(alone[0], all_of_them[0], atol=1e-5), name
        assert torch.allclose(pool.train()(features, token=None), all_of_them, atol=1e-5), name


def test_the_plan_moves_every_place_and_fills_the_clusters():
    scores = 3 * drawn(2, 5, 12)
    plan = transported(scores, 200)
    assert torch.allclose(plan.sum(dim=1), torch.ones(2, 12), atol=1e-5)
    assert torch.allclose(plan.sum(dim=2), torch.tensor([1.0, 1, 1, 1, 8]).expand(2, 5), atol=1e-4)
    far = transported(torch.tensor([[[160.0, -160, 0], [0, 0, 0]]]), 3)
    assert torch.allclose(far.sum(dim=1), torch.ones(1, 3)), "e^160 is no number of float32's"
    assert torch.allclose(transported(scores + 50, 3), transported(scores, 3), atol=1e-5)


def test_bfloat16_features_are_pooled_like_those_that_they_were_rounded_to():
    features = drawn(2, CHANNELS, *SIZE).bfloat16().float()
    for name, make in MAKE.items():
        found = make()(features, token=None)
        assert found.dtype == torch.float32 and found.isfinite().all(), name


def test_what_hidden_places_change_of_salad_is_the_assignment_of_others():
    pool, features = seeded(SALAD, clusters=4, out_channels=3, hidden=8), 5 * drawn(2, CHANNELS, *SIZE)
    weights = torch.ones(2, 1, *SIZE)
    weights[:, :, 2:] = 0
    other = features.clone()
    other[:, :, 2:] = 5 * drawn(2, CHANNELS, 2, 5, seed=7)
    plans = [pool._assigned(each)[0].unflatten(2, SIZE)[:, :, :2] for each in (features, other)]
    assert not torch.allclose(*plans, atol=1e-3), "they compete for the same clusters"
    assert not torch.allclose(pool(features, weights=weights), pool(other, weights=weights), atol=1e-3)
    pool._assigned = lambda given, ours=pool._assigned: (ours(features)[0], ours(given)[1])
    assert torch.equal(pool(features, weights=weights), pool(other, weights=weights)), "with assignments fixed: nothing"


def test_dimensions_and_bad_sizes():
    assert MixVPR(1024, (20, 20)).dimensions == 4096 and BoQ(16).dimensions == 16384
    assert SALAD(768, 768).dimensions == 8448 and SALAD(768).dimensions == 8192
    assert GeMLinear(2048).dimensions == 512
    with pytest.raises(UserError, match="of the size that it was made for, 4x5; found '5x4'"):
        MAKE["mixvpr"]()(drawn(1, CHANNELS, 5, 4))
    with pytest.raises(UserError, match="clusters must be fewer than the features that are assigned to them, 4; found"):
        MAKE["salad"]()(drawn(1, CHANNELS, 2, 2))


def public(variable: str, mirror: str, path: str, factory: pytest.TempPathFactory) -> Any:
    """A module of a public repository, alone."""
    found = importlib.util.spec_from_file_location(
        f"public_{Path(path).stem}", checkout(variable, mirror, path, factory) / path
    )
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def same(theirs: Tensor, ours: Tensor) -> None:
    assert torch.allclose(theirs, nn.functional.normalize(ours, dim=1), rtol=0, atol=1e-6)


def fill(theirs: nn.Module, ours: nn.Module) -> nn.Module:
    """Their module with our parameters, which come in the same order but for 1x1 convolutions' two axes more."""
    pairs = zip(theirs.parameters(), ours.parameters(), strict=True)
    for value, wanted in pairs:
        value.data.copy_(wanted.data.reshape(value.shape))
    return theirs.eval()


def test_mixvpr_equals_its_authors_module(tmp_path_factory):
    module = public("VPRDIST_MIXVPR", "amaralibey+MixVPR", "models/aggregators/mixvpr.py", tmp_path_factory)
    theirs = module.MixVPR(CHANNELS, *SIZE, out_channels=3, mix_depth=2, mlp_ratio=2, out_rows=2)
    ours, features = MAKE["mixvpr"](), drawn(3, CHANNELS, *SIZE)
    same(fill(theirs, ours)(features), ours(features))


def test_boq_equals_its_authors_module(tmp_path_factory):
    module = public("VPRDIST_BOQ", "amaralibey+Bag-of-Queries", "src/boq.py", tmp_path_factory)
    theirs, ours = module.BoQ(CHANNELS, 64, num_queries=3, num_layers=2, row_dim=2).eval(), MAKE["boq"]()
    for one, other in ((theirs.proj_c, ours.project), (theirs.norm_input, ours.norm), (theirs.fc, ours.row_map)):
        one.load_state_dict(other.state_dict())
    names = {"self_attn": "among", "cross_attn": "across", "norm_q": "norm_among", "norm_out": "norm_across"}
    for block, mine in zip(theirs.boqs, ours.blocks, strict=True):
        block.queries.data.copy_(mine.queries.data)
        for one, other in ({"encoder": "encoder"} | names).items():
            getattr(block, one).load_state_dict(getattr(mine, other).state_dict())
    features = drawn(3, CHANNELS, *SIZE)
    same(theirs(features)[0], ours(features))


def test_salad_equals_its_authors_module(tmp_path_factory):
    module = public("VPRDIST_SALAD", "serizba+salad", "models/aggregators/salad.py", tmp_path_factory)
    theirs = module.SALAD(CHANNELS, num_clusters=4, cluster_dim=3, token_dim=5).eval()
    ours = seeded(SALAD, token=CHANNELS, clusters=4, out_channels=3, token_channels=5)
    theirs.dust_bin.data.copy_(ours.dustbin.data[0])
    for one, other in (("token_features", "token"), ("cluster_features", "features"), ("score", "scores")):
        layers = [each for each in getattr(theirs, one) if hasattr(each, "weight")]
        for layer, mine in zip(layers, (getattr(ours, other)[0], getattr(ours, other)[2]), strict=True):
            fill(layer, mine)
    features, token = drawn(3, CHANNELS, *SIZE), drawn(3, CHANNELS, seed=1)
    found = ours(features, token=token)
    turned = found[:, 5:].unflatten(1, (4, 3)).transpose(1, 2).flatten(1)  # they write clusters last
    same(theirs((features, token)), torch.cat([found[:, :5], turned], dim=1))


def test_cosplaces_head_equals_a_public_module_in_the_published_order(tmp_path_factory):
    module = public("VPRDIST_SALAD", "serizba+salad", "models/aggregators/cosplace.py", tmp_path_factory)
    ours, features = MAKE["gem+linear, places"](), drawn(3, CHANNELS, *SIZE)
    theirs = fill(module.CosPlace(CHANNELS, 7), ours)
    same(theirs(features), ours(features))
    factor = 0.1 + drawn(3, 1, *SIZE, seed=5).abs()
    assert torch.allclose(ours(features), ours(features * factor), atol=1e-5), "attention cancels there"
    works = MAKE["gem+linear"]()
    assert not torch.allclose(works(features), works(features * factor), atol=1e-2), "and not here"

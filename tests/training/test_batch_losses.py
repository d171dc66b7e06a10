"""Losses of triplets and of whole batches, recomputed in float64 loops; and in training, over one rank and two."""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.public_code import checkout
from tests.training.making import TwoRanks, losses, make_trial, run_here, weights_of
from vprdist.errors import LaunchError, OwnCodeError, SweepFileError
from vprdist.network.model import build_network
from vprdist.prepare.checks import check_installed
from vprdist.prepare.own_code import try_own_code
from vprdist.spec.doors import LossName
from vprdist.spec.sweep_file import read_sweep
from vprdist.spec.train import TrainSpec
from vprdist.training.losses import build_loss
from vprdist.training.losses.gcl import GeneralizedContrastiveLoss
from vprdist.training.losses.metric import MetricLoss
from vprdist.training.losses.sharpened_triplet import SharpenedTripletLoss
from vprdist.training.losses.triplet import TripletLoss
from vprdist.training.objective import every_pair

NEGATIVES = ("own", "hardest", "all")
Batch = tuple[Tensor, Tensor, Tensor]


def batch(num: int, each: int, what: str = "mixed", seed: int = 0) -> Batch:
    """Unit vectors of queries and of so many partners each, with their graded similarities, in float64.

    Args:
        what: `mixed`; `ties`: a few vectors many times, queries among partners; `no positives`, `no negatives`.
    """
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(num * (1 + each), 6, generator=generator, dtype=torch.float64)
    if what == "ties":
        vectors = vectors[torch.randint(0, 3, (len(vectors),), generator=generator)]
    query, partner = nn.functional.normalize(vectors, dim=1).split([num, num * each])
    similarity = torch.rand(num, num * each, generator=generator, dtype=torch.float64)
    similarity *= torch.rand(similarity.shape, generator=generator) < 0.6
    similarity[0, 0], similarity[0, -1] = 0.5, 0.0
    if what == "no positives":
        similarity *= 0.49
    if what == "no negatives":
        similarity = similarity.clamp(min=0.01)
    return query.requires_grad_(), partner.requires_grad_(), similarity


def triplets(similarity: Tensor, negatives: str) -> Iterator[list[tuple[int, int, int]]]:
    """For each query and positive that was drawn for it, its triplets: places of query, positive, negative."""
    num, total = similarity.shape
    each = total // num
    for i, k in itertools.product(range(num), range(each)):
        own = range(i * each, (i + 1) * each)
        if similarity[i, own[k]] >= 0.5:
            others = own if negatives == "own" else range(total)
            yield [(i, own[k], n) for n in others if similarity[i, n] == 0]


def slow_mean(similarity: Tensor, negatives: str, cost: Any) -> tuple[float, int, int]:
    """The mean loss, and how many triplets there are and cost something."""
    found = [[max(0.0, cost(*each)) for each in group] for group in triplets(similarity, negatives) if group]
    flat = [max(group) for group in found] if negatives == "hardest" else [each for group in found for each in group]
    return sum(flat) / max(1, len(flat)), len(flat), sum(each > 0 for each in flat)


def check(loss: Any, given: Batch, expected: tuple[float, int, int]) -> None:
    value, logged = loss(*given)
    assert value.item() == pytest.approx(expected[0], abs=1e-12)
    assert (int(logged["triplets"]), int(logged["active_triplets"])) == expected[1:]
    for found in torch.autograd.grad(value, given[:2], materialize_grads=True):
        assert torch.isfinite(found).all() and (expected[2] > 0 or not found.any())


@pytest.mark.parametrize("negatives", NEGATIVES)
@pytest.mark.parametrize("each", [1, 4])
@pytest.mark.parametrize("what", ["mixed", "ties", "no positives", "no negatives"])
def test_triplets_are_those_of_loops(negatives: Any, each: int, what: str) -> None:
    query, partner, similarity = given = batch(7, each, what)
    q, p = query.tolist(), partner.tolist()

    def cost(i: int, pos: int, neg: int) -> float:
        return math.dist(q[i], p[pos]) + 0.3 - math.dist(q[i], p[neg])

    expected = slow_mean(similarity, negatives, cost)
    check(TripletLoss(0.3, negatives), given, expected)
    there = what in ("mixed", "ties") and not (negatives == "own" and each == 1)
    assert (expected[1] > 0) == there, "the case is what it says"


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("negatives", NEGATIVES)
@pytest.mark.parametrize("each", [1, 4])
@pytest.mark.parametrize("what", ["mixed", "ties", "no positives", "no negatives"])
def test_sharpened_triplets_are_those_of_loops(version: Any, negatives: Any, each: int, what: str) -> None:
    query, partner, similarity = given = batch(7, each, what, seed=1)
    q, p = query.tolist(), partner.tolist()

    def cost(i: int, pos: int, neg: int) -> float:
        apart = 1.4 - math.dist(p[pos], p[neg])
        return apart if version == 2 else math.dist(q[i], p[pos]) + 0.1 - math.dist(q[i], p[neg]) + apart

    check(SharpenedTripletLoss(0.1, 1.4, version, negatives), given, slow_mean(similarity, negatives, cost))


@pytest.mark.parametrize("version", [1, 2])
def test_sharpened_triplets_are_those_of_their_authors(
    version: Any, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = checkout("STML_CODE", "deepguider+deattention_with_stml_for_vpr", "utils", tmp_path_factory)
    spec = importlib.util.spec_from_file_location("custom_loss_of_stml", folder / "utils" / "custom_loss.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    debugger = types.ModuleType("ipdb")  # which it imports and does not use
    debugger.set_trace = breakpoint  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ipdb", debugger)
    spec.loader.exec_module(module)
    theirs = module.TripletMarginLoss2(margin=0.1, pn_margin=1.4, version=version)
    query, partner, similarity = batch(5, 4, seed=2)
    found = [theirs(query[i], partner[p], partner[n]) for group in triplets(similarity, "own") for i, p, n in group]
    value, _ = SharpenedTripletLoss(0.1, 1.4, version, "own")(query, partner, similarity)
    assert len(found) > 5 and value.item() == pytest.approx(float(torch.stack(found).detach().mean()), abs=1e-9)


def slow_multi_similarity(given: Batch, alpha: float, beta: float, base: float, epsilon: float) -> float:
    query, partner, similarity = (each.tolist() for each in given)
    total = 0.0
    for q, row in zip(query, similarity, strict=True):
        cosine = [sum(a * b for a, b in zip(q, p, strict=True)) for p in partner]
        positive = [c for c, s in zip(cosine, row, strict=True) if s >= 0.5]
        negative = [c for c, s in zip(cosine, row, strict=True) if s == 0]
        kept = [c for c in positive if negative and c - epsilon < max(negative)]
        near = [c for c in negative if positive and c + epsilon > min(positive)]
        total += math.log1p(sum(math.exp(-alpha * (c - base)) for c in kept)) / alpha
        total += math.log1p(sum(math.exp(beta * (c - base)) for c in near)) / beta
    return total / len(query)


@pytest.mark.parametrize("each", [1, 3])
@pytest.mark.parametrize("what", ["mixed", "ties", "no positives", "no negatives"])
def test_multi_similarity_is_that_of_loops(each: int, what: str) -> None:
    given = batch(6, each, what, seed=3)
    loss = LossName.of("multi_similarity").make()
    value, logged = loss(*given)
    assert value.item() == pytest.approx(slow_multi_similarity(given, 1, 50, 0, 0.1), rel=1e-9)
    value.backward()
    assert all(side.grad is not None and torch.isfinite(side.grad).all() for side in given[:2])
    if what.startswith("no"):
        assert value.item() == 0 == min(logged.values())
    else:
        assert logged["positives"] <= (given[2] >= 0.5).sum() and logged["negatives"] <= (given[2] == 0).sum()


TAKEN = {
    ("CircleLoss", None), ("ContrastiveLoss", "PairMarginMiner"), ("NTXentLoss", None), ("SupConLoss", "HDCMiner"),
    ("TripletMarginLoss", "BatchHardMiner"), ("TripletMarginLoss", "TripletMarginMiner"), ("TupletMarginLoss", None),
    ("MarginLoss", "AngularMiner"), ("MultiSimilarityLoss", None), ("GeneralizedLiftedStructureLoss", None),
}  # fmt: skip


@pytest.mark.parametrize(("name", "miner"), sorted(TAKEN, key=str))
def test_the_librarys_losses_take_graded_similarities_and_empty_batches(name: str, miner: str | None) -> None:
    loss = MetricLoss(name, {}, miner)
    assert loss(*batch(6, 2, seed=4))[0] > 0
    for what in ("no positives", "no negatives"):
        given = batch(6, 2, what, seed=4)
        value, _ = loss(*given)
        value.backward()
        assert value.item() == 0 and all(side.grad is not None and not side.grad.any() for side in given[:2])


def test_a_miner_sees_neither_positives_nor_negatives_in_what_is_in_between() -> None:
    loss = MetricLoss("TripletMarginLoss", {}, "BatchHardMiner", None, "LpDistance", {"power": 1})
    query, partner, similarity = batch(5, 3, seed=5)
    anchor, positive, negative = loss._mined(query, partner, similarity)
    distance = torch.cdist(query, partner)
    expected = []
    for i in range(5):
        near = {j: distance[i, j].item() for j in range(15) if similarity[i, j] >= 0.5}
        far = {j: distance[i, j].item() for j in range(15) if similarity[i, j] == 0}
        if near and far:
            expected.append((i, max(near, key=near.__getitem__), min(far, key=far.__getitem__)))
    assert list(zip(anchor.tolist(), positive.tolist(), negative.tolist(), strict=True)) == expected
    assert ((similarity > 0) & (similarity < 0.5)).any()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"loss": "MultiSimilarity"}, "loss.loss: pytorch-metric-learning has no such loss: 'MultiSimilarity'. Did"),
        ({"loss": "NTXentLoss", "miner": "Hard"}, "has no such miner"),
        ({"loss": "NTXentLoss", "distance": "Cosine"}, "has no such distance"),
        ({"loss": "NTXentLoss", "arguments": {"temprature": 1}}, "temprature: NTXentLoss has no such argument"),
        ({"loss": "MarginLoss", "arguments": {"learn_beta": True}}, "cannot have parameters of its own"),
        ({"loss": "NPairsLoss"}, "labels are required"),
        ({"loss": "VICRegLoss"}, "cannot be given positives and negatives"),
        ({"loss": "CrossBatchMemory"}, "cannot be made"),
        ({"loss": "TripletMarginLoss", "arguments": {"swap": True}}, "cannot be given positives and negatives"),
        ({"loss": "DynamicSoftMarginLoss"}, "cannot keep what it saw"),
        ({"loss": "NTXentLoss", "miner": "DistanceWeightedMiner"}, "miner: DistanceWeightedMiner: this cannot draw"),
        ({"loss": "NTXentLoss", "miner": "EmbeddingsAlreadyPackagedAsTriplets"}, "cannot be asked of queries"),
    ],
)
def test_what_does_not_go_with_graded_similarities_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(OwnCodeError) as refused:
        LossName.of("metric", **given).make()
    assert words in str(refused.value) and str(refused.value).startswith("trial.train.loss.")


def test_a_name_is_refused_before_anything_starts(small_tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad = (make_trial(small_tree, loss=f"metric:{name}") for name in ("NTXentLoss", "NTXent"))
    with pytest.raises(OwnCodeError, match=r"no such loss: 'NTXent'\. Did you mean 'NTXentLoss'"):
        try_own_code([good, bad])
    find = importlib.util.find_spec
    check_installed([bad])
    hidden = "pytorch_metric_learning"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == hidden else find(name))
    with pytest.raises(LaunchError, match=r"pytorch-metric-learning. Install it: pip install 'vprdist\[metric\]'"):
        check_installed([make_trial(small_tree, loss="multi_similarity")])
    check_installed([make_trial(small_tree, loss="multi_similarity", steps=0), make_trial(small_tree)])


def test_a_file_says_it_in_short_and_its_mistakes_have_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("trial:\n  train:\n    recipe: fast\n    loss: metric:NTXentLoss\n")
    (trial,) = read_sweep(path).trials
    assert trial.train.loss == LossName.of("metric", loss="NTXentLoss") and trial.train.loss.title == "NTXentLoss"
    for loss, words in (
        ("{name: metric}", "needs its loss"),
        ("{name: triplet, margin: 0}", "mine.yaml:4: trial.train.loss.margin"),
        ("triplet", "batches of triplets alone have; found 'pairs'"),
        ("{name: sharpened_triplet, version: 3}", "version"),
    ):
        path.write_text(f"trial:\n  train:\n    recipe: fast\n    loss: {loss}\n")
        with pytest.raises(SweepFileError, match=words):
            read_sweep(path)
    path.write_text("trial:\n  train:\n    recipe: reference\n    loss: {name: triplet, negatives: all}\n")
    with pytest.raises(SweepFileError, match="the loss triplet needs a batch in one piece"):
        read_sweep(path)


@pytest.mark.parametrize("each", [1, 3])
def test_every_pair_counts_where_a_query_has_several_partners(each: int) -> None:
    query, partner, similarity = batch(5, each, seed=6)
    value, null = every_pair(query, partner, similarity, GeneralizedContrastiveLoss(1.2))
    pulls, pushes = [], []
    for i, j in itertools.product(range(5), range(5 * each)):
        s, d = similarity[i, j].item(), math.dist(query[i].tolist(), partner[j].tolist())
        (pulls if s > 0 else pushes).append(s * d**2 / 2 + (1 - s) * max(0.0, 1.2 - d) ** 2 / 2)
    active = [push for push in pushes if push > 0]
    assert value.item() == pytest.approx(sum(pulls) / len(pulls) + sum(active) / max(1, len(active)))
    assert null.item() == pytest.approx((len(pushes) - len(active)) / len(pulls + pushes))


MINED = {"batches": "triplets", "chunked": True, "mining": {"negatives": 2, "pool": 20}}
CHOSEN: dict[str, dict[str, Any]] = {
    "triplet": {"loss": {"name": "triplet", "margin": 0.5, "negatives": "all"}},
    "sharpened": {"loss": {"name": "sharpened_triplet", "negatives": "hardest"}},
    "own": {**MINED, "loss": {"name": "triplet", "margin": 0.5}},
    "sharpened own": {**MINED, "loss": "sharpened_triplet"},
    "multi": {"loss": "multi_similarity", "batches": "places", "place_pictures": 3},
    "gcl of all": {**MINED, "pairs": "all"},
    "metric": {
        "loss": {
            "name": "metric", "loss": "TripletMarginLoss", "arguments": {"margin": 0.5}, "miner": "TripletMarginMiner",
            "miner_arguments": {"margin": 0.5}, "distance": "CosineSimilarity",
        },
    },
}  # fmt: skip
LOGGED = {"multi": "loss/positives", "metric": "loss/triplets", "gcl of all": "null_share"}


@pytest.mark.slow
def test_they_train_and_two_ranks_are_one(small_tree: Path, tmp_path: Path, two_ranks: TwoRanks) -> None:
    trials = {name: make_trial(small_tree, steps=3, lr=0.01, **chosen) for name, chosen in CHOSEN.items()}
    two_ranks.run(*((trial, tmp_path / f"two {name}") for name, trial in trials.items()))
    for name, trial in trials.items():
        row = run_here(trial, tmp_path / name)
        assert row.trial.train.loss == trial.train.loss and row.num_ranks == 1
        lines = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        steps = [line for line in lines if line["kind"] == "train"]
        told = LOGGED.get(name, "loss/active_triplets")
        assert (len(steps) == 3 and any(step["loss"] > 0 and step[told] > 0 for step in steps)) or told == "null_share"
        found, expected = losses(tmp_path / f"two {name}"), losses(tmp_path / name)
        assert found == pytest.approx(expected, rel=1e-4), name
        theirs, still = weights_of(tmp_path / f"two {name}", trial), build_network(trial, None).state_dict()
        for key, value in weights_of(tmp_path / name, trial).items():
            one, two = ((after - still[key]).float() for after in (value, theirs[key]))  # how far each moved
            assert torch.allclose(one, two, atol=0.2 * float(one.abs().max()) + 1e-6), (name, key)


def test_what_they_state_is_what_their_words_say() -> None:
    for word in ("triplet", "sharpened_triplet", "multi_similarity"):
        named = LossName.of(word, **({"negatives": "all"} if "triplet" in word else {}))
        train = TrainSpec(loss=named, batch_norm="frozen", batch_pairs=4, micro_pairs=4)
        loss = build_loss(train)
        for fact in ("wants", "draws", "labels"):
            assert getattr(loss, fact) == named.fact(fact), (word, fact)

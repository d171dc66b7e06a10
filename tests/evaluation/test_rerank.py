"""Two-stage retrieval against slow loops in float64, and as a protocol of its own."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from tests import warm
from tests.evaluation.ranks import TRIAL
from tests.evaluation.rerank_ranks import evaluated, two_stages
from vprdist.cli import main
from vprdist.data.layouts.msls import read_city
from vprdist.data.tasks import build_tasks, prediction_task
from vprdist.distributed.ranks import Ranks
from vprdist.errors import OwnCodeError
from vprdist.evaluation.evaluate import Extra, describe_protocol, evaluate
from vprdist.evaluation.rerank import second_stage
from vprdist.evaluation.rerank.base import LocalFeatures, features_of, scored
from vprdist.evaluation.rerank.mutual_nearest import MutualNearest
from vprdist.network.batch import Batch
from vprdist.network.model import build_network
from vprdist.spec.doors import NO_RERANK, RerankName
from vprdist.spec.evaluate import EvaluateSpec
from vprdist.spec.input import InputSpec
from vprdist.spec.trial import TrialSpec
from vprdist.training.try_out import try_out

CPU = Ranks(0, 1, torch.device("cpu"))


def local(rows: Tensor) -> LocalFeatures:
    unit = torch.nn.functional.normalize(rows, dim=1).half()
    return LocalFeatures(unit, torch.arange(len(rows)), (1, len(rows)))


def slow(query: LocalFeatures, other: LocalFeatures, score: str) -> float:
    """By loops, in float64: first of equals is nearest."""
    q, d = query.features_NC.tolist(), other.features_NC.tolist()
    cosine = [[math.fsum(a * b for a, b in zip(u, v, strict=True)) for v in d] for u in q]
    total = []
    for u in range(len(q)):
        v = max(range(len(d)), key=lambda n: (cosine[u][n], -n)) if d else -1
        if v >= 0 and max(range(len(q)), key=lambda n: (cosine[n][v], -n)) == u:
            total.append(1.0 if score == "count" else cosine[u][v])
    return math.fsum(total)


@pytest.mark.parametrize("score", ["count", "cosines"])
@pytest.mark.parametrize("seed", range(6))
def test_scores_are_those_of_slow_loops_with_ties_and_duplicates(seed: int, score: Any) -> None:
    draw = torch.Generator().manual_seed(seed)
    coarse = seed % 2  # numbers of few values: many equal cosines

    def features(count: int) -> LocalFeatures:
        rows = torch.randn(count, 9, generator=draw)
        return local(rows.sign() if coarse else rows)

    query = features(8)
    others = [features(count) for count in (1, 5, 8, 13)]
    others += [query, others[1], LocalFeatures(query.features_NC[:0], torch.arange(0), (1, 8))]
    found = MutualNearest(score).scores(query, others)
    assert found.tolist() == [slow(query, other, score) for other in others]
    assert MutualNearest(score).scores(others[-1], others).tolist() == [0.0] * len(others)


def test_cosines_are_exact_in_whatever_order_they_are_summed() -> None:
    query, other = (local(torch.randn(20, 300, generator=torch.Generator().manual_seed(n))) for n in (0, 1))
    turn = torch.randperm(300, generator=torch.Generator().manual_seed(2))
    turned = [replace(each, features_NC=each.features_NC[:, turn]) for each in (query, other)]
    for score in ("count", "cosines"):
        first = MutualNearest(score).scores(query, [other])
        assert (first == MutualNearest(score).scores(turned[0], turned[1:])).all()


def test_places_without_weight_or_features_do_not_count() -> None:
    trial = TRIAL.model_copy(update={"input": InputSpec(mode="masked", mask_at="features", classes=("building",))})
    network = build_network(trial, None).eval()
    images = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(2, 1, 2, 3, dtype=torch.uint8)
    mask[0, 0, 0, 1] = mask[0, 0, 1, 2] = 200
    with torch.inference_mode():
        first, nothing = features_of(network, Batch(images, mask))
        features = network.features(images, None).last
    assert first.size == (2, 3) and first.places_N.tolist() == [1, 5]
    unit = torch.nn.functional.normalize(features[0].flatten(1).T[[1, 5]], dim=1)
    assert torch.equal(first.features_NC, unit.half())
    assert len(nothing.features_NC) == 0


@pytest.mark.parametrize("more", [{}, {"top": 1}, {"top": 1000}, {"score": "count", "top": 30}])
def test_the_second_stage_sorts_the_first_by_its_scores_and_ties_by_the_first(
    small_tree: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]
) -> None:
    ask: Callable[..., Tensor] = scored

    def remembered(reranker: Any, named: RerankName, query: LocalFeatures, others: list[LocalFeatures]) -> Tensor:
        found = ask(reranker, named, query, others)
        for other, value in zip(others, found.tolist(), strict=True):
            assert value == slow(query, other, str(named.parameters["score"]))
        asked.append(len(others))
        return found

    asked: list[int] = []
    monkeypatch.setattr(second_stage, "scored", remembered)
    trial = two_stages(**more)
    found, plain = evaluated(small_tree, CPU, trial), evaluated(small_tree, CPU, TRIAL)
    assert found is not None and plain is not None
    top = trial.evaluate.rerank.top or 0
    assert asked and max(asked) <= max(top, 1) * (1 + len(found.subtasks))
    for ours, theirs in zip(found.rankings, plain.rankings, strict=True):
        for mine, first in zip(ours.retrieved, theirs.retrieved, strict=True):
            for rows, before in zip(mine, first, strict=True):
                assert sorted(rows.tolist()[: min(top, 20)]) == sorted(before.tolist()[: min(top, 20)]) or top > 20
                assert rows.tolist()[top:] == before.tolist()[top:]
    assert found.variants[0].ranking.metrics == plain.metrics
    assert [rows.tolist() for rows in found.variants[0].ranking.retrieved[0]] == [
        rows.tolist() for rows in plain.ranking.retrieved[0]
    ]
    if top == 1:
        assert found.metrics == plain.metrics


def test_a_query_finds_its_own_picture_first(small_tree: Path) -> None:
    """Its features are each other's nearest, all of them: no other image has more."""
    cities = [read_city(small_tree, name) for name in ("ada", "bob")]
    same = [replace(city, query=replace(city.database, side="query")) for city in cities]
    trial = two_stages(top=50)
    tasks = build_tasks(same, trial)
    predict = [prediction_task(city, trial.evaluate) for city in same]
    found = evaluate(build_network(trial, None), trial, tasks, CPU, extra=Extra(predict=predict))
    assert found is not None and found.predicted is not None
    assert [len(task) for task in found.predicted.retrieved] == [len(task.queries) for task in predict]
    assert found.metrics["recall@1"] == 1.0


def test_two_ranks_equal_one(small_tree: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.evaluation.rerank_ranks", str(small_tree), str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    root = Path(__file__).resolve().parents[2]
    started = [warm.Popen([*command, str(n), "2"], cwd=root, env=environment) for n in range(2)]
    assert [each.wait(timeout=500) for each in started] == [0, 0]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found = evaluated(small_tree, CPU, two_stages())
    torch.set_num_threads(threads)
    assert found is not None
    told = [found.ranking.predictions, found.metrics, {n: r.predictions for n, r in found.subtasks.items()}]
    assert json.loads((tmp_path / "told.json").read_text()) == json.loads(json.dumps(told))


def test_it_is_a_protocol_of_its_own_and_earlier_ids_stay(small_tree: Path) -> None:
    tasks = build_tasks([read_city(small_tree, "bob")], TRIAL)
    plain = describe_protocol(tasks, TRIAL, "digest")
    assert "rerank" not in plain.hashed() and "rerank" not in TRIAL.evaluate.hashed()
    assert EvaluateSpec(rerank=NO_RERANK).hashed() == EvaluateSpec().hashed()
    others = [describe_protocol(tasks, two_stages(**more), "digest") for more in ({}, {"top": 7}, {"score": "count"})]
    assert len({each.fingerprint for each in (plain, *others)}) == 4
    assert "re-ranked by mutual_nearest (top 6, score cosines)" in others[0].summary
    assert others[0].model_copy(update={"rerank": None}).fingerprint == plain.fingerprint


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("torch.zeros(3)", "one number an image"),
        ("torch.full((len(candidates),), float('nan'))", "must be finite"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_class_of_a_users_own_enters_and_is_looked_at(tmp_path: Path, answer: str, words: str) -> None:
    text = "import torch\n\n\nclass Mine:\n    def scores(self, query, candidates):\n        return {}\n"
    (tmp_path / "own.py").write_text(text.format("torch.ones(len(candidates))"))
    good = RerankName.of(f"{tmp_path}/own.py:Mine", top=3)
    features = local(torch.eye(3))
    assert good.top == 3 and (good.told or "").startswith("Mine (top 3, text ")
    assert scored(good.make(), good, features, [features, features]).tolist() == [1.0, 1.0]
    (tmp_path / "bad.py").write_text(text.format(answer))
    bad = RerankName.of(f"{tmp_path}/bad.py:Mine")
    with pytest.raises(OwnCodeError, match=words):
        scored(bad.make(), bad, features, [features, features])
    tried = TRIAL.model_copy(update={"evaluate": EvaluateSpec(rerank=bad)})
    with pytest.raises(OwnCodeError, match=words):
        try_out(tried)  # before anything is submitted
    try_out(TRIAL.model_copy(update={"evaluate": EvaluateSpec(rerank=good)}))


@pytest.mark.parametrize("word", ["--rerank mutual_nearest", "--top 5"])
def test_files_have_no_second_stage(tmp_path: Path, capsys: pytest.CaptureFixture[str], word: str) -> None:
    (tmp_path / "theirs.txt").write_text("a b\n")
    assert main(["evaluate", f"{tmp_path}/theirs.txt", "--data", str(tmp_path), "--cities", "ada", *word.split()]) == 2
    assert "files have no local features" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"evaluate": {"rerank": "mutual"}}, "no such re-ranker"),
        ({"evaluate": {"rerank": {"name": "mutual_nearest", "top": 0}}}, "top"),
        ({"evaluate": {"rerank": {"name": "none", "top": 5}}}, "top"),
        ({"evaluate": {"rerank": {"name": "mutual_nearest", "score": "sum"}}}, "score"),
        (
            {"evaluate": {"rerank": "mutual_nearest"}, "input": {"mode": "masked", "mask_reduce": "sum",
             "classes": ["building", "pole"]}, "train": {"arms": {"players": [["building"], ["pole"]]}}},
            "cannot have a second stage",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        TrialSpec.model_validate_json(json.dumps(values))

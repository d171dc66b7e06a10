"""The MSLS rules against a slow restatement, and the whole evaluation by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.evaluation.test_metrics import slow
from tests.evaluation.wild import wild_cities, wild_descriptors
from tests.worlds import write_side
from vprdist.data.images import load_image
from vprdist.data.layouts.msls import read_city
from vprdist.data.tasks import build_tasks, city_task, unasked
from vprdist.distributed.ranks import Ranks
from vprdist.errors import DataError
from vprdist.evaluation.evaluate import describe_protocol, evaluate
from vprdist.evaluation.ranking import rank
from vprdist.network.model import build_network
from vprdist.spec.data import DataSpec
from vprdist.spec.evaluate import EvaluateSpec
from vprdist.spec.network import NetworkSpec
from vprdist.spec.result import Protocol
from vprdist.spec.train import TrainSpec
from vprdist.spec.trial import TrialSpec

CPU = Ranks(0, 1, torch.device("cpu"))


def random_city(root, seed, queries=25, gallery=35):
    rng = np.random.default_rng(seed)
    for side, count in (("query", queries), ("database", gallery)):
        # Whole tens of metres: equal positions and pairs on the rim are frequent; some queries are far away.
        positions = [(float(e) * 5, float(n) * 5) for e, n in rng.integers(0, 40, (count, 2))]
        flags = {"all": [True] * count, "d2n": [bool(b) for b in rng.integers(0, 2, count)]}
        panos = [bool(b) for b in rng.random(count) < 0.2]
        keys = [f"{side[0]}{i}" for i in range(count)]
        write_side(root / "train_val" / "wild" / side, keys, positions, panos=panos, subtasks=flags, size=(8, 8))
    return read_city(root, "wild")


@pytest.mark.parametrize("subtask", ["all", "d2n"])
@pytest.mark.parametrize("seed", range(8))
def test_tasks_follow_the_rules(tmp_path, seed, subtask):
    city = random_city(tmp_path, seed)
    task = city_task(city, EvaluateSpec(subtask=subtask), 25.0)
    gallery = [d for d in range(35) if not city.database.pano[d] and city.database.subtasks[subtask][d]]
    expected = {}
    for q in range(25):
        if city.query.pano[q] or not city.query.subtasks[subtask][q]:
            continue
        near = [
            place
            for place, d in enumerate(gallery)
            if np.hypot(*(city.query.positions[q] - city.database.positions[d])) <= 25
        ]
        if near:
            expected[q] = near
    assert task.gallery.tolist() == gallery
    assert {q: p.tolist() for q, p in zip(task.queries.tolist(), task.positives, strict=True)} == expected


def test_no_query_with_a_positive_is_an_error(tmp_path):
    city = random_city(tmp_path, 0)
    trial = TrialSpec(evaluate=EvaluateSpec(subtask="s2w"))
    with pytest.raises(DataError, match=r"wild: validation needs queries of subtask 's2w' with a positive"):
        build_tasks([city], trial)


def test_a_city_without_positives_asks_nothing_and_is_searched(tmp_path):
    """As in the official script (test_official.py has such cities in it)."""
    cities = wild_cities(3)
    far = replace(cities[1].query, easting=cities[1].query.easting + 1e6)
    cities[1] = replace(cities[1], query=far)
    trial = TrialSpec(evaluate=EvaluateSpec(gallery="merged"))
    tasks = build_tasks(cities, trial)
    assert [len(task.queries) > 0 for task in tasks] == [True, False] and len(tasks[1].gallery)
    (said,) = unasked(tasks, trial)
    assert said == "dos is not measured: no query of subtask all has a database image within 25 m"
    ranking = rank(tasks, wild_descriptors(cities, 3), "merged")
    assert list(ranking.city_metrics) == ["uno"]
    found = {key for _, keys in ranking.predictions["uno"] for key in keys}
    assert found & set(cities[1].database.keys.tolist())


def small_trial() -> TrialSpec:
    return TrialSpec(
        data=DataSpec(train=("cyd",), validate_cities=("ada", "bob")),
        network=NetworkSpec(backbone="resnet18", weights="none"),
        train=TrainSpec(image_size=(32, 40), batch_norm="frozen"),
    )


def test_the_whole_evaluation_by_hand(small_tree, tmp_path):
    trial = small_trial()
    network = build_network(trial, None)
    cities = [read_city(small_tree, name) for name in ("ada", "bob")]
    tasks = build_tasks(cities, trial)
    found = evaluate(network, trial, tasks, CPU)
    ranked, positives = [], []
    with torch.no_grad():
        for city, task in zip(cities, tasks, strict=True):

            def describe(side):
                images = [load_image(side.image_path(i), 32, 40) for i in range(len(side))]
                batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
                return torch.cat([network(batch[i : i + 1]) for i in range(len(batch))])

            distances = torch.cdist(describe(city.query), describe(city.database))
            for q, right in zip(task.queries, task.positives, strict=True):
                ranked.append(distances[q].argsort().tolist())
                positives.append(right.tolist())
    for k in (1, 5, 10, 20):
        recall, precision = slow(ranked, positives, k)
        assert found.metrics[f"recall@{k}"] == pytest.approx(recall)
        assert found.metrics[f"map@{k}"] == pytest.approx(precision)
    assert set(found.city_metrics) == {"ada", "bob"}
    found.write(tmp_path / "predictions")
    line = (tmp_path / "predictions" / "bob.txt").read_text().splitlines()[0].split()
    assert line[0] == "bob_q000"
    assert len(line) == 1 + 16
    assert len(set(line)) == 17


@pytest.mark.parametrize(
    "fields",
    [
        {"image_size": (64, 64)},
        {"gallery": "merged"},
        {"queries": "every"},
        {"database": "every"},
        {"whitening": "train"},
        {"whitening": "database"},
        {"whitening": "train", "dimensions": (8,)},
        {"storage": "float16"},
    ],
)
def test_protocols_differ_where_the_evaluation_does(small_tree, fields):
    trial = small_trial()
    tasks = build_tasks([read_city(small_tree, "bob")], trial)
    base = describe_protocol(tasks, trial, "digest")
    assert base.num_queries == len(tasks[0].queries)
    assert describe_protocol(tasks, trial, "digest").fingerprint == base.fingerprint
    assert describe_protocol(tasks, trial, "other").fingerprint != base.fingerprint
    changed = trial.model_copy(update={"evaluate": EvaluateSpec(**fields)})
    other = describe_protocol(tasks, changed, "digest")
    assert other.fingerprint != base.fingerprint
    assert other.summary != base.summary


def test_the_fingerprint_of_the_first_version_holds():
    """Rows of the same protocol stand in one table, whichever version measured them."""
    protocol = Protocol(
        dataset="v", cities=("b",), subtask="all", gallery="city", positive_radius_m=25.0, image_size=(96, 128),
        num_queries=100, num_database=50,
    )  # fmt: skip
    assert protocol.fingerprint == "58d3fd81"

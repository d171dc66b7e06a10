"""Recalls by the rules of VPR-methods-evaluation, recomputed slowly: every query counts, one gallery, the rim is near.

Its own code reads the same folders where a clone is at hand.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.public_code import checkout
from vprdist.data.layouts import City, open_layout
from vprdist.data.tasks import city_task
from vprdist.evaluation.descriptors import Descriptors
from vprdist.evaluation.ranking import rank
from vprdist.spec.doors import LayoutName
from vprdist.spec.evaluate import EvaluateSpec

PROTOCOL = EvaluateSpec(no_positives="count")


def write_tree(root: Path, seed: int) -> City:
    """Few places, so that positions repeat; some queries lie far from all; names alone tell anything."""
    rng = np.random.default_rng(seed)
    for side, count in (("database", int(rng.integers(3, 40))), ("queries", int(rng.integers(1, 25)))):
        folder = root / "images" / "test" / side
        folder.mkdir(parents=True)
        for row in range(count):
            east = 500_000 + 5 * int(rng.integers(0, 30)) + (90_000 if side == "queries" and rng.random() < 0.3 else 0)
            north = 4_000_000 + 5 * int(rng.integers(0, 4))
            (folder / f"@{east}@{north:.2f}@10@S@@@{side}{row:03d}@@@@@@@@.jpg").write_bytes(b"")
    return open_layout(root, LayoutName.of("utm")).read("test")


def descriptors_of(city: City, seed: int) -> Descriptors:
    """Few different values, so that distances tie."""
    rng, count = np.random.default_rng(seed), len(city.query) + len(city.database)
    values = rng.integers(0, 3, (count, 2)).astype(np.float32)
    places = {
        (city.name, "query"): np.arange(len(city.query)),
        (city.name, "database"): np.arange(len(city.query), count),
    }
    return Descriptors(values, places)


def slow_recalls(database: list[str], queries: list[str], near: np.ndarray, far: np.ndarray) -> dict[int, float]:
    """Positions from the names, a sorted list of distances a query, equal ones by path; the share of all queries."""
    places = {path: tuple(float(field) for field in path.split("@")[1:3]) for path in (*database, *queries)}
    found = dict.fromkeys((1, 5, 10, 20), 0)
    for number, query in enumerate(queries):
        right = {
            row
            for row, path in enumerate(database)
            if np.hypot(places[path][0] - places[query][0], places[path][1] - places[query][1]) <= 25
        }
        order = sorted(range(len(database)), key=lambda row: (float(((far[row] - near[number]) ** 2).sum()), row))
        for k in found:
            found[k] += bool(right & set(order[:k]))
    return {k: count / len(queries) for k, count in found.items()}


@pytest.mark.parametrize("seed", range(40))
def test_recalls_are_those_of_its_rules(tmp_path, seed):
    city = write_tree(tmp_path, seed)
    known = descriptors_of(city, seed)
    task = city_task(city, PROTOCOL, 25.0)
    assert len(task.queries) == len(city.query), "every query counts"
    database, queries = (sorted(str(path) for path in side.paths) for side in (city.database, city.query))
    assert [str(path) for path in city.database.paths] == database, "ties go by path, as its sorted list has them"
    values = known.values_ND
    near, far = values[known.places["test", "query"]], values[known.places["test", "database"]]
    expected = slow_recalls(database, queries, near, far)
    found = rank([task], known, "merged").metrics
    assert {k: found[f"recall@{k}"] for k in expected} == pytest.approx(expected)
    dropped = city_task(city, EvaluateSpec(), 25.0)
    if len(dropped.queries):
        some = rank([dropped], known, "city").metrics
        share = len(dropped.queries) / len(task.queries)
        assert all(found[f"recall@{k}"] == pytest.approx(some[f"recall@{k}"] * share) for k in expected)


def test_its_own_code_finds_the_same_positives(tmp_path, tmp_path_factory, monkeypatch):
    pytest.importorskip("sklearn")
    folder = checkout("METHODS_EVALUATION", "gmberton+VPR-methods-evaluation", "test_dataset.py", tmp_path_factory)
    monkeypatch.syspath_prepend(str(folder))
    theirs = importlib.import_module("test_dataset")
    for seed in range(5):
        city = write_tree(tmp_path / str(seed), seed)
        base = tmp_path / str(seed) / "images" / "test"
        made = theirs.TestDataset(str(base / "database"), str(base / "queries"))
        assert made.database_paths == [str(path) for path in city.database.paths]
        task = city_task(city, PROTOCOL, 25.0)
        assert [sorted(rows.tolist()) for rows in made.get_positives()] == [rows.tolist() for rows in task.positives]
    sys.modules.pop("test_dataset")

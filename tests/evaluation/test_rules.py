"""The whole evaluation against the official rules in plain loops, on a thousand small worlds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow.parquet
import pytest

from tests.evaluation.wild import slow_metrics, slow_rankings, told_cities, wild_cities, wild_descriptors
from vprdist.data.tasks import breakdown_tasks, city_task
from vprdist.evaluation.breakdown import query_rows, write_queries
from vprdist.evaluation.evaluate import Extra, assess
from vprdist.evaluation.ranking import rank
from vprdist.parquet import read_parquet, write_parquet
from vprdist.spec.evaluate import EvaluateSpec
from vprdist.spec.result import QUERY_COLUMNS
from vprdist.spec.trial import TrialSpec
from vprdist.spec.vocabulary import SUBTASKS

CHUNKS = 10


def protocols(seed: int) -> EvaluateSpec:
    """Every choice in turn."""
    rng = np.random.default_rng(seed)
    subtask = SUBTASKS[seed % len(SUBTASKS)]
    return EvaluateSpec(
        subtask=subtask,
        gallery=("city", "merged")[int(rng.integers(2))],
        database=("subtask", "every")[int(rng.integers(2))],
        queries=("subtask", "every")[int(rng.integers(2))] if subtask == "all" else "subtask",
    )


def told_protocols(seed: int) -> EvaluateSpec:
    """The same, of conditions too, and with queries that nothing can answer."""
    changes: dict[str, object] = {"no_positives": ("drop", "count")[seed // 7 % 2]}
    if seed % 3:
        changes |= {"subtask": ("night", "snow")[seed % 2], "queries": "subtask"}
    return protocols(seed).model_copy(update=changes)


@pytest.mark.parametrize("chunk", range(CHUNKS))
@pytest.mark.parametrize(("worlds", "protocol"), [(wild_cities, protocols), (told_cities, told_protocols)])
def test_a_thousand_worlds(chunk, worlds, protocol):
    for seed in range(chunk * 100, chunk * 100 + 100):
        cities = worlds(seed)
        descriptors, evaluate = wild_descriptors(cities, seed), protocol(seed)
        expected = slow_rankings(cities, descriptors, evaluate)
        ranking = rank([city_task(city, evaluate, 25.0) for city in cities], descriptors, evaluate.gallery)
        if not expected:
            assert not ranking.predictions
            continue
        rows = {(row["city"], row["query"]): row for row in query_rows(evaluate.subtask, ranking)}
        assert set(rows) == set(expected)
        values = {query: slow_metrics(*found) for query, found in expected.items()}
        for query, (names, positives) in expected.items():
            row = rows[query]
            assert row["retrieved"] == [key for _, key in names], (seed, query)
            assert row["hits"] == [name in positives for name in names]
            assert row["num_positives"] == len(positives)
            assert {name: row[name] for name in values[query]} == pytest.approx(values[query])
        means = {name: np.mean([value[name] for value in values.values()]) for name in ranking.metrics}
        assert ranking.metrics == pytest.approx(means)
        for city, metrics in ranking.city_metrics.items():
            mine = [value for (name, _), value in values.items() if name == city]
            assert metrics == pytest.approx({name: np.mean([value[name] for value in mine]) for name in metrics})


def evaluated(seed: int = 3) -> tuple[list, dict]:
    cities = wild_cities(seed)
    trial = TrialSpec(evaluate=EvaluateSpec(gallery="merged"))
    subtasks = breakdown_tasks(cities, trial)
    found = assess(wild_descriptors(cities, seed), trial.evaluate, subtasks["all"], [], Extra(subtasks))
    return cities, found.subtasks


def test_the_rows_of_single_queries_are_the_reports_contract(tmp_path):
    cities, subtasks = evaluated()
    path = tmp_path / "predictions" / "queries.parquet"
    write_queries(path, subtasks)
    columns = read_parquet(path)
    assert tuple(columns) == QUERY_COLUMNS
    assert set(columns["subtask"]) == set(subtasks) and columns["subtask"][0] == "all"
    kinds = {field.name: str(field.type) for field in pyarrow.parquet.read_schema(path)}
    assert kinds["retrieved"] == kinds["positives"] == "list<element: string>"
    assert kinds["hits"] == "list<element: bool>"
    assert (kinds["frame_number"], kinds["night"], kinds["ca"], kinds["map@20"]) == (
        "int64",
        "bool",
        "double",
        "double",
    )
    for index, key in enumerate(columns["query"]):
        city = next(city for city in cities if city.name == columns["city"][index])
        row = city.query.keys.tolist().index(key)
        assert columns["easting"][index] == city.query.positions[row, 0]
        assert columns["frame_number"][index] == row
        subtask = columns["subtask"][index]
        away = {
            str(name): np.hypot(*(city.query.positions[row] - place))
            for name, place, pano, inside in zip(
                city.database.keys, city.database.positions, city.database.pano, city.database.subtasks[subtask],
                strict=True,
            )
            if not pano and inside
        }  # fmt: skip
        near = sorted((name for name in away if away[name] <= 25), key=away.get)
        assert columns["positives"][index] == near[:5]
        assert columns["num_positives"][index] == len(near)
        assert len(columns["retrieved"][index]) == len(columns["hits"][index])


def test_the_file_of_eleven_thousand_queries_is_small(tmp_path):
    """Keys as long and as random as MSLS' own."""
    rng = np.random.default_rng(0)
    keys = np.array([rng.bytes(11).hex() for _ in range(18_871)])
    _, subtasks = evaluated()
    (like, *_) = query_rows("all", subtasks["all"])
    rows = [
        {**like, "query": key, "retrieved": keys[rng.integers(0, 18_871, 20)].tolist(), "hits": [False] * 20}
        for key in keys[:11_000]
    ]
    path = tmp_path / "queries.parquet"
    write_parquet(path, rows, QUERY_COLUMNS)
    assert path.stat().st_size < 3e6


def test_a_condition_that_all_queries_share_is_no_part():
    cities = [
        replace(city, query=replace(city.query, conditions=np.full(len(city.query), "snow"))) for city in wild_cities(3)
    ]
    assert "snow" not in breakdown_tasks(cities, TrialSpec())
    asked = TrialSpec(evaluate=EvaluateSpec(subtask="snow"))
    assert "snow" in breakdown_tasks(cities, asked), "the result's own subtask is there"
    some = cities[0].query.conditions.copy()
    some[0] = "rain"
    mixed = [replace(cities[0], query=replace(cities[0].query, conditions=some)), *cities[1:]]
    assert {"snow"} <= breakdown_tasks(mixed, TrialSpec()).keys()

"""`vprdist.evaluate`: the numbers of the command to the bit, from arrays, predictions, files and trials."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import vprdist
from tests.training.making import make_trial
from tests.worlds import write_city
from vprdist.cli import main
from vprdist.data.layouts.msls import read_city
from vprdist.distributed.world import World
from vprdist.files import write_json
from vprdist.parquet import read_parquet
from vprdist.store.result_file import read_result
from vprdist.training.run import run_trial

Pair = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("evaluate") / "tree"
    write_city(root, "ada", num_query=12, num_database=30, seed=1)
    write_city(root, "bob", num_query=9, num_database=26, seed=2)
    return root


@pytest.fixture
def pairs(tree: Path) -> dict[str, Pair]:
    """By side the keys and made-up descriptors of both cities."""
    rng, sides = np.random.default_rng(0), [side for city in ("ada", "bob") for side in read_city(tree, city).sides]
    keys = {name: np.concatenate([s.keys for s in sides if s.side == name]) for name in ("query", "database")}
    return {name: (some, rng.normal(size=(len(some), 6)).astype(np.float32)) for name, some in keys.items()}


def commanded(*words: object, out: Path) -> tuple[dict, dict]:
    """What the command writes: evaluation.json, and the rows of single queries."""
    assert main(["evaluate", *map(str, words), "--out", str(out)]) == 0
    (path,) = out.glob("*/evaluation.json")
    return json.loads(path.read_text()), read_parquet(path.with_name("queries.parquet"))


def assert_same(found: vprdist.Evaluation, told: dict, queries: dict) -> None:
    assert found.metrics == told["metrics"] and found.city_metrics == told["city_metrics"]
    assert found.protocol.model_dump(mode="json") == told["protocol"] and list(found.notes) == told["notes"]
    parts = [
        {"name": part.label, "num_queries": part.num_queries, "metrics": part.metrics, "intervals": part.intervals}
        for part in found.parts
    ]
    assert json.loads(json.dumps(parts)) == told["parts"]
    assert json.loads(json.dumps(found.intervals)) == told["parts"][0]["intervals"]
    assert [each.model_dump(mode="json") for each in found.variants] == told["variants"]
    assert found.queries.to_arrow().to_pydict() == queries


OPTIONS = [
    ({}, []),
    ({"gallery": "merged", "storage": "float16"}, ["--gallery", "merged", "--storage", "float16"]),
    (
        {"whitening": "database", "dimensions": (4, 2), "no_positives": "count"},
        ["--whitening", "database", "--dimensions", 4, 2, "--no-positives", "count"],
    ),
    ({"queries": "every", "layout": "msls"}, ["--queries", "every", "--layout", "msls"]),
]


@pytest.mark.parametrize(("options", "words"), OPTIONS)
def test_arrays_get_the_numbers_that_the_command_gives_their_files(tree, pairs, tmp_path, options, words):
    for name, (keys, values) in pairs.items():
        np.savez(tmp_path / f"{name}.npz", keys=keys, descriptors=values)
    files = [tmp_path / "query.npz", tmp_path / "database.npz"]
    where = {"root": tree, "cities": ["ada", "bob"]}
    told = commanded(*files, "--data", tree, "--cities", "ada", "bob", *words, out=tmp_path / "out")
    found = vprdist.evaluate(pairs["query"], pairs["database"], **where, **options)
    assert_same(found, *told)
    assert found.source == "queries, database" and found.folder is None
    kept = vprdist.evaluate(*files, **where, **options, out=tmp_path / "kept")
    assert_same(kept, *told)
    assert (kept.folder / "evaluation.json").is_file() and kept.folder.parent == tmp_path / "kept"


def test_predictions_get_the_numbers_that_the_command_gives_their_file(tree, tmp_path):
    city, rng = read_city(tree, "bob"), np.random.default_rng(1)
    given = {key: rng.permutation(city.database.keys)[:20].tolist() for key in city.query.keys.tolist()}
    (tmp_path / "mine.txt").write_text("".join(f"{' '.join([key, *keys])}\n" for key, keys in given.items()))
    told = commanded(tmp_path / "mine.txt", "--data", tree, "--cities", "bob", out=tmp_path / "out")
    for answers in (given, tmp_path / "mine.txt", str(tmp_path / "mine.txt")):
        assert_same(vprdist.evaluate(answers, root=tree, cities=["bob"]), *told)


def test_a_trial_is_asked_again(tree, tmp_path):
    trial = make_trial(tree, steps=1)
    folder = tmp_path / "runs" / "trials" / trial.trial_id
    write_json(folder / "trial.json", trial.to_json())
    run_trial(trial, folder, World(num_threads=1))
    row = read_result(folder / "result.json")
    found = vprdist.evaluate(row.trial_id, runs=tmp_path / "runs")
    assert (found.metrics, found.protocol) == (row.metrics, row.protocol)
    words = ["--runs", tmp_path / "runs", "--gallery", "merged", "--image-size", 48, 64]
    told = commanded(row.trial_id, *words, out=tmp_path / "out")
    assert_same(vprdist.evaluate(folder, gallery="merged", image_size=(48, 64)), *told)


def test_it_is_shown_with_intervals_and_words_alone(tree, pairs):
    found = vprdist.evaluate(*pairs.values(), root=tree, cities=["ada"], whitening="database", dimensions=[3])
    low, high = found.intervals["recall@1"]
    html = found._repr_html_()
    assert f"{found.metrics['recall@1']:.3f} [{low:.3f}, {high:.3f}]" in html and "not whitened" in html
    assert set(re.findall(r"<(\w+)", html)) <= {"table", "caption", "thead", "tbody", "tr", "th", "td", "p", "br"}
    assert f"R@1 {found.metrics['recall@1']:.3f}" in repr(found) and found.protocol.summary in repr(found)
    (whole,) = [each for each in found.breakdown if (each["part"], each["metric"]) == ("all", "recall@1")]
    assert (whole["score"], whole["low"], whole["high"]) == (pytest.approx(found.metrics["recall@1"]), low, high)
    assert len(found.queries.to_pandas().query("subtask == 'all'")) == found.protocol.num_queries


def spoilt(values: np.ndarray) -> np.ndarray:
    values = values.copy()
    values[0, 1] = np.nan
    return values


@pytest.mark.parametrize(
    ("answers", "options", "message"),
    [
        (lambda q, d: [], {}, "what is evaluated must be (keys, descriptors) pairs"),
        (lambda q, d: [q, {"a": ["b"]}], {}, "one dictionary of predictions, files, or one trial; found 'tuple, dict'"),
        (lambda q, d: [q[1]], {}, "one dictionary of predictions, files, or one trial; found 'ndarray'"),
        (lambda q, d: [(q[0], spoilt(q[1])), d], {}, "queries: row 0 ("),
        (lambda q, d: [(q[0][1:], q[1]), d], {}, "queries: there must be a key for each of the 21 descriptors"),
        (lambda q, d: [q, (d[0], d[1][:, :2])], {}, "database: descriptors must have one width; those of queries have"),
        (lambda q, d: [q, (d[0], d[1][0])], {}, "database: descriptors must be an array (N, D) of floats"),
        (lambda q, d: [q], {}, "pair 1: pictures that take part have no descriptor"),
        (lambda q, d: [q, q], {}, "database: row 0: a picture has a second descriptor"),
        (lambda q, d: [q, d], {"galery": "merged"}, "evaluate: galery: no such option. Did you mean 'gallery'?"),
        (lambda q, d: [q, d], {"gallery": "town"}, "vprdist.evaluate: gallery: "),
        (lambda q, d: [q, d], {"dimensions": [2]}, "only whitening can change the dimensions"),
        (lambda q, d: [q, d], {"whitening": "train"}, "whitening: files have no training images"),
        (lambda q, d: [q, d], {"rerank": "mutual_nearest"}, "rerank: files have no local features"),
        (
            lambda q, d: [q, d],
            {"cities": "ada"},
            "cities: this must be a list of names; found 'ada'. Say",
        ),
        (lambda q, d: [q, d], {"cities": ["nowhere"]}, "the tree has no such city: 'nowhere'"),
        (lambda q, d: [q, d], {"root": None}, "root and cities: files need the cities of a data set. Say root='/data"),
        (lambda q, d: [{str(q[0][0]): ["x"]}], {"whitening": "database"}, "a file of predictions has no descriptors"),
        (lambda q, d: [{str(q[0][0]): ["x"]}], {}, "predictions: queries that count have no line"),
        (lambda q, d: ["nobody"], {}, "no such trial: 'nobody'"),
        (lambda q, d: ["/none.npz"], {}, "/none.npz: there is no such file."),
    ],
)
def test_bad_input_is_one_message(tree, pairs, tmp_path, monkeypatch, answers, options, message):
    monkeypatch.chdir(tmp_path)
    given = {"root": tree, "cities": ["ada", "bob"], **options}
    with pytest.raises(vprdist.UserError, match=re.escape(message)):
        vprdist.evaluate(*answers(*pairs.values()), **given)
    assert not list(tmp_path.iterdir())

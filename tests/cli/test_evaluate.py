"""`vprdist evaluate`: a trial's own numbers again, other protocols, files, and cities without ground truth."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.training.making import make_trial
from tests.worlds import write_city
from vprdist.cli import main
from vprdist.console import Console
from vprdist.data.layouts import open_layout
from vprdist.data.layouts.msls import read_city
from vprdist.data.pack.making import Wanted, make_pack
from vprdist.distributed.world import World
from vprdist.files import write_json
from vprdist.parquet import read_parquet
from vprdist.spec.doors import RerankName
from vprdist.store.result_file import read_result
from vprdist.training.run import run_trial


def add_test_city(root: Path) -> None:
    """A city as MSLS' test split has it: neither positions nor panoramas are known."""
    write_city(root, "kiel", num_query=5, num_database=25, seed=9)
    (root / "test").mkdir()
    (root / "train_val" / "kiel").rename(root / "test" / "kiel")
    for side in ("query", "database"):
        for name in ("raw.csv", "postprocessed.csv"):
            (root / "test" / "kiel" / side / name).unlink()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with one finished trial, whose tree has a test city."""
    folder = tmp_path_factory.mktemp("evaluate")
    write_city(folder / "tree", "ada", num_query=12, num_database=30, seed=1)
    write_city(folder / "tree", "bob", num_query=8, num_database=26, seed=2)
    add_test_city(folder / "tree")
    trial = make_trial(folder / "tree", steps=1)
    trial = trial.model_copy(update={"evaluate": trial.evaluate.model_copy(update={"predict": ("kiel",)})})
    path = folder / "runs" / "trials" / trial.trial_id
    write_json(path / "trial.json", trial.to_json())
    run_trial(trial, path, World(num_threads=1))
    return folder / "runs"


def the_trial(runs: Path) -> Path:
    (folder,) = (runs / "trials").iterdir()
    return folder


def read_parquet_rows(path: Path) -> list[dict]:
    columns = read_parquet(path)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def evaluated(folder: Path) -> dict:
    (path,) = folder.glob("*/evaluation.json")
    found = json.loads(path.read_text())
    assert path.parent.name == found["fingerprint"]
    return found


def test_a_trial_gets_its_own_numbers_again(runs, tmp_path, capsys):
    row = read_result(the_trial(runs) / "result.json")
    assert main(["evaluate", row.trial_id[:6], "--runs", str(runs), "--out", str(tmp_path)]) == 0
    found = evaluated(tmp_path)
    assert found["metrics"] == row.metrics
    assert found["fingerprint"] == row.protocol.fingerprint
    said = capsys.readouterr().out
    assert f"{row.metrics['recall@5']:.3f}" in said and row.protocol.summary in said
    assert f"{row.trial_id[:6]} (trial {row.trial_id})" in said and "subtask all" in said
    (written,) = tmp_path.glob("*/queries.parquet")
    asked = [each for each in read_parquet_rows(written) if each["subtask"] == "all"]
    whole, *parts = found["parts"]
    assert (whole["name"], whole["num_queries"]) == ("subtask all", len(asked))
    for part in parts:
        kind, _, word = part["name"].partition(" ")
        if kind == "view":
            of = [each for each in asked if each["view_direction"] == word]
            assert part["num_queries"] == len(of)
            assert part["metrics"]["recall@1"] == pytest.approx(np.mean([each["recall@1"] for each in of]))
    for part in found["parts"]:
        for name, (low, high) in part["intervals"].items():
            assert low <= part["metrics"][name] + 1e-6 and part["metrics"][name] <= high + 1e-6
            assert 0 < high - low <= 1
    assert read_parquet(written) == read_parquet(the_trial(runs) / "predictions" / "queries.parquet")


def test_another_protocol_is_another_folder_beside_the_trial(runs):
    folder = the_trial(runs)
    words = ["--whitening", "database", "--dimensions", "8", "4", "--gallery", "merged", "--image-size", "48", "64"]
    assert main(["evaluate", str(folder), *words]) == 0
    found = evaluated(folder / "evaluations")
    assert (found["protocol"]["gallery"], found["protocol"]["image_size"]) == ("merged", [48, 64])
    assert [each["protocol"]["dimensions"] for each in found["variants"]] == [4, None]
    assert read_result(folder / "result.json").metrics != found["metrics"]


def test_a_pack_is_read_as_long_as_it_is_there_and_of_these_data(runs, tmp_path):
    row = read_result(the_trial(runs) / "result.json")
    make_pack(Wanted(open_layout(runs.parent / "tree"), ("bob",), processes=1), tmp_path / "pack")
    folder = tmp_path / "runs" / "trials" / row.trial_id
    shutil.copytree(the_trial(runs), folder)
    given = json.loads((folder / "trial.json").read_text())
    write_json(folder / "trial.json", {**given, "data": {**given["data"], "pack": str(tmp_path / "pack")}})
    shutil.copytree(runs.parent / "tree", tmp_path / "tree")

    def again(name: str, *words: str) -> dict:
        assert main(["evaluate", str(folder), "--out", str(tmp_path / name), *words]) == 0
        found = evaluated(tmp_path / name)
        assert found["metrics"] == row.metrics
        return found["notes"]

    assert again("packed") == []
    assert again("elsewhere", "--data", str(tmp_path / "tree")) == []
    (tmp_path / "pack" / "manifest.json").unlink()
    (note,) = again("gone")
    assert note.startswith("pictures are read from files: the pack ") and note.endswith(" is not there any more")


def test_a_second_stage_orders_the_first_images_of_a_trained_network_anew(runs, tmp_path):
    """Those of the trial itself are had again; without, the same are found in another order."""
    trial = make_trial(runs.parent / "tree", steps=1, lr=0.02)
    chosen = {"rerank": RerankName.of("mutual_nearest", score="cosines", top=5), "whitening": "database"}
    trial = trial.model_copy(update={"evaluate": trial.evaluate.model_copy(update={**chosen, "dimensions": (8,)})})
    path = tmp_path / "runs" / "trials" / trial.trial_id
    write_json(path / "trial.json", trial.to_json())
    run_trial(trial, path, World(num_threads=1))
    row = read_result(path / "result.json")
    assert "mutual_nearest" in row.protocol.summary
    for name, words in (("again", ()), ("first", ("--rerank", "none")), ("counted", ("--rerank", "mutual_nearest"))):
        assert main(["evaluate", str(path), *words, "--out", str(tmp_path / name)]) == 0
    again, first, counted = (evaluated(tmp_path / name) for name in ("again", "first", "counted"))
    assert (again["metrics"], again["fingerprint"]) == (row.metrics, row.protocol.fingerprint)
    assert first["protocol"]["rerank"] is None and len({each["fingerprint"] for each in (again, first, counted)}) == 3
    assert first["metrics"]["recall@5"] == again["metrics"]["recall@5"]
    assert first["metrics"] == row.variants[0].metrics

    def found(name: str) -> list[list[str]]:
        (file,) = (tmp_path / name).glob("*/bob.txt")
        return [line.split() for line in file.read_text().splitlines()]

    before, after = found("first"), found("again")
    assert before != after
    for (query, *images), (asked, *anew) in zip(before, after, strict=True):
        assert query == asked and set(images[:5]) == set(anew[:5]) and images[5:] == anew[5:]


def test_files_of_predictions_and_descriptors_give_the_trials_numbers(runs, tmp_path):
    folder, tree = the_trial(runs), runs.parent / "tree"
    row = read_result(folder / "result.json")
    theirs = tmp_path / "theirs.txt"
    shutil.copy(folder / "predictions" / "bob.txt", theirs)
    assert main(["evaluate", str(theirs), "--data", str(tree), "--cities", "bob"]) == 0
    found = evaluated(tmp_path / "theirs.txt.evaluations")
    assert found["metrics"] == row.metrics
    assert found["protocol"] == row.protocol.model_dump(mode="json") | {"image_size": None}
    rng = np.random.default_rng(0)
    for side in read_city(tree, "bob").sides:
        np.savez(tmp_path / f"{side.side}.npz", keys=side.keys, descriptors=rng.normal(size=(len(side), 9)))
    paths = [str(tmp_path / f"{side}.npz") for side in ("query", "database")]
    assert main(["evaluate", *paths, "--data", str(tree), "--cities", "bob", "--storage", "float16"]) == 0
    assert evaluated(tmp_path / "query.npz.evaluations")["protocol"]["storage"] == "float16"


def test_cities_without_ground_truth_are_predicted(runs, tmp_path):
    tree = runs.parent / "tree"
    assert main(["evaluate", str(the_trial(runs)), "--predict", "kiel", "--out", str(tmp_path)]) == 0
    assert not list(tmp_path.glob("*/evaluation.json"))
    said, *more = (tmp_path / "submission.txt").read_text().splitlines()
    assert "MSLS' challenge takes no submissions since April 2026" in said
    lines = [line.split() for line in more if not line.startswith("#")]
    city = read_city(tree, "kiel")
    assert [line[0] for line in lines] == city.query.keys.tolist()
    assert all(len(set(line[1:])) == 20 and set(line[1:]) <= set(city.database.keys) for line in lines)
    own = the_trial(runs) / "predictions" / "submission.txt"
    assert own.read_text() == (tmp_path / "submission.txt").read_text()


def test_a_city_is_predicted_once(runs, tmp_path, capsys):
    """In a merged gallery its images would stand twice in a line."""
    words = [
        "evaluate",
        str(the_trial(runs)),
        "--predict",
        "kiel",
        "kiel",
        "--gallery",
        "merged",
        "--out",
        str(tmp_path),
    ]
    assert main(words) == 2
    assert "predict: a value is named twice: ['kiel', 'kiel']" in capsys.readouterr().err


def test_ground_truth_of_a_test_city_is_used_where_it_is(runs, tmp_path):
    tree = tmp_path / "tree"
    shutil.copytree(runs.parent / "tree", tree)
    write_city(tmp_path / "known", "kiel", num_query=5, num_database=25, seed=9)
    shutil.rmtree(tree / "test" / "kiel")
    (tmp_path / "known" / "train_val" / "kiel").rename(tree / "test" / "kiel")
    words = [str(the_trial(runs)), "--data", str(tree), "--cities", "kiel", "--out", str(tmp_path / "out")]
    assert main(["evaluate", *words]) == 0
    assert evaluated(tmp_path / "out")["protocol"]["num_queries"] == 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["TRIAL", "--cities", "kiel"],
            "kiel/query/postprocessed.csv: the city has no positions, and they are needed here",
        ),
        (["TRIAL", "--cities", "ada"], "a city to train on cannot validate"),
        (["TRIAL", "--dimensions", "8"], "only whitening can change the dimensions"),
        (["TRIAL", "--whitening", "train", "--dimensions", "4096"], "at most the 256 dimensions"),
        (
            ["TRIAL", "--whitening", "database"],
            "whitening to 256 dimensions must be learnt on more images than that; found 26",
        ),
        (["nobody"], "no such trial: 'nobody'"),
        (["TRIAL", "TRIAL"], "what is evaluated must be one trial"),
        (["FILE"], "files need the cities of a data set"),
        (["FILE", "--data", "TREE", "--cities", "bob", "--predict", "kiel"], "a file of predictions cannot predict"),
        (["FILE", "--data", "TREE", "--cities", "bob", "--whitening", "database"], "has no descriptors"),
        (["FILE", "/none.npz", "--data", "TREE", "--cities", "bob"], "/none.npz: there is no such file."),
        (["/none.txt", "--data", "TREE", "--cities", "bob"], "/none.txt: there is no such file."),
        (["FILE", "--data", "TREE", "--cities", "nowhere"], "the tree has no such city: 'nowhere'"),
    ],
)
def test_bad_input_is_one_message(runs, tmp_path, capsys, words, message):
    stands = {
        "TRIAL": str(the_trial(runs)),
        "FILE": str(the_trial(runs) / "predictions" / "bob.txt"),
        "TREE": str(runs.parent / "tree"),
    }
    arguments = [stands.get(word, word) for word in words]
    assert main(["evaluate", *arguments, "--runs", str(runs), "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_pruned_checkpoint_is_named(runs, tmp_path, capsys):
    shutil.copytree(the_trial(runs), tmp_path / the_trial(runs).name)
    shutil.rmtree(tmp_path / the_trial(runs).name / "checkpoint")
    assert main(["evaluate", str(tmp_path / the_trial(runs).name)]) == 2
    assert "the trial has no checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize(("width", "metrics"), [(80, 5), (90, 6), (140, 8)])
def test_a_narrow_terminal_gets_fewer_columns_and_whole_numbers(runs, tmp_path, monkeypatch, capsys, width, metrics):
    monkeypatch.setattr("vprdist.console.Console", lambda **more: Console(width=width))
    assert main(["evaluate", the_trial(runs).name, "--runs", str(runs), "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    (line,) = [line for line in said.splitlines() if line.startswith("│ subtask all")]
    assert len(line.split("│")) == 2 + 3 + metrics

"""A network learns and is measured alike, however its pictures lie; and so do its caches, and what asks for them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.data.walks import own_file, walk_data, write_walk
from tests.training.making import losses, make_trial, run_here
from tests.worlds import write_activations
from vprdist.cli import main
from vprdist.data.layouts import dataset_digest, layout_of
from vprdist.files import write_json
from vprdist.report.pictures import pictures_of
from vprdist.semantics.cache import open_cache
from vprdist.semantics.importing import import_cache
from vprdist.spec.trial import Digests, TrialSpec


def through_walk(trial: TrialSpec, tree: Path, folder: Path) -> TrialSpec:
    """The same trial, its pictures through a user's layout."""
    data = walk_data(tree, folder)
    digests = Digests(dataset=dataset_digest(data, ("ada", "bob")), cache=None, weights="none")
    return trial.model_copy(update={"data": data}).resolved(digests)


def test_the_same_pictures_give_the_same_losses_and_recalls(small_tree, tmp_path):
    trial = make_trial(small_tree, steps=2)
    own = through_walk(trial, small_tree, tmp_path)
    assert own.trial_id != trial.trial_id
    a, b = (run_here(each, tmp_path / "runs" / "trials" / each.trial_id) for each in (trial, own))
    assert a.metrics == b.metrics and a.untrained == b.untrained and a.final_loss == b.final_loss
    assert losses(tmp_path / "runs" / "trials" / trial.trial_id) == losses(tmp_path / "runs" / "trials" / own.trial_id)
    assert a.protocol.fingerprint != b.protocol.fingerprint, "they were measured on other files"


def test_a_cache_and_its_sheet_go_by_the_layout(small_tree, tmp_path, capsys):
    write_activations(small_tree, ("ada", "bob"), tmp_path / "npz")
    plain = import_cache(tmp_path / "npz", small_tree, tmp_path / "plain")
    root, file = write_walk(small_tree, tmp_path / "walk"), own_file(tmp_path)
    words = ["--data", str(root), "--layout", f"{file}:Walk"]
    assert main(["cache", "import", str(tmp_path / "npz"), *words, "--out", str(tmp_path / "own")]) == 0
    own = open_cache(tmp_path / "own")
    assert own.digest == plain.digest, "the same activations of the same keys"
    assert own.manifest.cities != plain.manifest.cities
    sheet = tmp_path / "sheet.png"
    assert main(["cache", "sheet", str(tmp_path / "own"), str(sheet), *words]) == 0 and sheet.stat().st_size > 1000
    assert main(["cache", "sheet", str(tmp_path / "own"), str(sheet), "--data", str(small_tree)]) == 2
    capsys.readouterr()
    assert main(["data", "info", *words[1:]]) == 0
    said = capsys.readouterr().out
    assert "ada" in said and "computed" in said


def test_a_trial_is_evaluated_on_data_of_another_layout(small_tree, tmp_path):
    trial = make_trial(small_tree, steps=1)
    folder = tmp_path / "runs" / "trials" / trial.trial_id
    write_json(folder / "trial.json", trial.to_json())
    row = run_here(trial, folder)
    root, file = write_walk(small_tree, tmp_path / "walk"), own_file(tmp_path)
    words = ["--data", str(root), "--layout", f"{{name: '{file}:Walk', step_m: 1.0}}", "--out", str(tmp_path / "out")]
    assert main(["evaluate", str(folder), *words]) == 0
    (path,) = (tmp_path / "out").glob("*/evaluation.json")
    assert json.loads(path.read_text())["metrics"] == row.metrics


def test_the_page_finds_pictures_by_the_layout(small_tree, tmp_path):
    trial = TrialSpec(data=walk_data(small_tree, tmp_path))
    pictures = pictures_of(trial)
    assert pictures.reason is None
    key = str(layout_of(trial.data).read("bob").query.keys[2])
    assert pictures.thumbnail("bob", "query", key) is not None
    assert pictures.thumbnail("bob", "query", "../bob_q002") is None
    gone = trial.model_copy(update={"data": trial.data.model_copy(update={"validate_cities": ("zoe",)})})
    assert "no such city: 'zoe'" in (pictures_of(gone).reason or "")


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ("mslss", "no such layout: 'mslss'. Did you mean 'msls'?"),
        ("nowhere.py:Walk", "no such file"),
        ("FILE:Walks", "has no class Walks"),
        ("{name: 'FILE:Walk', stepp_m: 2}", "has no parameter 'stepp_m'. Did you mean 'step_m'?"),
        ("{name: 'FILE:Walk', step_m: far}", "needs step_m: float; found 'far'"),
        ("{name: 'FILE:Walk', root: /x}", "is given root by vprdist"),
        ("{name: FILE:Walk, step_m: 2", "the value must be YAML"),
    ],
)
def test_a_layout_that_is_none_is_one_message(layout, message, tmp_path, capsys):
    words = layout.replace("FILE", str(own_file(tmp_path)))
    assert main(["data", "info", str(tmp_path), "--layout", words]) == 2
    said = capsys.readouterr().err
    assert message in " ".join(said.split()) and "Traceback" not in said

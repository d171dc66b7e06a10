"""Another class table as a user has it: activations of 150 classes to a cache, a plan, masks of groups, a page."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import warm
from tests.worlds import spread_queries
from vprdist.data.layouts.msls import read_city
from vprdist.semantics.cache import open_cache
from vprdist.spec.class_table import table_of

ADE = table_of("ade20k").classes
SWEEP = """
name: tiny
trial:
  data: {{root: {root}, train: [ada], validate: [bob]}}
  input: {{mode: masked, cache: {cache}, class_table: ade20k, conv1_init: random}}
  network: {{backbone: resnet18, weights: none, unfreeze: 0-2}}
  train: {{image_size: [32, 40], steps: 1, batch_pairs: 4, micro_pairs: 4, lr: 0.05, batch_norm: frozen}}
  evaluate: {{before_training: false}}
search:
  searcher: one_network
  subsets:
    groups: {{built: [house, building], thin: [pole, streetlight], green: [tree, plant, grass]}}
    placebos: [classes]
    finalists: 0
"""
BESIDE = SWEEP.partition("search:")[0].replace("name: tiny", "name: beside").replace("masked", "rgb+semantics")


def vprdist(*words: object) -> str:
    command = [sys.executable, "-m", *map(str, words)]
    done = warm.run(command, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    return " ".join(done.stdout.split())


@pytest.mark.slow
def test_150_classes_from_files_to_the_page(small_tree: Path, tmp_path: Path) -> None:
    source, cache, runs = tmp_path / "npz", tmp_path / "cache", tmp_path / "runs"
    source.mkdir()
    spread_queries(small_tree, "bob")
    rng = np.random.default_rng(0)
    for city in ("ada", "bob"):
        for side in read_city(small_tree, city).sides:
            values = rng.integers(0, 3, (len(side), 150, 8, 10)).astype(np.uint8)
            values[:, rng.integers(0, 150, 4)] += 50
            np.savez(source / f"{city}_{side.side}.npz", keys=side.keys, activations=values)
    words = ("vprdist", "cache", "import", source, "--data", small_tree, "--out", cache)
    told = vprdist(*words, "--class-table", "ade20k", "--top-k", 8, "--compression", "lz4")
    dropped = open_cache(cache).dropped()
    assert dropped is not None
    share = f"top 8 of 150 classes: {100 * dropped.share:.3g} % of the activations dropped ({dropped.dropped} of"
    assert share in told and f"at most {dropped.at_a_pixel} of 255 at a pixel" in told
    told = vprdist("vprdist", "cache", "info", cache)
    assert "classes: ade20k (wall, building, sky, floor, tree, ceiling, road, …)" in told and share in told
    sheet = tmp_path / "sheet.png"
    vprdist("vprdist", "cache", "sheet", cache, sheet, "--data", small_tree, "--classes", '["house", "pool table"]')
    assert sheet.stat().st_size > 0

    file, beside = tmp_path / "tiny.yaml", tmp_path / "beside.yaml"
    for path, text in ((file, SWEEP), (beside, BESIDE)):
        path.write_text(text.format(root=small_tree, cache=cache))
    vprdist("vprdist", "plan", file, "--runs", runs)
    told = vprdist("vprdist.sweep", file, "--runs", runs)
    (setting,) = json.loads((runs / "sweeps" / "tiny" / "attribution.json").read_text())["settings"]
    assert {row["player"] for row in setting["players"]} == {"built", "thin", "green"}
    assert all(set(row["placebos"]) == {"classes"} and row["area"] is not None for row in setting["players"])
    assert "built" in told and "green" in (runs / "sweeps" / "tiny" / "leaderboard.html").read_text()
    vprdist("vprdist.sweep", beside, "--runs", runs)
    (trial,) = (
        trial for path in runs.glob("trials/*/trial.json")
        if (trial := json.loads(path.read_text()))["input"]["mode"] == "rgb+semantics"
    )  # fmt: skip
    assert trial["input"]["class_table"] == "ade20k"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("trial.input.class_table=vistas65", "class 0 is 'wall', not 'Bird'"),
        ("trial.input.class_table=cityscapes", "one of the 19 classes"),
    ],
)  # fmt: skip
def test_a_cache_of_another_table_is_refused_before_anything_starts(
    small_tree: Path, tmp_path: Path, words: str, said: str
) -> None:
    source, cache = tmp_path / "npz", tmp_path / "cache"
    source.mkdir()
    for city in ("ada", "bob"):
        for side in read_city(small_tree, city).sides:
            values = np.ones((len(side), 150, 2, 3), np.uint8)
            np.savez(source / f"{city}_{side.side}.npz", keys=side.keys, activations=values, classes=np.array(ADE))
    vprdist("vprdist", "cache", "import", source, "--data", small_tree, "--out", cache)
    file = tmp_path / "beside.yaml"
    file.write_text(BESIDE.format(root=small_tree, cache=cache) if "vistas" in words else SWEEP.format(
        root=small_tree, cache=cache
    ))  # fmt: skip
    command = [sys.executable, "-m", "vprdist", "plan", str(file), "--runs", str(tmp_path / "runs"), words]
    done = warm.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 2
    assert said in " ".join((done.stdout + done.stderr).split())

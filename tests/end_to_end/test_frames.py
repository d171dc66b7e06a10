"""A sweep over traversals without positions, as a user runs it: planned, trained, measured a condition, shown."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.data.test_gsv_cities import write_gsv
from tests.end_to_end.test_layout import vprdist

FRAMES = 16
SWEEP = """
name: seasons
seeds: [0]
trial:
  data:
    root: {root}
    layout: {{name: frames, database: summer, tolerance: 2}}
    train: [north]
    validate: [south]
  network: {{backbone: resnet18, weights: none, unfreeze: 2-2}}
  train: {{image_size: [32, 40], steps: 2, batch_pairs: 4, micro_pairs: 4, batch_norm: frozen}}
  run: {{log_steps: 1}}
search:
  grid: {{train.lr: [0.05, 0.1]}}
"""


def write_seasons(root: Path) -> Path:
    """Two routes in three seasons: a picture's left half is its place, its brightness the season."""
    rng = np.random.default_rng(0)
    for route in ("north", "south"):
        places = rng.integers(0, 200, (FRAMES, 8, 20, 3), dtype=np.uint8)
        for light, season in enumerate(("summer", "fall", "winter")):
            (root / route / season).mkdir(parents=True)
            for frame, pixels in enumerate(places):
                picture = np.repeat(np.repeat(pixels + np.uint8(20 * light), 4, axis=0), 2, axis=1)
                Image.fromarray(picture).save(root / route / season / f"{frame:03d}.png")
    return root


@pytest.mark.slow
def test_traversals_are_planned_trained_and_measured_a_condition(tmp_path):
    root, runs, sweep = write_seasons(tmp_path / "data"), tmp_path / "runs", tmp_path / "sweep.yaml"
    sweep.write_text(SWEEP.format(root=root))
    planned = vprdist("plan", sweep, "--runs", runs)
    assert planned.returncode == 0, planned.stderr
    done = vprdist("sweep", sweep, "--runs", runs)
    assert done.returncode == 0, done.stderr + done.stdout
    said = " ".join((done.stdout + done.stderr).split())
    assert "labels: auto takes truth for north (no positions; graded, within 2 frames)" in said
    folder = runs / "sweeps" / "seasons"
    with (folder / "leaderboard.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 2
    for row in rows:
        trial = runs / "trials" / row["trial"]
        assert json.loads((trial / "trial.json").read_text())["digests"]["labels"] == "truth"
        result = json.loads((trial / "result.json").read_text())
        assert result["protocol"]["truth"] == "within 2 frames"
        queries = pq.read_table(trial / "predictions" / "queries.parquet").to_pylist()
        assert {each["subtask"] for each in queries} == {"all", "fall", "winter"}
        asked = [each for each in queries if each["subtask"] == "all"]
        assert len(asked) == 2 * FRAMES and all(each["easting"] is None for each in asked)
        for each in asked:
            frame = int(each["query"].split("-")[1])
            near = {f"{n:03d}" for n in range(max(0, frame - 2), min(FRAMES, frame + 3))}
            assert set(each["positives"]) == near and each["num_positives"] == len(near)
            assert each["hits"] == [key in near for key in each["retrieved"]]
    assert "winter" in (folder / "breakdown.csv").read_text()
    looked = vprdist("data", "info", root, "--layout", "{name: frames, database: summer, tolerance: 2}")
    assert looked.returncode == 0 and looked.stdout.count("truth") >= 2, "the column of labels: " + looked.stderr
    assert "winter" in (folder / "leaderboard.html").read_text()
    shown = vprdist("leaderboard", "seasons", "--runs", runs, "--parts")
    assert shown.returncode == 0 and "winter" in shown.stdout, shown.stderr


PLACES = """
name: places
seeds: [0]
trial:
  data: {{root: {root}, layout: gsv_cities, labels: truth, train: [London], validate: [Melbourne]}}
  network: {{backbone: resnet18, weights: none, unfreeze: all}}
  train: {{recipe: current, image_size: [32, 40], steps: 2, batch_pairs: 4, micro_pairs: 4, precision: float32}}
"""


@pytest.mark.slow
def test_places_of_gsv_cities_are_trained_on(tmp_path):
    """Places of four pictures and multi-similarity loss, as the data set was made for."""
    root, runs, sweep = write_gsv(tmp_path / "gsv"), tmp_path / "runs", tmp_path / "sweep.yaml"
    sweep.write_text(PLACES.format(root=root))
    done = vprdist("sweep", sweep, "--runs", runs)
    assert done.returncode == 0, done.stderr + done.stdout
    (result,) = (json.loads(path.read_text()) for path in runs.glob("trials/*/result.json"))
    assert result["trial"]["digests"]["labels"] == "truth" and result["protocol"]["truth"] == "of the same place_id"
    assert result["protocol"]["num_queries"] == 6 and np.isfinite(result["final_loss"])

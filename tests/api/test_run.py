"""`vprdist.run`: a sweep from a file, a text or a dictionary, driven as the command does and refused as it does."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import vprdist
from tests import warm
from tests.waiting import until
from vprdist.spec.sweep_file import read_sweep

SWEEP = {
    "name": "small",
    "seeds": [0],
    "trial": {
        "data": {"root": "", "train": ["ada"], "validate": ["bob"]},
        "network": {"backbone": "resnet18", "weights": "none", "unfreeze": "2-2"},
        "train": {"image_size": [32, 40], "steps": 2, "batch_pairs": 4, "micro_pairs": 4, "batch_norm": "frozen"},
        "run": {"log_steps": 1},
    },
    "search": {"grid": {"train.lr": [0.05, 0.1]}},
}
TEXT = """
name: mine
trial:
  network: {unfreeze: all}
  train: {steps: many}
"""


@pytest.mark.slow
def test_a_dictionary_is_run_to_its_leaderboard_and_not_run_twice(small_tree, tmp_path, capfd):
    umask = os.umask(0o022)
    os.umask(0o022)
    words = {"trial.data.root": small_tree, "trial.train.steps": np.int64(3)}
    sweep = vprdist.run(SWEEP, tmp_path / "runs", overrides=words)
    said = capfd.readouterr().out
    assert "small" in said and "\x1b" not in said
    found = {row["trial"]: row for row in sweep.results}
    assert len(found) == 2 and {row["steps"] for row in sweep.results} == {3} and len(sweep.failures) == 0
    assert sweep.folder == (tmp_path / "runs" / "sweeps" / "small").resolve() and sweep.page.is_file()
    assert os.umask(umask) == 0o022, "the driver's own umask is not left to the notebook"
    assert list(sweep.pictures(0)) == ["sheet"] and len(sweep.queries(0)) == sweep.leaderboard[0]["num_queries"]
    written = sweep.folder / "sweep.yaml"
    begun = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/trials/*/result.json")}
    again = vprdist.run(written, tmp_path / "runs", overrides={"name": "again"})
    assert {row["trial"] for row in again.results} == set(found)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/trials/*/result.json")} == begun


@pytest.mark.slow
def test_trials_that_fail_are_in_the_object(small_tree, tmp_path):
    text = f"""
name: fails
trial:
  data: {{root: {small_tree}, train: [ada], validate: [bob]}}
  network: {{backbone: resnet18, weights: none, unfreeze: 2-2}}
  train: {{image_size: [32, 40], steps: 2, batch_pairs: 4, micro_pairs: 4, lr: 1.0e+30, batch_norm: frozen}}
"""
    sweep = vprdist.run(text, tmp_path / "runs")
    (failure,) = sweep.failures
    assert len(sweep.results) == 0 and "finite" in failure["reason"] and failure["kind"] in ("died", "mistake")
    assert "1 trial(s) were given up" in sweep._repr_html_()


@pytest.mark.slow
def test_an_interrupted_call_leaves_jobs_running_and_says_so(small_tree, tmp_path):
    """A process as a kernel is: no terminal, SIGINT becomes KeyboardInterrupt."""
    code = f"""
import vprdist
sweep = {SWEEP!r}
sweep["trial"]["data"]["root"] = {str(small_tree)!r}
sweep["trial"]["train"]["steps"] = 100000
sweep["search"]["grid"]["train.lr"] = [0.05]
try:
    vprdist.run(sweep, {str(tmp_path / "runs")!r})
except KeyboardInterrupt:
    print("INTERRUPTED")
"""
    driver = warm.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    runs = tmp_path / "runs"
    try:
        until(lambda: any(path.stat().st_size for path in runs.glob("trials/*/metrics.jsonl")), 300)
        driver.send_signal(signal.SIGINT)
        said, _ = driver.communicate(timeout=300)
        assert "1 job(s) go on by themselves" in said and "INTERRUPTED" in said and driver.returncode == 0
        sweep = vprdist.load("small", runs=runs)
        (trial,) = sweep.status
        assert trial["state"] == "running"
        before = len(sweep.metrics(trial["trial"]))
        until(lambda: len(sweep.metrics(trial["trial"])) > before, 300)
    finally:
        driver.kill()
        command = [sys.executable, "-m", "vprdist", "cancel", "small", "--yes", "--runs", str(runs)]
        done = warm.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    until(lambda: sweep.failures["kind"] == ["cancelled"], 300)


def test_a_text_and_a_dictionary_say_what_the_file_says(tmp_path, monkeypatch):
    from vprdist.api.run import _read

    monkeypatch.chdir(tmp_path)
    file = Path("sweep.yaml")
    grid = "search: {grid: {train.lr: [0.05, 1e-3]}}\n"
    file.write_text(f"name: small\nseeds: [0, 1]\ntrial: {{train: {{steps: 2}}}}\n{grid}")
    given = {"name": "small", "seeds": (0, 1), "trial": {"train.steps": np.int32(2)},
             "search": {"grid": {"train.lr": np.array([0.05, 1e-3])}}}  # fmt: skip
    trials = read_sweep(file).trials
    assert [trial.train.lr for trial in trials] == [0.05, 0.05, 0.001, 0.001]
    for each in (file, str(file), file.read_text(), given):
        assert _read(each, {}).trials == trials
    words = ['trial.input.classes=["traffic sign", building]', "seeds=[3]"]
    overrides = {"trial.input.classes": ["traffic sign", "building"], "seeds": [3]}
    mode = {"trial.input.mode": "masked"}
    told = read_sweep(file, [*words, "trial.input.mode=masked"]).trials
    assert _read(given, overrides | mode).trials == told


@pytest.mark.parametrize(
    ("sweep", "overrides", "message"),
    [
        (TEXT, {}, "sweep:5: trial.train.steps: this must be a whole number; found 'many'"),
        (
            {"name": "mine", "trial": {"train": {"stepz": 1}}},
            {},
            "sweep: trial.train.stepz: unknown key. Did you",
        ),
        ({"trial": {}}, {}, "sweep: a sweep without a file must have a name. Set `name`."),
        ({"name": "a", "trial": {"train": {"lr": float("nan")}}}, {}, "sweep: a sweep file cannot hold this value"),
        (
            {"name": "a", "trial": {"train": {"lr": object()}}},
            {},
            "sweep: a sweep file cannot hold this value",
        ),
        ({"name": "a"}, {"trial.train.step": 3}, "override 'trial.train.step=3': trial.train.step: unknown key"),
        ({"name": "a"}, {"seeds": {1: object()}}, "overrides['seeds']: a sweep file cannot hold this value"),
        ("nosuch.yaml", {}, "nosuch.yaml: no such file. Check the path"),
        (3, {}, "run: a sweep must be a path, a text of YAML, or a dictionary; found 'int'"),
        ("- a\n- b\n", {}, "sweep: the file must be a mapping of keys"),
        ({"name": "a", "trial": {"data": {"root": "/no", "train": ["a"], "validate": ["b"]}}}, {}, "/no: "),
        ({"name": "a", "cluster": "nosuch"}, {}, "cluster: no such file of slurm/profiles: 'nosuch'"),
    ],
)
def test_bad_input_is_one_message_and_starts_nothing(tmp_path, monkeypatch, sweep, overrides, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(vprdist.UserError, match=re.escape(message)):
        vprdist.run(sweep, overrides=overrides)
    assert not list(tmp_path.glob("runs/trials/*"))

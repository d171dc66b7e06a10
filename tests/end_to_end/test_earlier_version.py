"""What version 0.1 began goes on under today's: its run folder, its running jobs, and those that wait in a queue."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.earlier import Version, earlier_version, today
from tests.waiting import until
from vprdist.files import read_json, read_json_lines
from vprdist.store.trial_folder import TrialFolder

SWEEP = """
name: old
trial:
  data: {{root: {root}, train: [ada], validate: [bob]}}
  network: {{backbone: resnet18, weights: none, unfreeze: 5-0}}
  train: {{image_size: [32, 40], steps: 6, batch_pairs: 4, micro_pairs: 4, margin: 0.4, optimizer: adamw, lr: 0.001,
           batch_norm: frozen}}
  run: {{log_steps: 1, evaluate_steps: 2}}
search:
  grid:
    train.loss: [gcl, contrastive]
    network.gem_p: [3.0, 2.0]
baseline: first
cluster: {profile}
"""
"""The spellings of version 0.1 on every level: values of the trial, and axes."""
DONE, KILLED, RUNNING, WAITING = "gcl 3.0", "gcl 2.0", "contrastive 3.0", "contrastive 2.0"


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Version:
    return earlier_version(tmp_path_factory.mktemp("earlier") / "code")


def sweep_words(file: Path, runs: Path) -> tuple[str, ...]:
    return ("-m", "vprdist.sweep", str(file), "--runs", str(runs))


def ids(runs: Path) -> dict[str, str]:
    """Trial ids by the row names of the sweep's manifest."""
    return {entry["name"]: entry["trial"] for entry in read_json(runs / "sweeps" / "old" / "manifest.json")["trials"]}


def places(runs: Path) -> dict[str, TrialFolder]:
    """The trials' folders by their row names."""
    return {name: TrialFolder.of(runs, trial) for name, trial in ids(runs).items()}


def kill_job(place: TrialFolder) -> None:
    """The whole job at once, as when its node dies."""
    group = read_json(place.job_file)["process_group"]
    os.killpg(group, signal.SIGKILL)
    until(lambda: not place.is_running)


@contextlib.contextmanager
def jobs_ended(runs: Path) -> Iterator[None]:
    """No job of the run folder is left behind, whatever the test finds."""
    try:
        yield
    finally:
        for file in runs.glob("trials/*/job.json"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(read_json(file)["process_group"] or 2**30, signal.SIGKILL)


def learned(place: TrialFolder) -> dict[str, Any]:
    """All numbers that a trial leaves, to the bit; not how long it took, nor where."""
    result = read_json(place.result_file)
    rows, _ = read_json_lines(place.metrics_file)
    names = ("trial_id", "metrics", "untrained", "city_metrics", "steps", "final_loss")
    return {
        **{name: result[name] for name in names},
        "losses": {row["step"]: row["loss"] for row in rows if row["kind"] == "train"},
        "on the way": {row["step"]: row["recall@1"] for row in rows if row["kind"] == "evaluate"},
        "ranking": (place.path / "predictions" / "bob.txt").read_bytes(),
        "protocol": place.result().protocol.fingerprint,
    }


def leave_in_the_middle(earlier: Version, file: Path, runs: Path) -> None:
    """The earlier version's driver is killed: a trial is over, one is killed too, one runs, one has not begun."""
    driver = earlier.start(*sweep_words(file, runs), HOLD=json.dumps([KILLED, RUNNING]))
    try:
        until(lambda: len(list(runs.glob("held-*"))) == 2 or driver.poll() is not None, 300)
        assert driver.poll() is None, driver.communicate()[0]
    finally:
        os.killpg(driver.pid, signal.SIGKILL)
        driver.communicate()
    kill_job(places(runs)[KILLED])


def go_on(file: Path, runs: Path) -> str:
    """Today's driver, to its end. It comes to the running job while that is held, and has begun what was killed."""
    driver, killed = today().start(*sweep_words(file, runs)), places(runs)[KILLED]
    try:
        until(lambda: len(killed.starts()) == 2 or driver.poll() is not None, 300)
        (runs / "go").touch()
        printed, _ = driver.communicate(timeout=570)
    finally:
        if driver.poll() is None:
            os.killpg(driver.pid, signal.SIGKILL)
            driver.communicate()
    assert driver.returncode == 0, printed
    return printed


@pytest.mark.slow
def test_a_sweep_that_was_killed_in_the_middle_goes_on(earlier: Version, small_tree: Path, tmp_path: Path) -> None:
    file, runs, undisturbed = tmp_path / "old.yaml", tmp_path / "runs", tmp_path / "undisturbed"
    (tmp_path / "two.yaml").write_text("kind: local\nmax_concurrent: 2\ncpus_per_task: 1\n")
    file.write_text(SWEEP.format(root=small_tree, profile=tmp_path / "two.yaml"))
    with jobs_ended(runs):
        leave_in_the_middle(earlier, file, runs)
        named = ids(runs)
        before = {name: place.job() for name, place in places(runs).items()}
        result = places(runs)[DONE].result_file.read_bytes()
        assert [name for name, place in places(runs).items() if place.has_result] == [DONE]
        assert places(runs)[RUNNING].is_running and not places(runs)[KILLED].is_running
        assert before[WAITING] is None
        printed = go_on(file, runs)

    assert ids(runs) == named, "the same trials, by the same names"
    found = places(runs)
    assert {name: len(place.starts()) for name, place in found.items()} == {DONE: 1, KILLED: 2, RUNNING: 1, WAITING: 1}
    assert found[DONE].result_file.read_bytes() == result, "what is over is not touched"
    assert found[DONE].job() == before[DONE]
    first, second = before[RUNNING], found[RUNNING].job()
    assert first and second and first.token == second.token, "the running job was adopted"
    steps = [row["step"] for row in found[KILLED].rows()[0] if row["kind"] == "train"]
    assert steps == [1, 2, 3, 4, 5, 6], "the killed one went on from its checkpoint"
    with (runs / "sweeps" / "old" / "leaderboard.csv").open() as stream:
        assert sorted(row["trial"] for row in csv.DictReader(stream)) == sorted(named.values())
    assert "4 of 4 trials" in printed

    with jobs_ended(undisturbed):
        earlier.run(*sweep_words(file, undisturbed))
    assert ids(undisturbed) == named
    for name, place in places(undisturbed).items():
        assert learned(found[name]) == learned(place), f"{name}: bit for bit what nobody disturbed"

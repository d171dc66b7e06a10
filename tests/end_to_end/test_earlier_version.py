"""What version 0.1 began goes on under today's: its run folder, its running jobs, and those that wait in a queue."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.earlier import Version, earlier_version, today
from tests.waiting import until
from tests.worlds import write_small_tree
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


def end(version: Version, place: TrialFolder) -> None:
    """A job of that trial, begun again and to its end, as a queue does with what was killed."""
    program = """
import sys
from pathlib import Path
from vprdist.distributed.world import World
from vprdist.store.trial_folder import TrialFolder
from vprdist.training.run import run_trial
place = TrialFolder(Path(sys.argv[1]))
run_trial(place.trial(), place.path, World(num_threads=1))
"""
    version.run("-c", program, str(place.path))


def without_disturbance(earlier: Version, found: dict[str, TrialFolder], runs: Path) -> dict[str, TrialFolder]:
    """The trials that began then, each run by the earlier version in one go."""
    program = """
import sys
from pathlib import Path
from vprdist.launch.folder import TrialFolder
from vprdist.training.run import run_trial
from vprdist.world import World
for path in map(Path, sys.argv[1:]):
    run_trial(TrialFolder(path).trial(), path, World(num_threads=1))
"""
    made = {name: TrialFolder.of(runs, place.trial_id) for name, place in found.items() if name != WAITING}
    for name, place in made.items():
        place.path.mkdir(parents=True)
        shutil.copy(found[name].trial_file, place.path)
    earlier.run("-c", program, *(str(place.path) for place in made.values()))
    return made


@pytest.mark.slow
def test_a_sweep_that_was_killed_in_the_middle_goes_on(earlier: Version, tmp_path: Path) -> None:
    """Its jobs end with the numbers of then; its driver makes the trials of today's computation, and says so."""
    file, runs, undisturbed = tmp_path / "old.yaml", tmp_path / "runs", tmp_path / "undisturbed"
    tree = write_small_tree(tmp_path / "tree", picture_size=(100, 80))
    (tmp_path / "two.yaml").write_text("kind: local\nmax_concurrent: 2\ncpus_per_task: 1\n")
    file.write_text(SWEEP.format(root=tree, profile=tmp_path / "two.yaml"))
    with jobs_ended(runs):
        leave_in_the_middle(earlier, file, runs)
        named, found = ids(runs), places(runs)
        assert [name for name, place in found.items() if place.has_result] == [DONE]
        assert found[RUNNING].is_running and not found[KILLED].is_running and found[WAITING].job() is None
        result, journal = found[DONE].result_file.read_bytes(), found[DONE].job()
        (runs / "go").touch()
        until(lambda: found[RUNNING].has_result, 300)
        end(today(), found[KILLED])
        printed = today().run(*sweep_words(file, runs))

    assert (found[DONE].result_file.read_bytes(), found[DONE].job()) == (result, journal), "what is over is not touched"
    steps = [row["step"] for row in found[KILLED].rows()[0] if row["kind"] == "train"]
    assert steps == [1, 2, 3, 4, 5, 6], "the killed one went on from its checkpoint"
    for name, place in without_disturbance(earlier, found, undisturbed).items():
        assert learned(found[name]) == learned(place), f"{name}: bit for bit what nobody disturbed"

    said = " ".join(printed.split())
    assert "results of an earlier computation are there (3 of computation 1): this code is of computation 2" in said
    assert "4 of 4 trials" in printed
    anew = places(runs)
    assert list(anew) == list(named) and not set(ids(runs).values()) & set(named.values()), "other trials, same names"
    assert {name: len(place.starts()) for name, place in anew.items()} == dict.fromkeys(named, 1)
    assert {place.result().protocol.computation for place in anew.values()} == {2}
    with (runs / "sweeps" / "old" / "leaderboard.csv").open() as stream:
        assert sorted(row["trial"] for row in csv.DictReader(stream)) == sorted(ids(runs).values())

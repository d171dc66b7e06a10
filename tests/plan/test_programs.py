"""What a plan says of programs: their time and space are those of their earlier trials, or unknown."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.report.making import result
from tests.report.test_own_numbers import own
from vprdist.cli import main
from vprdist.plan.estimate import estimate, read_results
from vprdist.plan.probe_cost import _seconds_a_picture
from vprdist.plan.space import space
from vprdist.search.progress import TrialReading
from vprdist.spec.profile import ClusterProfile
from vprdist.status.facts import Queue, read_facts
from vprdist.store.trial_folder import TrialFolder

LOCAL = ClusterProfile(kind="local")
SWEEP = """
trial: {job: {command: [python, train.py, --fast]}}
search: {grid: {params.lr: [0.1, 0.01]}}
objective: loss
direction: minimize
"""


def left(runs: Path, *results):
    for one in results:
        TrialFolder.of(runs, one.trial_id).write_result(one)
    return read_results(runs)


def test_a_programs_time_is_that_of_its_earlier_trials_alone(tmp_path):
    made = [own({"loss": 1.0}, lr=lr).model_copy(update={"wall_s": wall}) for lr, wall in ((1, 60), (2, 120), (3, 900))]
    other = own({"loss": 1.0}, lr=1, program="other.py").model_copy(update={"wall_s": 7200.0})
    found = left(tmp_path, *made, other, result(0.5))
    told = estimate(own({}, lr=9).trial, LOCAL, found)
    assert (told.hours, told.basis, told.count) == (pytest.approx(120 / 3600), "the same program", 3)
    assert estimate(own({}, program="new.py").trial, LOCAL, found).hours is None
    newer = own({}, lr=9).trial
    newer = newer.model_copy(update={"digests": newer.digests.model_copy(update={"code": {"job": "another text"}})})
    assert estimate(newer, LOCAL, found).basis == "similar trials"


def test_networks_are_not_estimated_from_programs(tmp_path):
    found = left(tmp_path, own({"loss": 1.0}))
    assert estimate(result(0.5).trial, LOCAL, found).hours is None
    assert _seconds_a_picture(result(0.5).trial, False, found, tmp_path)[0] is None


def test_space_is_told_from_trials_of_the_same_kind(tmp_path):
    network, program = result(0.5), own({"loss": 1.0})
    left(tmp_path, network)
    assert not space([program.trial], tmp_path, 1).measured and space([network.trial], tmp_path, 1).measured
    left(tmp_path, program)
    (tmp_path / "trials" / program.trial_id / "weights.bin").write_bytes(bytes(1_000_000))
    assert space([program.trial], tmp_path, 1).bytes > 1_000_000 > space([network.trial], tmp_path, 1).bytes


def test_a_plan_of_programs_shows_the_command_and_no_network(tmp_path, monkeypatch, capsys):
    (tmp_path / "train.py").write_text("print(1)\n")
    (tmp_path / "s.yaml").write_text(SWEEP)
    monkeypatch.chdir(tmp_path)
    assert main(["plan", "s.yaml", "--runs", "runs"]) == 0
    told = capsys.readouterr().out
    assert f"python {tmp_path / 'train.py'} --fast" in told.replace("\n", "")
    assert "multiply-adds" not in told and "networks" not in told and "unknown: a program leaves" in told
    assert not (tmp_path / "runs").exists()


def test_a_programs_numbers_stand_beside_its_bar_and_in_its_state(tmp_path):
    place = TrialFolder.of(tmp_path, own({}).trial_id)
    place.path.mkdir(parents=True)
    place.add_start({"time": 1.0, "host": "here"})
    lines = [
        '{"kind": "evaluate", "step": 1, "steps": 4, "loss": 0.5, "acc": 0.25, "note": "text", "time": 2.0}',
        '{"kind": "evaluate", "step": 2, "steps": 4, "loss": 1e-7, "acc": 0.5, "f1": 1, "other": 2, "more": 3}',
        '{"kind": "evaluate", "step": 3, "steps": 4, "loss": "text"}',
    ]
    place.metrics_file.write_text("\n".join(lines[:2]) + "\n")
    reading = TrialReading("mine", place)
    reading.read()
    assert reading.line.startswith("mine: running 2/4, ") and "loss 1e-07  acc 0.5  f1 1" in reading.line
    assert "other" not in reading.line and "R@1" not in reading.line
    facts = read_facts(place, "mine", "loss", Queue(None), {}, 10.0)
    assert (facts.step, facts.steps, facts.objective) == (2, 4, 1e-7)
    place.metrics_file.write_text("\n".join(lines) + "\n")
    assert read_facts(place, "mine", "loss", Queue(None), {}, 10.0).objective == 1e-7


def test_a_finished_trial_is_told_by_its_objective_whatever_its_size(tmp_path):
    one = own({"loss": 1.25e-7})
    left(tmp_path, one)
    assert TrialReading("mine", TrialFolder.of(tmp_path, one.trial_id)).ending("loss") == "mine: done, loss 1.25e-07"

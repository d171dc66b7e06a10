"""Hours, GPU-hours, bytes: each recomputed by hand, and the constants counted on the real things."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.launch.toy import toy_result
from tests.training.making import make_trial, run_here
from vprdist.errors import SweepFileError
from vprdist.network.model import build_network
from vprdist.plan.budget import GpuHours, check_budget, gpu_hours
from vprdist.plan.driver_cost import DRIVER_MB, driver_job_gb
from vprdist.plan.estimate import Estimate, estimate, read_results, total_hours
from vprdist.plan.probe_cost import ProbeCost
from vprdist.plan.space import checkpoint_bytes, space
from vprdist.prepare.resolve import LOOKER
from vprdist.spec.doors import BackboneName
from vprdist.spec.network import NetworkSpec
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.result import ResultRow
from vprdist.spec.sweep import SweepSpec
from vprdist.spec.sweep_file import read_sweep
from vprdist.spec.train import TrainSpec
from vprdist.spec.trial import Digests, TrialSpec

LOCAL = ClusterProfile(kind="local")
FOUR_GPUS = ClusterProfile(kind="slurm", partition="gpu", gpus_per_node=4, ranks=4, time_limit_min=90)


def trial_of(backbone: str = "resnet18", **train: Any) -> TrialSpec:
    recipe = {"image_size": (100, 100), "steps": 100, "batch_pairs": 8, "micro_pairs": 4}
    trial = TrialSpec(network=NetworkSpec(backbone=backbone), train=TrainSpec(**{**recipe, **train}))
    return trial.resolved(Digests(dataset="d", cache=None, weights="w"))


def row_of(trial: TrialSpec, train_s: float, wall_s: float, **changes: Any) -> ResultRow:
    values = {"trial": trial, "steps": trial.train.steps, "train_s": train_s, "wall_s": wall_s, **changes}
    return toy_result(trial).model_copy(update=values)


def test_the_same_recipe_is_the_median_of_its_results():
    trial = trial_of()
    rows = [row_of(trial, 100 * k, 100 * k + 20) for k in (1, 2, 50)]
    rows.append(row_of(trial_of(batch_pairs=16), 9999, 9999))  # another recipe does not count beside the same one
    found = estimate(trial_of(steps=400), LOCAL, rows)
    assert found == Estimate(pytest.approx((4 * 200 + 20) / 3600), "the same recipe", 3, peak_gb=0.001)


def test_similar_trials_are_scaled_by_pixels_pairs_and_ranks():
    rows = [row_of(trial_of(image_size=(50, 100), batch_pairs=4, steps=10), 30.0, 36.0)]
    found = estimate(trial_of(steps=100), LOCAL, rows)
    step = 3.0 * 2 * 2  # twice the pixels, twice the pairs
    assert found == Estimate(pytest.approx((100 * step + 6 * 2) / 3600), "similar trials", 1)
    two = estimate(trial_of(steps=100), ClusterProfile(kind="local", ranks=2), rows)
    assert two.hours == pytest.approx((100 * step / 2 + 6 * 2) / 3600)


def test_what_says_nothing_is_not_used():
    trial = trial_of()
    rows = [row_of(trial_of("resnet50"), 100, 120), row_of(trial, 0, 20, steps=0)]
    assert estimate(trial, LOCAL, rows) == Estimate(None, "nothing")
    assert estimate(trial, FOUR_GPUS, [row_of(trial, 100, 120)]).hours is None, "a CPU's time says nothing of a GPU's"
    assert estimate(trial, FOUR_GPUS, [row_of(trial, 100, 120, device="NVIDIA H100", num_ranks=4)]).count == 1
    resumed = row_of(trial, 100, 5000, starts=3)  # its wall time holds the time in the queue
    assert estimate(trial, LOCAL, [resumed]).hours == pytest.approx(100 / 3600)
    assert total_hours([Estimate(1.5, "the same recipe", 1), Estimate(None, "nothing")]) is None
    assert total_hours([Estimate(1.5, "the same recipe", 1), Estimate(2.0, "similar trials", 1)]) == 3.5
    assert total_hours([]) == 0


def test_an_unreadable_result_is_left_out(tmp_path):
    trial = trial_of()
    for name, text in (("a", toy_result(trial).model_dump_json(by_alias=True)), ("b", "{"), ("c", "{}")):
        (tmp_path / "trials" / name).mkdir(parents=True)
        (tmp_path / "trials" / name / "result.json").write_text(text)
    assert [row.trial for row in read_results(tmp_path)] == [trial]
    assert read_results(tmp_path / "none") == []


def sweep_of(tmp_path: Path, text: str) -> SweepSpec:
    (tmp_path / "mine.yaml").write_text(text)
    return read_sweep(tmp_path / "mine.yaml")


def test_a_budget_holds_to_the_hour(tmp_path):
    known, unknown = Estimate(0.5, "the same recipe", 1), Estimate(None, "nothing")
    assert gpu_hours(FOUR_GPUS, [known, known]) == GpuHours(4.0, False)
    assert gpu_hours(FOUR_GPUS, [known, unknown]) == GpuHours(2.0 + 4 * 1.5, True), "unknown: its whole time limit"
    assert gpu_hours(LOCAL, [known]) == GpuHours(0.0, False)
    sweep = sweep_of(tmp_path, "budget: {gpu_hours: 8, trials: 5}\n")
    check_budget(sweep, FOUR_GPUS, 5, [known] * 4)
    with pytest.raises(SweepFileError, match=r"budget.gpu_hours: .* at most 8 GPU-hours \(estimated\); found 10"):
        check_budget(sweep, FOUR_GPUS, 5, [known] * 5)
    with pytest.raises(SweepFileError, match=r"at their time limit, since no earlier result .* found 12"):
        check_budget(sweep, FOUR_GPUS, 5, [unknown] * 2)
    with pytest.raises(SweepFileError, match=r"budget.trials: the sweep must have at most 5 trials; found 6"):
        check_budget(sweep, FOUR_GPUS, 6, [])


@pytest.mark.parametrize(
    "backbone", sorted(name for name, each in BackboneName.door.built_in.items() if not each.facts.get("elsewhere"))
)
def test_parameters_are_those_of_the_real_networks(backbone):
    if backbone.startswith("efficientnet_lite"):
        pytest.importorskip("efficientnet_lite_pytorch", reason="needs the extra `demo`")
    trial = TrialSpec(network=NetworkSpec(backbone=backbone, weights="none"))
    with torch.device("meta"):
        network = build_network(trial, None)
    counted = sum(parameter.numel() for parameter in network.units.parameters())
    assert counted == BackboneName.of(backbone).fact("num_parameters")


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_space_is_counted_and_then_measured(small_tree, tmp_path, optimizer):
    trial = make_trial(small_tree, optimizer=optimizer, lr=0.001)
    trial = trial.model_copy(update={"network": NetworkSpec(backbone="resnet18", weights="none", unfreeze="2-2")})
    counted = space([trial], tmp_path / "not yet" / "there", 1)
    assert not counted.measured
    assert counted.free_bytes and counted.free_bytes > 2**20
    run_here(trial, tmp_path / "trials" / trial.trial_id)
    measured = space([trial], tmp_path, 1)
    assert measured.measured
    files = [path for path in (tmp_path / "trials").rglob("*") if path.is_file()]
    assert (measured.files, measured.bytes) == (len(files), sum(path.stat().st_size for path in files))
    # resnet18 with 2-2 trained: the optimizer holds state of one layer only, so the count is a bound.
    assert 0.3 * checkpoint_bytes(trial) < measured.bytes < 1.05 * checkpoint_bytes(trial) + 400_000
    assert measured.files <= counted.files


def test_a_detached_driver_asks_for_more_than_it_takes_and_for_weights_and_probes_on_top():
    """A node whose user's cache does not know the networks looks at them first, in a process that loads torch."""
    question = {
        "network": NetworkSpec(backbone="efficientnet_lite0").model_dump(mode="json"),
        "shown": [[96, 128], False],
    }
    # Its own peak: what the kernel tells who waits for it counts the process that it was started from.
    told = f"import runpy\nrunpy.run_module({LOOKER!r}, run_name='__main__')\nprint(open('/proc/self/status').read())"
    done = subprocess.run([sys.executable, "-c", told], input=json.dumps(question), capture_output=True, text=True)
    assert "digest" in done.stdout, done.stderr
    peak_kb = int(done.stderr.partition("VmHWM:")[2].split()[0])
    assert 0.5 < peak_kb / 1e6 < driver_job_gb() - DRIVER_MB / 1000
    assert driver_job_gb() * 1000 > DRIVER_MB
    assert driver_job_gb(probes_gb=3.0) == pytest.approx(driver_job_gb() + 3.0, abs=0.1)


def test_probes_of_unknown_length_count_with_every_jobs_time_limit():
    """Three networks of 100 probes are three arrays of seven jobs, each of one GPU."""
    profile = ClusterProfile(kind="slurm", gpus_per_node=4, ranks=4, time_limit_min=60)
    unknown = ProbeCost(num_networks=3, num_probes=100, num_pictures=None, device_s=None, basis="")
    found = gpu_hours(profile, unknown.estimates(profile))
    assert (found.hours, found.bound) == (24.0, True)
    known = ProbeCost(num_networks=3, num_probes=100, num_pictures=9, device_s=7200.0, basis="")
    assert gpu_hours(profile, known.estimates(profile)).hours == 2.0

"""Training and evaluation on a GPU: what the CPU finds, the same again, and no step that waits for the device."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.training.making import losses, make_cache, make_trial, run_here, start_ranks, weights_of
from tests.training.test_forms import formed
from vprdist.data.graph import city_graph
from vprdist.data.layouts.msls import read_city
from vprdist.distributed.ranks import Ranks
from vprdist.errors import Stopped
from vprdist.network.inputs import PlaceReader
from vprdist.network.model import build_network
from vprdist.spec.result import ResultRow
from vprdist.spec.trial import RunSpec, TrialSpec
from vprdist.training.loop import Trainer

RECIPES = {
    "frozen": {},
    "reference": {"micro_pairs": 2, "batch_norm": "reference", "lr": 1e-4},
    "all": {"pairs": "all", "optimizer": "adamw", "lr": 1e-4},
    "bf16": {"precision": "bf16"},
}
TOLERANCE = {"frozen": 1e-3, "reference": 0.15, "all": 5e-3}


def on_cpu(trial: TrialSpec, folder: Path) -> ResultRow:
    """The trial where torch finds no GPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        return run_here(trial, folder)


@pytest.mark.parametrize("recipe", ["frozen", "reference", "all"])
@pytest.mark.parametrize("mode", ["rgb", "masked", "rgb+mask"])
def test_a_gpu_trains_as_a_cpu_does(small_tree, tmp_path, mode, recipe):
    cache = None if mode == "rgb" else make_cache(small_tree, tmp_path)
    trial = make_trial(small_tree, cache, mode, **RECIPES[recipe])
    here, there = run_here(trial, tmp_path / "gpu"), on_cpu(trial, tmp_path / "cpu")
    assert here.device == torch.cuda.get_device_name() and there.device.startswith("cpu")
    assert "no GPU: ran on the CPU" in there.fallbacks and "no GPU: ran on the CPU" not in here.fallbacks
    assert 0 < here.peak_memory_mb < 2000
    found, expected = losses(tmp_path / "gpu"), losses(tmp_path / "cpu")
    assert found[1] == pytest.approx(expected[1], rel=1e-4)
    # Statistics of two images, and AdamW's first steps, magnify what rounding leaves.
    assert [found[step] for step in expected] == pytest.approx(list(expected.values()), rel=TOLERANCE[recipe])
    assert here.untrained == pytest.approx(there.untrained, abs=0.13), "one near tie of eight queries"


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_the_same_seed_gives_the_same_bits(small_tree, tmp_path, recipe):
    trial = make_trial(small_tree, make_cache(small_tree, tmp_path), "masked", **RECIPES[recipe])
    rows = [run_here(trial, tmp_path / name) for name in ("one", "two")]
    assert rows[0].metrics == rows[1].metrics and rows[0].final_loss == rows[1].final_loss
    first, second = (weights_of(tmp_path / name, trial) for name in ("one", "two"))
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_a_resumed_run_equals_an_uninterrupted_one_to_the_bit(small_tree, tmp_path, recipe):
    trial = make_trial(small_tree, **RECIPES[recipe])
    whole = run_here(trial, tmp_path / "whole")
    made = trainer(trial, small_tree, tmp_path / "cut")
    made.should_stop = lambda: made.progress.step >= 3
    with pytest.raises(Stopped):
        made.run()
    resumed = run_here(trial, tmp_path / "cut")
    assert resumed.metrics == whole.metrics and resumed.final_loss == whole.final_loss
    first, second = (weights_of(tmp_path / name, trial) for name in ("whole", "cut"))
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def trainer(trial: TrialSpec, root: Path, folder: Path) -> Trainer:
    cities, device = [read_city(root, "ada")], torch.device("cuda", 0)
    reader = PlaceReader(trial, trial.train.image_size)
    graphs = [city_graph(city, trial.data) for city in cities]
    network = build_network(trial, None).to(device)
    return Trainer(trial, network, cities, graphs, reader, Ranks(0, 1, device), folder, lambda row: None)


@pytest.mark.parametrize("mask_at", ["picture", "features"])
@pytest.mark.parametrize("recipe", list(RECIPES))
def test_no_step_waits_for_the_device(small_tree, tmp_path, monkeypatch, recipe, mask_at):
    trial = make_trial(small_tree, make_cache(small_tree, tmp_path), "masked", **RECIPES[recipe])
    shown = trial.input.model_copy(update={"mask_at": mask_at})
    quiet = trial.model_copy(update={"input": shown, "run": RunSpec(log_steps=100)})
    made, steps, step = trainer(quiet, small_tree, tmp_path / "t"), [], Trainer._step

    def watched(self: Trainer, batch: object) -> None:
        """The first steps load libraries and choose algorithms, which may wait."""
        torch.cuda.set_sync_debug_mode("error" if self.progress.step > 1 else "default")
        try:
            step(self, batch)
            steps.append(self.progress.step)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(Trainer, "_step", watched)
    made.run()
    assert steps == [0, 1, 2, 3, 4, 5]


def test_float32_is_no_tf32(small_tree, tmp_path):
    run_here(make_trial(small_tree, steps=1), tmp_path / "t")  # a job has begun: its choices hold in this process
    image = torch.randn(4, 64, 32, 40, generator=torch.Generator().manual_seed(0))
    weight = torch.randn(64, 64, 3, 3, generator=torch.Generator().manual_seed(1))
    exact = torch.nn.functional.conv2d(image.double(), weight.double())

    def error(found: Tensor) -> float:
        return float((found.double().cpu() - exact).abs().max() / exact.abs().max())

    assert error(torch.nn.functional.conv2d(image.cuda(), weight.cuda())) < 1e-5
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=True):
        assert error(torch.nn.functional.conv2d(image.cuda(), weight.cuda())) > 1e-5, "the test would see TF32"


@pytest.mark.parametrize("form", [None, {"mask_fill": "blur"}, {"mask_at": "features"}])
def test_a_compiled_step_trains_as_an_eager_one(small_tree, tmp_path, form):
    trial = make_trial(small_tree) if form is None else formed(small_tree, make_cache(small_tree, tmp_path), **form)
    compiled = trial.model_copy(update={"run": RunSpec(log_steps=1, compile=True)})
    run_here(compiled, tmp_path / "compiled")
    run_here(trial, tmp_path / "eager")
    expected = losses(tmp_path / "eager")
    assert np.allclose([losses(tmp_path / "compiled")[s] for s in expected], list(expected.values()), rtol=1e-3)


@pytest.mark.parametrize("recipe", [{}, {"pairs": "all"}, {"batch_norm": "sync", "micro_pairs": 2, "lr": 1e-3}])
def test_two_ranks_that_share_a_gpu_equal_one(small_tree, tmp_path, recipe):
    """NCCL refuses two ranks on one GPU, so these exchange by gloo; all else is as on two GPUs."""
    trial, folder = make_trial(small_tree, **recipe), tmp_path / "two"
    ranks = start_ranks(2, (trial, folder), env={**os.environ, "GLOO_ON_GPU": "1"})
    assert [rank.wait(timeout=120) for rank in ranks] == [0, 0]
    two = ResultRow.model_validate_json((folder / "result.json").read_text())
    assert two.num_ranks == 2 and two.device == torch.cuda.get_device_name()
    run_here(trial, tmp_path / "one")
    expected = losses(tmp_path / "one")
    assert np.allclose([losses(folder)[step] for step in expected], list(expected.values()), rtol=1e-3)

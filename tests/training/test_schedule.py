"""The rate's path against torch's own schedulers, driven as the reference drives them."""

from __future__ import annotations

import math

import pytest
import torch

from vprdist.spec.train import TrainSpec
from vprdist.training.schedule import learning_rate


def test_the_references_path_is_torchs_step_schedule_by_chunk():
    spec = TrainSpec(chunked=True, chunk_queries=10_000, lr_drop_pairs=250_000)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=25, gamma=0.1)
    for chunk in range(60):
        # Skipped queries make chunks shorter than 10,000 pairs: the rate goes by chunks all the same.
        assert learning_rate(spec, 280 * chunk, 16_250, chunk) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()


def test_joined_training_drops_by_pairs():
    spec = TrainSpec(lr=0.1, batch_pairs=32, lr_drop_pairs=250_000)
    rates = [learning_rate(spec, step, 16_250) for step in (0, 7812, 7813, 15_625)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.001]), "249,984 pairs were seen before step 7812"
    assert learning_rate(TrainSpec(lr_drop_pairs=None), 10**6, 10**7) == 0.1


@pytest.mark.parametrize(("warmup", "steps"), [(0.0, 10), (0.1, 50), (0.25, 7)])
def test_warm_up_and_cosine(warmup, steps):
    spec = TrainSpec(lr=0.3, warmup=warmup, schedule="cosine", lr_drop_pairs=None)
    rates = [learning_rate(spec, step, steps) for step in range(steps)]
    warm = math.ceil(warmup * steps)
    assert rates[:warm] == pytest.approx([0.3 * (step + 1) / warm for step in range(warm)])
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps - warm)
    for rate in rates[warm:]:
        assert rate == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert 0 < rates[-1] < 0.3 or steps - warm == 1


@pytest.mark.parametrize(("warmup", "steps"), [(0.0, 10), (0.1, 50), (0.25, 7)])
def test_warm_up_and_a_line(warmup, steps):
    spec = TrainSpec(lr=0.3, warmup=warmup, schedule="linear", lr_drop_pairs=None)
    rates = [learning_rate(spec, step, steps) for step in range(steps)]
    warm = math.ceil(warmup * steps)
    assert rates[:warm] == pytest.approx([0.3 * (step + 1) / warm for step in range(warm)])
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps - warm)
    for rate in rates[warm:]:
        assert rate == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0) and rates[-1] > 0

"""Describe pictures under many arms, as one rank of several: `python -m tests.evaluation.arms TRIAL OUT RANK WORLD`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from vprdist.data.layouts.msls import read_city
from vprdist.data.tasks import build_tasks
from vprdist.distributed.ranks import Ranks, join
from vprdist.distributed.world import World
from vprdist.evaluation.descriptors import Descriptors, describe_arms
from vprdist.evaluation.evaluate import Evaluation, Extra, evaluate_arms, learning_rows, wanted_rows
from vprdist.network.inputs import PlaceReader
from vprdist.network.model import build_network, set_mode
from vprdist.spec.arms import Arm
from vprdist.spec.trial import TrialSpec

ARMS = (
    Arm(("building", "pole")), Arm(("building", "pole"), "random"), Arm(("sky",), "image"),
    Arm(("pole", "sky"), "classes"), Arm(()),
)  # fmt: skip


def described(trial: TrialSpec, arms: Sequence[Arm] | None, ranks: Ranks) -> list[Descriptors] | None:
    """What the trial's evaluation asks for."""
    torch.manual_seed(0)
    network = build_network(trial, None)
    set_mode(network, trial.train.batch_norm, training=False)
    tasks = build_tasks([read_city(Path(trial.data.root), name) for name in trial.data.validate_cities], trial)
    wanted = wanted_rows(tasks, learning_rows(trial.evaluate, tasks, ()), Extra())
    return describe_arms(network, PlaceReader(trial, (32, 40)), wanted, arms, ranks)


def evaluated(trial: TrialSpec, arms: Sequence[Arm], ranks: Ranks) -> list[Evaluation] | None:
    """The whole evaluation."""
    torch.manual_seed(0)
    network = build_network(trial, None)
    tasks = build_tasks([read_city(Path(trial.data.root), name) for name in trial.data.validate_cities], trial)
    return evaluate_arms(network, trial, tasks, arms, ranks)


if __name__ == "__main__":
    trial_file, out, rank, world = sys.argv[1:]
    torch.set_num_threads(1)
    trial = TrialSpec.model_validate_json(Path(trial_file).read_text())
    with join(
        World(rank=int(rank), world_size=int(world), local_rank=int(rank)), Path(out) / "rendezvous.json"
    ) as ranks:
        found = described(trial, ARMS, ranks)
        assert (found is None) == (rank != "0")
        for number, each in enumerate(found or ()):
            np.save(Path(out) / f"{number}.npy", each.values_ND)

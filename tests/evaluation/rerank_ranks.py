"""Evaluate a tree in two stages, as a rank of several: `python -m tests.evaluation.rerank_ranks ROOT OUT RANK N`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from tests.evaluation.ranks import TRIAL
from vprdist.data.layouts.msls import read_city
from vprdist.data.tasks import breakdown_tasks, build_tasks
from vprdist.distributed.ranks import Ranks, join
from vprdist.distributed.world import World
from vprdist.evaluation.evaluate import Evaluation, Extra, evaluate
from vprdist.evaluation.rerank import second_stage
from vprdist.network.model import build_network
from vprdist.spec.doors import RerankName
from vprdist.spec.evaluate import EvaluateSpec
from vprdist.spec.trial import TrialSpec


def two_stages(**more: object) -> TrialSpec:
    rerank = RerankName.of("mutual_nearest", **{"top": 6, "score": "cosines", **more})
    return TRIAL.model_copy(update={"evaluate": EvaluateSpec(rerank=rerank)})


def evaluated(root: Path, ranks: Ranks, trial: TrialSpec) -> Evaluation | None:
    """`ada` and `bob`, with their subtasks, in blocks of a few queries."""
    cities = [read_city(root, name) for name in ("ada", "bob")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(second_stage, "BLOCK_QUERIES", 3)
        network = build_network(TRIAL, None)
        return evaluate(network, trial, build_tasks(cities, trial), ranks, extra=Extra(breakdown_tasks(cities, trial)))


if __name__ == "__main__":
    root, out, rank, world = sys.argv[1:]
    torch.set_num_threads(1)
    here = World(rank=int(rank), world_size=int(world), local_rank=int(rank))
    with join(here, Path(out) / "rendezvous.json") as ranks:
        found = evaluated(Path(root), ranks, two_stages())
        assert (found is None) == (rank != "0")
        if found is not None:
            told = [found.ranking.predictions, found.metrics, {n: r.predictions for n, r in found.subtasks.items()}]
            (Path(out) / "told.json").write_text(json.dumps(told))

"""Describe the cities of a tree as one rank of several: `python -m tests.evaluation.ranks ROOT OUT RANK WORLD`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from vprdist.data.layouts.msls import read_city
from vprdist.distributed.ranks import Ranks, join
from vprdist.distributed.world import World
from vprdist.errors import TrainingError
from vprdist.evaluation.descriptors import Descriptors, describe
from vprdist.network.inputs import PlaceReader
from vprdist.network.model import build_network
from vprdist.spec.network import NetworkSpec
from vprdist.spec.train import TrainSpec
from vprdist.spec.trial import TrialSpec

TRIAL = TrialSpec(
    network=NetworkSpec(backbone="resnet18", weights="none"), train=TrainSpec(image_size=(32, 40), batch_norm="frozen")
)


def described(root: Path, ranks: Ranks, *, broken: bool = False) -> Descriptors | None:
    """Both sides of `ada` and `bob`, but every second row of one of them."""
    cities = [read_city(root, name) for name in ("ada", "bob")]
    wanted = [(side, np.arange(0, len(side), 1 + (side.side == "query"))) for city in cities for side in city.sides]
    network = build_network(TRIAL, None).eval()
    if broken and ranks.rank == ranks.world_size - 1:
        network.stem.register_forward_hook(lambda module, inputs, output: output * float("nan"))
    return describe(network, PlaceReader(TRIAL, (32, 40)), wanted, ranks)


if __name__ == "__main__":
    root, out, rank, world = sys.argv[1:]
    torch.set_num_threads(1)
    here = World(rank=int(rank), world_size=int(world), local_rank=int(rank))
    with join(here, Path(out) / "rendezvous.json") as ranks:
        descriptors = described(Path(root), ranks)
        assert (descriptors is None) == (rank != "0")
        if descriptors is not None:
            np.save(Path(out) / "values.npy", descriptors.values_ND)
        try:
            described(Path(root), ranks, broken=True)
        except TrainingError as error:
            (Path(out) / f"refused-{rank}").write_text(str(error))

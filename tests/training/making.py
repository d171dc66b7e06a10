"""Makes trials on small trees, runs them here or by ranks of their own, and reads what they left."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import warm
from tests.worlds import write_activations
from vprdist.data.graph import city_graph
from vprdist.data.layouts import dataset_digest
from vprdist.data.layouts.msls import read_city
from vprdist.distributed.ranks import Ranks
from vprdist.distributed.world import World
from vprdist.errors import Stopped
from vprdist.files import read_json_lines
from vprdist.network.inputs import PlaceReader
from vprdist.network.model import build_network
from vprdist.semantics.cache import open_cache
from vprdist.semantics.importing import import_cache
from vprdist.spec.computation import COMPUTATION
from vprdist.spec.data import DataSpec
from vprdist.spec.input import InputSpec
from vprdist.spec.network import NetworkSpec
from vprdist.spec.result import ResultRow
from vprdist.spec.train import TrainSpec
from vprdist.spec.trial import Digests, RunSpec, TrialSpec
from vprdist.training.checkpoint import load_checkpoint
from vprdist.training.loop import Trainer
from vprdist.training.run import run_trial

REPO = Path(__file__).resolve().parents[2]
RANK = (sys.executable, "-m", "tests.training.ranks")
CPU = Ranks(0, 1, torch.device("cpu"))


def make_trial(root: Path, cache: Path | None = None, mode: str = "rgb", **train: object) -> TrialSpec:
    recipe = {
        "image_size": (32, 40),
        "steps": 6,
        "batch_pairs": 4,
        "micro_pairs": 4,
        "lr": 0.05,
        "batch_norm": "frozen",
    }
    trial = TrialSpec(
        data=DataSpec(root=str(root), train=("ada",), validate_cities=("bob",)),
        input=InputSpec(mode=mode, cache=str(cache) if cache else None),
        network=NetworkSpec(backbone={"name": "resnet18", "end": "layer3"}, weights="none", unfreeze="2-1"),
        train=TrainSpec(**{**recipe, **train}),
        run=RunSpec(log_steps=1),
    )
    held = open_cache(cache).manifest.digest_of(("ada", "bob")) if cache else None
    dataset = dataset_digest(trial.data, ("ada", "bob"))
    return trial.resolved(Digests(dataset=dataset, cache=held, weights="none", computation=COMPUTATION))


def run_here(trial: TrialSpec, folder: Path) -> ResultRow:
    run_trial(trial, folder, World(num_threads=1))
    return ResultRow.model_validate_json((folder / "result.json").read_text())


def cut_here(trial: TrialSpec, root: Path, folder: Path, steps: int) -> None:
    """Train so many steps in this process, on `ada`, and stop there as a job that is asked to leave does."""
    city, rows = read_city(root, "ada"), list[dict[str, Any]]()
    reader = PlaceReader(trial, trial.train.image_size, teaches=True)
    made = Trainer(
        trial, build_network(trial, None), [city], [city_graph(city, trial.data)], reader, CPU, folder, rows.append,
        lambda: sum(row["kind"] == "train" for row in rows) >= steps,
    )  # fmt: skip
    with pytest.raises(Stopped):
        made.run()


def losses(folder: Path) -> dict[int, float]:
    rows, _ = read_json_lines(folder / "metrics.jsonl")  # also of a run that writes the last one just now
    return {row["step"]: row["loss"] for row in rows if row["kind"] == "train"}


def make_cache(root: Path, folder: Path) -> Path:
    write_activations(root, ("ada", "bob"), folder / "npz")
    import_cache(folder / "npz", root, folder / "cache")
    return folder / "cache"


def start_ranks(world: int, *runs: tuple[TrialSpec, Path], **options: Any) -> list[warm.Popen]:
    """So many processes, each one rank of every trial in turn; `runs`: (trial, its folder)."""
    words = [[*RANK, str(rank), str(world), *_written(runs)] for rank in range(world)]
    return [warm.Popen(each, cwd=REPO, **options) for each in words]


def _written(runs: Sequence[tuple[TrialSpec, Path]]) -> list[str]:
    """The folders of runs, each with its trial."""
    for trial, folder in runs:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "trial.json").write_text(json.dumps(trial.to_json()))
        # A rank that reads the address of an earlier start waits there for ever: each has a rendezvous of its own.
        (folder / "rendezvous.json").unlink(missing_ok=True)
    return [str(folder) for _, folder in runs]


class TwoRanks:
    """Two processes, each one rank of every trial that they are given: they load torch once for many tests."""

    def __init__(self) -> None:
        self._ranks: list[warm.Popen] = []

    def run(self, *runs: tuple[TrialSpec, Path]) -> None:
        """Train and evaluate each in turn. The next call starts new processes where one of these failed."""
        order = json.dumps(_written(runs))
        if not self._ranks:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            words = [[*RANK, str(rank), "2"] for rank in range(2)]
            self._ranks = [warm.Popen(each, cwd=REPO, **pipes) for each in words]  # type: ignore[call-overload]
        said, late = list[str](), threading.Timer(600, self.close)
        late.start()
        try:
            for rank in self._ranks:
                print(order, file=rank.stdin, flush=True)
            said = [rank.stdout.readline() for rank in self._ranks]  # type: ignore[union-attr]
        except BrokenPipeError:
            pass  # it died between two orders: said below
        finally:
            late.cancel()
        if said != ["done\n", "done\n"]:
            self.close()
            raise AssertionError("a rank failed, or took ten minutes: see above")

    def close(self) -> None:
        for rank in self._ranks:
            rank.kill()
            rank.wait()
        self._ranks = []


def weights_of(folder: Path, trial: TrialSpec) -> dict[str, torch.Tensor]:
    state = load_checkpoint(folder / "checkpoint", trial.trial_id)
    assert state is not None
    return state["network"]


def check_same_weights(first: Path, second: Path, trial: TrialSpec) -> None:
    """Two runs of a trial ended with the same weights, to the last bit."""
    one, other = weights_of(first, trial), weights_of(second, trial)
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name

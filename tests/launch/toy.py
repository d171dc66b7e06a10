"""A trial function without torch: some rows, a checkpoint, a result. `toy.json` beside `trials/` says how."""

from __future__ import annotations

import importlib
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from vprdist.distributed.world import World
from vprdist.errors import DataError, Stopped
from vprdist.files import append_json_line, write_json, write_text
from vprdist.spec.profile import ClusterProfile
from vprdist.spec.result import Protocol, ResultRow
from vprdist.spec.trial import Digests, TrialSpec
from vprdist.spec.vocabulary import KS

JOB = "toy:run_toy"
for _name in os.environ.get("TOY_LOADS", "").split():  # as the function that trains loads torch
    importlib.import_module(_name)
PROFILE = ClusterProfile(kind="local", max_concurrent=2, poll_s=0.1, max_attempts=2)


def toy_trials(count: int, first: int = 0) -> list[TrialSpec]:
    """Trials that differ in their seed."""
    digests = Digests(dataset="d", cache=None, weights="w")
    return [TrialSpec(seed=seed).resolved(digests) for seed in range(first, first + count)]


def behave(runs: Path, **behaviour: Any) -> None:
    """Say how the jobs behave.

    steps, dt (seconds a step), die {seed: times}, kill {seed: times} (by SIGKILL), die_on [nodes], user_error [seeds],
    hold (until `go` is there).
    """
    write_json(runs / "toy.json", behaviour)


def run_toy(trial: TrialSpec, folder: Path, world: World) -> None:
    """Counts to `steps`, resuming from its checkpoint."""
    behaviour = json.loads((folder.parents[1] / "toy.json").read_text())
    told = {"gpus": os.environ.get("CUDA_VISIBLE_DEVICES"), "cpus": os.environ.get("SLURM_CPUS_PER_TASK")}
    told |= {"started_by": os.environ.get("STARTED_BY"), "gpu_share": os.environ.get("VPRDIST_GPU_SHARE")}
    print(f"toy {trial.seed} begins", flush=True)
    seen = {"rank": world.rank, "local": world.local_rank, **told}
    append_json_line(folder / "ranks.jsonl", seen)
    if world.rank:
        return
    if trial.seed in behaviour.get("user_error", []):
        raise DataError("toy.csv", "a place has no position", None, "Mend the toy.")
    starts = len((folder / "log" / "starts.jsonl").read_text().splitlines())
    checkpoint, steps = folder / "checkpoint" / "step", int(behaviour.get("steps", 3))
    first = int(checkpoint.read_text()) if checkpoint.exists() else 0
    for step in range(first, steps):
        time.sleep(float(behaviour.get("dt", 0.02)))
        row = {"kind": "train", "step": step + 1, "steps": steps, "loss": 1.0 / (step + 1), "pairs_per_s": 1.0}
        append_json_line(folder / "metrics.jsonl", row)
        write_text(checkpoint, str(step + 1))
        if os.environ.get("SLURMD_NODENAME") in behaviour.get("die_on", []):
            os._exit(9)
        if world.should_stop():
            append_json_line(folder / "metrics.jsonl", {"kind": "checkpoint", "step": step + 1})
            raise Stopped
        if starts <= behaviour.get("die", {}).get(str(trial.seed), 0):
            print(f"toy {trial.seed} dies on start {starts}", flush=True)
            os._exit(9)
        if starts <= behaviour.get("kill", {}).get(str(trial.seed), 0):
            os.kill(os.getpid(), signal.SIGKILL)
    while behaviour.get("hold") and not (folder.parents[1] / "go").exists():
        if behaviour["hold"] == "asked" and world.should_stop():
            raise Stopped
        time.sleep(0.02)
    append_json_line(folder / "metrics.jsonl", {"kind": "evaluate", "step": steps, "recall@1": 0.5})
    write_json(
        folder / "result.json",
        toy_result(trial, starts, world.world_size, world.num_threads or 0).model_dump(mode="json", by_alias=True),
    )


def bare_toy(trial: TrialSpec, folder: Path) -> None:
    """The same work without vprdist around it, for benchmarks."""
    write_json(folder / "result.json", toy_result(trial).model_dump(mode="json", by_alias=True))


def toy_result(trial: TrialSpec, starts: int = 1, num_ranks: int = 1, num_threads: int = 1) -> ResultRow:
    """A row as a real trial leaves it."""
    metrics = {f"{metric}@{k}": trial.seed / 100 for metric in ("recall", "map") for k in KS}
    protocol = Protocol(
        dataset="d", cities=("toy",), subtask="all", gallery="city", positive_radius_m=25.0, image_size=(32, 32),
        num_queries=1, num_database=1,
    )  # fmt: skip
    return ResultRow(
        trial_id=trial.trial_id, trial=trial, protocol=protocol, metrics=metrics, steps=3,
        final_loss=0.1, wall_s=1.0, train_s=1.0, num_ranks=num_ranks, device="cpu", peak_memory_mb=1.0, starts=starts,
        environment={"num_threads": num_threads},
    )  # fmt: skip

"""One trial from its spec to its result: what a job does on its node."""

from __future__ import annotations

import os
import platform
import resource
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from vprdist import __version__
from vprdist.data.digest import dataset_digest
from vprdist.data.msls import read_city
from vprdist.data.tasks import build_tasks
from vprdist.errors import UserError
from vprdist.evaluation.evaluate import describe_protocol, evaluate
from vprdist.evaluation.sheet import write_sheet
from vprdist.files import append_json_line, digest_file, read_json_lines, write_json
from vprdist.network.backbones import FAMILIES
from vprdist.network.inputs import PlaceReader
from vprdist.network.model import build_network
from vprdist.ranks import Ranks, join
from vprdist.spec.result import ResultRow
from vprdist.spec.trial import TrialSpec
from vprdist.training.loop import Trainer


def run_trial(
    trial: TrialSpec, folder: Path, *, rank: int = 0, world_size: int = 1, local_rank: int = 0,
    rendezvous: Path | None = None, num_threads: int | None = None,
) -> None:  # fmt: skip
    """Train and evaluate; resumes from `folder/checkpoint` when there is one; rank 0 publishes `result.json` last.

    Args:
        trial: resolved, with its digests.
        folder: the trial's folder on shared storage.
        rank, world_size, local_rank: this process among the job's tasks.
        rendezvous: a file, of this start of the job alone, through which the ranks meet.
        num_threads: torch's CPU threads for this rank; None leaves torch's choice.

    Raises:
        UserError: bad data, weights or cache, or a loss that is not finite.
    """
    if num_threads:
        torch.set_num_threads(num_threads)
    # One convolution algorithm for one shape: the same seed gives the same result.
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    with join(rank, world_size, local_rank, rendezvous or folder / "rendezvous.json") as ranks:
        _Run(trial, folder, ranks).run()


class _Run:
    """The stages of one trial on one rank."""

    def __init__(self, trial: TrialSpec, folder: Path, ranks: Ranks) -> None:
        self.trial, self.folder, self.ranks = trial, folder, ranks
        self.begin = time.time()
        self.shown = 0.0

    def run(self) -> None:
        trial, root = self.trial, Path(self.trial.data.root)
        self.stage("reading cities", 0, 1)
        tasks = build_tasks([read_city(root, name) for name in trial.data.validate_cities], trial)
        weights, fallbacks = initial_weights(trial)
        network = build_network(trial, weights).to(self.ranks.device)
        untrained = self._untrained(lambda: evaluate(network, trial, tasks, self.ranks, self.stage).metrics)
        trainer = None
        if trial.train.steps:
            reader = PlaceReader(trial, trial.train.image_size)
            cities = [read_city(root, name) for name in trial.data.train]
            trainer = Trainer(trial, network, cities, reader, self.ranks, self.folder, self.report)
            trainer.run()
        evaluation = evaluate(network, trial, tasks, self.ranks, self.stage)
        if not self.ranks.is_first:
            return
        self.report({"kind": "evaluate", "step": trial.train.steps, **evaluation.metrics})
        evaluation.write_predictions(self.folder / "predictions")
        reader = PlaceReader(trial, trial.evaluate.image_size or trial.train.image_size)
        write_sheet(self.folder / "predictions" / "sheet.png", reader, tasks, evaluation)
        fallbacks += () if self.ranks.device.type == "cuda" else ("no GPU: ran on the CPU",)
        starts = self._starts()
        row = ResultRow(
            trial_id=trial.trial_id,
            trial=trial,
            protocol=describe_protocol(tasks, trial, dataset_digest(root, trial.data.validate_cities)),
            metrics=evaluation.metrics,
            untrained=untrained if trial.train.steps else evaluation.metrics,
            city_metrics=evaluation.city_metrics,
            steps=trial.train.steps,
            final_loss=trainer.progress.last_loss if trainer else None,
            wall_s=round(time.time() - starts[0], 2),
            train_s=round(trainer.progress.train_s, 2) if trainer else 0.0,
            num_ranks=self.ranks.world_size,
            device=_device_name(self.ranks.device),
            peak_memory_mb=round(_peak_memory_mb(self.ranks.device), 1),
            starts=len(starts),
            fallbacks=fallbacks,
            environment=environment(),
        )
        write_json(self.folder / "result.json", row.model_dump(mode="json", by_alias=True))

    def _untrained(self, measure: Callable[[], Mapping[str, float]]) -> dict[str, float] | None:
        """Metrics before training; a resumed run takes them from the rows of its first start."""
        if not (self.trial.evaluate.before_training and self.trial.train.steps):
            return None
        rows, _ = read_json_lines(self.folder / "metrics.jsonl")
        for row in rows:
            if row.get("kind") == "untrained":
                return {name: row[name] for name in row if "@" in name}
        # Every rank takes part in the measuring, or none: rank 0 alone appends the row, after all have read.
        self.ranks.barrier()
        metrics = dict(measure())
        self.report({"kind": "untrained", "step": 0, **metrics})
        return metrics

    def report(self, row: dict[str, Any]) -> None:
        """Append a row to metrics.jsonl (rank 0)."""
        if self.ranks.is_first:
            append_json_line(self.folder / "metrics.jsonl", {**row, "time": round(time.time(), 3)})

    def stage(self, name: str, done: int, total: int) -> None:
        """Say what is being done, at most once a second."""
        if done in (0, total) or time.monotonic() - self.shown > 1:
            self.shown = time.monotonic()
            self.report({"kind": "stage", "stage": name, "done": done, "total": total})

    def _starts(self) -> list[float]:
        """When the job was started, each time; a run outside a job was started once, now."""
        rows, _ = read_json_lines(self.folder / "log" / "starts.jsonl")
        return [float(row["time"]) for row in rows] or [self.begin]


def initial_weights(trial: TrialSpec) -> tuple[Path | None, tuple[str, ...]]:
    """The file of the initial weights, checked against the trial's digest, and what was fallen back to.

    Raises:
        UserError: the file is not the one that the trial was hashed with.
    """
    assert trial.digests is not None
    wanted = trial.digests.weights
    if wanted == "none":
        fell = trial.network.weights != "none"
        return None, (f"no pretrained weights for {trial.network.backbone}: started from random ones",) if fell else ()
    path = FAMILIES[trial.network.backbone].find_weights(trial.network.backbone)
    if (found := digest_file(path, 16)) != wanted:
        raise UserError(path, f"the initial weights have the digest {wanted}", found, "Install the same weights again.")
    return path, ()


def environment() -> dict[str, Any]:
    """The facts of this process that a later reader may want."""
    return {
        "vprdist": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "host": socket.gethostname(),
        "threads": torch.get_num_threads(),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
    }


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu x{torch.get_num_threads()}"


def _peak_memory_mb(device: torch.device) -> float:
    """Peak of the GPU's memory, or of this process where there is none."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

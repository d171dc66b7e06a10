"""The training loop of one trial. What comes next depends on the step number alone, so a resumed run is exact.

A step takes `batch_pairs` pairs, split evenly over the ranks and then into micro-batches; gradients are means over
the whole batch. With `batch_norm: reference` every BatchNorm layer, frozen units included, runs in training mode and
sees the images of one side of one micro-batch (GCL's published behaviour). With `frozen` all of them use and keep the
initial statistics; then ranks and micro-batches change nothing but rounding.
"""

from __future__ import annotations

import contextlib
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from vprdist.data.msls import City
from vprdist.data.pairs import PairSampler, PairStream, city_graph
from vprdist.errors import TrainingError
from vprdist.network.inputs import Batch, PlaceReader
from vprdist.network.model import PlaceNetwork, set_mode
from vprdist.ranks import Ranks
from vprdist.spec.trial import TrainSpec, TrialSpec
from vprdist.training.batches import PairBatch, StepPairs
from vprdist.training.checkpoint import load_checkpoint, save_checkpoint
from vprdist.training.losses import build_loss

Report = Callable[[dict[str, Any]], None]
BLOCK_STEPS = 50
"""Steps whose pairs are handed to the data loader at once."""


@dataclass
class Progress:
    """Where training stands; saved with every checkpoint."""

    step: int = 0
    train_s: float = 0.0
    last_loss: float | None = None


class _PairForward(nn.Module):
    """Both sides of a pair in one call, which is the unit that DDP synchronises."""

    def __init__(self, network: PlaceNetwork, joint: bool) -> None:
        super().__init__()
        self.network, self.joint = network, joint

    def forward(self, query: Batch, partner: Batch) -> tuple[Tensor, Tensor]:
        if not self.joint:
            # The sides pass apart, so that BatchNorm in training mode sees one side's images (the reference).
            return self.network(query.image, query.extra), self.network(partner.image, partner.extra)
        extra = None if query.extra is None or partner.extra is None else torch.cat([query.extra, partner.extra])
        both = self.network(torch.cat([query.image, partner.image]), extra)
        half = len(query.image)
        return both[:half], both[half:]


def learning_rate(spec: TrainSpec, step: int) -> float:
    """The rate at a step: divided by 10 after every `lr_drop_pairs` pairs."""
    drops = 0 if spec.lr_drop_pairs is None else step * spec.batch_pairs // spec.lr_drop_pairs
    return spec.lr * 0.1**drops


def build_optimizer(spec: TrainSpec, network: nn.Module) -> torch.optim.Optimizer:
    """The optimizer over what is trained."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    if spec.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=spec.lr, weight_decay=spec.weight_decay)
    return torch.optim.SGD(parameters, lr=spec.lr, weight_decay=spec.weight_decay)


class Trainer:
    """Trains a network on the pairs of a trial's cities.

    Args:
        report: called with rows for metrics.jsonl.
        should_stop: asked after every step; when any rank says yes, a checkpoint is written and `Stopped` raised.
    """

    def __init__(
        self, trial: TrialSpec, network: PlaceNetwork, cities: list[City], reader: PlaceReader, ranks: Ranks,
        folder: Path, report: Report, should_stop: Callable[[], bool] = lambda: False,
    ) -> None:  # fmt: skip
        spec = trial.train
        if spec.batch_pairs % ranks.world_size:
            raise TrainingError(
                "trial.train.batch_pairs", "the number of ranks must divide it", spec.batch_pairs,
                f"There are {ranks.world_size} ranks.",
            )  # fmt: skip
        self.trial, self.spec, self.network, self.ranks = trial, spec, network, ranks
        self.reader, self.folder, self.report, self.should_stop = (
            reader,
            folder / "checkpoint",
            report,
            should_stop,
        )
        self.sides = [(city.query, city.database) for city in cities]
        graphs = [city_graph(city, trial.data) for city in cities]
        self.stream = PairStream(PairSampler(graphs, trial.seed, spec.chunk_queries))
        self.loss = build_loss(spec)
        self.optimizer = build_optimizer(spec, network)
        self.progress = Progress()
        self._resume()
        pair = _PairForward(network, joint=spec.batch_norm == "frozen")
        # Buffers are never broadcast: frozen statistics are equal already, the reference's are each rank's own.
        self.forward: nn.Module = pair
        if ranks.world_size > 1:
            with warnings.catch_warnings():
                # torch 2.14 prefers an argument that older releases, which we support, do not know.
                warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
                self.forward = DistributedDataParallel(pair, broadcast_buffers=False)

    def run(self) -> Progress:
        """Train up to the last step.

        Raises:
            TrainingError: a loss that is not finite; the last good checkpoint stays.
            Stopped: asked to stop; a checkpoint was written.
        """
        set_mode(self.network, self.spec.batch_norm, training=True)
        saved = time.monotonic()
        while self.progress.step < self.spec.steps:
            for batch in self._block():
                begin = time.perf_counter()
                loss = self._step(batch.to(self.ranks.device))
                self._after_step(loss, time.perf_counter() - begin)
                stop = self.ranks.any(self.should_stop())
                due = self.ranks.any(time.monotonic() - saved > self.trial.run.checkpoint_s)
                if stop or due:
                    self.save()
                    saved = time.monotonic()
                if stop:
                    raise Stopped
        self.save()
        return self.progress

    def _block(self) -> DataLoader[PairBatch]:
        """The next steps' batches, from the step number alone."""
        count = min(BLOCK_STEPS, self.spec.steps - self.progress.step)
        pairs = self.stream.take(self.progress.step * self.spec.batch_pairs, count * self.spec.batch_pairs)
        share = self.ranks.share(self.spec.batch_pairs)
        steps = StepPairs(self.reader, self.sides, pairs, self.spec.batch_pairs, share)
        return DataLoader(
            steps,
            batch_size=None,
            num_workers=self.trial.run.workers,
            pin_memory=self.ranks.device.type == "cuda",
        )

    def _step(self, batch: PairBatch) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.spec, self.progress.step)
        self.optimizer.zero_grad(set_to_none=True)
        mine, total = len(batch.similarity), torch.zeros((), device=self.ranks.device)
        for begin in range(0, mine, self.spec.micro_pairs):
            micro = batch.part(slice(begin, begin + self.spec.micro_pairs))
            last = begin + self.spec.micro_pairs >= mine
            loss = self._micro(micro, mine, synchronise=last)
            total += loss
        value = float(self.ranks.mean(total))
        if not math.isfinite(value):
            raise TrainingError(
                f"step {self.progress.step}", "the loss must be finite", value,
                "Lower trial.train.lr; the last good checkpoint is kept.",
            )  # fmt: skip
        self.optimizer.step()
        return value

    def _micro(self, micro: PairBatch, mine: int, synchronise: bool) -> Tensor:
        ddp = self.forward
        quiet = (
            ddp.no_sync() if isinstance(ddp, DistributedDataParallel) and not synchronise else contextlib.nullcontext()
        )
        with quiet:
            query, partner = self.forward(micro.query, micro.partner)
            loss = self.loss(query, partner, micro.similarity).sum() / mine
            loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _after_step(self, loss: float, seconds: float) -> None:
        self.progress.step += 1
        self.progress.train_s += seconds
        self.progress.last_loss = loss
        step = self.progress.step
        if step % self.trial.run.log_steps == 0 or step == self.spec.steps:
            self.report(
                {
                    "kind": "train",
                    "step": step,
                    "steps": self.spec.steps,
                    "loss": loss,
                    "lr": learning_rate(self.spec, step - 1),
                    "pairs_per_s": round(self.spec.batch_pairs / seconds, 2),
                }
            )

    def save(self) -> None:
        """Write the last checkpoint (rank 0), after all ranks took over rank 0's BatchNorm statistics.

        Under `batch_norm: reference` each rank's running statistics see its own images; they shape no gradient, but
        the network that is evaluated must be one.
        """
        self.ranks.share_first(list(self.network.buffers()))
        if self.ranks.is_first:
            state = {
                "trial_id": self.trial.trial_id,
                "network": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "progress": vars(self.progress),
            }
            save_checkpoint(self.folder, state)
        self.ranks.barrier()

    def _resume(self) -> None:
        if (state := load_checkpoint(self.folder, self.trial.trial_id)) is not None:
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.progress = Progress(**state["progress"])


class Stopped(Exception):
    """Training was asked to stop and wrote a checkpoint."""

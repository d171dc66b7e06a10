"""The training loop of one trial. What comes next depends on the step number alone, so a resumed run is exact.

A step takes `batch_pairs` pairs (or triplets, or places), divided among the ranks and then into micro-batches;
gradients are means over the whole batch, exchanged once a step. With `batch_norm: reference` every BatchNorm layer,
frozen units included, runs in training mode and sees the images of one side of one micro-batch (GCL's published
behaviour). With `frozen` all of them use and keep the initial statistics; with `sync` those of trained units and of
attention see both sides of a micro-batch on all ranks. Under the last two, ranks change nothing but rounding.

Nothing in a step waits for a GPU: losses stay on the device until they are reported, saved or judged.
"""

from __future__ import annotations

import contextlib
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vprdist.data.graph import CityGraph
from vprdist.data.groups import TripletSampler
from vprdist.data.places import City
from vprdist.distributed.ranks import Ranks
from vprdist.errors import CheckpointError, Stopped, TrainingError, shown
from vprdist.network.arriving import arriving
from vprdist.network.batch import Batch, Described
from vprdist.network.batch_norm import synchronise
from vprdist.network.inputs import PlaceReader
from vprdist.network.model import PlaceNetwork, set_mode
from vprdist.spec.trial import TrialSpec
from vprdist.store.trial_folder import TrialFolder
from vprdist.training.augmented_sheet import write_augmented
from vprdist.training.batches import PairBatch, PairImages
from vprdist.training.checkpoint import BROKEN, FILE, Progress, fill, load_checkpoint, read_progress, save_checkpoint
from vprdist.training.losses import build_loss
from vprdist.training.mask_budget import MaskBudget
from vprdist.training.mining import Miner
from vprdist.training.objective import drawn_pairs, every_pair, whole_batch
from vprdist.training.optimizer import build_optimizer
from vprdist.training.samplers import sampler_of
from vprdist.training.schedule import learning_rate
from vprdist.training.steps import RankPart, RankParts, Steps

NOT_LEARNT = (
    "Nothing was learnt yet, so that no other rate helps: see to the initial weights (trial.network.weights), the "
    "masks, and classes of your own; bf16 reaches less far than float32 (trial.train.precision)."
)
"""The remedy for a loss of the first step."""
Report = Callable[[dict[str, Any]], None]


class _PairForward(nn.Module):
    """Queries and partners of a micro-batch in one call, which is the unit that DDP synchronises."""

    def __init__(self, network: PlaceNetwork, joint: bool) -> None:
        super().__init__()
        self.network, self.joint = network, joint

    def forward(self, query: Batch, partner: Batch) -> tuple[Described, Described]:
        if not self.joint:
            # The sides pass apart, so that BatchNorm in training mode sees one side's images (the reference).
            first = self.network.described(*query.parts)
            return first, self.network.described(*partner.parts)
        both = self.network.described(*query.joined(partner).parts)
        num = len(query.image)
        return both.part(slice(num)), both.part(slice(num, None))


class Trainer:
    """Trains a network on the pairs of a trial's cities.

    Args:
        cities, graphs: the training cities, and their labels.
        report: called with rows for metrics.jsonl.
        should_stop: asked after every step; when any rank says yes, a checkpoint is written and `Stopped` raised.
        evaluate: called with the step on all ranks, every `run.evaluate_steps` steps; it changes nothing in training,
            and may raise `Stopped` on all of them.

    Attributes:
        notices: what is to be recorded beside the result.

    Raises:
        TrainingError: the ranks cannot divide a batch, or the cities have no pairs.
        WeightsError: the checkpoint is of another trial.
    """

    def __init__(
        self, trial: TrialSpec, network: PlaceNetwork, cities: Sequence[City], graphs: Sequence[CityGraph],
        reader: PlaceReader, ranks: Ranks, folder: Path, report: Report,
        should_stop: Callable[[], bool] = lambda: False, evaluate: Callable[[int], None] = lambda step: None,
    ) -> None:  # fmt: skip
        spec = trial.train
        if fault := spec.ranks_fault(ranks.world_size):
            raise TrainingError(f"trial.train.{fault.field}", fault.fault, fault.value, fault.remedy)
        self.trial, self.spec, self.network, self.ranks = trial, spec, network, ranks
        self.folder, self.report = folder / "checkpoint", report
        self.should_stop, self.evaluate = should_stop, evaluate
        self.graphs = graphs
        sampler = sampler_of(spec, graphs, trial.seed)
        self.notices = sampler.notices
        self.steps = Steps(sampler, spec)
        self.miner = None
        if isinstance(sampler, TripletSampler):
            self.miner = Miner(sampler, network, reader, cities, ranks, trial.run.workers)
        self.pictures = PairImages(reader, [(city.query, city.database) for city in cities], spec.augment)
        self.loss = build_loss(spec)
        self.optimizer = build_optimizer(spec, network)
        self.budget = MaskBudget(network, ranks, 1 + spec.num_partners)
        self.progress = Progress()
        self._pending: list[dict[str, Tensor]] = []
        self._said = 0.0
        self._shows = spec.augment is not None and ranks.is_first
        self._resume()
        self._reported = (self.progress.step, self.progress.train_s)
        self.forward = self._prepared(network)

    def _prepared(self, network: PlaceNetwork) -> nn.Module:
        """The forward pass of a micro-batch: compiled, synchronised and wrapped as the trial asks for."""
        if self.spec.batch_norm == "sync":
            synchronise(network.units, network.trained)
            synchronise(network, ("attention", "pool"))
        forward: nn.Module = _PairForward(network, joint=self.spec.batch_norm != "reference")
        if self.trial.run.compile:
            forward.compile()
        if self.ranks.world_size == 1:
            return forward
        with warnings.catch_warnings():
            # torch 2.14 prefers an argument that older releases, which we support, do not know.
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
            # Buffers are never broadcast: frozen statistics are equal already, the reference's are each rank's own.
            return DistributedDataParallel(forward, broadcast_buffers=False, gradient_as_bucket_view=True)

    def run(self) -> Progress:
        """Train up to the last step.

        Raises:
            TrainingError: a loss that is not finite; the last good checkpoint stays.
            Stopped: asked to stop; a checkpoint was written, or is there already.
        """
        if self._evaluates_now() and self.progress.evaluated != self.progress.step and self._evaluate_midway():
            raise Stopped
        set_mode(self.network, self.spec.batch_norm, training=True)
        saved, clock = time.monotonic(), time.perf_counter()
        for batch in self._batches():
            self._show_augmented(batch.part)
            self._step(batch)
            self.progress.step += 1
            clock = self._account(clock)
            self._report_step()
            stop, due = self.ranks.any(self.should_stop(), time.monotonic() - saved > self.trial.run.checkpoint_s)
            midway = self._evaluates_now()
            if midway and not stop:
                stop = self._evaluate_midway()
            if stop or due or midway:
                self.save()  # after the evaluation, which refuses a network that diverged
                saved, clock = time.monotonic(), time.perf_counter()
            if stop:
                raise Stopped
        self.save()
        return self.progress

    def _evaluate_midway(self) -> bool:
        """Evaluate one network on all ranks; True when they were asked to stop meanwhile."""
        self.ranks.share_first(list(self.network.buffers()))
        try:
            self.evaluate(self.progress.step)
        except Stopped:
            return True
        self.progress.evaluated = self.progress.step
        set_mode(self.network, self.spec.batch_norm, training=True)
        return False

    def _batches(self) -> Iterator[PairBatch]:
        """The steps to come. Triplets are chosen by the network as it is at the start of their chunk."""
        if self.miner is None:
            yield from self._batches_of(range(self.progress.step, self.steps.count))
            return
        while self.progress.step < self.steps.count:
            wanted = self.steps.rest_of_chunk(self.progress.step)
            self._mine(self.steps.chunk(wanted.start))
            yield from self._batches_of(wanted)

    def _show_augmented(self, part: RankPart) -> None:
        """Draw what the first pictures are changed to, once, before hours are trained on such (rank 0)."""
        if self._shows and not (path := TrialFolder(self.folder.parent).augmented_picture).exists():
            write_augmented(path, self.pictures, part, self.network.stem.mean.flatten().tolist())
        self._shows = False

    def _batches_of(self, wanted: range) -> Iterator[PairBatch]:
        parts = RankParts(self.trial, self.steps, wanted, self.ranks, self.graphs)
        # Nothing is read by a thread: steps are drawn from what the loop looks at too, and changes.
        return arriving(
            self.pictures, self.trial.run.workers, self.ranks.device, ahead=False, batch_size=None, sampler=parts
        )

    def _mine(self, chunk: int) -> None:
        """Choose the triplets of a chunk, unless a checkpoint of its midst held them."""
        assert self.miner is not None, "only triplets are mined"
        if self.miner.chunk == chunk:
            return
        self.ranks.share_first(list(self.network.buffers()))
        set_mode(self.network, self.spec.batch_norm, training=False)
        self.miner.mine(chunk, self._say_mined)
        set_mode(self.network, self.spec.batch_norm, training=True)
        self.steps.renew()

    def _say_mined(self, done: int, total: int) -> None:
        """Say how far the descriptors of candidates are, at most once a second."""
        if done in (0, total) or time.monotonic() - self._said > 1:
            self._said = time.monotonic()
            self.report({"kind": "stage", "stage": "choosing triplets", "done": done, "total": total})

    def _evaluates_now(self) -> bool:
        """Schedulers need to know how a trial does before it ends."""
        every, step = self.trial.run.evaluate_steps, self.progress.step
        return every is not None and step % every == 0 and step < self.steps.count

    def _step(self, batch: PairBatch) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate(self.progress.step) * group.get("factor", 1.0)
        self.optimizer.zero_grad(set_to_none=True)
        step = self._every_pair if self.spec.counts_all_pairs else self._drawn_pairs
        self._pending.append(step(batch))
        self.optimizer.step()

    def _rate(self, step: int) -> float:
        return learning_rate(self.spec, step, self.steps.count, self.steps.chunk(step))

    def _drawn_pairs(self, batch: PairBatch) -> dict[str, Tensor]:
        """Gradients of the mean over the step's pairs; returns this rank's part of the loss and of the null share."""
        part, weight = batch.part, self._weight(batch)
        share = weight / self.spec.num_partners
        loss, null = torch.zeros(2, device=self.ranks.device)
        mean, told = self.budget.look(batch), list[dict[str, Tensor]]()
        for micro in part.micro:
            with self._synchronised(micro is part.micro[-1]):
                query, partner = sides = self.forward(*batch.sides(micro))
                total, nulls = drawn_pairs(query.descriptors, partner.descriptors, batch.similarity[micro], self.loss)
                (total * share + self.budget.pull(sides, mean, weight)).backward()
            loss, null = loss + total.detach() * share, null + nulls * share
            told.append(self.budget.told(sides, weight))
        return {"loss": loss, "null_share": null, **self.budget.logged(mean, told)}

    def _weight(self, batch: PairBatch) -> float:
        """What a query of this rank counts: DDP takes the mean over the ranks, so that it weighs as many times more."""
        return self.ranks.world_size / batch.part.total if batch.part.counts[self.ranks.rank] else 0.0

    def _every_pair(self, batch: PairBatch) -> dict[str, Tensor]:
        """Gradients of the loss over every pair of the step; each rank computes it whole, for its own descriptors."""
        mean, weight = self.budget.look(batch), self._weight(batch)
        sides = self.forward(batch.query, batch.partner)
        counts = batch.part.counts
        query = self.ranks.gather_with_gradient(sides[0].descriptors, counts)
        theirs = [count * self.spec.num_partners for count in counts]
        partner = self.ranks.gather_with_gradient(sides[1].descriptors, theirs)
        if self.spec.loss.fact("wants") == "all":
            loss, logged = whole_batch(query, partner, batch.similarity, self.loss, self.spec.loss.name)
        else:
            loss, null = every_pair(query, partner, batch.similarity, self.loss)
            logged = {"null_share": null}
        (loss * self.ranks.world_size + self.budget.pull(sides, mean, weight)).backward()
        return {"loss": loss.detach(), **logged, **self.budget.logged(mean, [self.budget.told(sides, weight)])}

    def _synchronised(self, last: bool) -> contextlib.AbstractContextManager[None]:
        """Gradients are exchanged with the last micro-batch of a step alone."""
        if last or not isinstance(self.forward, DistributedDataParallel):
            return contextlib.nullcontext()
        return self.forward.no_sync()

    def _account(self, clock: float) -> float:
        now = time.perf_counter()
        self.progress.train_s += now - clock
        return now

    def _report_step(self) -> None:
        step, log_steps = self.progress.step, self.trial.run.log_steps
        if step % log_steps and step != self.steps.count:
            return
        means = self._judge()
        since_step, since_s = self._reported
        seconds = (self.progress.train_s - since_s) / (step - since_step)
        self._reported = (step, self.progress.train_s)
        self.report(
            {
                "kind": "train",
                "step": step,
                "steps": self.steps.count,
                "loss": self.progress.last_loss,
                "lr": self._rate(step - 1),
                **{name: round(value, 4) for name, value in means.items() if name == "null_share"},
                **{name: float(f"{value:.6g}") for name, value in means.items() if name != "null_share"},
                "pairs_per_s": round(self.spec.batch_pairs / seconds, 2),
                "train_s": round(self.progress.train_s, 2),
                "left_s": round(seconds * (self.steps.count - step), 1),
            }
        )

    def _judge(self) -> dict[str, float]:
        """Look at the losses since the last look, which waits for the device; returns the mean of what else was logged.

        Raises:
            TrainingError: one of them is not finite.
        """
        if not self._pending:
            return {}
        names = [name for name in self._pending[0] if name != "loss"]
        rows = [torch.stack([each["loss"], *(each[name] for name in names)]) for each in self._pending]
        values = self.ranks.mean(torch.stack(rows)).tolist()
        self._pending.clear()
        for step, (loss, *_) in enumerate(values, self.progress.step - len(values) + 1):
            if not math.isfinite(loss):
                remedy = "Lower trial.train.lr; the last good checkpoint is kept." if step > 1 else NOT_LEARNT
                raise TrainingError(f"step {step}", "the loss must be finite", loss, remedy)
        self.progress.last_loss = values[-1][0]
        return {name: math.fsum(row[at] for row in values) / len(values) for at, name in enumerate(names, 1)}

    def save(self) -> None:
        """Write the last checkpoint (rank 0), after all ranks took over rank 0's BatchNorm statistics.

        Under `batch_norm: reference` each rank's running statistics see its own images; they shape no gradient, but
        the network that is evaluated must be one.

        Raises:
            TrainingError: a loss since the last checkpoint is not finite; nothing is written.
        """
        self._judge()
        self.ranks.share_first(list(self.network.buffers()))
        if self.ranks.is_first:
            state = {
                "trial_id": self.trial.trial_id,
                "network": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "progress": vars(self.progress),
                **({} if self.miner is None else {"mined": self.miner.state()}),
            }
            save_checkpoint(self.folder, state)
            self.report({"kind": "checkpoint", "step": self.progress.step})
        self.ranks.barrier()

    def _start_anew(self, error: CheckpointError) -> None:
        """Nothing can be gone on from: a damaged checkpoint is put aside and said."""
        notice = f"trained anew from the start: the checkpoint was damaged ({error.fault}; found {shown(error.value)})"
        print(f"fell back: {notice}", flush=True)
        self.notices = (*self.notices, notice)
        if self.ranks.is_first:
            (self.folder / FILE).replace(self.folder / BROKEN)

    def _resume(self) -> None:
        try:
            if (state := load_checkpoint(self.folder, self.trial.trial_id)) is not None:
                progress = read_progress(state, self.folder)
                if self.miner is not None:
                    self.miner.check(state.get("mined"), self.folder / FILE)
                fill(self.network, self.optimizer, state, self.folder)
                self.progress = progress
                if self.miner is not None:
                    self.miner.restore(state["mined"])
        except CheckpointError as error:
            self._start_anew(error)
        first = torch.tensor(self.progress.step)
        self.ranks.share_first([first])
        (apart,) = self.ranks.any(int(first) != self.progress.step)
        if apart:  # storage showed ranks different files: nobody's mistake, and another attempt mends it
            raise RuntimeError(f"ranks saw checkpoints of different steps, here {self.progress.step}")

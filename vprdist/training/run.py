"""One trial from its spec to its result: what a job does on its node."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from vprdist import __version__
from vprdist.data.graph import training_graphs
from vprdist.data.layouts import dataset_digest, layout_of
from vprdist.data.layouts.less import left_out_words
from vprdist.data.pack.use import pack_words
from vprdist.data.places import City
from vprdist.data.tasks import Task, breakdown_tasks, build_tasks, prediction_task, unasked
from vprdist.data.unchanged import check_unchanged
from vprdist.distributed.ranks import Ranks, device_name, join
from vprdist.distributed.world import World
from vprdist.errors import Stopped
from vprdist.evaluation.evaluate import NOTHING, Evaluation, Extra, check_whitening, describe_protocol, evaluate
from vprdist.evaluation.learnt_masks import mask_weights, write_masks
from vprdist.evaluation.sheet import write_sheet
from vprdist.machine import cpu_has_bf16
from vprdist.network.inputs import KeptPictures, PlaceReader
from vprdist.network.model import PlaceNetwork, build_network
from vprdist.network.picture_store import store_of
from vprdist.semantics.cache.staging import staged
from vprdist.source import running_source
from vprdist.spec.own_load import blamed
from vprdist.spec.result import GPU_MISSING, NO_GPU, ResultRow, SetResult
from vprdist.spec.trial import TrialSpec
from vprdist.store.trial_folder import TrialFolder
from vprdist.training.checks import check_cache, check_inputs, check_shards_of, initial_weights
from vprdist.training.loop import Trainer
from vprdist.training.metrics_log import Watch
from vprdist.training.start import start_aggregator
from vprdist.training.untrained import KeptValues

ALONE = World()


def run_trial(trial: TrialSpec, folder: Path, world: World = ALONE) -> None:
    """Train and evaluate; resumes from `folder/checkpoint` when there is one; rank 0 publishes `result.json` last.

    Args:
        trial: resolved, with its digests.
        folder: the trial's folder on shared storage.
        world: this process among the ranks of its job.

    Raises:
        UserError: bad data, weights or cache, a loss that is not finite, an error in a user's own class.
        Stopped: asked to leave; what was trained is in the checkpoint.
    """
    if world.num_threads:
        torch.set_num_threads(world.num_threads)
    own = [named.name for named in trial.own_code.values()]
    with blamed(*own), join(world, TrialFolder(folder).rendezvous_file) as ranks:
        _Run(trial, folder, ranks, world).run()


class _Later(NamedTuple):
    """A data set that is asked once, at the end: its name, the trial as it is evaluated there, and its questions."""

    name: str
    trial: TrialSpec
    tasks: list[Task]


class _Run:
    """The stages of one trial on one rank."""

    def __init__(self, trial: TrialSpec, folder: Path, ranks: Ranks, world: World) -> None:
        self.trial, self.folder, self.ranks, self.world = trial, folder, ranks, world
        self.begin = time.time()
        self.shown = 0.0
        self.watch = Watch(folder, trial.run.tensorboard and ranks.is_first)

    def run(self) -> None:
        self.stage("reading cities", 0, 1)
        unknown: tuple[str, ...] = ()
        if self.ranks.is_first:
            check_inputs(self.trial)
            unknown = check_unchanged(self.trial.data, self.trial.cities, self.folder.parents[1])
        fallbacks = unknown + self._other_code()
        self._show_stage("reading cities", 0, 1)
        with contextlib.ExitStack() as stack:
            trial, fell = self._stage_cache(stack)
            self._run(trial, fallbacks + fell)

    def _asked_for_gpus(self) -> bool:
        record = TrialFolder(self.folder).job()
        return record is not None and bool(record.num_node_gpus)

    def _other_code(self) -> tuple[str, ...]:
        """What to record where this start goes on from a checkpoint of other code; a row says which code this is."""
        source = running_source()
        if source is None or not self.ranks.is_first:
            return ()
        resumes = any((self.folder / "checkpoint").glob("[!.]*"))
        others = {who: None for who in saved_by(TrialFolder(self.folder).rows()[0]) if resumes}
        others.pop(source.digest, None)
        self.report({"kind": "source", "source": source.digest, "resumes": resumes})
        names = ", ".join("an unknown source" if who is None else f"source {who[:8]}" for who in others)
        return (f"went on from a checkpoint of other code ({names}; this is {source.short})",) if others else ()

    def _stage_cache(self, stack: contextlib.ExitStack) -> tuple[TrialSpec, tuple[str, ...]]:
        """The trial as it reads on this node, with a copy of its cache if the profile says so; and what fell back."""
        trial, scratch = self.trial, self.world.scratch
        if trial.input.cache is None:
            return trial, ()
        if scratch is None:
            self._check_shards()
            return trial, ()
        copying = staged(
            Path(trial.input.cache),
            trial.cached_cities,
            scratch,
            lambda done, total: self.stage("copying the cache", done, total),
            self.world.trust,
        )
        path, fallback = stack.enter_context(copying)
        if fallback is not None:
            print(f"fell back: {fallback}", flush=True)
            self._check_shards()
        here = trial.model_copy(update={"input": trial.input.model_copy(update={"cache": str(path)})})
        (somewhere,) = self.ranks.any(fallback is not None)
        return here, (fallback or f"the cache was not copied to {scratch} on one of the nodes",) if somewhere else ()

    def _check_shards(self) -> None:
        """Where no copy is made, whose digests are compared, the first rank looks at the cache itself."""
        if self.ranks.is_first:
            check_shards_of(self.trial, self.folder.parents[1], partial(self.stage, "checking the cache"))

    def _run(self, trial: TrialSpec, fallbacks: tuple[str, ...]) -> None:
        layout, judged = layout_of(trial.data), trial.judged
        validate = [layout.read(name) for name in judged.data.validate_cities]
        tasks = build_tasks(validate, judged)
        predict = [prediction_task(layout.read(name), trial.evaluate) for name in trial.evaluate.predict]
        weights, fell = initial_weights(trial)
        later = [_Later(name, own, build_tasks(_validated(own), own)) for name, own in [*trial.judgements.items()][1:]]
        silent = [*unasked(tasks, judged), *(words for each in later for words in unasked(each.tasks, each.trial))]
        fallbacks += (*fell, *silent, *pack_words(trial))
        network = build_network(trial, weights).to(self.ranks.device)
        start_aggregator(network, trial, self.folder.parents[1], self.ranks, self.stage, self.say)
        learn_on = whitening_cities(trial)
        for asked in filter(None, (tasks, predict, *(each.tasks for each in later))):
            check_whitening(trial.evaluate, asked, learn_on, network.dimensions)
        cities = [layout.read(name) for name in trial.data.train] if trial.train.steps else []
        also = [task.city for each in later for task in each.tasks]
        sides = [side for city in (*cities, *validate, *also) for side in city.sides]
        fallbacks += tuple(words for city in cities for words in left_out_words(city))
        store = store_of(trial, trial.train.image_size, self.folder.parents[1], self.say)
        kept = KeptPictures(trial, sides, trial.train.image_size, store)

        def measure(extra: Extra = NOTHING) -> Evaluation | None:
            check_cache(trial)
            stage = self.stage_together
            found = evaluate(network, judged, tasks, self.ranks, stage, training=learn_on, extra=extra, kept=kept)
            kept.share()
            return found

        untrained = self._untrained(measure, network)
        trainer = None
        if trial.train.steps:
            check_cache(trial)
            reader = PlaceReader(trial, trial.train.image_size, kept, teaches=True)
            graphs, notices = training_graphs(trial, cities, self.folder.parents[1], self.say)
            trainer = Trainer(
                trial, network, cities, graphs, reader, self.ranks, self.folder, self.report, self.world.should_stop,
                lambda step: self.report_evaluation(step, measure()),
            )  # fmt: skip
            fallbacks += (*notices, *trainer.notices)
            trainer.run()
        evaluation = measure(Extra(breakdown_tasks(validate, judged), predict))
        others = tuple(self._others(trial, later, network, learn_on, kept))
        if evaluation is None:
            return
        steps = trainer.progress.step if trainer else 0
        self.report_evaluation(steps, evaluation)
        evaluation.write(self.folder / "predictions")
        reader = PlaceReader(trial, trial.evaluate.image_size or trial.train.image_size)
        write_sheet(
            self.folder / "predictions" / "sheet.png", reader, evaluation.ranking, network.stem.mean.flatten().tolist()
        )
        write_masks(TrialFolder(self.folder).masks_picture, network, reader, tasks)
        protocol = describe_protocol(tasks, judged, dataset_digest(judged.data, judged.data.validate_cities))
        fallbacks += _device_fallbacks(trial, self.ranks.device, self._asked_for_gpus())
        starts = self._starts()
        row = ResultRow(
            trial_id=trial.trial_id,
            trial=self.trial,
            protocol=protocol,
            metrics=evaluation.metrics,
            untrained=untrained if trial.train.steps else evaluation.metrics,
            city_metrics=evaluation.city_metrics,
            variants=evaluation.results(protocol),
            others=others,
            mask_weights=mask_weights(network, reader, tasks),
            steps=steps,
            final_loss=trainer.progress.last_loss if trainer else None,
            wall_s=round(time.time() - starts[0], 2),
            train_s=round(trainer.progress.train_s, 2) if trainer else 0.0,
            num_ranks=self.ranks.world_size,
            device=device_name(self.ranks.device),
            peak_memory_mb=round(_peak_memory_mb(self.ranks.device), 1),
            starts=len(starts),
            fallbacks=fallbacks,
            environment=environment(),
            source=running_source(),
        )
        TrialFolder(self.folder).write_result(row)

    def _others(
        self, trial: TrialSpec, later: Sequence[_Later], network: PlaceNetwork, learn_on: Sequence[City],
        kept: KeptPictures,
    ) -> Iterator[SetResult]:  # fmt: skip
        """The trained network on the trial's other data sets, each under its own protocol; on rank 0, which writes what
        single queries found."""
        for name, own, tasks in later:
            check_cache(trial)
            extra = Extra(breakdown_tasks([task.city for task in tasks], own))
            found = evaluate(
                network, own, tasks, self.ranks, self.stage_together, training=learn_on, extra=extra, kept=kept
            )
            if found is not None:
                found.write(self.folder / "predictions", name)
                protocol = describe_protocol(tasks, own, dataset_digest(own.data, own.data.validate_cities))
                yield SetResult(
                    data_set=name, protocol=protocol, metrics=found.metrics, city_metrics=found.city_metrics,
                    variants=found.results(protocol),
                )  # fmt: skip

    def _untrained(
        self, measure: Callable[[], Evaluation | None], network: PlaceNetwork
    ) -> dict[str, float] | None:  # fmt: skip
        """Metrics before training, by rank 0; a resumed run takes them from the rows of its first start, and others
        from a trial that began as the same network."""
        if not (self.trial.evaluate.before_training and self.trial.train.steps):
            return None
        known: dict[str, float] | None = None
        if self.ranks.is_first:
            rows, _ = TrialFolder(self.folder).rows()
            row = next((row for row in rows if row.get("kind") == "untrained"), {})
            known = {name: row[name] for name in row if "@" in name} or None
        # Every rank takes part in the measuring, or none: the first one's look at the files decides.
        (is_known,) = self.ranks.any(known is not None)
        if is_known:
            return known
        kept, values = None, None
        if self.ranks.is_first:
            kept = KeptValues(self.trial.judged, network.state_dict(), self.ranks, self.folder.parents[1])
            values = kept.read()
        (is_kept,) = self.ranks.any(values is not None)
        if not is_kept and (evaluation := measure()) is not None and kept is not None:
            values = evaluation.metrics
            kept.write(values)
        if values is not None:
            self.report({"kind": "untrained", "step": 0, **values, **({"kept": True} if is_kept else {})})
        return values

    def report_evaluation(self, step: int, evaluation: Evaluation | None) -> None:
        """Append the metrics of a step (rank 0, which alone has them)."""
        if evaluation is not None:
            self.report({"kind": "evaluate", "step": step, **evaluation.metrics})

    def report(self, row: dict[str, Any]) -> None:
        """Let a person see a row (rank 0)."""
        if self.ranks.is_first:
            self.watch(row)

    def say(self, text: str) -> None:
        """A line in the log of the first rank."""
        if self.ranks.is_first:
            print(text, flush=True)

    def stage(self, name: str, done: int, total: int) -> None:
        """Say what is being done, at most once a second; leave here when asked to: nothing is lost outside training.

        Raises:
            Stopped: the job was asked to leave.
        """
        if self.world.should_stop():
            raise Stopped
        self._show_stage(name, done, total)

    def stage_together(self, name: str, done: int, total: int) -> None:
        """The same where all ranks are at one place: they leave together when any of them is asked to.

        Raises:
            Stopped: on all ranks.
        """
        (stop,) = self.ranks.any(self.world.should_stop())
        if stop:
            raise Stopped
        self._show_stage(name, done, total)

    def _show_stage(self, name: str, done: int, total: int) -> None:
        if done in (0, total) or time.monotonic() - self.shown > 1:
            self.shown = time.monotonic()
            self.report({"kind": "stage", "stage": name, "done": done, "total": total})

    def _starts(self) -> list[float]:
        """When the job was started, each time; a run outside a job was started once, now."""
        return [float(row["time"]) for row in TrialFolder(self.folder).starts()] or [self.begin]


def saved_by(rows: Iterable[Mapping[str, Any]]) -> list[str | None]:
    """The digests of the code that saved what a trial's checkpoint grew from, from its metrics rows; None: unknown."""
    code, found = None, list[str | None]()
    for row in rows:
        if row.get("kind") == "source":
            code = str(row.get("source"))
            found = found if row.get("resumes") else []
        elif row.get("kind") == "checkpoint":
            found.append(code)
    return found


def _validated(trial: TrialSpec) -> list[City]:
    """The cities that one of `judgements` is about."""
    return [layout_of(trial.data).read(name) for name in trial.data.validate_cities]


def whitening_cities(trial: TrialSpec) -> list[City]:
    """The cities that whitening is learnt on, where it is learnt on training images."""
    names = trial.data.train if trial.evaluate.whitening == "train" else ()
    return [layout_of(trial.data).read(name) for name in names]


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


def _device_fallbacks(trial: TrialSpec, device: torch.device, asked: bool) -> tuple[str, ...]:
    """What to record of where it ran; `asked`: the job was to have GPUs."""
    on_gpu = device.type == "cuda"
    found: tuple[str, ...] = () if on_gpu else (GPU_MISSING if asked else NO_GPU,)
    if trial.train.precision == "bf16":
        has = torch.cuda.is_bf16_supported(including_emulation=False) if on_gpu else cpu_has_bf16()
        found += () if has else (f"no bfloat16 arithmetic in this {'GPU' if on_gpu else 'CPU'}: emulated, and slow",)
    return found


def _peak_memory_mb(device: torch.device) -> float:
    """Peak of the GPU's memory, or of this process where there is none."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

"""Evaluating a network on validation cities: who is described, what is searched, what came out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vprdist.data.places import City, Side
from vprdist.data.tasks import Task, truth_told
from vprdist.distributed.ranks import Ranks
from vprdist.evaluation.breakdown import write_queries
from vprdist.evaluation.descriptors import Descriptors, Rows, Wanted, describe_arms
from vprdist.evaluation.predictions import write_predictions, write_submission
from vprdist.evaluation.ranking import DEPTH, Ranking, rank
from vprdist.evaluation.rerank.second_stage import SecondStage, cut
from vprdist.evaluation.retrieve import Neighbours
from vprdist.evaluation.whitening import check_dimensions, check_images, whitened
from vprdist.network.inputs import KeptPictures, PlaceReader
from vprdist.network.model import PlaceNetwork, set_mode
from vprdist.spec.arms import Arm
from vprdist.spec.evaluate import EvaluateSpec
from vprdist.spec.result import Protocol, VariantResult
from vprdist.spec.trial import TrialSpec
from vprdist.store.queries import queries_file

StageReport = Callable[[str, int, int], None]
LEARN_IMAGES = 20_000
"""Images of the training cities that whitening is learnt on, at most."""


@dataclass(frozen=True)
class Extra:
    """What a trial's last evaluation answers beyond its result.

    subtasks: tasks of each subtask, for the rows of single queries.
    predict: tasks of cities whose ground truth is not there.
    """

    subtasks: Mapping[str, Sequence[Task]] = field(default_factory=dict)
    predict: Sequence[Task] = ()


NOTHING = Extra()


@dataclass(frozen=True)
class Variant:
    """One evaluation of the descriptors, by the first stage alone; `dimensions` is None where all were kept."""

    whitening: str
    dimensions: int | None
    ranking: Ranking


@dataclass(frozen=True)
class Evaluation:
    """What came out, on rank 0: the ranking of the trial's own protocol, and what was asked beyond it."""

    ranking: Ranking
    variants: Sequence[Variant] = ()
    subtasks: Mapping[str, Ranking] = field(default_factory=dict)
    predicted: Ranking | None = None

    @property
    def metrics(self) -> dict[str, float]:
        """Means over all queries."""
        return self.ranking.metrics

    @property
    def city_metrics(self) -> dict[str, dict[str, float]]:
        """Means over the queries of each city."""
        return self.ranking.city_metrics

    @property
    def rankings(self) -> list[Ranking]:
        """All that was ranked under the trial's own protocol."""
        return [self.ranking, *self.subtasks.values(), *([] if self.predicted is None else [self.predicted])]

    def reordered(self, found: Iterator[Ranking], spec: EvaluateSpec) -> Evaluation:
        """The same with rankings of a second stage, as `rankings` has them; the first stage's is the first variant."""
        dimensions = spec.dimensions[0] if spec.dimensions else None
        first = Variant(spec.whitening, dimensions, cut(self.ranking))
        ranking, subtasks = next(found), {name: next(found) for name in self.subtasks}
        predicted = None if self.predicted is None else next(found)
        return Evaluation(ranking, (first, *self.variants), subtasks, predicted)

    def results(self, protocol: Protocol) -> tuple[VariantResult, ...]:
        """The variants for the result row; `protocol` is that of the result."""
        return tuple(
            VariantResult(
                protocol=protocol.model_copy(
                    update={"whitening": each.whitening, "dimensions": each.dimensions, "rerank": None}
                ),
                metrics=each.ranking.metrics,
                city_metrics=each.ranking.city_metrics,
            )
            for each in self.variants
        )

    def write(self, folder: Path, data_set: str = "") -> None:
        """Predictions of each city, of cities without ground truth (`submission.txt`), and `queries.parquet`.

        Args:
            data_set: another than the first of a trial that has several: then `queries-<data set>.parquet`.
        """
        for city, rows in self.ranking.predictions.items():
            write_predictions(folder / f"{city}.txt", rows)
        if self.predicted is not None:
            write_submission(folder / "submission.txt", self.predicted.predictions)
        if self.subtasks:
            write_queries(queries_file(folder, data_set), self.subtasks)


def describe_protocol(tasks: Sequence[Task], trial: TrialSpec, dataset: str) -> Protocol:
    """How these tasks are evaluated, for the result row. `dataset` is the digest of the validation cities."""
    evaluate = trial.evaluate
    return Protocol(
        dataset=dataset,
        cities=tuple(task.city.name for task in tasks),
        subtask=evaluate.subtask,
        gallery=evaluate.gallery,
        positive_radius_m=trial.data.positive_radius_m,
        image_size=evaluate.image_size or trial.train.image_size,
        num_queries=sum(len(task.queries) for task in tasks),
        num_database=sum(len(task.gallery) for task in tasks),
        whitening=evaluate.whitening,
        queries=evaluate.queries,
        database=evaluate.database,
        no_positives=evaluate.no_positives,
        truth=truth_told(tasks),
        dimensions=evaluate.dimensions[0] if evaluate.dimensions else None,
        storage=evaluate.storage,
        rerank=evaluate.rerank.told,
        computation=trial.computation,
        num_left_out=sum(side.num_left_out for task in tasks for side in task.city.sides),
    )


def evaluate(
    network: PlaceNetwork,
    trial: TrialSpec,
    tasks: Sequence[Task],
    ranks: Ranks,
    stage: StageReport = lambda *_: None,
    *,
    training: Sequence[City] = (),
    extra: Extra = NOTHING,
    kept: KeptPictures | None = None,
) -> Evaluation | None:
    """Describe, search and count; all ranks describe, rank 0 does the rest and alone returns an evaluation.

    The network is left in evaluation mode.

    Args:
        tasks: of the trial's subtask; they make its result.
        training: cities to learn whitening on, where it is `train`.
        kept: where decoded pictures are kept from one evaluation to the next.

    Raises:
        TrainingError: a descriptor is not finite.
        UserError: whitening that cannot be learnt; before anything is described, but for equal descriptors.
    """
    found = evaluate_arms(network, trial, tasks, None, ranks, stage, training=training, extra=extra, kept=kept)
    return None if found is None else found[0]


def evaluate_arms(
    network: PlaceNetwork,
    trial: TrialSpec,
    tasks: Sequence[Task],
    arms: Sequence[Arm] | None,
    ranks: Ranks,
    stage: StageReport = lambda *_: None,
    *,
    training: Sequence[City] = (),
    extra: Extra = NOTHING,
    kept: KeptPictures | None = None,
) -> list[Evaluation] | None:
    """As `evaluate`, through each of some arms (None: through the trial's own mask, if any): an evaluation each."""
    for asked in filter(None, (tasks, extra.predict)):
        check_whitening(trial.evaluate, asked, training, network.dimensions)
    set_mode(network, trial.train.batch_norm, training=False)
    reader = PlaceReader(trial, trial.evaluate.image_size or trial.train.image_size, kept)
    learning = learning_rows(trial.evaluate, tasks, training)
    wanted = wanted_rows(tasks, learning, extra)
    total, done = sum(len(rows) for _, rows in wanted) * (1 if arms is None else len(arms)), 0

    def advanced(count: int) -> None:
        nonlocal done
        done += count * ranks.world_size  # the other ranks go at the same pace
        stage("descriptors", min(done, total), total)

    workers, storage = trial.run.workers, trial.evaluate.storage
    found = describe_arms(network, reader, wanted, arms, ranks, workers, storage, advanced)
    first = [assess(each, trial.evaluate, tasks, learning, extra) for each in found or ()]
    if trial.evaluate.rerank.top is not None:
        assert arms is None, "no network is asked under many masks in two stages"
        second = SecondStage(network, reader, wanted, trial.evaluate.rerank, ranks, workers)
        first = reranked(
            first, found[0] if found else None, second, trial.evaluate, lambda *done: stage("re-ranking", *done)
        )
    return None if found is None else first


def reranked(
    first: Sequence[Evaluation], descriptors: Descriptors | None, second: SecondStage, spec: EvaluateSpec,
    advanced: Callable[[int, int], None],
) -> list[Evaluation]:  # fmt: skip
    """An evaluation, on rank 0 alone, with its rankings ordered anew; the first stage's becomes its first variant."""
    rankings = [ranking for each in first for ranking in each.rankings]
    found = iter(second.reorder(rankings, descriptors, advanced))
    return [each.reordered(found, spec) for each in first]


def assess(
    descriptors: Descriptors, spec: EvaluateSpec, tasks: Sequence[Task], learning: Wanted, extra: Extra = NOTHING
) -> Evaluation:
    """Search and count, from descriptors of everything that is asked for.

    Args:
        learning: what whitening is learnt on.

    Raises:
        UserError: whitening that cannot be learnt.
    """
    evaluations = whitened(descriptors, spec, _places(descriptors, learning))
    _, _, values = next(evaluations)
    depth = max(DEPTH, spec.rerank.top or 0)  # as a second stage looks
    ranking = rank(tasks, values, spec.gallery, depth=depth)
    subtasks = {name: rank(some, values, spec.gallery, depth=depth) for name, some in extra.subtasks.items()}
    if extra.predict and spec.whitening == "database":  # learnt on these cities: they are what is evaluated there
        own = _places(descriptors, learning_rows(spec, extra.predict, ()))
        _, _, values = next(whitened(descriptors, spec, own))
    predicted = rank(extra.predict, values, spec.gallery, depth=depth) if extra.predict else None
    del values  # one set of whitened descriptors at a time
    variants = [Variant(how, dimensions, rank(tasks, values, spec.gallery)) for how, dimensions, values in evaluations]
    return Evaluation(ranking, variants, subtasks, predicted)


def rank_subtasks(
    descriptors: Descriptors, spec: EvaluateSpec, learning: Wanted, subtasks: Mapping[str, Sequence[Task]],
    neighbours: Neighbours | None = None,
) -> dict[str, Ranking]:  # fmt: skip
    """What is retrieved for the queries of each subtask under the trial's own protocol, and nothing beyond.

    Args and errors as `assess`.
    """
    _, _, values = next(whitened(descriptors, spec, _places(descriptors, learning)))
    return {name: rank(some, values, spec.gallery, neighbours) for name, some in subtasks.items()}


def _places(descriptors: Descriptors, wanted: Wanted) -> Rows:
    return np.concatenate([np.empty(0, np.int64), *(descriptors.of(side, rows) for side, rows in wanted)])


def check_whitening(spec: EvaluateSpec, tasks: Sequence[Task], training: Sequence[City], available: int) -> None:
    """Whether there are enough dimensions, and images to learn whitening on: known before anything is described.

    Args:
        available: dimensions of the descriptors.

    Raises:
        UserError: there are not.
    """
    if spec.whitening == "none":
        return
    check_dimensions(spec, available)
    num_images = sum(len(rows) for _, rows in learning_rows(spec, tasks, training))
    check_images(max(spec.dimensions or (available,)), num_images)


def learning_rows(spec: EvaluateSpec, tasks: Sequence[Task], training: Sequence[City]) -> Wanted:
    """What whitening is learnt on: nothing; the evaluated galleries; or database images of the training cities.

    Panoramas are left out; the others count all, or evenly chosen ones where there are many.
    """
    if spec.whitening == "none":
        return []
    if spec.whitening == "database":
        return [(task.city.database, task.gallery) for task in tasks]
    sides = [(city.database, np.flatnonzero(~city.database.pano)) for city in training]
    step = max(1, -(-sum(len(rows) for _, rows in sides) // LEARN_IMAGES))
    return [(side, rows[::step]) for side, rows in sides]


def wanted_rows(tasks: Sequence[Task], learning: Wanted, extra: Extra) -> Wanted:
    """All that must be described: each side once, with its rows in order."""
    everything = [*tasks, *(task for some in extra.subtasks.values() for task in some), *extra.predict]
    rows: dict[tuple[str, str], list[Rows]] = {}
    sides: dict[tuple[str, str], Side] = {}
    for side, some in [*(each for task in everything for each in task.sides), *learning]:
        sides[side.city, side.side] = side
        rows.setdefault((side.city, side.side), []).append(some)
    return [(side, np.unique(np.concatenate(rows[name]))) for name, side in sides.items()]

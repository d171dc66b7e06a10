"""Evaluating a network on validation cities: who is asked, who is searched, what counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vprdist.data.tasks import Task
from vprdist.evaluation.descriptors import describe
from vprdist.evaluation.metrics import average, per_query
from vprdist.evaluation.retrieve import retrieve
from vprdist.files import write_text
from vprdist.network.inputs import PlaceReader
from vprdist.network.model import PlaceNetwork, set_mode
from vprdist.ranks import Ranks
from vprdist.spec.result import Protocol
from vprdist.spec.trial import TrialSpec
from vprdist.spec.vocabulary import KS

StageReport = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Evaluation:
    """What came out: means over all queries, means a city, and the retrieved keys a query."""

    metrics: dict[str, float]
    city_metrics: dict[str, dict[str, float]]
    predictions: dict[str, list[tuple[str, list[str]]]]

    def write_predictions(self, folder: Path) -> None:
        """One file a city in MSLS' form: `query_key key key …`, nearest first."""
        for city, rows in self.predictions.items():
            write_text(folder / f"{city}.txt", "".join(" ".join([query, *keys]) + "\n" for query, keys in rows))


def describe_protocol(tasks: Sequence[Task], trial: TrialSpec, dataset: str) -> Protocol:
    """How these tasks are evaluated, for the result row. `dataset` is the digest of the validation cities."""
    return Protocol(
        dataset=dataset,
        cities=tuple(task.city.name for task in tasks),
        subtask=trial.evaluate.subtask,
        gallery=trial.evaluate.gallery,
        positive_radius_m=trial.data.positive_radius_m,
        image_size=trial.evaluate.image_size or trial.train.image_size,
        num_queries=sum(len(task.queries) for task in tasks),
        num_database=sum(len(task.gallery) for task in tasks),
    )


def evaluate(
    network: PlaceNetwork,
    trial: TrialSpec,
    tasks: Sequence[Task],
    ranks: Ranks,
    stage: StageReport = lambda *_: None,
) -> Evaluation:
    """Describe, search and count. The network is left in evaluation mode."""
    set_mode(network, trial.train.batch_norm, training=False)
    reader = PlaceReader(trial, trial.evaluate.image_size or trial.train.image_size)
    total, done = sum(len(t.queries) + len(t.gallery) for t in tasks), 0

    def advanced(count: int) -> None:
        nonlocal done
        done += count * ranks.world_size  # the other ranks go at the same pace
        stage("descriptors", min(done, total), total)

    values, city_metrics, predictions = [], {}, {}
    for task in tasks:
        if not len(task.queries):
            continue  # a subtask may leave a city without queries
        query, gallery = (
            describe(network, reader, side, rows.tolist(), ranks, trial.run.workers, advanced)
            for side, rows in ((task.city.query, task.queries), (task.city.database, task.gallery))
        )
        ranked = retrieve(query, gallery, max(KS))
        values.append(per_query(list(ranked), task.positives))
        city_metrics[task.city.name] = average(values[-1])
        keys = task.city.database.keys[task.gallery]
        asked = task.city.query.keys[task.queries]
        predictions[task.city.name] = [
            (str(name), [str(key) for key in keys[rows]]) for name, rows in zip(asked, ranked, strict=True)
        ]
    merged = {name: np.concatenate([v[name] for v in values]) for name in values[0]}
    return Evaluation(average(merged), city_metrics, predictions)

"""What a network reaches that sees nothing, on the queries of a trial."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import numpy as np

from vprdist.data.tasks import Task, tasks_of
from vprdist.game.chance import chance
from vprdist.spec.trial import TrialSpec
from vprdist.store.clusters import clusters

Place = tuple[str, str]
"""A city and a query's key."""


def num_clusters(tasks: Sequence[Task]) -> int:
    """Clusters of neighbours among the queries that are asked, as a trial's per-query results have them."""
    sides = [(task.city.query, task.queries) for task in tasks]
    city = [task.city.name for task in tasks for _ in task.queries]
    sequence = [str(key) for side, rows in sides for key in side.sequence_key[rows]]
    frame = [int(number) for side, rows in sides for number in side.frame_number[rows]]
    return len(np.unique(clusters(city, sequence, frame)))


def chances(trial: TrialSpec, objective: str, subtask: str | None = None) -> dict[Place, float]:
    """For each query the mean of the objective over all orders of the gallery it is asked of."""
    tasks, merged = tasks_of(trial, subtask), trial.judged.evaluate.gallery == "merged"
    together = sum(len(task.gallery) for task in tasks)
    return {
        (task.city.name, str(task.city.query.keys[row])): value
        for task in tasks
        if len(task.queries)
        for row, value in zip(
            task.queries,
            chance(objective, [len(rows) for rows in task.positives], together if merged else len(task.gallery)),
            strict=True,
        )
    }


def mean_chance(trial: TrialSpec, objective: str) -> float:
    """The mean over all queries."""
    return fmean(chances(trial, objective).values())

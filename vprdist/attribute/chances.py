"""What a network reaches that sees nothing, on the queries of a trial."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np

from vprdist.attribution.chance import chance
from vprdist.data.msls import read_city_cached
from vprdist.data.tasks import Task, breakdown_tasks, build_tasks
from vprdist.report.statistics import clusters
from vprdist.spec.trial import TrialSpec

Place = tuple[str, str]
"""A city and a query's key."""


def tasks_of(trial: TrialSpec, subtask: str | None = None) -> Sequence[Task]:
    """The questions of a trial, or those of another subtask.

    Raises:
        UserError: the cities cannot be read, or no query counts.
    """
    cities = [read_city_cached(Path(trial.data.root), name) for name in trial.data.validate_cities]
    if subtask is None or subtask == trial.evaluate.subtask:
        return build_tasks(cities, trial)
    return breakdown_tasks(cities, trial)[subtask]


def num_clusters(tasks: Sequence[Task]) -> int:
    """Clusters of neighbours among the queries that are asked, as a trial's per-query results have them."""
    sides = [(task.city.query, task.queries) for task in tasks]
    city = [task.city.name for task in tasks for _ in task.queries]
    sequence = [str(key) for side, rows in sides for key in side.sequence_key[rows]]
    frame = [int(number) for side, rows in sides for number in side.frame_number[rows]]
    return len(np.unique(clusters(city, sequence, frame)))


def chances(trial: TrialSpec, objective: str, subtask: str | None = None) -> dict[Place, float]:
    """For each query the mean of the objective over all orders of the gallery it is asked of."""
    tasks, merged = tasks_of(trial, subtask), trial.evaluate.gallery == "merged"
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

"""Who is asked and who is searched: the MSLS rules. Looked at before a sweep starts, and again by every job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vprdist.data.msls import City
from vprdist.data.positives import rows_within
from vprdist.errors import DataError
from vprdist.spec.trial import TrialSpec

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """One city's questions: queries that count, gallery rows, and each query's positives as gallery positions."""

    city: City
    queries: Rows
    gallery: Rows
    positives: list[Rows]


def city_task(city: City, subtask: str, radius_m: float) -> Task:
    """The MSLS rules: no panoramas on either side, both sides filtered by subtask, a query counts with a positive."""
    query, database = city.query, city.database
    gallery = np.flatnonzero(~database.pano & database.subtasks[subtask])
    asked = np.flatnonzero(~query.pano & query.subtasks[subtask])
    positives = rows_within(query.positions[asked], database.positions[gallery], radius_m)
    counts = np.array([len(rows) > 0 for rows in positives], bool)
    return Task(city, asked[counts], gallery, [rows for rows in positives if len(rows)])


def build_tasks(cities: Sequence[City], trial: TrialSpec) -> list[Task]:
    """The tasks of the validation cities.

    Raises:
        DataError: no query counts in any city; or, where the subtask leaves none out, in one of them.
    """
    tasks = [city_task(city, trial.evaluate.subtask, trial.data.positive_radius_m) for city in cities]
    empty = [task for task in tasks if not len(task.queries)]
    for task in empty:
        if trial.evaluate.subtask == "all" or len(empty) == len(tasks):
            rule = (
                f"a validation city has queries of subtask {trial.evaluate.subtask!r} with a positive: an image "
                f"of it within {trial.data.positive_radius_m:g} m, neither a panorama"
            )
            remedy = "Check its postprocessed.csv, or choose another city or subtask."
            raise DataError(task.city.query.folder.parent, rule, "zero positives", remedy)
    return tasks

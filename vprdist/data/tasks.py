"""Tasks: which queries are asked and which images are searched by the MSLS rules.

They are looked at before a sweep starts, and again by every job.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vprdist.data.layouts import layout_of, read_city_cached
from vprdist.data.places import City, Side
from vprdist.data.positives import rows_within
from vprdist.errors import DataError, nearest
from vprdist.spec.evaluate import EvaluateSpec
from vprdist.spec.trial import TrialSpec
from vprdist.spec.vocabulary import SUBTASKS

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """One city's questions: queries that count, gallery rows, and each query's positives as gallery positions.

    A query without positives is there where the trial counts such (`evaluate.no_positives`): nothing can answer it.
    """

    city: City
    queries: Rows
    gallery: Rows
    positives: list[Rows]

    @property
    def sides(self) -> tuple[tuple[Side, Rows], tuple[Side, Rows]]:
        """Both sides with the rows that take part."""
        return (self.city.query, self.queries), (self.city.database, self.gallery)


def city_task(city: City, evaluate: EvaluateSpec, radius_m: float) -> Task:
    """The MSLS rules: no panoramas on either side, both sides filtered by subtask, a query counts with a positive.

    Positives are what the city's own truth says, or the images within the radius. With `no_positives: count` every
    query counts, as in VPR-methods-evaluation, which divides by all of them.

    A city without any query of the subtask adds nothing to a merged gallery, as in the official loader.
    """
    asked, gallery = _chosen(city, evaluate)
    if not len(asked):
        gallery = gallery[:0]
    if city.truth is not None:
        right = city.truth.take(asked, gallery).positives.sorted_indices()
        positives = np.split(right.indices.astype(np.int64), right.indptr[1:-1])[: len(asked)]
    else:
        positives = rows_within(city.query.positions[asked], city.database.positions[gallery], radius_m)
    if evaluate.no_positives == "count":
        return Task(city, asked, gallery, positives)
    counts = np.array([len(rows) > 0 for rows in positives], bool)
    return Task(city, asked[counts], gallery, [rows for rows in positives if len(rows)])


def prediction_task(city: City, evaluate: EvaluateSpec) -> Task:
    """Every query of a city, whether or not anybody knows its positives; none are given."""
    asked, gallery = _chosen(city, evaluate)
    return Task(city, asked, gallery, [np.empty(0, np.int64)] * len(asked))


def _chosen(city: City, evaluate: EvaluateSpec) -> tuple[Rows, Rows]:
    """Query and database rows that the subtask leaves."""

    def rows(side: Side, scope: str) -> Rows:
        inside = side.chosen(evaluate.subtask) if scope == "subtask" else np.ones(len(side), bool)
        return np.flatnonzero(~side.pano & inside)

    return rows(city.query, evaluate.queries), rows(city.database, evaluate.database)


def build_tasks(cities: Sequence[City], trial: TrialSpec) -> list[Task]:
    """The tasks of the validation cities; one of which no query counts asks nothing, as in the official script.

    Raises:
        DataError: no query counts in any city, or nobody knows the subtask.
    """
    check_subtask(cities, trial)
    tasks = [city_task(city, trial.evaluate, trial.data.positive_radius_m) for city in cities]
    if tasks and not any(len(task.queries) for task in tasks):
        fault = (
            f"validation needs queries of subtask {trial.evaluate.subtask!r} with a positive: an image of it "
            f"{_near(tasks, trial.data.positive_radius_m)}, neither a panorama"
        )
        remedy = "Check the positions, or choose another city or subtask."
        raise DataError(tasks[0].city.folder, fault, None, remedy)
    return tasks


def check_subtask(cities: Sequence[City], trial: TrialSpec) -> None:
    """The subtask is one of MSLS', or a condition of some query.

    Raises:
        DataError: it is neither.
    """
    subtask, known = trial.evaluate.subtask, conditions_of(cities)
    if cities and subtask not in (*SUBTASKS, *known):
        fault = "a subtask must be one of MSLS' or a condition of the queries"
        raise DataError(cities[0].folder, fault, subtask, nearest(subtask, (*SUBTASKS, *known)))


def conditions_of(cities: Sequence[City]) -> list[str]:
    """The conditions of the queries of some cities, each once, in the order of the alphabet."""
    return sorted({word for city in cities for word in city.query.conditions.tolist() if word})


def _near(tasks: Sequence[Task], radius_m: float) -> str:
    """What makes an image a positive in these cities: "within 25 m"."""
    rules = {task.city.truth.told if task.city.truth else f"within {radius_m:g} m" for task in tasks}
    return " or ".join(sorted(rules))


def truth_told(tasks: Sequence[Task]) -> str | None:
    """The rules of cities that know their positives by themselves, for a protocol; None: a radius tells all of them."""
    told = sorted({task.city.truth.told for task in tasks if task.city.truth is not None})
    mixed = any(task.city.truth is None for task in tasks)
    return " or ".join([*told, *(["the radius"] if mixed else [])]) if told else None


def unasked(tasks: Sequence[Task], trial: TrialSpec) -> tuple[str, ...]:
    """What a person should know of cities that were named to be asked and are not, a line each."""
    what, radius_m = f"no query of subtask {trial.evaluate.subtask} has a database image", trial.data.positive_radius_m
    return tuple(
        f"{task.city.name} is not measured: {what} {_near([task], radius_m)}" for task in tasks if not len(task.queries)
    )


def breakdown_tasks(cities: Sequence[City], trial: TrialSpec) -> dict[str, list[Task]]:
    """The tasks of every subtask and condition that has a query, under the trial's protocol; `all` is the first.

    A condition that all queries share tells nothing beyond `all`, and is none of them.
    """
    out, conditions = {}, conditions_of(cities)
    shared = len(conditions) == 1 and all((city.query.conditions != "").all() for city in cities)
    asked = (*SUBTASKS, *conditions) if not shared else (*SUBTASKS, *({trial.evaluate.subtask} - {*SUBTASKS}))
    for subtask in asked:
        scope = trial.evaluate.queries if subtask == "all" else "subtask"
        evaluate = trial.evaluate.model_copy(update={"subtask": subtask, "queries": scope})
        tasks = [city_task(city, evaluate, trial.data.positive_radius_m) for city in cities]
        if any(len(task.queries) for task in tasks):
            out[subtask] = tasks
    return out


def tasks_of(trial: TrialSpec, subtask: str | None = None) -> Sequence[Task]:
    """The questions of a trial's result, or those of another subtask.

    Raises:
        UserError: the cities cannot be read, or no query counts.
    """
    trial = trial.judged
    cities = [read_city_cached(layout_of(trial.data), name) for name in trial.data.validate_cities]
    if subtask is None or subtask == trial.evaluate.subtask:
        return build_tasks(cities, trial)
    return breakdown_tasks(cities, trial)[subtask]

"""What was retrieved for the queries of some tasks, and what it is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from vprdist.data.tasks import Task
from vprdist.evaluation.descriptors import Descriptors, Rows, Values
from vprdist.evaluation.metrics import average, per_query
from vprdist.evaluation.retrieve import Neighbours, retrieve
from vprdist.spec.vocabulary import KS

DEPTH = max(KS)


@dataclass(frozen=True)
class Ranking:
    """Tasks of one subtask and what was retrieved for each of their queries, nearest first.

    Images are counted through the galleries of all tasks, one after the other.

    tasks: a city each, some without queries.
    retrieved: for each task one array a query, of up to 20 images; between two stages of as many as the second asks.
    other_keys: images that were retrieved (by somebody else) outside the galleries; they are counted after these.
    """

    tasks: Sequence[Task]
    retrieved: Sequence[Sequence[Rows]]
    other_keys: tuple[str, ...] = ()

    @cached_property
    def keys(self) -> npt.NDArray[np.str_]:
        """The key of each image."""
        parts = [task.city.database.keys[task.gallery] for task in self.tasks]
        return np.concatenate([*parts, np.array(self.other_keys, dtype=str)])

    @cached_property
    def starts(self) -> list[int]:
        """For each task the first image of its gallery."""
        return gallery_starts(self.tasks)

    @cached_property
    def values(self) -> list[dict[str, npt.NDArray[np.float64]]]:
        """For each task the metrics of its queries."""
        return [
            per_query(rows, [right + start for right in task.positives])
            for task, rows, start in zip(self.tasks, self.retrieved, self.starts, strict=True)
        ]

    @property
    def metrics(self) -> dict[str, float]:
        """Means over all queries of all cities."""
        return average({name: np.concatenate([value[name] for value in self.values]) for name in self.values[0]})

    @property
    def city_metrics(self) -> dict[str, dict[str, float]]:
        """Means over the queries of each city that has some."""
        pairs = zip(self.tasks, self.values, strict=True)
        return {task.city.name: average(value) for task, value in pairs if len(task.queries)}

    @property
    def predictions(self) -> dict[str, list[tuple[str, list[str]]]]:
        """By city: each query's key and the keys retrieved for it."""
        return {
            task.city.name: [
                (str(task.city.query.keys[query]), [str(key) for key in self.keys[rows]])
                for query, rows in zip(task.queries, retrieved, strict=True)
            ]
            for task, retrieved in zip(self.tasks, self.retrieved, strict=True)
            if len(task.queries)
        }


def gallery_starts(tasks: Sequence[Task]) -> list[int]:
    """The first image of each task's gallery, where galleries are counted one after the other."""
    return [0, *np.cumsum([len(task.gallery) for task in tasks]).tolist()][: len(tasks)]


def rank(
    tasks: Sequence[Task], descriptors: Descriptors, gallery: str, neighbours: Neighbours | None = None,
    depth: int = DEPTH,
) -> Ranking:  # fmt: skip
    """Search each city's gallery, or the one of all of them (`merged`), for the nearest 20, or `depth`.

    Args:
        neighbours: what proposes them; see `retrieve`.
    """

    def search(asked: Values, rows: Rows) -> Rows:
        return retrieve(asked, descriptors.values_ND, depth, rows, neighbours=neighbours)

    places = [descriptors.of(task.city.database, task.gallery) for task in tasks]
    merged = np.concatenate(places)
    retrieved: list[Sequence[Rows]] = []
    for task, own, start in zip(tasks, places, gallery_starts(tasks), strict=True):
        asked = descriptors.values_ND[descriptors.of(task.city.query, task.queries)]
        if gallery == "merged":
            retrieved.append(list(search(asked, merged)))
        else:
            retrieved.append([start + rows for rows in search(asked, own)])
    return Ranking(tasks, retrieved)

"""A row for each query: where and what it was, what was retrieved, what it earned. The report reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isnan
from pathlib import Path

import numpy as np

from vprdist.data.tasks import Task
from vprdist.evaluation.ranking import Ranking
from vprdist.parquet import write_parquet
from vprdist.spec.result import QUERY_COLUMNS

NUM_POSITIVES = 5


def write_queries(path: Path, rankings: Mapping[str, Ranking]) -> None:
    """Publish the rows of every subtask (`spec.result.QUERY_COLUMNS`)."""
    rows = [row for subtask, ranking in rankings.items() for row in query_rows(subtask, ranking)]
    write_parquet(path, rows, QUERY_COLUMNS)


def query_rows(subtask: str, ranking: Ranking) -> Iterator[dict[str, object]]:
    """One row a query that counts, in the order of the CSVs."""
    for number, task in enumerate(ranking.tasks):
        side, start, values = task.city.query, ranking.starts[number], ranking.values[number]
        headings, positions_N2 = side.headings.tolist(), None if side.easting is None else side.positions
        for index, row in enumerate(task.queries.tolist()):
            found = ranking.retrieved[number][index]
            yield {
                "subtask": subtask,
                "city": task.city.name,
                "query": str(side.keys[row]),
                "sequence_key": str(side.sequence_key[row]),
                "frame_number": int(side.frame_number[row]),
                "view_direction": str(side.view_direction[row]),
                "night": bool(side.night[row]),
                "easting": None if positions_N2 is None else float(positions_N2[row, 0]),
                "northing": None if positions_N2 is None else float(positions_N2[row, 1]),
                "ca": None if isnan(headings[row]) else headings[row],
                "num_positives": len(task.positives[index]),
                "retrieved": ranking.keys[found].tolist(),
                "hits": np.isin(found, task.positives[index] + start).tolist(),
                "positives": _nearest(task, index),
                **{name: float(column[index]) for name, column in values.items()},
            }


def _nearest(task: Task, index: int) -> list[str]:
    """Keys of a query's positives, nearest first, equal distances by row; without positions in the order of rows."""
    rows, database = task.gallery[task.positives[index]], task.city.database
    if database.easting is None or task.city.query.easting is None:
        return [str(key) for key in database.keys[rows[:NUM_POSITIVES]]]
    away = database.positions[rows] - task.city.query.positions[task.queries[index]]
    chosen = rows[np.argsort(np.hypot(*away.T), kind="stable")[:NUM_POSITIVES]]
    return [str(key) for key in database.keys[chosen]]

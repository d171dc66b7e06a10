"""The numbers of one evaluation on parts of its queries, each with how many they are and its intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vprdist.report.statistics import Panel, bootstrap, interval
from vprdist.spec.vocabulary import METRICS
from vprdist.store.queries import Queries, read_queries

RESAMPLES = 2_000


@dataclass(frozen=True)
class Part:
    """Some queries: their means, and 95 % intervals over clusters of queries (`report.statistics`)."""

    name: str
    num_queries: int
    metrics: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]


def parts_of(path: Path, subtask: str) -> list[Part]:
    """The whole subtask first; then its cities, the other subtasks, and the subtask's view directions.

    Args:
        path: the `queries.parquet` of an evaluation.
    """
    queries = read_queries(path)
    assert queries is not None, "the evaluation has written it"
    own = queries.subtask == subtask
    chosen = {f"subtask {subtask}": own}
    chosen |= {name: own & (queries.city == name) for name in sorted(set(queries.city[own]))}
    others = dict.fromkeys(name for name in queries.subtask if name != subtask)
    chosen |= {f"subtask {name}": queries.subtask == name for name in others}
    directions = sorted(set(queries.view_direction[own]) - {""})
    chosen |= {f"view {name}": own & (queries.view_direction == name) for name in directions}
    return [_part(name, queries, rows) for name, rows in chosen.items()]


def _part(name: str, queries: Queries, chosen: npt.NDArray[np.bool_]) -> Part:
    _, cluster = np.unique(queries.cluster[chosen], return_inverse=True)
    values = tuple(queries.metrics[metric][chosen].astype(np.float64)[None] for metric in METRICS)
    panel = Panel(values, cluster.astype(np.int64))
    draws = bootstrap(panel, RESAMPLES)
    return Part(
        name,
        panel.num_queries,
        dict(zip(METRICS, panel.means_R.tolist(), strict=True)),
        {metric: interval(panel, draws, row) for row, metric in enumerate(METRICS)},
    )

"""Results on parts of the queries: which parts there are, and what one evaluation scores on each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from vprdist.report.statistics import Panel, chance
from vprdist.spec.vocabulary import METRICS
from vprdist.store.queries import Queries, read_queries

Kind = Literal["city", "subtask", "view direction"]
Cut = tuple[Kind, str, npt.NDArray[np.bool_]]
"""A kind of part, the name of one, and (Q,) which queries are of it."""


@dataclass(frozen=True)
class Part:
    """Scores on some of the queries: those of a city, a subtask or a view direction.

    Attributes:
        metrics: means over the queries, and over seeds where there are several.
        intervals: 95 % intervals of these, over clusters of queries (`report.statistics`).
    """

    kind: Kind
    name: str
    num_queries: int
    num_clusters: int
    metrics: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]

    @property
    def label(self) -> str:
        """Its name beside others of one evaluation: a city's says by itself what it is."""
        return {"city": self.name, "subtask": f"subtask {self.name}", "view direction": f"view {self.name}"}[self.kind]


def cuts(queries: Queries, subtask: str) -> list[Cut]:
    """The parts of an evaluation: the cities of its subtask, the other subtasks, the view directions of its own."""
    own = queries.subtask == subtask
    found: list[Cut] = [("city", name, own & (queries.city == name)) for name in _names(queries.city[own])]
    found += [("subtask", name, queries.subtask == name) for name in _names(queries.subtask) if name != subtask]
    directions = [name for name in _names(queries.view_direction[own]) if name]
    return found + [("view direction", name, own & (queries.view_direction == name)) for name in directions]


def parts_of(path: Path, subtask: str) -> list[Part]:
    """The whole subtask first, then the parts of the evaluation (`cuts`), each with every metric.

    Args:
        path: the `queries.parquet` of an evaluation.

    Raises:
        UserError: the file cannot be read.
    """
    queries = read_queries(path)
    assert queries is not None, "the evaluation has written it"
    whole: Cut = ("subtask", subtask, queries.subtask == subtask)
    return [_part(queries, cut) for cut in (whole, *cuts(queries, subtask))]


def _part(queries: Queries, cut: Cut) -> Part:
    kind, name, chosen = cut
    _, cluster = np.unique(queries.cluster[chosen], return_inverse=True)
    values = tuple(queries.metrics[metric][chosen].astype(np.float64)[None] for metric in METRICS)
    panel = Panel(values, cluster.astype(np.int64))
    found = chance(panel)
    means = dict(zip(METRICS, panel.means_R.tolist(), strict=True))
    bounds = {metric: found.interval(row) for row, metric in enumerate(METRICS)}
    return Part(kind, name, panel.num_queries, panel.num_clusters, means, bounds)


def _names(words: Iterable[object]) -> list[str]:
    return sorted({str(word) for word in words})

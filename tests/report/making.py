"""Makes `predictions/queries.parquet` of chosen hits, and worlds whose truth is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from vprdist.files import write_parquet
from vprdist.report.queries import METRICS
from vprdist.spec.result import QUERY_COLUMNS, ResultRow

DEPTH = 20


def scores(hits: Sequence[bool], num_positives: int) -> dict[str, float]:
    """recall@k and mAP@k of one query, the slow way."""
    out: dict[str, float] = {}
    for metric in METRICS:
        name, k = metric.split("@")
        first = list(hits[: int(k)])
        precision = [sum(first[: rank + 1]) / (rank + 1) for rank, hit in enumerate(first) if hit]
        out[metric] = float(any(first)) if name == "recall" else sum(precision) / min(num_positives, int(k))
    return out


def record(
    query: str, hits: Sequence[bool], *, city: str = "b", sequence: str = "s", frame: int = 0, subtask: str = "all",
    retrieved: Sequence[str] | None = None, positives: Sequence[str] = ("right",), direction: str = "Forward",
    place: tuple[float, float] = (0.0, 0.0), night: bool = False,
) -> dict[str, Any]:  # fmt: skip
    found = list(retrieved) if retrieved is not None else [f"image{i}" for i in range(len(hits))]
    return {
        "subtask": subtask, "city": city, "query": query, "sequence_key": sequence, "frame_number": frame,
        "view_direction": direction, "night": night, "easting": place[0], "northing": place[1], "ca": 90.0,
        "num_positives": len(positives), "retrieved": found[:DEPTH], "hits": list(hits[:DEPTH]),
        "positives": list(positives[:5]), **scores(hits, len(positives)),
    }  # fmt: skip


def write_queries(trial_folder: Path, records: Sequence[Mapping[str, Any]]) -> Path:
    path = trial_folder / "predictions" / "queries.parquet"
    write_parquet(path, records, QUERY_COLUMNS)
    return path


def consistent(one: ResultRow, records: Sequence[Mapping[str, Any]] | None) -> ResultRow:
    """The result with the metrics that its per-query records average to."""
    own = [record for record in records or () if record["subtask"] == one.protocol.subtask]
    if not own:
        return one
    return one.model_copy(update={"metrics": {name: fmean(record[name] for record in own) for name in METRICS}})


def world(
    rng: np.random.Generator, *, rows: int, seeds: int = 1, clusters: int = 30, mean_size: int = 8,
    seed_sd: float = 0.0, effect: float = 0.0, level: float = 0.0,
) -> tuple[list[np.ndarray], np.ndarray]:  # fmt: skip
    """Hits of rows and seeds on clustered queries: [(S, Q) zeros and ones a row], (Q,) cluster codes.

    A query is hit when a sum of normal noises (of its cluster, itself, the row, the seed) is positive. Row r is
    better by r times `effect`.
    """
    cluster = np.repeat(np.arange(clusters), rng.integers(1, 2 * mean_size, clusters))
    count = len(cluster)
    common = rng.normal(0, 1, clusters)[cluster] + rng.normal(0, 1, count)
    values = []
    for row in range(rows):
        own = level + effect * row + rng.normal(0, 0.35, clusters)[cluster] + rng.normal(0, 0.5, count)
        noise = rng.normal(0, 0.5, (seeds, count)) + rng.normal(0, 1, (seeds, 1)) * seed_sd * 3.75
        values.append(((common + own + noise) > 0).astype(float))
    return values, cluster

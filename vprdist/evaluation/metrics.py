"""recall@k and mAP@k as MSLS' official evaluation defines them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vprdist.spec.vocabulary import KS

Rows = npt.NDArray[np.int64]


def per_query(
    ranked: Sequence[Rows], positives: Sequence[Rows], ks: Sequence[int] = KS
) -> dict[str, npt.NDArray[np.float64]]:
    """(Q,) values of `recall@k` and `map@k` for each query.

    recall@k is 1 when a positive is among the first k. AP@k is the sum of the precision at each rank that holds a
    positive, divided by min(number of positives, k).

    Args:
        ranked: for each query the retrieved rows, nearest first, each row once.
        positives: for each query the rows that show its place; one that has none is missed at every k, its AP is 0.
    """
    depth = max(ks)
    hit_QK = np.zeros((len(ranked), depth), bool)
    for query, (rows, right) in enumerate(zip(ranked, positives, strict=True)):
        hits = np.isin(rows[:depth], right)
        hit_QK[query, : len(hits)] = hits
    counts = np.array([len(right) for right in positives], dtype=np.float64)
    precision_QK = np.cumsum(hit_QK, axis=1) / np.arange(1, depth + 1)
    gained_QK = np.cumsum(precision_QK * hit_QK, axis=1)
    values: dict[str, npt.NDArray[np.float64]] = {
        f"recall@{k}": np.asarray(hit_QK[:, :k].any(axis=1), np.float64) for k in ks
    }
    return values | {f"map@{k}": gained_QK[:, k - 1] / np.clip(counts, 1, k) for k in ks}


def average(values: dict[str, npt.NDArray[np.float64]]) -> dict[str, float]:
    """The mean over queries of each metric."""
    return {name: float(column.mean()) for name, column in values.items()}

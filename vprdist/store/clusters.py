"""Clusters of neighbouring queries: frames of one drive are near copies of each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.int64]

FRAMES_A_BLOCK = 10


def clusters(city: Sequence[str], sequence: Sequence[str], frame: Sequence[int]) -> Codes:
    """(Q,) the cluster of each query: its city, sequence and block of about ten consecutive frames.

    A sequence of n queries is cut in round(n / 10) blocks of equal length, at least one.
    """
    names = np.array([f"{a}\0{b}" for a, b in zip(city, sequence, strict=True)])
    order = np.lexsort((np.arange(len(names)), np.asarray(frame, np.int64), names))
    out = np.empty(len(names), np.int64)
    start = 0
    _, lengths = np.unique(names[order], return_counts=True)
    ends = np.cumsum(lengths)
    for end, length in zip(ends.tolist(), lengths.tolist(), strict=True):
        blocks = max(1, round(length / FRAMES_A_BLOCK))
        out[order[end - length : end]] = start + np.arange(length) * blocks // length
        start += blocks
    return out

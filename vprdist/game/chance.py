"""What a network is worth that sees nothing: the value of the empty subset where a mask multiplies the picture.

An empty mask makes every picture black and every descriptor the same. Such a network ranks the gallery anyhow: what
it reaches is what a random order of the gallery reaches on average.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def chance(metric: str, positives: Sequence[int], gallery: int) -> list[float]:
    """For each query the expectation of a metric over all orders of the gallery.

    Args:
        metric: `recall@k` or `map@k`, as `evaluation.metrics` defines them.
        positives: how many positives each query has, at least one.
        gallery: how many images are searched.
    """
    kind, _, cut = metric.partition("@")
    k = min(int(cut), gallery)
    of = _recall if kind == "recall" else _average_precision
    known = {count: of(count, gallery, k, int(cut)) for count in set(positives)}
    return [known[count] for count in positives]


def _recall(count: int, gallery: int, k: int, cut: int) -> float:
    """One minus the chance that all of the first k are among the gallery - count others."""
    return 1 - math.comb(gallery - count, k) / math.comb(gallery, k)


def _average_precision(count: int, gallery: int, k: int, cut: int) -> float:
    """A positive stands at rank r with chance p/G; then (r-1)(p-1)/(G-1) of the r-1 before it are positives too."""
    ranks = np.arange(1, k + 1)
    earlier = (ranks - 1) * (count - 1) / max(gallery - 1, 1)
    return float((count / gallery * (1 + earlier) / ranks).sum() / min(count, cut))

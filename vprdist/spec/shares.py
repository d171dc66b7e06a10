"""Shares of training as whole numbers of queries: known before anything is drawn, and drawn so."""

from __future__ import annotations

import math
from collections.abc import Sequence


def share_counts(shares: Sequence[float], total: int) -> list[int]:
    """How many of `total` queries each share has: whole numbers that add up to it.

    What is left over after rounding down goes to the largest fractions, of equal ones to the first.

    Args:
        shares: above 0, of any size; only their ratios count.
    """
    largest = max(shares)  # as parts of it: huge ones would not add up, tiny ones would lose their ratios
    parts = [share / largest for share in shares]
    exact = [total * part / sum(parts) for part in parts]
    counts = [math.floor(each) for each in exact]
    fullest = sorted(range(len(exact)), key=lambda place: counts[place] - exact[place])
    for place in fullest[: total - sum(counts)]:
        counts[place] += 1
    return counts

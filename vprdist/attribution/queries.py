"""What a number of queries can show at all, before anything is run."""

from __future__ import annotations

import math


def fewest_queries(confidence: float) -> int:
    """With fewer queries nothing can be claimed, whatever comes out.

    Where one network is right at every query and the other at none, the sign test's error is 2 * 0.5^n.
    """
    return math.ceil(1 + math.log2(1 / (1 - confidence)) - 1e-9)

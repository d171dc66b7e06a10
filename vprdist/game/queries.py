"""What a number of queries can show at all, before anything is run."""

from __future__ import annotations

import math


def fewest(confidence: float) -> int:
    """With fewer independent observations nothing can be claimed, whatever comes out.

    Where one network is right at every one of n and the other at none, the sign test's error is 2 * 0.5^n. Where
    intervals are to hold for other queries too, a cluster of neighbours is one observation.
    """
    return math.ceil(1 + math.log2(1 / (1 - confidence)) - 1e-9)

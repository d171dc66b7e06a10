"""recall@k and mAP@k against the official rules written as slow loops, on random worlds."""

from __future__ import annotations

import numpy as np
import pytest

from vprdist.evaluation.metrics import average, per_query

KS = (1, 5, 10, 20)


def slow(ranked, positives, k):
    """MSLS' definitions, one query at a time: mean recall@k and mean average precision@k."""
    recalls, precisions = [], []
    for rows, right in zip(ranked, positives, strict=True):
        recalls.append(1.0 if any(row in set(right) for row in rows[:k]) else 0.0)
        hits, total = 0, 0.0
        for place, row in enumerate(rows[:k], 1):
            if row in set(right):
                hits += 1
                total += hits / place
        precisions.append(total / min(len(right), k))
    return sum(recalls) / len(recalls), sum(precisions) / len(precisions)


@pytest.mark.parametrize("seed", range(60))
def test_equal_to_slow_loops(seed):
    rng = np.random.default_rng(seed)
    gallery = int(rng.integers(1, 40))  # often fewer than twenty
    queries = int(rng.integers(1, 30))
    ranked = [rng.permutation(gallery)[:20] for _ in range(queries)]
    positives = [rng.permutation(gallery)[: rng.integers(1, gallery + 1)] for _ in range(queries)]
    found = average(per_query(ranked, positives))
    for k in KS:
        recall, precision = slow(ranked, positives, k)
        assert found[f"recall@{k}"] == pytest.approx(recall)
        assert found[f"map@{k}"] == pytest.approx(precision)
    assert found["recall@1"] == pytest.approx(found["map@1"]), "the two are one by definition"


def test_a_known_case():
    values = per_query([np.array([7, 3, 9, 1, 4])], [np.array([3, 4, 100])])
    assert values["recall@1"][0] == 0
    assert values["recall@5"][0] == 1
    assert values["map@5"][0] == pytest.approx((1 / 2 + 2 / 5) / 3)

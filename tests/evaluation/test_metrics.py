"""recall@k and mAP@k against the official rules written as slow loops, on random worlds."""

from __future__ import annotations

import numpy as np
import pytest

from vprdist.evaluation.metrics import average, per_query
from vprdist.evaluation.retrieve import retrieve

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


def test_retrieval_is_the_exhaustive_order():
    rng = np.random.default_rng(0)
    gallery, query = rng.normal(size=(50, 16)).astype("f4"), rng.normal(size=(9, 16)).astype("f4")
    distances = ((query[:, None] - gallery[None]) ** 2).sum(2)
    assert np.array_equal(retrieve(query, gallery, 20), np.argsort(distances, axis=1)[:, :20])


def test_small_and_empty_galleries():
    rng = np.random.default_rng(0)
    query = rng.normal(size=(3, 4)).astype("f4")
    assert retrieve(query, rng.normal(size=(2, 4)).astype("f4"), 20).shape == (3, 2)
    assert retrieve(query, np.empty((0, 4), "f4"), 20).shape == (3, 0)
    assert retrieve(query[:0], query, 20).shape == (0, 3)


def test_equal_descriptors_are_all_found():
    query = np.ones((1, 4), "f4")
    assert sorted(retrieve(query, np.ones((6, 4), "f4"), 20)[0].tolist()) == list(range(6))

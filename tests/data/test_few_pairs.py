"""Few pairs are looked at one by one, many by a tree: both find the same."""

from __future__ import annotations

import numpy as np
import pytest

from vprdist.data import positives
from vprdist.data.positives import rows_within


@pytest.mark.parametrize("seed", range(20))
def test_the_tree_and_every_pair_find_the_same(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    luck = np.random.default_rng(seed)
    origin = np.array([500_000.0, 6_170_000.0])
    query, database = (origin + luck.integers(0, 60, (count, 2)) for count in luck.integers(0, 80, 2))
    radius = float(luck.choice([0.0, 5.0, 25.0]))  # whole metres: many pairs lie on the rim
    few = rows_within(query, database, radius)
    monkeypatch.setattr(positives, "CHUNK_PAIRS", 1)
    if len(database):
        many = rows_within(query, database, radius)
        assert all(np.array_equal(one, other) for one, other in zip(few, many, strict=True))
    for place, found in zip(query, few, strict=True):
        assert found.tolist() == [row for row, other in enumerate(database) if np.hypot(*(other - place)) <= radius]

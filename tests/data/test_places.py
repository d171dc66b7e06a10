"""Positives and graded similarity against slow, obvious computations."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vprdist.data import positives, similarity
from vprdist.data.positives import rows_within
from vprdist.data.sectors import sector_overlap
from vprdist.data.similarity import graded_similarity, similarity_blocks


@pytest.mark.parametrize("seed", range(20))
def test_positives_equal_a_slow_loop(seed):
    rng = np.random.default_rng(seed)
    # Whole metres on a small grid: ties, equal positions and pairs exactly on the rim are frequent.
    query = rng.integers(0, 60, (rng.integers(0, 30), 2)).astype(float) + 500_000
    database = rng.integers(0, 60, (rng.integers(0, 40), 2)).astype(float) + 500_000
    found = rows_within(query, database, 25.0)
    for position, rows in zip(query, found, strict=True):
        expected = [i for i, d in enumerate(database) if (d[0] - position[0]) ** 2 + (d[1] - position[1]) ** 2 <= 625]
        assert rows.tolist() == expected


def test_positives_of_many_queries_equal_those_of_each_alone(monkeypatch):
    monkeypatch.setattr(positives, "CHUNK_QUERIES", 7)
    rng = np.random.default_rng(0)
    # The last seven queries are alone in their chunk, and have no positives.
    query = np.concatenate([rng.integers(0, 90, (50, 2)), np.full((6, 2), 9999)]).astype(float)
    database = rng.integers(0, 90, (60, 2)).astype(float)
    alone = [rows_within(position[None], database, 25.0)[0].tolist() for position in query]
    assert [rows.tolist() for rows in rows_within(query, database, 25.0)] == alone


def test_the_rim_counts_and_a_hair_more_does_not():
    query = np.array([[4_000_000.0, 7_000_000.0]])
    database = query + np.array([[15.0, 20.0], [25.0, 0.0], [25.001, 0.0]])
    assert rows_within(query, database, 25.0)[0].tolist() == [0, 1]


def test_real_positives_are_the_published_two_frames(shared_data):
    from vprdist.data.layouts.msls import read_city

    city = read_city(shared_data / "lip6", "lip6b")
    counts = [len(rows) for rows in rows_within(city.query.positions, city.database.positions, 25.0)]
    assert max(counts) == 5, "two frames to each side and the frame itself"
    assert min(counts) >= 1


@pytest.mark.parametrize("block", [1, 7, 25, 1000])
def test_the_sparse_matrix_leaves_out_nothing_but_zeros(block, monkeypatch):
    monkeypatch.setattr(similarity, "BLOCK_QUERIES", block)
    monkeypatch.setattr(similarity, "CHUNK_PAIRS", 13)
    rng = np.random.default_rng(1)
    query, database = rng.uniform(0, 300, (25, 2)), rng.uniform(0, 300, (40, 2))
    query[3], query[9] = 5000, database[5]
    ca_query, ca_database = rng.uniform(0, 360, 25), rng.uniform(0, 360, 40)
    sparse = graded_similarity(query, ca_query, database, ca_database, 50, 90)
    assert sparse.dtype == np.float32
    assert (sparse.data > 0).all()
    assert len(list(similarity_blocks(query, ca_query, database, ca_database, 50, 90))) == math.ceil(25 / block)
    for q in range(25):
        for d in range(40):
            offset = (database[d] - query[q])[None]
            expected = sector_overlap(offset, ca_query[q : q + 1], ca_database[d : d + 1], 50, 90)[0]
            if math.hypot(*offset[0]) > 100:
                assert expected == 0
            assert sparse[q, d] == np.float32(expected)

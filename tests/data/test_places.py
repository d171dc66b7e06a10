"""Positives and graded similarity against slow, obvious computations."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from scipy.sparse import csr_matrix, random_array, vstack

from vprdist.data import positives, similarity
from vprdist.data.positives import rows_within
from vprdist.data.sectors import sector_overlap
from vprdist.data.similarity import graded_similarity, joined, similarity_blocks


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


@pytest.mark.parametrize("most", [1, 5, 40, 10**6])
@pytest.mark.parametrize("seed", range(6))
def test_images_on_top_of_each_other_equal_a_slow_loop(most, seed, monkeypatch):
    """Panoramas cut into twelve, queries that stand still, and fewer pairs at once than one query has."""
    monkeypatch.setattr(positives, "CHUNK_PAIRS", most)
    monkeypatch.setattr(positives, "CHUNK_QUERIES", [3, 1000][seed % 2])
    rng = np.random.default_rng(seed)
    places = rng.integers(0, 70, (9, 2)).astype(float) + np.array([500_000, 7_000_000])
    database = rng.permutation(np.repeat(places, 12, axis=0))[: rng.integers(0, 109)]
    query = places[rng.integers(0, 9, rng.integers(0, 20))]
    expected = [np.flatnonzero(np.hypot(*(database - position).T) <= 25).tolist() for position in query]
    assert [rows.tolist() for rows in rows_within(query, database, 25.0)] == expected
    chunks = list(positives.Neighbours(database).chunks(query, 25.0, most_queries=4))
    assert [row for some, *_ in chunks for row in range(some.start, some.stop)] == list(range(len(query)))
    for some, rows, near in chunks:
        assert some.stop - some.start <= 4
        assert len(near) <= most or some.stop - some.start == 1
        assert sorted(zip(rows.tolist(), near.tolist(), strict=True)) == list(zip(rows, near, strict=True))


def peak_bytes(step):
    tracemalloc.start()
    try:
        done = step()
        return done, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_crowd_at_one_place_takes_the_memory_of_the_result(monkeypatch):
    """Four hundred queries among 20,000 images: 8 million pairs, of which a hundredth is there at once."""
    monkeypatch.setattr(positives, "CHUNK_PAIRS", 2**16)
    rng = np.random.default_rng(0)
    for database in (rng.uniform(0, 5, (20_000, 2)), np.repeat(rng.uniform(0, 5, (20, 2)), 1000, axis=0)):
        query = rng.uniform(0, 5, (400, 2))
        rows, peak = peak_bytes(lambda query=query, database=database: rows_within(query, database, 25.0))
        assert all(np.array_equal(each, np.arange(20_000)) for each in rows)
        assert peak < 8 * 400 * 20_000 + 24 * 2**20


@pytest.mark.parametrize("most", [1, 30, 10**6])
@pytest.mark.parametrize("degrees", [1, 60, 90, 91, 150, 180, 181, 270, 359, 360])
def test_pairs_that_are_not_looked_at_do_not_overlap(most, degrees, monkeypatch):
    """Twelve views of each of some places, some without an angle, and cameras that face each other across two radii."""
    monkeypatch.setattr(positives, "CHUNK_PAIRS", most)
    rng = np.random.default_rng(degrees)
    places = np.repeat(rng.uniform(0, 150, (4, 2)) + np.array([500_000, 7_000_000]), 12, axis=0)
    ca = np.arange(48) * 30.0 + rng.uniform(0, 1, 48)
    ca[[5, 17]] = np.nan
    ahead = np.stack([np.sin(np.radians(ca)), np.cos(np.radians(ca))], axis=1)
    across = np.nan_to_num(places + 99.9 * ahead)
    query, ca_query = np.concatenate([places, across]), np.concatenate([ca, ca + 180])
    sparse = graded_similarity(query, ca_query, places, ca, 50, degrees)
    assert sparse.has_canonical_format
    for q in range(len(query)):
        expected = sector_overlap(places - query[q], np.full(48, ca_query[q]), ca, 50, degrees)
        expected[np.isnan(ca + ca_query[q])] = 0
        assert np.array_equal(sparse[[q]].toarray()[0], expected.astype(np.float32))


def test_blocks_are_joined_in_the_memory_of_the_result(monkeypatch):
    rng = np.random.default_rng(0)
    parts = [random_array((50, 4000), density=0.5, rng=rng, dtype=np.float32, format="csr") for _ in range(40)]
    parts = [csr_matrix(part) for part in (*parts, csr_matrix((3, 4000), dtype=np.float32))]
    expected = vstack(parts, format="csr")
    found, peak = peak_bytes(lambda: joined(iter(parts)))
    assert found.shape == expected.shape
    assert all(np.array_equal(getattr(found, name), getattr(expected, name)) for name in ("data", "indices", "indptr"))
    assert (found.data.dtype, found.indices.dtype) == (expected.data.dtype, expected.indices.dtype)
    assert peak < 1.5 * (expected.data.nbytes + expected.indices.nbytes)


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

"""Positives and graded similarity against slow, obvious computations."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vprdist.data.positives import rows_within
from vprdist.data.similarity import graded_similarity, sector_overlap


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


def test_the_rim_counts_and_a_hair_more_does_not():
    query = np.array([[4_000_000.0, 7_000_000.0]])
    database = query + np.array([[15.0, 20.0], [25.0, 0.0], [25.001, 0.0]])
    assert rows_within(query, database, 25.0)[0].tolist() == [0, 1]


def test_real_positives_are_the_published_two_frames(shared_data):
    from vprdist.data.msls import read_city

    city = read_city(shared_data / "lip6", "lip6b")
    counts = [len(rows) for rows in rows_within(city.query.positions, city.database.positions, 25.0)]
    assert max(counts) == 5, "two frames to each side and the frame itself"
    assert min(counts) >= 1


def inside_sector(points, apex, ca, radius, degrees):
    """Which points lie in a sector, by distance and bearing: the definition itself."""
    east, north = (points - apex).T
    bearing = np.degrees(np.arctan2(east, north))
    turn = (bearing - ca + 180) % 360 - 180
    return (np.hypot(east, north) <= radius) & (np.abs(turn) <= degrees / 2)


@pytest.mark.parametrize("seed", range(12))
def test_overlap_equals_counting_points(seed):
    rng = np.random.default_rng(seed)
    offset = rng.uniform(-60, 60, 2) * rng.choice([0.2, 1.0])
    angles, degrees = rng.uniform(0, 360, 2), float(rng.choice([60, 90, 180]))
    steps = np.arange(-110, 110, 0.2) + 0.1
    points = np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2)
    one = inside_sector(points, np.zeros(2), angles[0], 50, degrees)
    two = inside_sector(points, offset, angles[1], 50, degrees)
    expected = (one & two).sum() / (one | two).sum()
    found = sector_overlap(offset[None], angles[:1], angles[1:], 50.0, degrees)[0]
    assert found == pytest.approx(expected, abs=2e-3)


def test_known_overlaps():
    zero, angle = np.zeros((1, 2)), np.array([30.0])
    assert sector_overlap(zero, angle, angle, 50, 90)[0] == pytest.approx(1)
    assert sector_overlap(zero, angle, angle + 45, 50, 90)[0] == pytest.approx(1 / 3)
    assert sector_overlap(zero, angle, angle + 90, 50, 90)[0] == pytest.approx(0, abs=1e-9)
    assert sector_overlap(zero, angle, angle + 360, 50, 90)[0] == pytest.approx(1)


def test_overlap_does_not_depend_on_who_asks():
    rng = np.random.default_rng(0)
    offset, one, two = rng.uniform(-70, 70, (300, 2)), rng.uniform(0, 360, 300), rng.uniform(0, 360, 300)
    forth = sector_overlap(offset, one, two, 50, 90)
    back = sector_overlap(-offset, two, one, 50, 90)
    assert np.abs(forth - back).max() < 2e-3
    assert forth.min() >= 0
    assert forth.max() <= 1


def test_the_sparse_matrix_leaves_out_nothing_but_zeros():
    rng = np.random.default_rng(1)
    query, database = rng.uniform(0, 300, (25, 2)), rng.uniform(0, 300, (40, 2))
    ca_query, ca_database = rng.uniform(0, 360, 25), rng.uniform(0, 360, 40)
    sparse = graded_similarity(query, ca_query, database, ca_database, 50, 90).toarray()
    for q in range(25):
        for d in range(40):
            offset = (database[d] - query[q])[None]
            expected = sector_overlap(offset, ca_query[q : q + 1], ca_database[d : d + 1], 50, 90)[0]
            if math.hypot(*offset[0]) > 100:
                assert expected == 0
            assert sparse[q, d] == pytest.approx(expected)

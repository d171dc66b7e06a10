"""Retrieval: the exhaustive order, equal ones by row, whatever the blocks, the threads and the precision."""

from __future__ import annotations

import tracemalloc
from fractions import Fraction

import faiss
import numpy as np
import pytest

from vprdist.evaluation.retrieve import retrieve


def units(rng, count, dimensions):
    values = rng.normal(size=(count, dimensions))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype("f4")


def slow(query, gallery, k):
    """The order by exact rational distances, equal ones by row."""
    order = []
    for asked in query.tolist():
        distances = [
            sum((Fraction(a) - Fraction(b)) ** 2 for a, b in zip(asked, row, strict=True)) for row in gallery.tolist()
        ]
        order.append(sorted(range(len(gallery)), key=lambda row: (distances[row], row))[:k])
    return np.array(order, np.int64).reshape(len(query), min(k, len(gallery)))


def world(seed):
    """Descriptors on a coarse grid, so that the rational order is ours to the letter; many are equal or tie."""
    rng = np.random.default_rng(seed)
    distinct = rng.integers(-3, 4, (int(rng.integers(1, 12)), int(rng.integers(1, 9)))).astype("f4") / 4
    gallery = distinct[rng.integers(0, len(distinct), int(rng.integers(1, 60)))]
    query = distinct[rng.integers(0, len(distinct), int(rng.integers(1, 30)))]
    return query, gallery, int(rng.integers(1, 25))


@pytest.mark.parametrize("seed", range(40))
def test_the_order_is_exact_and_equal_ones_go_by_row(seed):
    query, gallery, k = world(seed)
    expected = slow(query, gallery, k)
    for block_bytes in (1, 7 * 4 * gallery.shape[1], 2**28):
        assert np.array_equal(retrieve(query, gallery, k, block_bytes=block_bytes), expected)
    assert np.array_equal(retrieve(query.astype("f2"), gallery.astype("f2"), k), expected)


def crowded(kind):
    rng = np.random.default_rng(3)
    gallery = units(rng, 700, 257)
    if kind == "doubled":  # each image some twenty times: more equal ones than FAISS is asked for
        gallery = gallery[rng.integers(0, 30, 700)]
    elif kind == "collapsed":  # a network that says nearly the same of every image
        gallery = gallery[:1] + 1e-7 * gallery
    elif kind == "constant":
        gallery = np.repeat(gallery[:1], 700, axis=0)
    return gallery[rng.integers(0, 700, 45)] + np.float32(1e-3) * units(rng, 45, 257), gallery


@pytest.mark.parametrize("kind", ["spread", "doubled", "collapsed", "constant"])
def test_neither_blocks_nor_threads_nor_companions_change_the_order(kind):
    query, gallery = crowded(kind)
    threads = faiss.omp_get_max_threads()
    whole = retrieve(query, gallery, 20)
    try:
        for count, block_rows in ((1, 31), (2, 100), (2, 699)):
            faiss.omp_set_num_threads(count)
            assert np.array_equal(retrieve(query, gallery, 20, block_bytes=4 * 257 * block_rows), whole)
        alone = [retrieve(query[row : row + 1], gallery, 20)[0] for row in range(len(query))]
        assert np.array_equal(alone, whole), "a query alone passes another path of FAISS"
    finally:
        faiss.omp_set_num_threads(threads)
    distances = ((query[:, None].astype("f8") - gallery[None]) ** 2).sum(2)
    found = np.take_along_axis(distances, whole, axis=1)
    assert np.allclose(found, np.sort(distances, axis=1)[:, :20], rtol=0, atol=1e-6)
    if kind == "doubled":
        for query_rows, near in zip(whole, found, strict=True):
            same = np.flatnonzero(np.diff(np.round(near, 9)) == 0)
            assert (query_rows[same] < query_rows[same + 1]).all()
    if kind == "constant":
        assert np.array_equal(whole, np.tile(np.arange(20), (45, 1)))


def test_some_rows_alone_are_searched():
    query, gallery = crowded("spread")
    rows = np.sort(np.random.default_rng(0).permutation(700)[:100])
    assert np.array_equal(retrieve(query, gallery, 20, rows), retrieve(query, gallery[rows], 20))


def test_large_descriptors_are_scaled():
    query, gallery = crowded("doubled")
    assert np.array_equal(retrieve(query * 1024, gallery * 1024, 20), retrieve(query, gallery, 20))


def test_the_margin_covers_what_faiss_gets_wrong():
    """At full width, the error that the search allows for is many times the one that FAISS makes."""
    rng = np.random.default_rng(5)
    gallery, dimensions = units(rng, 400, 2048), 2048
    gallery = (gallery + 5 * gallery[:1]) / 5  # neighbours, where a product of nearly one hides the difference
    near, rows = faiss.knn(gallery[:50], gallery, 30)
    real = ((gallery[:50, None].astype("f8") - gallery[rows]) ** 2).sum(2)
    assert np.abs(near - real).max() < 8 * np.sqrt(dimensions) * 2.0**-24 / 4


def test_the_exact_pass_keeps_within_its_memory_where_descriptors_are_narrow():
    query, gallery = np.ones((64, 4), "f4"), np.ones((20_000, 4), "f4")
    tracemalloc.start()
    try:
        found = retrieve(query, gallery, 20, block_bytes=2**20)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert np.array_equal(found, np.tile(np.arange(20), (64, 1)))
    assert peak < 2 * 2**20, "a block's distances, 64 a row, are counted with its rows"


def test_small_and_empty_galleries():
    rng = np.random.default_rng(0)
    query = rng.normal(size=(3, 4)).astype("f4")
    assert retrieve(query, rng.normal(size=(2, 4)).astype("f4"), 20).shape == (3, 2)
    assert retrieve(query, np.empty((0, 4), "f4"), 20).shape == (3, 0)
    assert retrieve(query[:0], query, 20).shape == (0, 3)
    assert np.array_equal(retrieve(np.zeros((1, 4), "f4"), np.zeros((3, 4), "f4"), 20), [[0, 1, 2]])

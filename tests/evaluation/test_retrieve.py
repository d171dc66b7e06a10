"""Retrieval: the exhaustive order, equal ones by row, whatever the blocks, the threads and the precision."""

from __future__ import annotations

import tracemalloc
import warnings
from fractions import Fraction

import faiss
import numpy as np
import pytest
import torch

from vprdist.evaluation.retrieve import GRID_BITS, _Grid, _widened, retrieve
from vprdist.probes.pooled import neighbours_on


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


def test_every_half_is_widened_to_the_same_number():
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)].reshape(-1, 4)
    for values in (halves, np.asfortranarray(halves), halves.astype(">f2")):
        out = np.empty(halves.shape, np.float32)
        assert _widened(values, out) is out
        assert np.array_equal(out.view(np.uint32), halves.astype(np.float32).view(np.uint32)), "-0 too"


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


def overshadowed(count, dimensions):
    """One large number and many small ones, which a sum in float32 loses: its errors have one sign."""
    rng = np.random.default_rng(dimensions)
    values = np.full((count, dimensions), 1.7e-4) * rng.uniform(0.9, 1, (count, 1))
    values[:, 0] = 1
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype("f4")


@pytest.mark.parametrize("dimensions", [1, 2, 16, 64, 128, 192, 384, 768, 2048])
@pytest.mark.parametrize("proposed_by", [faiss.knn, neighbours_on(torch.device("cpu"))])
def test_the_margin_covers_small_numbers_that_a_sum_loses(dimensions, proposed_by):
    gallery = overshadowed(1500, dimensions)
    near, rows = proposed_by(gallery[:50], gallery, 30)
    real = ((gallery[:50, None].astype("f8") - gallery[rows]) ** 2).sum(2)
    assert np.abs(near - real).max() < _Grid(1.0, dimensions).float32_error


def on_the_grid(query, gallery, k):
    """The order by whole squared distances of descriptors of norm 1, put on the grid; equal ones by row."""
    asked, known = (np.rint(values.astype("f8") * 2**GRID_BITS).astype("i8") for values in (query, gallery))
    distances = np.stack([((row - known) ** 2).sum(axis=1) for row in asked])
    return np.argsort(distances, axis=1, kind="stable")[:, :k]


@pytest.mark.parametrize("kind", ["spread", "doubled", "collapsed", "constant", "overshadowed"])
@pytest.mark.parametrize("lean", [-1, 0, 1])
def test_distances_as_wrong_as_they_may_be_change_no_order(kind, lean):
    """Whoever proposes rows may err by as much as is allowed for, at random or to one side, and in any order."""
    query, gallery = crowded(kind) if kind != "overshadowed" else (overshadowed(40, 257), overshadowed(600, 257))
    query, gallery = (values / np.linalg.norm(values, axis=1, keepdims=True) for values in (query, gallery))
    rng, error = np.random.default_rng(0), 0.99 * _Grid(1.0, 257).float32_error

    def wrong(query, block, k):
        real = ((query[:, None].astype("f8") - block[None]) ** 2).sum(2)
        near = real + error * (rng.uniform(-1, 1, real.shape) if lean == 0 else lean * rng.choice([-1, 1], real.shape))
        rows = rng.permuted(np.argsort(near, axis=1)[:, :k], axis=1)
        return np.take_along_axis(near, rows, 1).astype("f4"), rows

    expected = on_the_grid(query, gallery, 20)
    for block_bytes in (2**28, 4 * 257 * 100):
        assert np.array_equal(retrieve(query, gallery, 20, block_bytes=block_bytes, neighbours=wrong), expected)
    assert np.array_equal(retrieve(query, gallery, 20), expected)


@pytest.mark.parametrize("kept", ["float16", "float32"])
def test_descriptors_are_read_where_they_lie(kept, tmp_path):
    """Mapped from a file that is not to be written to, transposed, every other one; all rows, or some of them."""
    query, gallery = (values.astype(kept) for values in crowded("spread"))
    np.save(tmp_path / "gallery.npy", gallery)
    mapped = np.load(tmp_path / "gallery.npy", mmap_mode="r")
    forms = [mapped, np.asfortranarray(gallery), np.repeat(gallery, 2, axis=0)[::2]]
    whole = retrieve(query.astype("f4"), gallery.astype("f4"), 20)
    middle = retrieve(query.astype("f4"), gallery[100:400].astype("f4"), 20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for form in forms:
            for block_bytes in (2**28, 4 * 257 * 90):
                assert np.array_equal(retrieve(query, form, 20, block_bytes=block_bytes), whole)
                some = retrieve(np.asfortranarray(query), form, 20, np.arange(100, 400), block_bytes)
                assert np.array_equal(some, middle)


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


@pytest.mark.parametrize("kept", ["float16", "float32"])
def test_a_large_gallery_is_copied_a_part_at_a_time(kept):
    """Float16 and rows here and there are copied, within the block; the gallery itself is 16 MB of float32."""
    rng = np.random.default_rng(1)
    gallery = units(rng, 16_000, 256).astype(kept)
    query, rows = gallery[:50], np.sort(rng.permutation(16_000)[:15_000])
    expected = retrieve(query.astype("f4"), gallery[rows].astype("f4"), 20)
    tracemalloc.start()
    try:
        found = retrieve(query, gallery, 20, rows, block_bytes=2**20)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert np.array_equal(found, expected)
    assert peak < 4 * 2**20


def test_small_and_empty_galleries():
    rng = np.random.default_rng(0)
    query = rng.normal(size=(3, 4)).astype("f4")
    assert retrieve(query, rng.normal(size=(2, 4)).astype("f4"), 20).shape == (3, 2)
    assert retrieve(query, np.empty((0, 4), "f4"), 20).shape == (3, 0)
    assert retrieve(query[:0], query, 20).shape == (0, 3)
    assert np.array_equal(retrieve(np.zeros((1, 4), "f4"), np.zeros((3, 4), "f4"), 20), [[0, 1, 2]])

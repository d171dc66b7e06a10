"""Pair sampling: shares, rules, and that the row of pairs depends on the seed and the position alone."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from vprdist.data.graph import CityGraph, city_graph
from vprdist.data.layouts.msls import read_city
from vprdist.data.pairs import PairSampler, PairStream
from vprdist.spec.data import DataSpec


def world(seed=0, queries=60, gallery=80, density=0.2) -> CityGraph:
    rng = np.random.default_rng(seed)
    dense = rng.uniform(0, 1, (queries, gallery)) * (rng.uniform(0, 1, (queries, gallery)) < density)
    return CityGraph("w", np.arange(0, queries, 1), np.arange(gallery), csr_matrix(dense))


def test_half_a_quarter_a_quarter():
    pairs = PairSampler([world()], seed=3, chunk_queries=20_000).chunk(0)
    s = pairs.similarity
    shares = [(s >= 0.5).mean(), ((s > 0) & (s < 0.5)).mean(), (s == 0).mean()]
    # Nearly every query has every kind of partner here; 20,000 draws leave ±1 point.
    assert np.allclose(shares, (0.5, 0.25, 0.25), atol=0.015)


def test_similarity_is_that_of_the_pair():
    graph = world()
    pairs = PairSampler([graph, graph], seed=1, chunk_queries=500).chunk(2)
    dense = graph.similarity.toarray()
    assert set(pairs.city.tolist()) == {0, 1}
    for query, row, similarity in zip(pairs.query, pairs.database, pairs.similarity, strict=True):
        assert similarity == np.float32(dense[query, row])


def test_each_query_once_before_any_twice():
    pairs = PairSampler([world(queries=50)], seed=0, chunk_queries=50).chunk(0)
    assert len(np.unique(pairs.query)) == len(pairs)


def test_panoramas_take_no_part(small_tree):
    for name, key in (("query", "ada_q002"), ("database", "ada_d004")):
        path = small_tree / "train_val/ada" / name / "raw.csv"
        path.write_text(
            "\n".join(line.replace("False", "True") if key in line else line for line in path.read_text().splitlines())
        )
    graph = city_graph(read_city(small_tree, "ada"), DataSpec())
    pairs = PairSampler([graph], seed=0, chunk_queries=2000).chunk(0)
    assert 2 not in pairs.query
    assert 4 not in pairs.database
    assert len(set(pairs.query.tolist())) == 11


def test_a_chunk_of_a_pass_counts_panoramas_and_skips_them_as_the_reference_does():
    # Every query has a positive, a soft and a hard negative; nine of 31 are panoramas.
    dense, asked = np.tile([0.9, 0.2, 0.0], (31, 1)), np.arange(9, 31)
    sampler = PairSampler([CityGraph("w", asked, np.arange(3), csr_matrix(dense))], 0, 10, passes=True)
    for first in (0, 4):  # ceil(31 / 10) chunks are a pass
        chunks = [sampler.chunk(index).query.tolist() for index in range(first, first + 4)]
        assert sorted(query for chunk in chunks for query in chunk) == asked.tolist()
        assert len(chunks[3]) <= 1 and max(map(len, chunks)) < 10


def test_queries_without_the_drawn_kind_are_skipped():
    # Query 0 has a positive only, query 1 nothing at all but zeros, query 2 a soft negative only.
    dense = np.array([[0.9, 0.9, 0.9], [0, 0, 0], [0.3, 0.3, 0.3]])
    graph = CityGraph("w", np.arange(3), np.arange(3), csr_matrix(dense))
    pairs = PairSampler([graph], seed=0, chunk_queries=3000).chunk(0)
    for query, allowed in ((0, {0.9}), (1, {0.0}), (2, {0.3})):
        assert {round(float(s), 6) for s in pairs.similarity[pairs.query == query]} == allowed
    # A half of the first query's draws, a quarter of the second's and of the third's find a partner.
    assert len(pairs) / 3000 == pytest.approx(1 / 3, abs=0.03)


@pytest.mark.parametrize("take", [1, 7, 64])
def test_the_row_of_pairs_is_one_however_it_is_taken(take):
    sampler = PairSampler([world(queries=40)], seed=5, chunk_queries=30)
    stream = PairStream(sampler)
    chunks = [sampler.chunk(i) for i in range(20)]
    row = np.concatenate([np.stack([c.query, c.database]) for c in chunks], axis=1)
    for position in (0, take, 100, 101):
        part = stream.take(position, take)
        assert np.array_equal(np.stack([part.query, part.database]), row[:, position : position + take])
    fresh = PairStream(PairSampler([world(queries=40)], seed=5, chunk_queries=30)).take(200, take)
    assert np.array_equal(np.stack([fresh.query, fresh.database]), row[:, 200 : 200 + take])


def test_seeds_and_chunks_differ():
    graph = world()
    draw = [
        PairSampler([graph], seed=s, chunk_queries=50).chunk(c).database.tolist() for s, c in ((0, 0), (1, 0), (0, 1))
    ]
    assert draw[0] != draw[1] != draw[2] != draw[0]

"""Queries with several partners: places of K pictures, and what triplets are chosen from."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from vprdist.data.graph import CityGraph
from vprdist.data.groups import PlaceSampler, TripletSampler
from vprdist.data.pairs import PairStream
from vprdist.errors import TrainingError


def world(seed=0, queries=30, gallery=50, density=0.3, name="w") -> CityGraph:
    """Some queries have no positive, some two; panoramas are queries 3 and rows 0, 7."""
    rng = np.random.default_rng(seed)
    dense = rng.uniform(0, 1, (queries, gallery)) * (rng.uniform(0, 1, (queries, gallery)) < density)
    dense[5], dense[6] = 0, 0
    dense[6, 10:12] = 0.5  # exactly the bound
    takes = np.setdiff1d(np.arange(queries), [3]), np.setdiff1d(np.arange(gallery), [0, 7])
    return CityGraph(name, *takes, csr_matrix(dense))


def positives_of(graph, query):
    dense = graph.similarity.toarray()
    return {row for row in graph.gallery.tolist() if np.float32(dense[query, row]) >= 0.5}


def test_a_place_is_a_query_and_different_positives_of_it():
    graphs = [world(), world(1, name="v")]
    sampler = PlaceSampler(graphs, seed=4, chunk_queries=400, pictures=4)
    found = sampler.chunk(3)
    assert found.database.shape == found.similarity.shape == (len(found), 3)
    assert found.num_partners == 3 and set(found.city.tolist()) == {0, 1}
    for city, query, rows, values in zip(found.city, found.query, found.database, found.similarity, strict=True):
        assert set(rows.tolist()) <= positives_of(graphs[city], query) and len(set(rows.tolist())) == 3
        assert values.tolist() == [np.float32(graphs[city].similarity[query, row]) for row in rows]
    asked = {(int(c), int(q)) for c, q in zip(found.city, found.query, strict=True)}
    wide = {(c, q) for c, g in enumerate(graphs) for q in g.queries.tolist() if len(positives_of(g, q)) >= 3}
    assert asked == wide, "400 draws meet each of 60 queries"
    assert any("fewer than 3 positives" in notice for notice in sampler.notices)


def test_every_positive_of_a_query_comes_as_often_in_its_places():
    graph = world()
    query = max(graph.queries.tolist(), key=lambda each: len(positives_of(graph, each)))
    found = PlaceSampler([graph], seed=0, chunk_queries=30_000, pictures=3).chunk(0)
    rows, counts = np.unique(found.database[found.query == query], return_counts=True)
    assert set(rows.tolist()) == positives_of(graph, query)
    assert counts.min() > 0.75 * counts.mean()


def test_a_row_of_places_is_the_same_however_it_is_cut():
    sampler = PlaceSampler([world()], seed=4, chunk_queries=16, pictures=3)
    whole = PairStream(sampler).take(5, 40)
    parts = [PairStream(sampler).take(begin, 10) for begin in (5, 15, 25, 35)]
    assert np.array_equal(whole.database, np.concatenate([part.database for part in parts]))


def test_a_place_that_no_query_fills_is_refused():
    with pytest.raises(TrainingError, match="no query of a training city has 40 positives") as error:
        PlaceSampler([world()], seed=0, chunk_queries=10, pictures=41)
    assert "place_pictures" in str(error.value)


@pytest.mark.parametrize("pool", [12, 1000])
def test_candidates_of_triplets_recomputed_from_the_graph(pool):
    graphs = [world(), world(1, name="v")]
    sampler = TripletSampler(graphs, 7, 200, (4, pool, 3), passes=False)
    found = sampler.candidates(2)
    assert len(found) and [len(each) for each in found.pools] == [min(pool, len(g.gallery)) for g in graphs]
    for city, query, rows, values in zip(found.city, found.query, found.positives, found.similarity, strict=True):
        mine = positives_of(graphs[city], query)
        drawn = rows[rows >= 0].tolist()
        assert set(drawn) <= mine and len(set(drawn)) == len(drawn) == min(3, len(mine)) > 0
        assert (rows[len(drawn) :] == -1).all()
        assert values[: len(drawn)].tolist() == [np.float32(graphs[city].similarity[query, row]) for row in drawn]
        pooled = found.pools[city].tolist()
        assert sum(graphs[city].similarity[query, row] == 0 for row in pooled) >= 4
        assert set(pooled) <= set(graphs[city].gallery.tolist()) and pooled == sorted(set(pooled))
    assert 5 not in found.query[found.city == 0], "it has no positive"
    again = TripletSampler(graphs, 7, 200, (4, pool, 3), passes=False).candidates(2)
    assert np.array_equal(again.positives, found.positives) and np.array_equal(again.query, found.query)
    assert len(sampler.chunk(2)) == len(found) and (sampler.chunk(2).database == -1).all()

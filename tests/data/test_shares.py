"""Training cities with stated shares: each group has its part of every chunk, and within it each query counts alike."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from vprdist.data.graph import CityGraph
from vprdist.data.query_chunks import QueryChunks
from vprdist.errors import TrainingError

SIZES = {"a": 40, "b": 7, "c": 500}
GROUPS = {"a": "old", "b": "old", "c": "new"}


def graphs(shares: dict[str, float]) -> list[CityGraph]:
    made = [
        CityGraph(name, np.arange(size), np.arange(5), csr_matrix(np.ones((size, 5), np.float32)))
        for name, size in SIZES.items()
    ]
    return [replace(g, group=GROUPS[g.name], share=shares[GROUPS[g.name]]) for g in made] if shares else made


def asked(chunks: QueryChunks, index: int) -> list[tuple[int, int]]:
    city, query = chunks.queries(index, chunks.rng(index))
    return list(zip(city.tolist(), query.tolist(), strict=True))


@pytest.mark.parametrize("passes", [False, True])
@pytest.mark.parametrize(
    ("shares", "counts"),
    [({"old": 1, "new": 3}, (10, 30)), ({"old": 2, "new": 1}, (27, 13)), ({"old": 1, "new": 1}, (20, 20))],
)
def test_a_chunk_has_each_share(passes, shares, counts):
    chunks = QueryChunks(graphs(shares), 3, 40, passes)
    for index in range(3):
        found = asked(chunks, index)
        of_group = Counter(GROUPS["abc"[city]] for city, _ in found)
        assert (of_group["old"], of_group["new"]) == counts
        assert passes or len(set(found)) == len(found), "no group is that small"
    order = [GROUPS["abc"[city]] for city, _ in asked(chunks, 0)]
    assert order != sorted(order) and order != sorted(order, reverse=True), "groups are mixed within a chunk"


def test_with_passes_each_query_of_a_group_comes_once_before_any_twice():
    chunks = QueryChunks(graphs({"old": 1, "new": 3}), 3, 40, passes=True)
    old = [pair for index in range(5) for pair in asked(chunks, index) if pair[0] < 2]
    assert len(set(old[:40])) == 40 and len(old) == 50
    assert Counter(Counter(old).values()) == {1: 44, 2: 3}, "all 47 once, then three of the next pass"


def test_a_small_group_comes_again_within_a_chunk():
    chunks = QueryChunks(graphs({"old": 9, "new": 1}), 3, 200)
    counts = Counter(pair for pair in asked(chunks, 0) if pair[0] < 2)
    assert set(counts.values()) == {3, 4} and sum(counts.values()) == 180


def test_without_shares_chunks_are_what_they_were():
    """One group, whatever its share: the same queries as before there were any."""
    plain, alike = QueryChunks(graphs({}), 3, 40), QueryChunks([replace(g, share=7.0) for g in graphs({})], 3, 40)
    rng = plain.rng(2)
    expected = rng.permutation(547)[:40]
    ends = np.cumsum([0, *SIZES.values()])
    city = np.searchsorted(ends, expected, side="right") - 1
    assert asked(plain, 2) == asked(alike, 2) == list(zip(city.tolist(), (expected - ends[city]).tolist(), strict=True))


def test_a_share_that_draws_nothing_is_refused():
    with pytest.raises(TrainingError, match="must draw a query of every chunk of 40; found 'old'"):
        QueryChunks(graphs({"old": 1, "new": 1000}), 3, 40)

"""What a step is made of: the same for every rank and worker count, and the reference's chunks to the letter."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from vprdist.data.graph import CityGraph
from vprdist.data.pairs import Pairs, PairSampler
from vprdist.spec.train import TrainSpec
from vprdist.training.steps import Steps, rank_part


def graph(seed: int = 0, queries: int = 50, gallery: int = 40, density: float = 0.3) -> CityGraph:
    rng = np.random.default_rng(seed)
    dense = rng.uniform(0, 1, (queries, gallery)) * (rng.uniform(0, 1, (queries, gallery)) < density)
    return CityGraph(f"w{seed}", np.arange(queries), np.arange(gallery), csr_matrix(dense))


def key(pairs: Pairs) -> list[tuple[int, int, int]]:
    return list(zip(pairs.city.tolist(), pairs.query.tolist(), pairs.database.tolist(), strict=True))


def test_chunked_steps_are_the_references_loop():
    """Chunks pass over all queries; a step is of one chunk; what does not fill a micro-batch is left out."""
    graphs = [graph(0), graph(1, queries=23)]
    spec = TrainSpec(chunked=True, chunk_queries=30, chunks=9, batch_pairs=8, micro_pairs=2, steps=10_000)
    steps = Steps(PairSampler(graphs, 4, 30, passes=True), spec)
    expected, of_chunk = [], []
    for index in range(9):
        chunk = key(PairSampler(graphs, 4, 30, passes=True).chunk(index))
        for begin in range(0, len(chunk), 8):
            batch = chunk[begin : begin + 8]
            if len(batch) // 2:
                expected.append(batch[: len(batch) // 2 * 2])
                of_chunk.append(index)
    assert steps.count == len(expected)
    assert [key(steps.pairs(step)) for step in range(steps.count)] == expected
    assert [steps.chunk(step) for step in range(steps.count)] == of_chunk
    fresh = Steps(PairSampler(graphs, 4, 30, passes=True), spec)
    assert key(fresh.pairs(steps.count - 1)) == expected[-1], "a resumed run need not have seen the steps before"
    assert Steps(PairSampler(graphs, 4, 30, passes=True), spec.model_copy(update={"steps": 5})).count == 5


def test_a_pass_asks_every_query_once_and_the_next_in_another_order():
    # Every query has a positive, a soft and a hard negative: none is skipped.
    dense = np.tile([0.9, 0.2, 0.0], (31, 1))
    sampler = PairSampler([CityGraph("w", np.arange(31), np.arange(3), csr_matrix(dense))], 0, 10, passes=True)
    sizes = [len(sampler.chunk(index)) for index in range(8)]
    assert sizes == [10, 10, 10, 1] * 2
    passes = [[q for i in range(4) for q in sampler.chunk(first + i).query.tolist()] for first in (0, 4)]
    assert sorted(passes[0]) == sorted(passes[1]) == list(range(31))
    assert passes[0] != passes[1]


@pytest.mark.parametrize("world_size", [1, 2, 4])
@pytest.mark.parametrize("mode", ["reference", "frozen", "sync"])
def test_ranks_together_have_the_step_and_statistics_see_the_same_images(world_size, mode):
    graphs = [graph()]
    pairs = PairSampler(graphs, 0, 200).chunk(0).part(slice(0, 16))
    spec = TrainSpec(batch_pairs=16, micro_pairs=4, batch_norm=mode)
    assert spec.ranks_fault(world_size) is None
    parts = [rank_part(pairs, spec, rank, world_size, graphs) for rank in range(world_size)]
    assert sorted(pair for part in parts for pair in key(part.pairs)) == sorted(key(pairs))
    assert all(part.total == 16 and sum(part.counts) == 16 for part in parts)
    assert [len(part.pairs) for part in parts] == list(parts[0].counts)
    micro = [[frozenset(key(part.pairs.part(each))) for each in part.micro] for part in parts]
    whole = {frozenset(key(pairs)[begin : begin + 4]) for begin in range(0, 16, 4)}
    if mode == "reference":
        assert {each for rank in micro for each in rank} == whole
    if mode == "sync":
        assert {frozenset().union(*together) for together in zip(*micro, strict=True)} == whole
    for part in parts:
        dense = graphs[0].similarity.toarray()
        assert np.allclose(part.similarity, dense[part.pairs.query, part.pairs.database])


def test_a_step_too_short_for_all_ranks_leaves_the_last_ones_a_micro_batch_that_does_not_count():
    graphs = [graph()]
    pairs = PairSampler(graphs, 0, 200).chunk(0).part(slice(0, 4))
    spec = TrainSpec(batch_pairs=16, micro_pairs=2, chunked=True)
    parts = [rank_part(pairs, spec, rank, 4, graphs) for rank in range(4)]
    assert sorted(parts[0].counts) == [0, 0, 2, 2]
    assert parts[0].counts[0] == 2, "the first rank's statistics are the ones that are kept"
    counted = [pair for rank, part in enumerate(parts) if part.counts[rank] for pair in key(part.pairs)]
    assert sorted(counted) == sorted(key(pairs))
    assert all(len(part.pairs) == 2 for part in parts)


def test_every_pair_has_its_similarity_and_cities_never_overlap():
    graphs = [graph(0), graph(1)]
    pairs = PairSampler(graphs, 2, 300).chunk(0).part(slice(0, 12))
    spec = TrainSpec(batch_pairs=12, micro_pairs=12, pairs="all", batch_norm="frozen")
    for rank in range(2):
        part = rank_part(pairs, spec, rank, 2, graphs)
        assert part.counts == (6, 6)
        for i in range(12):
            for j in range(12):
                same = pairs.city[i] == pairs.city[j]
                dense = graphs[pairs.city[i]].similarity[pairs.query[i], pairs.database[j]] if same else 0.0
                assert part.similarity[i, j] == np.float32(dense)


@pytest.mark.parametrize(
    ("spec", "world_size", "field"),
    [
        ({"batch_norm": "reference", "batch_pairs": 32, "micro_pairs": 2}, 3, "batch_pairs"),
        ({"batch_norm": "reference", "batch_pairs": 16, "micro_pairs": 16}, 2, "batch_pairs"),
        ({"batch_norm": "sync", "batch_pairs": 32, "micro_pairs": 2}, 4, "micro_pairs"),
        ({"batch_norm": "frozen", "batch_pairs": 32, "micro_pairs": 2}, 5, "batch_pairs"),
    ],
)
def test_ranks_that_would_change_the_arithmetic_are_refused(spec, world_size, field):
    assert TrainSpec(**spec).ranks_fault(1) is None
    fault = TrainSpec(**spec).ranks_fault(world_size)
    assert fault is not None and fault.field == field
    assert f"the {world_size} ranks must divide" in fault.fault

"""Drawing partners by kind, against a slow recomputation; and that a kind which nobody has is said."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from tests.training.choices import METRIC
from vprdist.data.graph import CityGraph, city_graph
from vprdist.data.kinds import HARD, KINDS, POSITIVE, SHARES, SOFT, check_kinds, city_kinds
from vprdist.data.layouts.msls import read_city
from vprdist.data.official import DATASETS
from vprdist.data.pairs import PairSampler
from vprdist.data.partners import Partners
from vprdist.errors import TrainingError
from vprdist.spec.data import DataSpec
from vprdist.spec.doors import LossName


def graph_of(dense, queries=None, gallery=None, name="w") -> CityGraph:
    dense = np.asarray(dense, np.float32)
    queries = np.arange(dense.shape[0]) if queries is None else np.array(queries, np.int64)
    gallery = np.arange(dense.shape[1]) if gallery is None else np.array(gallery, np.int64)
    return CityGraph(name, queries, gallery, csr_matrix(dense))


def partners_of(graph: CityGraph, query: int, kind: int) -> set[int]:
    """The rule itself, one row at a time."""
    row = graph.similarity.toarray()[query]
    fits = {POSITIVE: row >= 0.5, SOFT: (row > 0) & (row < 0.5), HARD: row == 0}[kind]
    return {d for d in graph.gallery.tolist() if fits[d]}


@pytest.mark.parametrize("seed", range(6))
def test_every_partner_of_the_kind_is_drawn_equally_often_and_no_other(seed):
    rng = np.random.default_rng(seed)
    # Few levels: many ties, values of exactly one half, rows without a kind, and an empty row and column.
    dense = rng.choice([0, 0, 0.25, 0.5, 0.75, 1.0], (7, 9))
    dense[3], dense[:, 4], dense[5] = 0, 0, 0.75
    graph = graph_of(dense, gallery=rng.permutation(9)[:7])
    partners = Partners(graph)
    for query in range(7):
        for kind in KINDS:
            rows, values = partners.draw(np.full(1400, query), np.full(1400, kind), rng)
            expected = partners_of(graph, query, kind)
            if not expected:
                assert (rows == -1).all()
                continue
            found, counts = np.unique(rows, return_counts=True)
            assert set(found.tolist()) == expected
            assert np.array_equal(values, dense[query][rows].astype(np.float32))
            # 1,400 draws of at most seven: five standard deviations.
            share = 1400 / len(expected)
            assert np.abs(counts - share).max() <= 5 * np.sqrt(share)


def test_queries_and_kinds_may_be_mixed_and_repeat():
    rng = np.random.default_rng(0)
    dense = rng.uniform(0, 1, (30, 40)) * (rng.uniform(0, 1, (30, 40)) < 0.3)
    graph = graph_of(dense, gallery=range(0, 40, 3))
    queries, kinds = rng.integers(0, 30, 3000), rng.integers(0, 3, 3000)
    rows, values = Partners(graph).draw(queries, kinds, rng)
    for query, kind, row, value in zip(queries.tolist(), kinds.tolist(), rows.tolist(), values, strict=True):
        expected = partners_of(graph, query, kind)
        assert row in expected if expected else row == -1
        assert value == (np.float32(dense[query, row]) if row >= 0 else 0)


def test_rare_hard_negatives_are_found_and_drawn_equally():
    dense = np.full((1, 900), 0.7)
    dense[0, [123, 456]] = 0
    rows, _ = Partners(graph_of(dense)).draw(np.zeros(600, np.int64), np.full(600, HARD), np.random.default_rng(0))
    found, counts = np.unique(rows, return_counts=True)
    assert found.tolist() == [123, 456]
    assert abs(counts[0] - 300) < 5 * np.sqrt(150)


def test_a_city_of_one_image_a_side():
    rng = np.random.default_rng(0)
    for value, own in ((0.0, HARD), (0.3, SOFT), (0.5, POSITIVE)):
        partners = Partners(graph_of([[value]]))
        for kind in KINDS:
            assert partners.draw(np.array([0]), np.array([kind]), rng)[0].tolist() == [0 if kind == own else -1]
        assert partners.kinds.found == {own}


def test_a_city_of_panoramas_takes_no_part():
    nobody = Partners(graph_of([[0.7, 0.3, 0]], queries=[], gallery=[]))
    assert nobody.kinds.found == set()
    both = PairSampler([nobody.graph, graph_of([[0.7, 0.3, 0]])], seed=0, chunk_queries=20)
    assert set(both.chunk(0).city.tolist()) == {1}
    assert len(both.notices) == 3


@pytest.mark.parametrize(
    ("row", "missing"),
    [
        ([0.4, 0, 0], r"positive \(similarity >= 0\.5\)"),
        ([0.5, 1, 0], "soft negative"),
        ([0.5, 0.3, 1], "hard negative"),
    ],
)
def test_a_kind_that_no_city_has_is_refused_and_one_that_some_lack_is_said(row, missing):
    poor, rich = graph_of([row, row], name="flatland"), graph_of([[0.9, 0.1, 0]], name="hills")
    with pytest.raises(TrainingError, match=rf"{missing}.*\(flatland: 2 queries, 3 database images\)"):
        PairSampler([poor], seed=0, chunk_queries=10)
    (notice,) = PairSampler([poor, rich], seed=0, chunk_queries=10).notices
    assert "flatland: 2 queries" in notice
    assert "hills" not in notice
    assert not PairSampler([rich], seed=0, chunk_queries=10).notices


def test_a_kind_that_is_never_drawn_may_be_missing():
    graph = graph_of([[0.9, 0, 0]])
    sampler = PairSampler([graph], seed=0, chunk_queries=10, shares=LossName.of("contrastive").fact("draws"))
    assert not sampler.notices
    with pytest.raises(TrainingError, match="soft negative"):
        PairSampler([graph], seed=0, chunk_queries=10)


def test_the_shares_known_without_torch_are_those_of_the_losses():
    for name, loss in LossName.door.built_in.items():
        made = LossName.of(name, **METRIC.get(name, {})).make()
        assert (made.wants, made.draws, made.labels) == (loss.facts["wants"], loss.facts["draws"], loss.facts["labels"])
        assert made.labels in DATASETS


def test_panoramas_do_not_count_as_partners():
    # The only positive, soft and hard partner in turn is a panorama.
    for left_out, kind in ((0, POSITIVE), (1, SOFT), (2, HARD)):
        gallery = [row for row in range(3) if row != left_out]
        assert Partners(graph_of([[0.9, 0.1, 0]], gallery=gallery)).kinds.found == {*KINDS} - {kind}


@pytest.mark.parametrize("angle", [90.0, 135.0, 180.0])
def test_a_look_before_anything_starts_finds_the_kinds_that_sampling_finds(small_tree, angle):
    # At a right angle no two fields of view overlap by half.
    path = small_tree / "train_val/ada/query/raw.csv"
    path.write_text(path.read_text().replace(",90.0,", f",{angle},"))
    path.write_text(path.read_text().replace("False", "True", 3))
    city, spec = read_city(small_tree, "ada"), DataSpec()
    assert city_kinds(city, spec) == Partners(city_graph(city, spec)).kinds
    assert (POSITIVE in city_kinds(city, spec).found) is (angle == 90.0)


def test_a_look_at_many_queries_leaves_out_the_right_panoramas(small_tree, monkeypatch):
    monkeypatch.setattr("vprdist.data.similarity.BLOCK_QUERIES", 5)
    path = small_tree / "train_val/ada/query/raw.csv"
    path.write_text(path.read_text().replace("False", "True", 11))
    city, spec = read_city(small_tree, "ada"), DataSpec()
    assert city_kinds(city, spec) == Partners(city_graph(city, spec)).kinds
    assert city_kinds(city, spec).found == {*KINDS}, "the last query alone has all of them"


def test_a_look_stops_at_the_first_queries_that_show_every_kind(small_tree, monkeypatch):
    seen = []

    def blocks(city, spec, loss):
        for row in range(12):
            seen.append(row)
            yield csr_matrix(np.array([[0.9 * (row >= 1), 0.1 * (row >= 2)] + [0] * 18], np.float32))

    monkeypatch.setattr("vprdist.data.kinds.label_rows", blocks)
    assert city_kinds(read_city(small_tree, "ada"), DataSpec()).found == {*KINDS}
    assert seen == [0, 1, 2]


def test_no_city_at_all_is_refused():
    with pytest.raises(TrainingError, match="positive"):
        check_kinds([], SHARES)


def test_similarity_of_a_batch_is_that_part_of_the_matrix():
    rng = np.random.default_rng(0)
    dense = (rng.uniform(0, 1, (20, 30)) * (rng.uniform(0, 1, (20, 30)) < 0.3)).astype(np.float32)
    graph = graph_of(dense)
    queries, rows = np.array([3, 3, 19, 0]), np.array([29, 1, 1, 0, 29, 7])
    found = graph.similarity_of(queries, rows)
    assert found.dtype == np.float32
    assert np.array_equal(found, dense[np.ix_(queries, rows)])
    assert graph.similarity_of(queries[:0], rows).shape == (0, 6)

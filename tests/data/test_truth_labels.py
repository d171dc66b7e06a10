"""Labels of a city that knows its positives itself: when they are taken, what they are, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.data.test_frames import NUMBERS, TRUTH, bench, matrix, write_route
from vprdist.data.graph import city_graph, training_graphs
from vprdist.data.groups import PlaceSampler
from vprdist.data.label_choice import label_kind, labels_digest, taken_labels
from vprdist.data.labels import read_labels
from vprdist.data.layouts import layout_of
from vprdist.errors import DataError, TrainingError
from vprdist.prepare.checks import check_data
from vprdist.prepare.resolve import Resolver
from vprdist.spec.data import DataSpec
from vprdist.spec.trial import TrialSpec


def spec_of(root: Path, layout: dict[str, object] | None = None, **more: object) -> DataSpec:
    chosen = {"name": "frames", "database": "day", "tolerance": 1, **(layout or {})}
    cities = {"train": ("a",), "validate_cities": ("b",)}
    return DataSpec.model_validate({"root": str(root), "layout": chosen, **cities, **more})


@pytest.fixture
def routes(tmp_path: Path) -> Path:
    """Two routes, `a` and `b`, in two traversals."""
    for name in ("a", "b"):
        write_route(tmp_path / "data" / name, NUMBERS, ("day", "night"))
    return tmp_path / "data"


def test_a_city_without_positions_takes_its_truth(routes, tmp_path):
    data = spec_of(routes)
    city = layout_of(data).read("a")
    for labels in ("auto", "truth"):
        chosen = data.model_copy(update={"labels": labels})
        assert label_kind(city, chosen) == "truth" == labels_digest(chosen)
        found = read_labels(city, chosen, tmp_path, lambda text: None)
        windows = [{n - 1, n, n + 1} for n in NUMBERS]
        assert found.dtype == np.float32
        assert found.toarray().tolist() == [[np.float32(len(a & b) / 3) for b in windows] for a in windows]
        assert (city_graph(city, chosen).similarity != found).nnz == 0
    assert not (routes / "vprdist_labels").exists(), "they are there already, and are not kept twice"
    assert taken_labels([city], data) == ("labels: auto takes truth for a (no positions; graded, within 1 frame)",)


def test_a_truth_without_grades_is_yes_or_no(tmp_path):
    for name in ("a", "b"):
        np.save(bench(tmp_path / "data" / name) / "gt.npy", matrix(TRUTH))
    layout = {"database": None, "tolerance": None, "truth": "gt.npy"}
    data = spec_of(tmp_path / "data", layout)
    city = layout_of(data).read("a")
    assert read_labels(city, data, tmp_path, print).toarray().tolist() == matrix(TRUTH).astype(float).tolist()
    assert "(no positions; yes or no, that gt.npy names)" in taken_labels([city], data)[0]
    with pytest.raises(TrainingError, match=r"no query .* soft negative .* take a loss or batches that draw none"):
        check_data(TrialSpec(data=data))
    trial = TrialSpec.model_validate({"data": data, "train": {"loss": "contrastive"}})
    assert check_data(trial)[0] == sum(map(bool, TRUTH))


def test_labels_of_positions_are_refused_where_there_are_none(routes):
    for labels in ("computed", "distance"):
        with pytest.raises(DataError, match=rf"with `labels: {labels}` a training city needs positions\. Set .*truth"):
            check_data(TrialSpec(data=spec_of(routes, labels=labels)))
    with pytest.raises(DataError, match="with `labels: official` a training city needs a label file"):
        check_data(TrialSpec(data=spec_of(routes, labels="official")))


def test_truth_is_refused_where_nobody_knows_it(small_tree):
    data = DataSpec(root=str(small_tree), train=("ada",), validate_cities=("bob",), labels="truth")
    with pytest.raises(DataError, match="must know its positives by itself; found 'positions of ada alone'"):
        check_data(TrialSpec(data=data))


def test_what_a_truth_says_is_part_of_the_trial(routes, tmp_path):
    def resolved(tolerance: int) -> TrialSpec:
        network = {"backbone": "resnet18", "weights": "none", "unfreeze": "all"}
        data = spec_of(routes, {"tolerance": tolerance})
        return Resolver().resolve(TrialSpec.model_validate({"data": data, "network": network}))

    one, two = resolved(1), resolved(2)
    assert one.digests is not None and two.digests is not None
    assert one.digests.labels == "truth" and one.digests.dataset != two.digests.dataset
    assert one.trial_id != two.trial_id == resolved(2).trial_id
    graphs, notices = training_graphs(one, [layout_of(one.data).read("a")], tmp_path, print)
    assert len(graphs[0].queries) == len(NUMBERS) and notices == ()


def test_places_are_drawn_of_a_truth(routes):
    data = spec_of(routes)
    graph = city_graph(layout_of(data).read("a"), data)
    sampler = PlaceSampler([graph], 0, len(NUMBERS), 3)
    drawn = sampler.chunk(0)
    for query, rows in zip(drawn.query.tolist(), drawn.database.tolist(), strict=True):
        assert all(abs(NUMBERS[query] - NUMBERS[row]) <= 1 for row in rows)


def test_pictures_that_are_left_out_leave_the_truth_too(routes):
    whole = layout_of(spec_of(routes)).read("a")
    gone = f"frame{NUMBERS[1]}"
    city = layout_of(spec_of(routes, leave_out=(f"a/query/{gone}", f"a/database/frame{NUMBERS[0]}"))).read("a")
    assert whole.truth is not None and city.truth is not None and city.truth.similarity is not None
    for name in ("positives", "similarity"):
        expected = getattr(whole.truth, name).toarray()[[0, *range(2, len(NUMBERS))]][:, 1:]
        assert np.array_equal(getattr(city.truth, name).toarray(), expected)


def test_a_truth_goes_through_several_data_sets(routes):
    sets = {"seasons": {"folder": "data", "layout": {"name": "frames", "database": "day", "tolerance": 1}}}
    given = {"root": str(routes.parent), "layout": {"name": "mixed", "sets": sets}}
    data = DataSpec.model_validate({**given, "train": ("seasons.a",), "validate_cities": ("seasons.b",)})
    assert labels_digest(data) == "truth"
    count, facts = check_data(TrialSpec(data=data))
    assert count == len(NUMBERS)
    assert "labels: auto takes truth for seasons.a (no positions; graded, within 1 frame)" in facts

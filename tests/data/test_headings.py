"""Compass angles that are none: -1, nothing, or one impossible value for a whole side."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.worlds import write_side
from vprdist.data.graph import city_graph, training_graphs
from vprdist.data.kinds import city_kinds
from vprdist.data.label_choice import without_angles
from vprdist.data.layouts.msls import read_city
from vprdist.data.pairs import PairSampler
from vprdist.data.places import City, Side
from vprdist.data.tasks import build_tasks
from vprdist.errors import DataError
from vprdist.prepare.checks import check_data
from vprdist.spec.data import DataSpec
from vprdist.spec.trial import Digests, TrialSpec


def write_angles(root, query, database, panos=None, city="ada") -> City:
    """A street of pictures 10 m apart with these angles."""
    for side, angles in (("query", query), ("database", database)):
        keys = [f"{side[0]}{row}" for row in range(len(angles))]
        places = [(500_000.0 + 10 * row, 5_000_000.0) for row in range(len(angles))]
        chosen = panos if side == "query" else None
        write_side(root / "train_val" / city / side, keys, places, angles=angles, panos=chosen)
    return read_city(root, city)


@pytest.mark.parametrize(
    ("angles", "known"),
    [
        ([-1.0, -1.0, -1.0], [False] * 3),
        ([720.0, 720.0], [False] * 2),
        ([float("nan"), float("nan")], [False] * 2),
        (["", 10.0, -1.0], [False, True, False]),
        ([-30.0, 400.0], [True, True]),  # angles, counted on
        ([0.0, 0.0, 0.0], [True] * 3),
        ([90.0], [True]),
        ([-1.0], [False]),
    ],
)
def test_what_is_an_angle(tmp_path, angles, known):
    city = write_angles(tmp_path, angles, [90.0, 90.0])
    assert (~np.isnan(city.query.headings)).tolist() == known
    kept = np.array(known)
    assert np.array_equal(city.query.headings[kept], city.query.ca[kept])


@pytest.mark.parametrize(("side", "row"), [("query", 0), ("database", 2)])
@pytest.mark.parametrize("word", ["inf", "north"])
def test_other_words_are_refused(tmp_path, side, row, word):
    angles = {"query": [90.0] * 3, "database": [90.0] * 3}
    angles[side][row] = word
    with pytest.raises(
        DataError, match=rf"{side}/raw.csv:{row + 2}: column 'ca' must hold a finite number, or nothing"
    ):
        write_angles(tmp_path, **angles)


def test_pictures_without_an_angle_take_no_part_in_computed_labels(tmp_path):
    """Left out, the others have the similarities that a city of them alone has."""
    rng = np.random.default_rng(0)
    query, database = ([float(angle) for angle in rng.uniform(0, 360, count)] for count in (14, 20))
    gone = {"query": [2, 5, 6], "database": [0, 7]}
    with_gaps = [list(query), list(database)]
    for angles, rows in zip(with_gaps, gone.values(), strict=True):
        for row in rows:
            angles[row] = -1.0 if row % 2 else float("nan")
    panos = [row == 6 for row in range(14)]
    city, whole = write_angles(tmp_path / "gaps", *with_gaps, panos), write_angles(tmp_path / "whole", query, database)
    graph, other = city_graph(city, DataSpec()), city_graph(whole, DataSpec())
    assert graph.queries.tolist() == [row for row in range(14) if row not in gone["query"]]
    assert graph.gallery.tolist() == [row for row in range(20) if row not in gone["database"]]
    expected = other.similarity.toarray()
    expected[gone["query"]] = 0
    expected[:, gone["database"]] = 0
    assert np.array_equal(graph.similarity.toarray(), expected) and expected.any()
    pairs = PairSampler([graph], seed=0, chunk_queries=2000).chunk(0)
    assert not set(pairs.query.tolist()) & set(gone["query"])
    assert not set(pairs.database.tolist()) & set(gone["database"])
    assert city_kinds(city, DataSpec()).num_queries == 11 and city_kinds(city, DataSpec()).num_gallery == 18
    what = "of ada have no compass angle (-1 or nan): they take no part in training on computed labels"
    assert without_angles(city) == (f"2 of 14 query images {what}", f"2 of 20 database images {what}")


@pytest.mark.parametrize("angle", [-1.0, 720.0, float("nan")])
def test_a_city_without_headings_validates_and_does_not_train_on_computed_labels(tmp_path, angle):
    write_angles(tmp_path, [angle] * 4, [angle] * 6)
    write_angles(tmp_path, [90.0] * 4, [90.0] * 6, city="bob")
    back = TrialSpec(data=DataSpec(root=str(tmp_path), train=("bob",), validate_cities=("ada",)))
    assert build_tasks([read_city(tmp_path, "ada")], back)[0].queries.tolist() == [0, 1, 2, 3]
    data = DataSpec(root=str(tmp_path), train=("ada",), validate_cities=("bob",), labels="computed")
    trial = TrialSpec(data=data)
    message = rf"query/raw.csv: training on computed labels needs compass angles \(ca\); found '{angle:g} for every "
    with pytest.raises(
        DataError, match=message + r".*Set trial.data.labels: distance, .*put its official labels at .*ada_gt.h5"
    ):
        check_data(trial)


def test_a_job_of_computation_1_goes_on_as_it_began(tmp_path):
    """There -1 was an angle; what is kept for one computation is not read by the other."""
    angles = [90.0, -1.0, 80.0, -1.0, 70.0, 60.0]
    city = write_angles(tmp_path, angles, angles)
    turned = write_angles(tmp_path / "turned", *[[angle % 360 for angle in angles]] * 2)
    trial = TrialSpec(data=DataSpec(root=str(tmp_path), train=("ada",), validate_cities=("bob",)))
    for computation, rows in ((2, [0, 2, 4, 5]), (1, list(range(6))), (2, [0, 2, 4, 5])):
        digests = Digests(dataset="d", cache=None, weights="none", computation=computation)
        (graph,), notices = training_graphs(trial.resolved(digests), [city], tmp_path, lambda text: None)
        assert graph.queries.tolist() == graph.gallery.tolist() == rows and len(notices) == 2 * (computation == 2)
        expected = city_graph(turned, DataSpec()).similarity.toarray()
        gone = np.setdiff1d(range(6), rows)
        expected[gone] = 0
        expected[:, gone] = 0
        assert graph.similarity.toarray() == pytest.approx(expected, abs=1e-6)


def test_a_layout_may_give_angles_that_nobody_knows():
    paths = ["a.jpg", "b.jpg"]
    side = Side.of(city="c", side="query", paths=paths, ca=[np.nan, 3.0])
    assert np.isnan(side.headings).tolist() == [True, False]
    with pytest.raises(ValueError, match="ca must be finite"):
        Side.of(city="c", side="query", paths=paths, ca=[np.inf, 3.0])
    none = dataclasses.replace(side, ca=None)
    assert np.isnan(none.headings).all()

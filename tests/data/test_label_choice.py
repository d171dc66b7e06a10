"""Which labels a city takes: official, computed, or of distance alone; what is said of it, and what it makes of ids."""

from __future__ import annotations

import shutil
from math import acos, hypot, pi, sqrt
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.worlds import write_side
from vprdist.data.graph import city_graph, training_graphs
from vprdist.data.label_choice import equal_angles, label_kind, labels_digest, taken_labels
from vprdist.data.labels import read_labels
from vprdist.data.layouts.msls import read_city
from vprdist.data.official import official_digest
from vprdist.data.places import City
from vprdist.errors import DataError
from vprdist.prepare.checks import check_data
from vprdist.prepare.resolve import Resolver
from vprdist.spec.data import DataSpec
from vprdist.spec.trial import Digests, TrialSpec

NO_ANGLE = float("nan")


@pytest.fixture(autouse=True)
def fresh():
    official_digest.cache_clear()


def write_place(root: Path, city: str, query, database, panos=None) -> City:
    """Pictures at random on a square of 150 m, two of them at one spot; angles as given, one a picture."""
    rng = np.random.default_rng(len(query))
    for side, angles in (("query", query), ("database", database)):
        places = [(5e5 + east, 5e6 + north) for east, north in rng.uniform(0, 150, (len(angles), 2)).tolist()]
        places[0] = (5e5 + 75.0, 5e6 + 75.0)
        keys = [f"{city}_{side[0]}{row}" for row in range(len(angles))]
        chosen = panos if side == "query" else None
        write_side(root / "train_val" / city / side, keys, places, angles=list(angles), panos=chosen)
    return read_city(root, city)


def write_official(city: City) -> None:
    with h5py.File(city.label_file, "w") as file:
        file["fov"] = np.random.default_rng(0).choice([0, 0.3, 1.0], (len(city.query), len(city.database)))


def angles(count: int, seed: int = 0) -> list[float]:
    return np.random.default_rng(seed).uniform(0, 360, count).tolist()


def slow_labels(city: City, radius: float) -> np.ndarray:
    """The discs' intersection over union, pair by pair, by the textbook's formula of a lens."""
    out = np.zeros((len(city.query), len(city.database)))
    for row, (east, north) in enumerate(city.query.positions):
        for column, (other_east, other_north) in enumerate(city.database.positions):
            apart = hypot(other_east - east, other_north - north)
            if apart < 2 * radius:
                lens = 2 * radius**2 * acos(apart / 2 / radius) - apart / 2 * sqrt(4 * radius**2 - apart**2)
                out[row, column] = lens / (2 * pi * radius**2 - lens)
    return out


@pytest.mark.parametrize(
    "more", [{"labels": "distance"}, {"fov_degrees": 360.0}, {"fov_degrees": 360.0, "labels": "computed"}]
)
@pytest.mark.parametrize("radius", [20.0, 50.0])
def test_labels_of_distance_are_the_overlap_of_discs_whatever_the_compass_says(tmp_path, more, radius):
    spec = DataSpec(root=str(tmp_path), fov_radius_m=radius, **more)
    turned = write_place(tmp_path, "ada", angles(14), [*angles(20), NO_ANGLE], [row == 3 for row in range(14)])
    without = write_place(tmp_path / "none", "ada", [NO_ANGLE] * 14, [-1.0] * 21)
    found = read_labels(turned, spec, tmp_path, lambda text: None).toarray()
    assert found.dtype == np.float32 and found == pytest.approx(slow_labels(turned, radius), abs=1e-6)
    assert found[0, 0] == 1 and 0 < (found == 0).mean() < 1
    assert np.array_equal(city_graph(without, spec).similarity.toarray(), found)
    graph = city_graph(turned, spec)
    assert graph.queries.tolist() == [row for row in range(14) if row != 3], "panoramas are not trained on"
    assert graph.gallery.tolist() == list(range(21)), "nobody needs an angle"


def test_what_distance_does_not_read_makes_no_other_file(tmp_path):
    city, said = write_place(tmp_path, "ada", angles(6), angles(8)), list[str]()
    for more in ({"labels": "distance"}, {"labels": "distance", "fov_degrees": 60.0}, {"fov_degrees": 360.0}):
        read_labels(city, DataSpec(root=str(tmp_path), **more), tmp_path, said.append)
    turned = write_place(tmp_path, "ada", angles(6, 1), angles(8, 2))
    read_labels(turned, DataSpec(root=str(tmp_path), labels="distance"), tmp_path, said.append)
    assert len(said) == 1 and "computing the labels by distance alone of ada" in said[0]
    read_labels(city, DataSpec(root=str(tmp_path)), tmp_path, said.append)
    read_labels(city, DataSpec(root=str(tmp_path), labels="distance", fov_radius_m=40.0), tmp_path, said.append)
    assert len(list((tmp_path / "vprdist_labels").glob("*.npz"))) == 3


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """`given` has official labels, `turned` angles, `half` none on one side, `bare` none; `there` is to validate."""
    root = tmp_path / "tree"
    write_official(write_place(root, "given", [NO_ANGLE] * 5, angles(6)))
    write_place(root, "turned", angles(7), [*angles(7), NO_ANGLE])
    write_place(root, "half", angles(6), [-1.0] * 8)
    write_place(root, "bare", [NO_ANGLE] * 6, [-1.0] * 9)
    write_place(root, "there", [90.0] * 4, [NO_ANGLE] * 5)
    return root


CITIES = ("given", "turned", "half", "bare")


def spec_of(root: Path, *train: str, **more) -> DataSpec:
    return DataSpec(root=str(root), train=train or CITIES, validate_cities=("there",), **more)


@pytest.mark.parametrize(
    ("more", "kinds"),
    [
        ({}, ["official", "computed", "distance", "distance"]),
        ({"fov_radius_m": 40.0}, ["distance", "computed", "distance", "distance"]),
        ({"fov_degrees": 200.0}, ["distance", "computed", "distance", "distance"]),
        ({"fov_degrees": 360.0}, ["distance"] * 4),
        ({"labels": "computed"}, ["computed"] * 4),
        ({"labels": "computed", "fov_degrees": 360.0}, ["distance"] * 4),
        ({"labels": "distance"}, ["distance"] * 4),
    ],
)
def test_what_each_city_takes(tree, more, kinds):
    assert [label_kind(read_city(tree, name), spec_of(tree, **more)) for name in CITIES] == kinds


def test_auto_says_once_what_it_took_before_anything_starts_and_in_the_result(tree, tmp_path):
    spec, cities = spec_of(tree), [read_city(tree, name) for name in CITIES]
    _, facts = check_data(TrialSpec(data=spec))
    taken = (
        "labels: auto takes official for given; computed for turned; distance for half (no database image has a "
        "compass angle), bare (no image has a compass angle)"
    )
    lacks = (
        "1 of 8 database images of turned have no compass angle (-1 or nan): they take no part in training on computed"
    )
    lacks += " labels"
    assert facts == (lacks, taken) and taken_labels(cities, spec) == (taken,)
    digests = Digests(dataset="d", cache=None, weights="none", labels=labels_digest(spec), computation=2)
    graphs, notices = training_graphs(TrialSpec(data=spec).resolved(digests), cities, tmp_path, lambda text: None)
    assert notices == (
        lacks,
        "labels of half are of distance alone: no database image has a compass angle",
        "labels of bare are of distance alone: no image has a compass angle",
        "no official labels of turned: computed, beside official ones of other cities",
    )
    assert [len(graph.queries) for graph in graphs] == [5, 7, 6, 6]
    chosen = spec_of(tree, labels="distance")
    assert check_data(TrialSpec(data=chosen))[1] == ()
    digests = digests.model_copy(update={"labels": labels_digest(chosen)})
    assert training_graphs(TrialSpec(data=chosen).resolved(digests), cities, tmp_path, lambda text: None)[1] == ()


@pytest.mark.parametrize("name", ["half", "bare"])
def test_computed_labels_are_refused_without_a_compass_and_distance_is_named(tree, name):
    with pytest.raises(DataError, match=r"needs compass angles.*Set trial\.data\.labels: distance, or choose another"):
        check_data(TrialSpec(data=spec_of(tree, name, labels="computed")))


def id_of(spec: DataSpec) -> str:
    """A trial's id as a sweep makes it."""
    network = {"network": {"weights": "none"}}
    trial = TrialSpec.model_validate({**network}).model_copy(update={"data": spec})
    return Resolver().resolve(trial).trial_id


def test_the_kind_of_labels_is_part_of_what_a_trial_is(tree):
    computed, distance = (id_of(spec_of(tree, "turned", labels=kind)) for kind in ("computed", "distance"))
    assert computed != distance
    assert id_of(spec_of(tree, "turned")) == computed
    assert id_of(spec_of(tree, "bare")) == id_of(spec_of(tree, "bare", labels="distance")), "the same labels"
    assert labels_digest(spec_of(tree, "turned")) is None, "ids from before there was a choice stay"
    assert labels_digest(spec_of(tree, "bare", "half")) == "distance"
    some = [
        labels_digest(spec_of(tree, *names))
        for names in (("turned", "bare"), ("turned", "half"), ("given", "bare"), ("given",))
    ]
    assert len({None, "distance", *some}) == 6


def test_a_job_asks_for_the_labels_that_it_was_hashed_with(tree, tmp_path):
    spec, city = spec_of(tree, "bare"), read_city(tree, "bare")
    digests = Digests(dataset="d", cache=None, weights="none", labels="distance", computation=2)
    training_graphs(TrialSpec(data=spec).resolved(digests), [city], tmp_path, lambda text: None)
    shutil.rmtree(tree / "train_val" / "bare")
    measured = write_place(tree, "bare", angles(6), angles(9))
    with pytest.raises(DataError, match="must have the digest of the submission, distance"):
        training_graphs(TrialSpec(data=spec).resolved(digests), [measured], tmp_path, lambda text: None)


def test_a_job_of_computation_1_takes_minus_one_for_an_angle_of_every_picture(tmp_path):
    city = write_place(tmp_path, "ada", [-1.0] * 6, [-1.0] * 6)
    spec = DataSpec(root=str(tmp_path), train=("ada",), validate_cities=("bob",))
    trial = TrialSpec(data=spec).resolved(Digests(dataset="d", cache=None, weights="none", computation=1))
    (graph,), notices = training_graphs(trial, [city], tmp_path, lambda text: None)
    turned = write_place(tmp_path / "turned", "ada", [359.0] * 6, [359.0] * 6)
    assert graph.similarity.toarray() == pytest.approx(city_graph(turned, DataSpec()).similarity.toarray(), abs=1e-6)
    assert notices == ()


@pytest.mark.parametrize(
    ("query", "database", "told"),
    [
        ([0.0] * 4, [0.0] * 5, "0"),
        ([0.0, 360.0, -360.0], [720.0], "0"),
        ([270.5, NO_ANGLE, 270.5], [270.5, -1.0], "270.5"),
        ([0.0] * 4, [180.0] * 5, None),
        ([0.0] * 4, [0.0, 0.0, 0.1], None),
        ([10.0], [10.0], None),
    ],
)
def test_a_compass_that_never_turns_is_told(tmp_path, query, database, told):
    said = equal_angles(write_place(tmp_path, "ada", query, database))
    assert [word.partition(": ")[0] for word in said] == [f"every compass angle of ada is {told}"] * (told is not None)


def test_a_compass_that_never_turns_is_told_before_a_sweep_where_labels_need_it(small_tree):
    spec = DataSpec(root=str(small_tree), train=("ada",), validate_cities=("bob",))
    said = (
        "every compass angle of ada is 90: labels computed from it know how far pictures are apart, and not which way "
        "they look; if nobody measured it, set trial.data.labels: distance"
    )
    assert check_data(TrialSpec(data=spec))[1] == (said, "labels: auto takes computed for ada")
    for more in ({"labels": "distance"}, {"fov_degrees": 360.0, "labels": "computed"}):
        assert check_data(TrialSpec(data=spec.model_copy(update=more)))[1] == ()
    write_official(read_city(small_tree, "ada"))
    assert check_data(TrialSpec(data=spec))[1] == ("labels: auto takes official for ada",)


def test_a_real_walk_whose_compass_somebody_made_up_is_told():
    root = Path(__file__).parents[3] / "shared/data/lip6"
    if not root.is_dir():
        pytest.skip(f"{root} is not there")
    (said,) = equal_angles(read_city(root, "lip6a"))
    assert said.startswith("every compass angle of lip6a is 90: ")

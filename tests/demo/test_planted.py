"""A planted truth: what carries, what misleads, what is noise, and that nothing else tells places apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.demo.test_world import rows_of
from tests.spec.test_sweep import refusal, sweep
from vprdist.demo import looks, render, visits, world
from vprdist.files import digest_json
from vprdist.spec.demo import DemoSpec, PlantedSpec
from vprdist.spec.vocabulary import CLASSES

PLANTED = PlantedSpec(carry={"building": 1.0, "pole": 0.5}, mislead=("vegetation", "sky"), noise=("car", "person"))
CITY = DemoSpec(
    height=48, width=64, train=(), validate_cities=("elm",), streets=3, places=5, query_visits=2, planted=PLANTED
)
DATABASE, QUERY, OTHER_QUERY = 0, 1, 2


def table(name: str, street: int, visit: int | None, spec: DemoSpec = CITY) -> np.ndarray:
    return looks.looks(spec, name, "elm", street, 40, visit)


def test_what_carries_differs_between_streets_and_stays_in_all_visits():
    for name in ("building", "pole"):
        assert (table(name, 0, DATABASE) == table(name, 0, QUERY)).all()
        assert (table(name, 0, DATABASE)[:, 1:] != table(name, 1, DATABASE)[:, 1:]).all()
    spread = [table(name, 0, DATABASE)[:, 1:].std() for name in ("building", "pole")]
    assert spread[1] == pytest.approx(spread[0] / 2, rel=0.1), "half the identity, half the differences"


@pytest.mark.parametrize("street", [0, 1, 2, 20_002])
def test_what_misleads_looks_in_a_query_as_the_next_street_does_in_the_database(street):
    following = street - street % 1000 + (street % 1000 + 1) % 3
    assert (table("vegetation", street, QUERY) == table("vegetation", following, DATABASE)).all()
    assert (table("vegetation", street, QUERY) == table("vegetation", street, OTHER_QUERY)).all()
    assert (table("vegetation", street, QUERY) != table("vegetation", street, DATABASE)).any()


def test_skies_mislead_too():
    skies = [render.scene(CITY, visits.visit(CITY, "elm", s, v)).light.skies for s, v in ((0, QUERY), (1, DATABASE))]
    assert (skies[0] == skies[1]).all()
    assert (skies[0] != render.scene(CITY, visits.visit(CITY, "elm", 0, DATABASE)).light.skies).any()


def test_noise_is_drawn_afresh_for_each_visit():
    for name in ("car", "person"):
        first, second = (table(name, 0, visit) for visit in (DATABASE, QUERY))
        assert (first != second).any(axis=1).all()


def test_all_others_look_the_same_everywhere():
    for name in set(CLASSES) - {"building", "pole", "vegetation", "sky", "car", "person"}:
        assert (table(name, 0, DATABASE) == table(name, 2, QUERY)).all()


def test_streets_are_alike_where_nothing_is_planted():
    empty = CITY.model_copy(update={"planted": PlantedSpec()})
    first, second = (world.street(empty, "elm", number) for number in (0, 1))
    assert replace(second, number=0, east_m=first.east_m, north_m=first.north_m, bearing=first.bearing) == first
    quads = [rows_of(render.scene(empty, visits.visit(empty, "elm", s, 0)), "traffic light") for s in (0, 1)]
    assert quads[0] == quads[1]
    assert len(quads[0]) > 10, "there are traffic lights without side streets"


def test_every_class_has_a_place_in_a_planted_city():
    noisy = CITY.model_copy(update={"planted": PlantedSpec(noise=CLASSES)})
    seen = np.zeros(19)
    for street in range(3):
        for visit in range(3):
            drive = visits.visit(noisy, "elm", street, visit)
            for pose in visits.poses(noisy, drive):
                seen += render.render(noisy, drive, pose).cover.sum(axis=(1, 2))
    assert [name for name, cover in zip(CLASSES, seen, strict=True) if not cover] == []


def test_the_day_is_the_same_unless_the_sky_is_noise():
    drives = [visits.visit(CITY, "elm", s, v) for s in range(3) for v in range(3)]
    assert {(d.weather, d.light, d.season, d.exposure) for d in drives} == {("clear", "day", "summer", 1.0)}
    changing = CITY.model_copy(update={"planted": PlantedSpec(noise=("sky",)), "streets": 9})
    assert len({visits.visit(changing, "elm", s, v).weather for s in range(9) for v in range(3)}) > 2


def test_each_drive_stops_elsewhere_and_says_so():
    """The recorded position is the true one: a picture between two places is near both."""
    firsts = [
        min(pose.x for pose in visits.poses(CITY, visits.visit(CITY, "elm", s, v))) for s in range(3) for v in range(3)
    ]
    assert np.std(firsts) > 1.5
    assert np.abs(firsts).max() <= CITY.spacing_m / 2 + 2


def test_the_natural_city_is_what_it_was():
    assert digest_json(DemoSpec().model_dump(mode="json"), 8) == "abdf19e9", "its folder"
    assert digest_json(DemoSpec().resolved(), 8) == "105d2fa2", "its mark"
    assert "planted" in CITY.model_dump(mode="json")
    assert DemoSpec.model_validate_json(CITY.model_dump_json(by_alias=True)) == CITY


PREFIX = "trial:\n  data:\n    demo:\n"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("planted:\n        carry: {bulding: 1.0}", (":5: trial.data.demo.planted.carry", "'bulding'", "'building'")),
        ("planted:\n        carry: {car: 1.5}", (":5: trial.data.demo.planted.carry", "above 0, at most 1", "1.5")),
        ("planted: {noise: [car], carry: {car: 1.0}}", ("can only carry, or mislead, or be noise", "'car'")),
        ("planted: {noise: [car, car]}", ("can only carry, or mislead, or be noise", "'car'")),
        (
            "planted: {mislead: [sky]}\n      streets: 1",
            (":5: trial.data.demo.streets", "two or more", "Raise streets"),
        ),
        ("planted: {}\n      recipe: {car: {churn: 0.5}}", ("trial.data.demo.planted", "Delete one of them")),
        ("planted: {carries: {car: 1.0}}", ("unknown key", "'carry'")),
    ],
)
def test_a_refusal_says_where_and_how_to_mend_it(tmp_path, text, parts):
    message = refusal(tmp_path, f"{PREFIX}      {text}\n")
    for part in parts:
        assert part in message, message


def test_a_sweep_file_may_plant_a_truth(tmp_path):
    text = f"{PREFIX}      planted: {{carry: {{building: 1.0, 'traffic sign': 0.5}}, mislead: [vegetation]}}\n"
    planted = sweep(tmp_path, text).trial.data.demo.planted
    assert planted == PlantedSpec(carry={"building": 1.0, "traffic sign": 0.5}, mislead=("vegetation",))

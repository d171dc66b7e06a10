"""The same poses under other conditions: one factor changes itself, and nothing else."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.spec.test_sweep import refusal, sweep
from vprdist.demo import conditions_sheet, make, tables, visits
from vprdist.demo.render import Picture, render
from vprdist.errors import DataError
from vprdist.files import digest_json
from vprdist.prepare.folders import with_data
from vprdist.spec.conditions import Condition, ConditionsSpec, SideConditions
from vprdist.spec.demo import DemoSpec, PlantedSpec
from vprdist.spec.row_name import row_name
from vprdist.spec.vocabulary import CLASSES

PLAIN = Condition(weather="clear", time="day", traffic=1.0)
FIRST_MOVING = CLASSES.index("person")
GROUND = [CLASSES.index(name) for name in ("road", "sidewalk", "terrain")]
DAMP = [Condition(weather="rain"), Condition(weather="snow"), Condition(weather="fog"), Condition(weather="overcast")]
TIMES = [Condition(time="dusk"), Condition(time="night")]


def city(query: Condition, database: Condition = PLAIN, train: SideConditions | None = None) -> DemoSpec:
    return DemoSpec(
        height=48, width=64, train=("alder",), validate=("elm",), streets=2, places=4, database_visits=2,
        query_visits=2, pano_share=0.2, conditions=ConditionsSpec(query=query, database=database, train=train),
    )  # fmt: skip


def pictures(spec: DemoSpec, side: str, name: str = "elm") -> list[Picture]:
    """Those of the places that both sides have, in one order."""
    rows = [row for row in tables.rows(spec, name, side) if row.pose.place < spec.places]
    return [render(spec, row.drive, row.pose) for row in rows]


def changed(factor: Condition) -> Condition:
    return PLAIN.model_copy(update=factor.model_dump(exclude_none=True))


@pytest.mark.parametrize("same", [PLAIN, Condition(), Condition(weather="rain", time="night", traffic=2.0)])
def test_equal_conditions_give_pictures_of_equal_bytes_also_as_files(tmp_path: Path, same: Condition) -> None:
    spec = city(same, same).model_copy(update={"strays": 0, "train": ()})
    make(spec, tmp_path / "city", processes=1)
    base = tmp_path / "city"
    found = {}
    for side in ("query", "database"):
        keys = [row.pose.key for row in tables.rows(spec, "elm", side)]
        assert len(set(keys)) == 16
        jpegs = [(base / "train_val" / "elm" / side / "images" / f"{key}.jpg").read_bytes() for key in keys]
        labels = [(base / "labels" / "elm" / side / f"{key}.png").read_bytes() for key in keys]
        with np.load(base / "semantics" / f"elm_{side}.npz") as archive:
            found[side] = (jpegs, labels, archive["activations"].tobytes())
    assert found["query"] == found["database"]
    assert not {row.pose.key for row in tables.rows(spec, "elm", "query")} & {
        row.pose.key for row in tables.rows(spec, "elm", "database")
    }


def test_both_sides_have_the_same_poses_and_the_queries_are_later() -> None:
    spec = city(changed(Condition(weather="snow")))
    for street in range(2):
        drives = [visits.visit(spec, "elm", street, number) for number in range(4)]
        for database, query in zip(drives[:2], drives[2:], strict=True):
            assert database.season == query.season
            there, again = visits.poses(spec, database), visits.poses(spec, query)[: spec.places]
            assert [vars(a) | {"key": ""} for a in there] == [vars(b) | {"key": ""} for b in again]
        dates = [drive.date for drive in drives]
        assert dates == sorted(dates)
        assert visits.poses(spec, drives[0]) != visits.poses(spec, drives[1])


@pytest.mark.parametrize("factor", [*DAMP, *TIMES])
def test_weather_and_time_change_the_picture_and_no_semantics(factor: Condition) -> None:
    spec = city(changed(factor))
    for before, after in zip(pictures(spec, "database"), pictures(spec, "query"), strict=True):
        assert (before.labels == after.labels).all()
        assert (before.cover == after.cover).all()
        assert (before.rgb != after.rgb).mean() > 0.5


def test_traffic_changes_what_moves_and_what_it_hides_or_shades_alone() -> None:
    spec = city(changed(Condition(traffic=3.0)), changed(Condition(traffic=0.0)))
    num_hidden = 0
    for empty, full in zip(pictures(spec, "database"), pictures(spec, "query"), strict=True):
        assert (empty.labels < FIRST_MOVING).all()
        moving = full.cover[FIRST_MOVING:].sum(0) > 0
        num_hidden += int(moving.sum())
        assert (empty.labels == full.labels)[~moving].all()
        assert (empty.cover == full.cover)[:, ~moving].all()
        shaded = np.isin(empty.labels, GROUND) | (empty.cover[GROUND].sum(0) > 0)
        assert (empty.rgb == full.rgb)[~moving & ~shaded].all()
    assert num_hidden > 1000


def test_more_traffic_hides_more_and_nothing_that_stood_there_goes() -> None:
    shares = [0.0, 0.5, 1.0, 2.0, 4.0]
    covers, standing = [], []
    for traffic in shares:
        spec = city(changed(Condition(traffic=traffic)))
        covers.append(float(np.mean([each.cover[FIRST_MOVING:].sum(0).mean() for each in pictures(spec, "query")])))
        standing.append({row for number in (2, 3) for row in _moving(spec, number)})
    assert covers == sorted(covers)
    assert covers[0] == 0.0 < covers[1] < covers[-1]
    assert all(fewer < more for fewer, more in itertools.pairwise(standing))


def _moving(spec: DemoSpec, number: int) -> set[tuple[int, bytes]]:
    from vprdist.demo.render import scene

    quads = scene(spec, visits.visit(spec, "elm", 0, number)).quads
    chosen = quads.label >= FIRST_MOVING
    table = np.concatenate([quads.origin, quads.along, quads.up, quads.palette.reshape(len(chosen), -1)], 1)[chosen]
    return {(number, row.tobytes()) for row in table}


def test_training_cities_may_have_conditions_of_their_own_and_leave_the_others_as_they_are() -> None:
    night, rain = changed(Condition(time="night")), changed(Condition(weather="rain"))
    shared = city(rain)
    own = city(rain, train=SideConditions(query=night, database=night))
    assert own.condition("alder", "query") == night
    assert own.condition("elm", "query") == shared.condition("alder", "query") == rain
    assert tables.csvs(own, "elm", "query") == tables.csvs(shared, "elm", "query")
    for a, b in zip(pictures(own, "query"), pictures(shared, "query"), strict=True):
        assert (a.rgb == b.rgb).all()
    assert {row.drive.light for row in tables.rows(own, "alder", "query")} == {"night"}


def test_without_conditions_a_city_is_what_it_was() -> None:
    """Its folder and mark, and the pixels of some pictures, as they were before there were conditions."""
    assert digest_json(DemoSpec().model_dump(mode="json"), 8) == "abdf19e9"
    assert digest_json(DemoSpec().resolved(), 8) == "105d2fa2"
    assert digest_json(city(PLAIN).model_copy(update={"conditions": None}).resolved(), 8) != digest_json(
        city(PLAIN).resolved(), 8
    )
    assert "conditions" not in DemoSpec().resolved()
    assert DemoSpec.model_validate_json(city(PLAIN).model_dump_json(by_alias=True)) == city(PLAIN)


AXIS = "data.demo.conditions.query.weather"
PREFIX = "trial:\n  data:\n    demo:\n      "


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("conditions: {query: {weather: hail}}", (":4: trial.data.demo.conditions.query.weather", "'hail'")),
        ("conditions: {query: {time: noon}}", ("trial.data.demo.conditions.query.time", "'noon'")),
        ("conditions: {query: {traffic: 5.0}}", ("trial.data.demo.conditions.query.traffic", "5.0")),
        ("conditions: {query: {traffic: -1.0}}", ("trial.data.demo.conditions.query.traffic", "-1.0")),
        ("conditions: {queries: {}}", ("unknown key", "'query'")),
        ("conditions: {query: {wether: rain}}", ("unknown key", "'weather'")),
        ("conditions: {}", (":4: trial.data.demo.conditions", "cannot be more query drives", "database_visits: 3")),
        (
            "{database_visits: 3, conditions: {}, planted: {}}",
            ("trial.data.demo.conditions", "planted truth", "Delete one"),
        ),
    ],
)
def test_a_refusal_is_one_line_that_says_where_and_how_to_mend_it(tmp_path: Path, text: str, parts: tuple[str]) -> None:
    message = refusal(tmp_path, f"{PREFIX}{text}\n")
    assert "\n" not in message
    for part in parts:
        assert part in message, message


def test_a_sweep_tries_conditions_as_an_axis(tmp_path: Path) -> None:
    text = (
        f"{PREFIX}{{database_visits: 2, query_visits: 2, conditions: {{query: {{time: night}}}}}}\n"
        f"search: {{grid: {{{AXIS}: [clear, rain]}}}}\n"
    )
    asked = [trial.data.demo.conditions.query for trial in sweep(tmp_path, text).trials]
    names = [row_name(with_data(trial, tmp_path), [AXIS]) for trial in sweep(tmp_path, text).trials]
    assert names == ["clear", "rain"], "rows are named where the city is a folder"
    assert [(each.weather, each.time) for each in asked] == [("clear", "night"), ("rain", "night")]


def test_the_sheet_shows_one_pose_under_all_conditions(tmp_path: Path) -> None:
    spec = city(PLAIN).model_copy(update={"streets": 1, "train": (), "conditions": None})
    make(spec, tmp_path / "city", processes=1)
    conditions_sheet(tmp_path / "city", tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.size == (5 * (256 + 6) + 6, 3 * (192 + 20) + 2 * 192 + 20 + 6)
    with pytest.raises(DataError, match="no such city: 'elms'"):
        conditions_sheet(tmp_path / "city", tmp_path / "sheet.png", city="elms")
    with pytest.raises(DataError, match="complete demo city"):
        conditions_sheet(tmp_path / "nothing", tmp_path / "sheet.png")
    planted = spec.model_copy(update={"planted": PlantedSpec(), "places": 2})
    make(planted, tmp_path / "planted", processes=1)
    with pytest.raises(DataError, match="every day is the same"):
        conditions_sheet(tmp_path / "planted", tmp_path / "sheet.png")

"""GSV-Cities as published: names, places, dates and positions, recomputed a picture at a time."""

from __future__ import annotations

import csv
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pyproj import Geod

from vprdist.data.graph import city_graph
from vprdist.data.groups import PlaceSampler
from vprdist.data.layouts import layout_of, open_layout
from vprdist.data.layouts.registry import recognised
from vprdist.data.places import City
from vprdist.data.tasks import build_tasks, conditions_of
from vprdist.errors import DataError
from vprdist.prepare.checks import check_data
from vprdist.spec.data import DataSpec
from vprdist.spec.doors import LayoutName
from vprdist.spec.recipes import CURRENT
from vprdist.spec.trial import TrialSpec

MIDDLES = {"London": (51.5, -0.12), "Melbourne": (-37.8, 144.96), "PRS": (48.85, 2.35)}
"""London lies on both sides of a border of zones, and west and east of Greenwich; Melbourne is in the south."""
COLUMNS = ("place_id", "year", "month", "northdeg", "city_id", "lat", "lon", "panoid")
PLACES = 6


def rows_of(city: str) -> list[dict[str, Any]]:
    """Places of four or five pictures some 400 m apart; dates stand twice, and rows in no order."""
    rng = np.random.default_rng(sum(map(ord, city)))
    middle, rows = MIDDLES[city], []
    for place in range(PLACES):
        for picture in range(4 + place % 2):
            lat, lon = (round(float(at + 0.005 * (place - 3) + rng.uniform(-5e-5, 5e-5)), 12) for at in middle)
            rows.append({
                "place_id": 11 * place, "year": int(rng.integers(2009, 2012)), "month": int(rng.integers(9, 12)),
                "northdeg": int(rng.integers(0, 360)), "city_id": city, "lat": lat, "lon": lon,
                "panoid": f"_-pano{place}{picture}",
            })  # fmt: skip
    rows[1]["lat"] = 50.0 if city == "London" else rows[1]["lat"]
    return [rows[row] for row in rng.permutation(len(rows))]


def name_of(row: dict[str, Any]) -> str:
    """As the published data loader puts it together of a row."""
    numbers = f"{row['place_id']:07d}_{row['year']:04d}_{row['month']:02d}_{row['northdeg']:03d}"
    return f"{row['city_id']}_{numbers}_{row['lat']!r}_{row['lon']!r}_{row['panoid']}"


def write_table(root: Path, city: str, rows: list[dict[str, Any]]) -> None:
    (root / "Dataframes").mkdir(parents=True, exist_ok=True)
    with (root / "Dataframes" / f"{city}.csv").open("w", newline="") as stream:
        table = csv.DictWriter(stream, COLUMNS)
        table.writeheader()
        table.writerows(rows)


def write_gsv(root: Path, ending: str = ".JPG", cities: tuple[str, ...] = tuple(MIDDLES)) -> Path:
    for city in cities:
        rows = rows_of(city)
        write_table(root, city, rows)
        (root / "Images" / city).mkdir(parents=True)
        for row in rows:
            colour = (40 * (row["place_id"] // 11), 10 * (row["year"] - 2009), row["northdeg"] % 256)
            Image.new("RGB", (40, 32), colour).save(root / "Images" / city / (name_of(row) + ending), "JPEG")
    return root


def read(root: Path, city: str = "London") -> City:
    return open_layout(root, LayoutName.of("gsv_cities")).read(city)


@pytest.mark.parametrize("ending", [".JPG", ".jpg"])
@pytest.mark.parametrize("city", MIDDLES)
def test_the_first_picture_of_a_place_asks_for_the_others(tmp_path, city, ending):
    root = write_gsv(tmp_path / "gsv", ending)
    found, rows = read(root, city), rows_of(city)
    assert open_layout(root, LayoutName.of("gsv_cities")).names() == sorted(MIDDLES)
    first = {}
    for row in sorted(rows, key=lambda row: (row["year"], row["month"], name_of(row))):
        first.setdefault(row["place_id"], name_of(row))
    expected: dict[str, list[dict[str, Any]]] = {"query": [], "database": []}
    for row in rows:
        expected["query" if first[row["place_id"]] == name_of(row) else "database"].append(row)
    for side in found.sides:
        assert side.keys.tolist() == [name_of(row) for row in expected[side.side]]
        assert all(path.is_file() and path.suffix == ending for path in side.paths)
        assert side.headings.tolist() == [row["northdeg"] for row in expected[side.side]]
        assert side.conditions.tolist() == [str(row["year"]) for row in expected[side.side]]
        assert side.sequence_key.tolist() == [str(row["place_id"]) for row in expected[side.side]]
    assert len(found.query) == PLACES and found.truth is not None
    rights = found.truth.positives.toarray().tolist()
    assert rights == [
        [asked["place_id"] == shown["place_id"] for shown in expected["database"]] for asked in expected["query"]
    ]


@pytest.mark.parametrize("city", MIDDLES)
def test_positions_are_metres_of_one_zone(tmp_path, city):
    """Distances on the ellipsoid, which PROJ computes without a zone; a zone's scale is within 0.1 % near it."""
    found, rows = read(write_gsv(tmp_path / "gsv"), city), {name_of(row): row for row in rows_of(city)}
    places = {
        key: (position, rows[key])
        for side in found.sides
        for key, position in zip(side.keys.tolist(), side.positions, strict=True)
    }
    earth = Geod(ellps="WGS84")
    for (a, here), (b, there) in combinations(places.values(), 2):
        metres = earth.inv(here["lon"], here["lat"], there["lon"], there["lat"])[2]
        assert np.hypot(*(a - b)) == pytest.approx(metres, rel=2e-3, abs=0.01)
        if metres > 1:
            assert (b - a)[1] * (there["lat"] - here["lat"]) > -1e-3 * metres, "north is up"


def test_a_table_that_was_saved_anew_still_names_its_pictures(tmp_path):
    """A program for tables writes 50.0 as 50."""
    root = write_gsv(tmp_path / "gsv")
    before = read(root)
    path = root / "Dataframes" / "London.csv"
    path.write_text(re.sub(r"\b50\.0,", "50,", path.read_text()))
    assert ",50," in path.read_text()
    assert [*before.database.paths] == [
        *open_layout(root / ".", LayoutName.of("gsv_cities")).read("London").database.paths
    ]


def data_of(root: Path, **more: object) -> DataSpec:
    cities = {"train": ("London",), "validate_cities": ("Melbourne",)}
    return DataSpec.model_validate({"root": str(root), "layout": "gsv_cities", **cities, **more})


def test_places_are_trained_on_and_measured(tmp_path):
    data = data_of(write_gsv(tmp_path / "gsv"), labels="truth")
    recipe = CURRENT | {"augment": None, "batch_pairs": 4, "micro_pairs": 4}
    trial = TrialSpec.model_validate({"data": data, "train": recipe})
    count, facts = check_data(trial)
    assert count == PLACES and not any("labels: auto" in fact for fact in facts)
    graph = city_graph(city := layout_of(data).read("London"), data)
    assert set(graph.similarity.data.tolist()) == {1.0}
    drawn = PlaceSampler([graph], 0, 20, 4).chunk(0)
    for query, shown in zip(drawn.query.tolist(), drawn.database.tolist(), strict=True):
        keys = [city.query.keys[query], *city.database.keys[shown]]
        assert len({key.split("_")[1] for key in keys}) == 1 and len(set(keys)) == 4
    (task,) = build_tasks([layout_of(data).read("Melbourne")], trial)
    assert [len(rows) for rows in task.positives] == [
        3 + int(str(task.city.query.keys[row]).split("_")[1]) // 11 % 2 for row in task.queries
    ]
    assert set(conditions_of([task.city])) <= {"2009", "2010", "2011"}


def test_labels_of_views_may_be_had_too(tmp_path):
    data = data_of(write_gsv(tmp_path / "gsv"))
    found = city_graph(layout_of(data).read("London"), data).similarity
    assert found.nnz > 0 and len(set(found.data.tolist())) > 2, "auto: positions and headings are known"


def test_it_is_recognised(tmp_path):
    assert recognised(write_gsv(tmp_path / "gsv"))[0].name == "gsv_cities"


def changed(root: Path, **values: object) -> None:
    """The table of London with another value in its third row."""
    rows = rows_of("London")
    rows[2] |= values
    write_table(root, "London", rows)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"city_id": "Londn"}, "London.csv:4: column 'city_id' must hold the city, London; found 'Londn'"),
        ({"month": 13}, "London.csv:4: column 'month' must hold numbers from 1 to 12; found 13"),
        ({"place_id": -1}, "column 'place_id' must hold numbers from 0 to 9999999; found -1"),
        ({"year": "x"}, "London.csv:4: column 'year' must hold a whole number of 64 bits; found 'x'"),
        ({"lat": 91.0}, "London.csv:4: column 'lat' must hold degrees from -84 to 84; found 91.0"),
        ({"lon": "nan"}, "London.csv:4: column 'lon' must hold a finite number; found 'nan'"),
        ({"lon": 89.9, "lat": 0.0}, "London.csv:4: a picture must lie near its city, and this one is on the other"),
        ({"panoid": "../a"}, "London.csv:4: a picture's name must be a word"),
        ({"panoid": "a b"}, "London.csv:4: a picture's name must be a word"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_is_one_message_with_its_line(tmp_path, values, message):
    root = write_gsv(tmp_path / "gsv")
    changed(root, **values)
    with pytest.raises(DataError) as caught:
        read(root)
    assert message in str(caught.value)


def test_what_is_not_there_is_one_message(tmp_path):
    with pytest.raises(DataError, match=r"a folder of GSV-Cities must have Dataframes/<City>\.csv and Images/<City>/"):
        open_layout(tmp_path, LayoutName.of("gsv_cities")).names()
    root = write_gsv(tmp_path / "gsv")
    with pytest.raises(DataError, match=r"no such city: 'Londn'\. Did you mean 'London'"):
        read(root, "Londn")
    rows = rows_of("London")
    write_table(root, "London", [*rows, rows[3]])
    with pytest.raises(DataError, match=r"London\.csv:\d+: a picture stands twice; it is also at .*London\.csv:5"):
        read(root)
    write_table(root, "London", [row | {"place_id": place} for place, row in enumerate(rows)])
    with pytest.raises(DataError, match="no place has a second picture"):
        read(root)
    write_table(root, "London", rows)
    gone = root / "Images" / "London" / f"{name_of(rows[0])}.JPG"
    gone.unlink()
    with pytest.raises(DataError, match="has no picture: this one is missing"):
        open_layout(root, LayoutName.of("gsv_cities")).check(read(root))
    for path in (root / "Images" / "London").iterdir():
        path.unlink()
    (root / "Images" / "London").rmdir()
    with pytest.raises(DataError, match=r"Images/London: the folder of pictures cannot be listed"):
        read(root)

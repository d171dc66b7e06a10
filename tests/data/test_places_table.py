"""A data set of one table: what its columns mean, and what a wrong row gets."""

from __future__ import annotations

import csv
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from pyproj import Transformer

from tests.data.utm_trees import PIXEL
from vprdist.data.layouts import open_layout
from vprdist.data.layouts.own import check_city
from vprdist.data.layouts.places_table import COLUMNS, PlacesTable
from vprdist.data.layouts.registry import recognised
from vprdist.data.tasks import breakdown_tasks, build_tasks
from vprdist.errors import DataError
from vprdist.spec.data import DataSpec
from vprdist.spec.doors import LayoutName
from vprdist.spec.trial import TrialSpec

HEADER = ("path", "side", "city", "lat", "lon", "heading", "sequence", "frame", "condition", "pano", "weather")


def street(city: str, latitude: float = 55.68, longitude: float = 12.56) -> list[dict[str, object]]:
    """Twelve pictures, some 11 m apart; every second one is a query."""
    return [
        {
            "path": f"{city}/{i % 3}/{i:03d}.{'png' if i % 5 == 4 else 'jpg'}", "city": city,
            "side": "query" if i % 2 else "database",
            "lat": latitude + 1e-4 * i, "lon": longitude, "heading": "" if i == 4 else 30.5 * i,
            "sequence": "" if i == 2 else f"s{i // 4}", "frame": "" if i == 3 else i,
            "condition": "night" if i % 4 == 1 else "", "pano": i == 6, "weather": "fine",
        }
        for i in range(12)
    ]  # fmt: skip


def write(path: Path, rows: list[dict[str, object]], columns=HEADER) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        picture = path.parent / str(row["path"])
        picture.parent.mkdir(parents=True, exist_ok=True)
        if not picture.is_dir():
            picture.write_bytes(PIXEL)
    return path


def trial_of(root: Path, city: str) -> TrialSpec:
    values = {"root": str(root), "layout": "csv", "train": (), "validate_cities": (city,)}
    return TrialSpec(data=DataSpec.model_validate(values))


@pytest.mark.parametrize("quoted", [False, True], ids=["by Arrow", "carefully"])
def test_rows_tell_what_they_tell_read_plainly(tmp_path, quoted):
    rows = street("cph") + street("sf", 37.7, -122.49)
    path = write(tmp_path / "all.csv", rows)
    if quoted:
        path.write_text(path.read_text().replace("fine", '"fi,ne"'))
    layout = PlacesTable(tmp_path)
    assert layout.names() == ["cph", "sf"] and recognised(tmp_path)[0] == LayoutName.of("csv")
    for name, epsg in (("cph", 32633), ("sf", 32610)):
        city = layout.read(name)
        check_city(city, name)
        layout.check(city)
        for side in city.sides:
            wanted = [row for row in rows if (row["city"], row["side"]) == (name, side.side)]
            assert [path.relative_to(tmp_path).as_posix() for path in side.paths] == [row["path"] for row in wanted]
            assert side.keys.tolist() == [Path(str(row["path"])).stem for row in wanted]
            there = Transformer.from_crs(4326, epsg)
            places = [there.transform(row["lat"], row["lon"]) for row in wanted]
            assert np.allclose(side.positions, places, atol=1e-6)
            headings = [math.nan if row["heading"] == "" else row["heading"] for row in wanted]
            assert np.array_equal(side.headings, headings, equal_nan=True)
            assert side.sequence_key.tolist() == [row["sequence"] or Path(str(row["path"])).stem for row in wanted]
            assert side.frame_number.tolist() == [row["frame"] or 0 for row in wanted]
            assert side.conditions.tolist() == [row["condition"] for row in wanted]
            assert side.pano.tolist() == [row["pano"] for row in wanted]
    lat, lon = (np.median([row[name] for row in rows if row["city"] == "cph"]) for name in ("lat", "lon"))
    around = f"around lat {lat:.3f}, lon {lon:.3f}"
    assert layout.read("cph").notes == (f"cph: lat and lon ({around}) became metres of UTM zone 33N",)
    tasks = breakdown_tasks([layout.read("cph")], trial_of(tmp_path, "cph"))
    assert {name: len(each[0].queries) for name, each in tasks.items()} == {"all": 6, "night": 3}


def test_metres_are_taken_as_they_are_and_places_may_be_unknown(tmp_path):
    rows = [row | {"easting": 10.0 * i, "northing": 0.5, "key": f"k{i}"} for i, row in enumerate(street("a"))]
    write(tmp_path / "a.csv", rows, ("key", "path", "side", "easting", "northing"))
    write(tmp_path / "b.csv", rows, ("path", "side"))
    layout = PlacesTable(tmp_path)
    assert layout.names() == ["a", "b"]
    city = layout.read("a")
    assert city.query.positions[:, 0].tolist() == [10.0 * i for i in range(1, 12, 2)] and not city.notes
    assert city.query.keys.tolist() == [f"k{i}" for i in range(1, 12, 2)]
    assert layout.read("b").query.easting is None and layout.read("b").query.sequence_key.tolist() == [
        f"{i:03d}" for i in range(1, 12, 2)
    ]
    assert PlacesTable(tmp_path, files=["b.csv"]).names() == ["b"]
    with pytest.raises(DataError, match=r"c\.csv: the table cannot be read: 'No such file"):
        PlacesTable(tmp_path, files=["c.csv"]).names()


def test_paths_count_from_the_folder_of_images(tmp_path):
    write(tmp_path / "pictures" / "a.csv", street("a"))
    shutil.move(tmp_path / "pictures" / "a.csv", tmp_path / "a.csv")
    layout = PlacesTable(tmp_path, images="pictures")
    layout.check(layout.read("a"))
    next(iter(layout.read("a").query.paths)).unlink()
    with pytest.raises(DataError, match=r"pictures/a/1/001.jpg: a key of a/query has no picture"):
        layout.check(layout.read("a"))


def test_one_zone_a_city_also_across_a_border_and_the_date_line(tmp_path):
    """The zone is that of the median; the distance of two places across the border is their distance on the Earth."""
    border = [row | {"lon": 11.9993 + 0.00025 * i, "lat": 55.0} for i, row in enumerate(street("border"))]
    date = [row | {"lon": 179.9993 + 0.00025 * i - 360 * (i > 2), "lat": -17.0}
            for i, row in enumerate(street("date"))]  # fmt: skip
    write(tmp_path / "all.csv", border + date)
    layout = PlacesTable(tmp_path)
    city = layout.read("border")
    (note,) = city.notes
    told = "3 of 12 places lie in other zones, and are counted in this one"
    assert note == f"border: lat and lon (around lat 55.000, lon 12.001) became metres of UTM zone 33N; {told}"
    both = np.concatenate([city.query.positions, city.database.positions])
    step = (
        0.00025
        * math.pi
        / 180
        * 6_378_137
        * math.cos(math.radians(55))
        / math.sqrt(1 - 0.00669438 * math.sin(math.radians(55)) ** 2)
    )
    order = np.argsort(both[:, 0])
    apart = np.hypot(*np.diff(both[order], axis=0).T)
    assert np.allclose(apart, step, rtol=2e-3) and len(build_tasks([city], trial_of(tmp_path, "border"))) == 1
    city = layout.read("date")
    assert "UTM zone 1S; 3 of 12" in city.notes[0]
    assert np.ptp(np.concatenate([side.easting for side in city.sides])) < 1000


def mistakes():
    def column(name: str, value: object, row: int = 3):
        def change(rows):
            rows[row][name] = value
            return rows

        return change

    return {
        "no side": (column("side", "queries"), r"all.csv:5: a side must be query or database; found 'queries'. Mend"),
        "no number": (column("lat", "north"), r"all.csv:5: column 'lat' must hold a finite number; found 'north'"),
        "no place": (column("lon", ""), r"all.csv:5: column 'lon' must hold a finite number"),
        "swapped": (column("lat", 122.5), "csv:5: a latitude must lie within ±90 degrees; lat and lon look swapped"),
        "no latitude": (column("lat", 200.5), r"all.csv:5: a latitude must lie within ±90 degrees; found '200.5'"),
        "no longitude": (column("lon", -200), r"all.csv:5: a longitude must lie within ±180"),
        "far from the others": (column("lon", 40), "the places of a city must lie within 12° .*zone 33 of the median"),
        "a key twice": (column("path", "cph/other/001.jpg"), r"all.csv:5: a key must stand once on a side of a city"),
        "no path": (column("path", ""), r"all.csv:5: a row must name the picture's path"),
        "a key of two words": (column("path", "cph/a b.jpg"), r"all.csv:5: a key must be a word.*found 'cph/a b.jpg'"),
        "a city of two words": (column("city", "new york"), r"all.csv:5: a city must be called by a word.*'new york'"),
        "no frame": (column("frame", 1.5), r"all.csv:5: a frame must be a whole number, or nothing; found '1.5'"),
        "no flag": (column("pano", "yes"), r"all.csv:5: column 'pano' must hold True or False; found 'yes'"),
        "a subtask": (column("condition", "d2n"), "column 'condition': a condition must not be called as a subtask"),
        "no condition": (column("condition", "a,b"), "column 'condition': a condition must be a word"),
        "one side": (lambda rows: [row for row in rows if row["side"] == "query"], "cph has no database"),
        "radians": (
            lambda rows: [row | {"heading": 0.4 * i} for i, row in enumerate(rows)],
            r"all.csv:3: headings must be degrees, and none of these leaves ±2π: they look like radians; found '0.4'",
        ),
    }  # fmt: skip


@pytest.mark.parametrize("mistake", mistakes())
def test_each_mistake_is_one_message_with_its_line(tmp_path, mistake):
    change, message = mistakes()[mistake]
    write(tmp_path / "all.csv", change(street("cph")))
    with pytest.raises(DataError, match=message):
        PlacesTable(tmp_path).read("cph")


def test_columns_that_are_missing_are_named(tmp_path):
    for columns, message in (
        (
            ("file", "side"),
            r"a.csv:1: a table of places must have the column 'path'. Valid: file, side. Columns are path",
        ),
        (("path", "sides"), r"the column 'side'. Did you mean 'sides'\?"),
        (("path", "side", "lat"), "must have lat and lon, or neither; found 'lat'. Write both"),
        (("path", "side", "northing"), "must have easting and northing, or neither; found 'northing'"),
    ):
        write(tmp_path / "a.csv", [row | {"northing": 1} for row in street("a")], columns)
        with pytest.raises(DataError, match=message):
            PlacesTable(tmp_path).names()
    (tmp_path / "a.csv").unlink()
    with pytest.raises(DataError, match=r"no table lies in the folder: \*\.csv. Write one with the columns path, side"):
        PlacesTable(tmp_path).names()
    assert PlacesTable.evidence(tmp_path) == "" and len(set(COLUMNS)) == len(COLUMNS)


def test_a_city_stands_in_one_table_and_a_changed_table_is_read_again(tmp_path):
    write(tmp_path / "a.csv", street("x"))
    layout = PlacesTable(tmp_path)
    before = layout.digest("x")
    assert len(layout.read("x").query) == 6
    write(tmp_path / "a.csv", street("x")[:-2])
    assert len(layout.read("x").query) == 5 and layout.digest("x") != before
    write(tmp_path / "b.csv", street("x"))
    with pytest.raises(DataError, match=r"b.csv: a city must stand in one table, and x stands in a.csv and b.csv"):
        PlacesTable(tmp_path).read("x")


def test_the_real_walk_is_the_same_through_a_table(shared_data, tmp_path):
    msls = open_layout(shared_data / "lip6")
    with (tmp_path / "walk.csv").open("w") as stream:
        stream.write("city,side,key,path,easting,northing,heading,sequence,frame\n")
        for name in ("lip6a", "lip6b"):
            for side in msls.read(name).sides:
                for row, (east, north) in enumerate(side.positions.tolist()):
                    stream.write(f"{name},{side.side},{side.keys[row]},{side.image_path(row)},{east!r},{north!r},"
                                 f"{side.ca[row]},{side.sequence_key[row]},{side.frame_number[row]}\n")  # fmt: skip
    layout = open_layout(tmp_path, LayoutName.of("csv"))
    layout.check(layout.read("lip6b"), whole=True)
    (there,) = build_tasks([msls.read("lip6b")], TrialSpec(data=DataSpec(root=str(shared_data / "lip6"))))
    (here,) = build_tasks([layout.read("lip6b")], trial_of(tmp_path, "lip6b"))
    assert np.array_equal(here.queries, there.queries) and np.array_equal(here.gallery, there.gallery)
    assert [rows.tolist() for rows in here.positives] == [rows.tolist() for rows in there.positives]
    for a, b in zip(here.city.sides, there.city.sides, strict=True):
        assert list(a.paths) == list(b.paths)
        for name in ("keys", "ca", "easting", "northing", "sequence_key", "frame_number"):
            assert np.array_equal(getattr(a, name), getattr(b, name)), name


def test_columns_that_nobody_reads_are_named_where_positions_are_missing(tmp_path):
    rows = [{**row, "latitude": row["lat"], "longitude": row["lon"]} for row in street("ada")]
    write(tmp_path / "places.csv", rows, ("path", "side", "latitude", "longitude", "weather"))
    city = PlacesTable(tmp_path).read("places")
    (told,) = city.notes
    assert city.query.easting is None and "latitude, longitude, weather; positions are read from easting" in told
    write(tmp_path / "places.csv", rows, ("path", "side", "lat", "lon", "weather"))
    assert not any("weather" in told for told in PlacesTable(tmp_path).read("places").notes), "the rest is nobody's"

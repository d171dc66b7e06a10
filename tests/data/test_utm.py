"""Pictures that are named by their position: what each part of a name means, and what a wrong one gets."""

from __future__ import annotations

import math
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.data.utm_trees import PIXEL, plainly, utm_name, write_names, write_part
from vprdist.data.layouts import kept, open_layout, utm
from vprdist.data.layouts.own import check_city
from vprdist.data.layouts.registry import recognised
from vprdist.data.layouts.utm import Utm
from vprdist.data.tasks import breakdown_tasks, build_tasks
from vprdist.errors import DataError
from vprdist.spec.data import DataSpec
from vprdist.spec.doors import LayoutName
from vprdist.spec.trial import TrialSpec

HERE = {"zone": "10", "letter": "S", "lat": "037.70098", "lon": "-122.49646"}
"""The fields of the place 544388.52, 4172758.26, which SF-XL's own description has."""
AT = ("0544388.51", "4172758.25")


def street(count: int, step_m: float = 10.0, **fields: object) -> list[str]:
    return [utm_name(f"{500_000 + step_m * i:.2f}", "4000000.00", pano=f"p{i}", **fields) for i in range(count)]


def trial_of(root: Path, *cities: str, **layout: object) -> TrialSpec:
    values = {"root": str(root), "layout": {"name": "utm", **layout}, "train": (), "validate_cities": cities}
    return TrialSpec(data=DataSpec.model_validate(values))


def test_names_tell_what_they_tell_read_plainly(tmp_path):
    """Shards at any depth, three endings, empty fields, and names that have the position alone."""
    rng = np.random.default_rng(0)
    for side, count in (("database", 40), ("queries", 17)):
        names = []
        for i in range(count):
            heading, tile, pano = f"{rng.integers(360):03d}", f"{i % 4:02d}", f"pano_{i // 4}"
            fields = {"heading": heading, "tile": tile, "pano": pano, "timestamp": "201901", **HERE}
            name = utm_name(f"0544{rng.uniform(380, 395):.2f}", f"{4172758.25 + rng.uniform(-5, 5):.2f}", **fields)
            if i % 7 == 3:
                name = f"@{5000.5 + i}@{7 + i}@whatever{i}@.JPG"
            if i % 5 == 1:
                name = name.replace(".jpg", ".png").replace(f"@{heading}@", "@@")
            names.append(f"{'shard' + str(i % 3) + '/' if i % 2 else ''}{'deep/' if i % 6 == 1 else ''}{name}")
        write_names(tmp_path / "images" / "test" / side, names)
        write_names(tmp_path / "images" / "test" / side, ["notes.txt", ".hidden/@1@2@.jpg", "._@1@2@.jpg"])
    city = Utm(tmp_path).read("test")
    check_city(city, "test")
    for side, folder in ((city.query, "queries"), (city.database, "database")):
        wanted = plainly([tmp_path / "images" / "test" / folder])
        wanted = [
            (path, parts) for path, parts in wanted if not path.name.startswith(".") and "hidden" not in str(path)
        ]
        assert [path for path, _ in wanted] == list(side.paths) == [side.image_path(i) for i in range(len(side))]
        assert side.keys.tolist() == [path.stem if path.suffix else path for path, _ in wanted]
        assert side.positions.tolist() == [[float(parts[1]), float(parts[2])] for _, parts in wanted]
        full = [len(parts) == 16 for _, parts in wanted]
        told = [float(p[9]) if whole and p[9] else math.nan for whole, (_, p) in zip(full, wanted, strict=True)]
        assert np.array_equal(side.headings, told, equal_nan=True) and 0 < np.isnan(told).sum() < len(told)
        sequences = [p[7] if whole else path.stem for whole, (path, p) in zip(full, wanted, strict=True)]
        assert side.sequence_key.tolist() == sequences
        assert side.frame_number.tolist() == [
            int(p[8]) if whole else 0 for whole, (_, p) in zip(full, wanted, strict=True)
        ]
        assert not side.pano.any() and not side.night.any() and (side.conditions == "").all()
    assert city.folder == tmp_path / "images" / "test" and not city.notes


def test_parts_are_cities_wherever_the_folder_begins(tmp_path):
    for part in ("train", "val", "test"):
        write_part(tmp_path / "images" / part, street(3), street(5))
    write_names(tmp_path / "images" / "extra" / "database", street(3))  # as SF-XL's train: no queries, no city
    assert Utm(tmp_path).names() == ["test", "train", "val"] == Utm(tmp_path / "images").names()
    assert Utm(tmp_path / "images" / "val").names() == ["val"]
    digests = {root: Utm(root).digest("val") for root in (tmp_path, tmp_path / "images", tmp_path / "images" / "val")}
    assert len(set(digests.values())) == 1
    assert recognised(tmp_path)[0] == LayoutName.of("utm")
    assert Utm.evidence(tmp_path / "images" / "extra") == "" == Utm.evidence(tmp_path / "nothing")


def test_a_folder_of_queries_more_is_a_condition(tmp_path):
    """SVOX: the database is called gallery, and each weather has a folder of queries."""
    folder = tmp_path / "images" / "test"
    write_names(folder / "gallery", street(9))
    for i, name in enumerate(("queries", "queries_night", "queries_rain")):
        write_names(folder / name / "below", [utm_name(500_000 + 10 * i + j, 4_000_000, pano=i) for j in range(i + 2)])
    city = Utm(tmp_path).read("test")
    assert city.query.conditions.tolist() == [""] * 2 + ["night"] * 3 + ["rain"] * 4
    trial = trial_of(tmp_path, "test")
    parts = breakdown_tasks([city], trial)
    assert {name: len(tasks[0].queries) for name, tasks in parts.items()} == {"all": 9, "night": 3, "rain": 4}
    few = Utm(tmp_path, query_folders=["queries_rain"]).read("test")
    assert few.query.conditions.tolist() == ["rain"] * 4 and few.query.folder == folder / "queries_rain"
    with pytest.raises(DataError, match=r"no such folder of queries: 'queries_rian'. Did you mean 'queries_rain'"):
        Utm(tmp_path, query_folders=["queries_rian"]).read("test")
    (folder / "queries_rain").rename(folder / "queries_all")
    with pytest.raises(DataError, match=r"a condition must not be called as a subtask of MSLS; found 'all'. Rename"):
        Utm(tmp_path).read("test")


def test_nordland_s_positives_are_ten_frames(tmp_path):
    """The downloader writes 25 / 10.5 m between frames; AmsterTime and SPED have 1,000 m between pairs."""
    frames = [utm_name(0, f"{i * 25 / 10.5:07.1f}", pano=i) for i in range(40)]
    write_part(tmp_path / "nordland" / "images" / "test", frames, frames)
    pairs = [utm_name(0, i * 1000, pano=f"{i:04d}") for i in range(5)]
    write_part(tmp_path / "sped" / "images" / "test", pairs, pairs)
    (task,) = build_tasks([Utm(tmp_path / "nordland", sequence="route").read("test")], trial_of(tmp_path, "test"))
    frame = task.city.database.frame_number
    assert sorted(frame.tolist()) == list(range(40)) and set(task.city.query.sequence_key.tolist()) == {"route"}
    for query, rows in zip(task.queries.tolist(), task.positives, strict=True):
        asked = task.city.query.frame_number[query]
        assert sorted(frame[rows].tolist()) == [i for i in range(40) if abs(i - asked) <= 10]
    (task,) = build_tasks([Utm(tmp_path / "sped").read("test")], trial_of(tmp_path, "test"))
    assert [rows.tolist() for rows in task.positives] == [[i] for i in range(5)]


def test_a_route_counts_along_the_numbers_of_the_panorama(tmp_path):
    names = [
        utm_name(1, i, pano=pano) for i, pano in enumerate(("190809_0845_00012", "190809_0845_00003", "", "None", "x"))
    ]
    write_part(tmp_path, names, names)
    side = Utm(tmp_path, sequence="route").read(tmp_path.name).query
    pairs = zip(side.sequence_key, side.frame_number, strict=True)
    told = dict(zip([name.removesuffix(".jpg") for name in names], pairs, strict=True))
    found = [(str(key), int(frame)) for key, frame in (told[key] for key in side.keys.tolist())]
    alone = [side.keys.tolist()[2], side.keys.tolist()[3]]
    assert found == [("190809_0845", 12), ("190809_0845", 3), (alone[0], 0), (alone[1], 0), ("x", 0)]
    alone = Utm(tmp_path, sequence="none").read(tmp_path.name).query
    assert alone.sequence_key.tolist() == alone.keys.tolist()


def test_what_the_downloader_notes_of_msls(tmp_path):
    notes = ["day_forward_cph", "night_backward_cph", "day_sideways_sf", "pitch1_yaw3", ""]
    names = [utm_name(500_000 + i, 4_000_000, pano=i, note=note) for i, note in enumerate(notes)]
    write_part(tmp_path / "val", names, names)
    side = Utm(tmp_path).read("val").query
    assert side.conditions.tolist() == ["day", "night", "day", "", ""]
    assert side.night.tolist() == [False, True, False, False, False]
    assert side.view_direction.tolist() == ["Forward", "Backward", "Sideways", "", ""]


def test_headings_are_counted_as_is_said(tmp_path):
    names = [utm_name(1, i, heading=heading) for i, heading in enumerate(("000", "090", "350", "-1", ""))]
    write_part(tmp_path, names, names)

    def found(**layout):
        return Utm(tmp_path, **layout).read(tmp_path.name).query.headings

    nan = math.nan
    assert np.array_equal(found(), [0, 90, 350, nan, nan], equal_nan=True)
    turned = found(heading="counterclockwise", heading_shift=27.5)
    assert np.array_equal(turned, [27.5, 297.5, 37.5, nan, nan], equal_nan=True)
    assert Utm(tmp_path, heading="none").read(tmp_path.name).query.ca is None


def test_keys_are_words_and_lead_to_their_files(tmp_path):
    names = ["@1@2@a b,c#d@.jpg", "@1@3@\u00a0\u3000@.JPEG", "@1@4@ü@.png"]
    write_part(tmp_path, names, names)
    city = Utm(tmp_path).read(tmp_path.name)
    check_city(city, tmp_path.name)
    assert city.query.keys.tolist() == ["@1@2@a_b_c_d@", "@1@3@__@", "@1@4@ü@"]
    assert [path.name for path in city.query.paths] == names
    Utm(tmp_path).check(city)
    city.query.paths[1].unlink()
    with pytest.raises(DataError, match="has no picture: this one is missing"):
        Utm(tmp_path).check(city)


def mistakes():
    two = street(3)
    fine = {"queries": two, "database": two}
    north = HERE | {"zone": "33", "letter": "U"}
    return {
        "no position": ({"database": ["a.jpg"]}, r"database/a\.jpg: a picture's name must tell its position: @easting"),
        "words": ({"queries": ["@east@1@.jpg"]}, r"the easting in .* name must be a number below 1e\+09; found 'east'"),
        "nothing": ({"queries": ["@1@@.jpg"]}, "the northing in a picture's name must be a number"),
        "nan": ({"queries": ["@nan@1@.jpg"]}, "the easting in a picture's name must be a number"),
        "infinite": ({"queries": ["@1@1e400@.jpg"]}, "the northing in a picture's name must be a number"),
        "a heading in words": ({"queries": [utm_name(1, 2, heading="N")]}, "the heading .* or nothing; found 'N'"),
        "no such zone": ({"queries": [utm_name(5e5, 2, zone="61")]}, "the zone in a picture's name must be 1 to 60"),
        "no such band": ({"queries": [utm_name(5e5, 2, zone="31", letter="O")]}, "letter one of C to X.*found '31O'"),
        "two zones in a side": (
            {"queries": [utm_name(5e5, 4e6, zone=10, letter="S"), utm_name(5e5, 4e6, zone=33, letter="U")]},
            r"must lie in one zone of UTM.*10N: 1 query images, the first @.*33N: 1 query.*zones: apart",
        ),
        "both halves of the Earth": (
            {
                "queries": [utm_name(5e5, 4e6, zone=10, letter="S")],
                "database": [utm_name(5e5, 4e6, zone=10, letter="M")],
            },
            r"must lie in one zone.*10N: 1 query.*10S: 1 database",
        ),
        "degrees swapped": (
            {"queries": [utm_name(*AT, **HERE | {"lat": "-122.49646", "lon": "037.70098"})]},
            r"a latitude must lie within ±90 degrees.*both look swapped; found \(-122\.49646, 37\.70098\).*Swap them",
        ),
        "degrees swapped that both could be latitudes": (
            {"queries": [utm_name("346584.41", "6173164.01", **north | {"lat": "12.56", "lon": "55.68"})]},
            "latitude and longitude in a picture's name must not be swapped",
        ),
        "metres swapped": ({"queries": [utm_name(*AT[::-1], **HERE)]}, "an easting must lie within.*both look swapped"),
        "metres swapped that could be": (
            {"queries": [utm_name("298444.77", "555576.84", zone=31, letter="N", lat="2.7", lon="3.5")]},
            "easting and northing in a picture's name must not be swapped",
        ),
        "another place": (
            {"queries": [utm_name("0544488.51", AT[1], **HERE)]},
            r"degrees and metres in a picture's name must be of one place; found '100 m apart'.* 1 of 1 names",
        ),
        "far away": ({"queries": [utm_name(3e5, 12e6, zone=10)]}, "a northing within.*or leave its zone"),
        "radians": (
            {"queries": [utm_name(1, i, heading=f"{0.7 * i - 3:.3f}") for i in range(8)]},
            r"headings must be degrees, and none of these leaves ±2π: they look like radians; found .*heading: none",
        ),
        "one name in two shards": (
            {"database": ["a/" + two[0], "b/" + two[0]]},
            r"database/b/@.*: two pictures of a side must have different names; this one's is that of .*database/a/@",
        ),
        "one key of two names": ({"database": ["@1@1@ @.jpg", "@1@1@_@.jpg"]}, "two pictures of a side must have"),
        "no pictures": ({"database": ["notes.txt"]}, r"database: a database side must have at least one picture: .jpg"),
        "a name that is no text": ({"database": ["@1@2@\udcff@.jpg"]}, "a picture's name must be UTF-8"),
    }, fine  # fmt: skip


@pytest.mark.parametrize("mistake", mistakes()[0])
def test_what_cannot_be_right_is_one_message(mistake, tmp_path):
    cases, fine = mistakes()
    names, message = cases[mistake]
    for side, there in (fine | names).items():
        write_names(tmp_path / "test" / side, there)
    with pytest.raises(DataError, match=message):
        Utm(tmp_path).read("test")


def test_zones_may_be_set_apart(tmp_path):
    """MSLS as the downloader formats it: Copenhagen and San Francisco in one part."""
    names = [
        utm_name(500_000 + i, 4_000_000 + i, zone=zone, letter="S", pano=i) for i, zone in enumerate((10, 10, 33, 33))
    ]
    write_part(tmp_path / "val", names, names)
    (task,) = build_tasks([Utm(tmp_path, zones="apart").read("val")], trial_of(tmp_path, "val"))
    assert [rows.tolist() for rows in task.positives] == [[0, 1], [0, 1], [2, 3], [2, 3]]


def test_few_headings_and_whole_ones_are_no_radians(tmp_path):
    for name, told in (("a", ["0.5", "1.5"]), ("b", ["0", "1", "2", "3"]), ("c", ["0.5", "1.5", "2.5", "6.9"])):
        names = [utm_name(1, i, heading=each) for i, each in enumerate(told)]
        write_part(tmp_path / name, names, names)
        assert Utm(tmp_path).read(name).query.headings.tolist() == [float(each) for each in told]


def test_no_folder_of_such_pictures_is_one_message(tmp_path):
    with pytest.raises(DataError, match=r"no folder holds database/ \(or gallery/\) and queries/.*Set trial.data.root"):
        Utm(tmp_path).names()
    write_part(tmp_path / "two words", street(2), street(2))
    with pytest.raises(
        DataError, match="a city must be called by a word, and this folder of one is not; found 'two words'"
    ):
        Utm(tmp_path).names()


def test_the_digest_is_of_names_and_sizes(tmp_path):
    write_part(tmp_path / "test", street(3), street(5))
    seen = {Utm(tmp_path).digest("test")}
    moved = tmp_path / "again"
    shutil.copytree(tmp_path / "test", moved / "test")
    assert Utm(moved).digest("test") in seen
    path = next((moved / "test" / "queries").iterdir())
    path.write_bytes(PIXEL[::-1])
    assert Utm(moved).digest("test") in seen, "pixels say nothing"
    path.write_bytes(PIXEL * 2)
    seen.add(Utm(moved).digest("test"))
    path.rename(path.with_name(utm_name(7, 7)))
    seen.add(Utm(moved).digest("test"))
    (moved / "test" / "queries").rename(moved / "test" / "queries_night")
    seen.add(Utm(moved).digest("test"))
    assert len(seen) == 4


@pytest.fixture
def large(tmp_path, monkeypatch) -> Path:
    """A city that is kept though it is small, and was not changed just now."""
    monkeypatch.setattr(utm, "KEPT_FROM", 1)
    monkeypatch.setattr(utm, "FRESH_S", -1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "data"
    write_part(root / "test", [f"s{i % 2}/{name}" for i, name in enumerate(street(8))], street(5))
    return root


def unlisted(*_args: object, **_more: object) -> None:
    raise AssertionError("listed again")


def same(a, b) -> None:
    for one, other in zip(a.sides, b.sides, strict=True):
        assert list(one.paths) == list(other.paths)
        for name in ("keys", "easting", "northing", "sequence_key", "frame_number", "conditions", "night", "pano"):
            assert np.array_equal(getattr(one, name), getattr(other, name)), name


def test_a_large_city_is_read_from_its_index_while_no_folder_changes(large, monkeypatch):
    first = Utm(large).read("test")
    assert len(list((large / kept.FOLDER).glob("*.npz"))) == 2
    with monkeypatch.context() as patch:
        patch.setattr(utm, "list_tree", unlisted)
        same(first, Utm(large).read("test"))
    (large / "test" / "queries" / "s1" / utm_name(9, 9)).write_bytes(PIXEL)
    again = Utm(large).read("test")
    assert len(again.query) == 9 and not again.notes
    next((large / "test" / "queries" / "s0").iterdir()).unlink()
    assert len(Utm(large).read("test").query) == 8
    (large / "test" / "queries" / "s2").mkdir()
    (large / "test" / "queries" / "s2" / utm_name(8, 8)).write_bytes(PIXEL)
    assert len(Utm(large).read("test").query) == 9
    assert len(Utm(large, query_folders=["queries"], sequence="none").read("test").query) == 9
    assert len(list((large / kept.FOLDER).glob("*.npz"))) == 4, "another reading is another index"


def test_an_index_is_not_kept_of_folders_that_were_changed_just_now(large, monkeypatch):
    monkeypatch.setattr(utm, "FRESH_S", 3600)
    Utm(large).read("test")
    assert not list((large / kept.FOLDER).glob("*.npz"))


def test_a_damaged_index_is_made_again_and_said(large):
    first = Utm(large).read("test")
    (place,) = (large / kept.FOLDER).glob("test-query-*.npz")
    whole = place.read_bytes()
    for broken in (whole[: len(whole) // 2], b"", bytes([*whole[:400], whole[400] ^ 1, *whole[401:]])):
        place.unlink()
        place.write_bytes(broken)
        again = Utm(large).read("test")
        same(first, again)
        assert len(again.notes) == 1 and f"{place}: a kept index cannot be used and is made again" in again.notes[0]
        assert not Utm(large).read("test").notes and place.read_bytes() == whole


def test_where_the_data_cannot_be_written_to_the_index_lies_in_the_user_s_cache(large, tmp_path, monkeypatch):
    (large / kept.FOLDER).write_text("in the way: root itself may write to any folder")
    first = Utm(large).read("test")
    assert len(list((tmp_path / "cache" / "vprdist" / "index").glob("*/*.npz"))) == 2
    with monkeypatch.context() as patch:
        patch.setattr(utm, "list_tree", unlisted)
        same(first, Utm(large).read("test"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(large / kept.FOLDER))
    same(first, Utm(large).read("test"))


def test_of_several_jobs_one_lists_and_the_others_wait(large, monkeypatch):
    listed, list_tree = [], utm.list_tree

    def slowly(*args, **more):
        listed.append(args)
        found = list_tree(*args, **more)
        started.wait(1)  # whoever did not wait for this one would list meanwhile
        return found

    started = threading.Event()
    monkeypatch.setattr(utm, "list_tree", slowly)
    with ThreadPoolExecutor(4) as jobs:
        first, *others = jobs.map(lambda _: Utm(large).read("test"), range(4))
    assert len(listed) == 2, "each side once"
    for other in others:
        same(first, other)


def test_a_small_city_is_kept_nowhere(tmp_path):
    write_part(tmp_path / "test", street(3), street(5))
    Utm(tmp_path).read("test")
    assert not (tmp_path / kept.FOLDER).exists()


def test_a_link_to_a_folder_is_followed_once(tmp_path):
    write_part(tmp_path / "test", ["a/" + name for name in street(3)], street(5))
    (tmp_path / "test" / "queries" / "a" / "round").symlink_to(tmp_path / "test" / "queries")
    (tmp_path / "val").symlink_to(tmp_path / "test")
    assert len(Utm(tmp_path).read("val").query) == 3 and Utm(tmp_path).names() == ["test", "val"]


def write_lip6(shared: Path, out: Path) -> Path:
    for name in ("lip6a", "lip6b"):
        for side, folder in zip(open_layout(shared / "lip6").read(name).sides, ("queries", "database"), strict=True):
            (out / name / folder).mkdir(parents=True)
            for row, (easting, northing) in enumerate(side.positions.tolist()):
                fields = {"pano": side.keys[row], "heading": side.ca[row], "tile": side.frame_number[row]}
                path = out / name / folder / utm_name(repr(easting), repr(northing), **fields)
                path.symlink_to(side.image_path(row))
    return out


def test_the_real_walk_is_the_same_through_names(shared_data, tmp_path):
    root, msls = write_lip6(shared_data, tmp_path), open_layout(shared_data / "lip6")
    layout = open_layout(root, LayoutName.of("utm"))
    layout.check(layout.read("lip6b"), whole=True)
    (there,) = build_tasks([msls.read("lip6b")], TrialSpec(data=DataSpec(root=str(shared_data / "lip6"))))
    (here,) = build_tasks([layout.read("lip6b")], trial_of(root, "lip6b"))

    def by_key(task):
        keys = [[str(key).split("@")[7] if "@" in key else str(key) for key in side.keys] for side in task.city.sides]
        gallery = [keys[1][row] for row in task.gallery]
        pairs = zip(task.queries.tolist(), task.positives, strict=True)
        return {keys[0][row]: sorted(gallery[place] for place in places) for row, places in pairs}

    assert by_key(here) == by_key(there) and len(by_key(here)) > 100
    pictures = {path.read_bytes() for path in here.city.query.paths}
    assert pictures == {path.read_bytes() for path in there.city.query.paths}


def test_a_heading_beyond_two_turns_is_another_field(tmp_path):
    names = [utm_name(500_000 + row, 5_000_000, heading=5_000_000) for row in range(4)]
    write_part(tmp_path / "images" / "test", names[:2], names[2:])
    with pytest.raises(DataError, match=r"must lie within ±720 degrees; fields may be shifted"):
        open_layout(tmp_path, LayoutName.of("utm")).read("test")
    assert open_layout(tmp_path, LayoutName.of("utm", heading="none")).read("test").query.ca is None

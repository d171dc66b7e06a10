"""Reading an MSLS tree, and what a broken one gets."""

from __future__ import annotations

import io
import os
import shutil
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.worlds import write_city
from vprdist.data.images import load_image
from vprdist.data.layouts import dataset_digest, kept, msls
from vprdist.data.layouts.msls import city_digest, city_names, read_city
from vprdist.data.pictures import check_images, check_whole
from vprdist.errors import DataError
from vprdist.spec.data import DataSpec


@pytest.fixture(autouse=True, params=["careful", "arrow"])
def reader(request, monkeypatch):
    """Small tables are read row by row, large ones by Arrow, and what is wrong is said in the same words."""
    if request.param == "arrow":
        monkeypatch.setattr(msls, "PLAIN_BYTES", 0)
    return request.param


def test_columns_come_in_row_order(small_tree):
    city = read_city(small_tree, "ada")
    assert (city.split, len(city.query), len(city.database)) == ("train_val", 12, 20)
    assert city.database.keys[3] == "ada_d003"
    assert np.allclose(city.database.positions[3], (500_030.0, 5_000_000.0))
    assert city.database.image_path(3).is_file()
    assert city.query.subtasks["all"].all()
    assert not city.query.subtasks["d2n"].any()
    assert city_names(small_tree) == ["ada", "bob"]


def test_the_real_walk_can_be_read(shared_data):
    city = read_city(shared_data / "lip6", "lip6b")
    assert (len(city.query), len(city.database)) == (152, 150)
    for side in city.sides:
        check_images(side)


def test_a_test_city_needs_no_ground_truth(small_tree):
    folder = small_tree / "test" / "bob"
    shutil.move(small_tree / "train_val" / "bob", folder)
    for side in ("query", "database"):
        (folder / side / "postprocessed.csv").unlink()
        (folder / side / "raw.csv").unlink()
    city = read_city(small_tree, "bob")
    assert city.split == "test"
    assert not city.query.pano.any()
    with pytest.raises(DataError, match="has no positions, and they are needed"):
        _ = city.query.positions


def swap(path, old, new):
    path.write_text(path.read_text().replace(old, new))


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def utf_16(path):
    path.write_bytes(path.read_text().encode("utf-16"))


def breakages():
    def drop(name):
        return lambda side: (side / name).unlink()

    def edit(name, old, new, count=1):
        def change(side):
            path = side / name
            text = path.read_text()
            assert old in text
            path.write_bytes(text.replace(old, new, count).encode(errors="surrogateescape"))

        return change

    def cut(name):
        return lambda side: (side / name).write_bytes((side / name).read_bytes()[:-9])

    def shorten(name):
        return lambda side: (side / name).write_text("".join((side / name).read_text().splitlines(True)[:-1]))

    return [
        ("a missing CSV", drop("raw.csv"), "raw.csv: this file of an MSLS side is missing"),
        ("a cut row", cut("raw.csv"), r"raw.csv:13: a row must have 7 fields; the file may be cut"),
        ("a missing row", shorten("raw.csv"), "raw.csv: the CSVs of a side must have one row an image"),
        ("no number", edit("postprocessed.csv", "5000001.0", "north"), "postprocessed.csv:2: column 'northing'"),
        ("infinity", edit("postprocessed.csv", "5000001.0", "inf"), "finite number; found 'inf'"),
        ("no boolean", edit("raw.csv", "False", "no"), "raw.csv:2: column 'pano' must hold True or False; found 'no'"),
        ("another key", edit("raw.csv", "ada_q001", "zzz"), "raw.csv:3: rows must stand in the order of seq_info.csv"),
        ("a missing column", edit("raw.csv", "ca,", "angle,"), "raw.csv:1: the header must have the column 'ca'"),
        ("an empty file", lambda side: (side / "raw.csv").write_text(""), "raw.csv:1: the header"),
        ("no UTF-8", edit("raw.csv", "ada_q001", "ada_q\udcfc"), "raw.csv:3: a CSV must be UTF-8 text; .*0xfc"),
        ("UTF-16", lambda side: utf_16(side / "raw.csv"), "must be UTF-8 text; found 'UTF-16'.*Save it as CSV UTF-8"),
        ("beyond 63 bits", edit("seq_info.csv", ",0\n", f",{2**63}\n"), "seq_info.csv:2: column 'frame_number' must"),
        ("digits by the thousand", edit("seq_info.csv", ",0\n", f",{'9' * 5000}\n"), "a whole number of 64 bits"),
        (
            "an easting that overflows",
            edit("postprocessed.csv", "5000001.0", "1e300"),
            "numbers below 1e.09; found '1e",
        ),
        ("zeros", edit("raw.csv", "ada_q001", "ada\0q001"), "raw.csv:3: a row holds zeros"),
        (
            "a key over two lines",
            edit("seq_info.csv", "ada_q001", '"ada\nq001"'),
            "seq_info.csv:3: column 'key' must hold one",
        ),
        ("a quote without end", edit("raw.csv", "ada_q001", '"ada_q001'), "raw.csv:3: the row is no CSV"),
        (
            "a quote without end in a long file",
            edit("raw.csv", "ada_q001", '"ada_q001' + "\nx" * 40_000),
            "raw.csv:3: a row must have 65536 bytes at most; a quote may be missing",
        ),
        ("an endless row", edit("raw.csv", "ada_q001", "," * 20_000_000), "raw.csv:3: a row must have 65536 bytes at"),
        ("a column twice", edit("raw.csv", "lon,", "ca,"), "raw.csv:1: a column stands twice in the header: 'ca'"),
        ("semicolons", lambda side: swap(side / "raw.csv", ",", ";"), "Columns are set apart by commas"),
        ("a named pipe", lambda side: pipe(side / "raw.csv"), "raw.csv: the CSV cannot be read: 'a named pipe lies"),
    ]


@pytest.mark.parametrize(("what", "breakage", "message"), breakages(), ids=lambda v: v if isinstance(v, str) else "")
def test_a_broken_csv_is_named_with_its_row(small_tree, what, breakage, message):
    breakage(small_tree / "train_val" / "ada" / "query")
    with pytest.raises(DataError, match=message):
        read_city(small_tree, "ada")


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_csvs_that_a_program_for_tables_saved_are_read(small_tree, end):
    """Excel puts a byte order mark first, writes TRUE, ends lines with CRLF, and leaves lines of commas behind.
    "CSV (Macintosh)" has lines that end with CR alone."""
    wanted = read_city(small_tree, "ada")
    for path in small_tree.glob("train_val/ada/*/*.csv"):
        text = path.read_text().replace("True", "TRUE").replace("False", "FALSE")
        text += "," * (text.index("\n") and text.splitlines()[0].count(",")) + "\n"
        path.write_bytes(text.replace("\n", end).encode("utf-8-sig"))
    found = read_city(small_tree, "ada")
    for side, other in zip(found.sides, wanted.sides, strict=True):
        assert side.keys.tolist() == other.keys.tolist()
        for name in ("pano", "night", "ca", "easting", "northing", "frame_number"):
            assert np.array_equal(getattr(side, name), getattr(other, name)), name
        assert all(np.array_equal(side.subtasks[name], other.subtasks[name]) for name in other.subtasks)


def test_a_note_may_have_several_lines(small_tree):
    """In a column that nobody reads; rows are still named by the line at which they begin."""
    wanted = read_city(small_tree, "ada").query.keys.tolist()
    path = small_tree / "train_val" / "ada" / "query" / "raw.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([f"{header},note", *(f'{row},"one, of\ntwo lines"' for row in rows)]))
    assert read_city(small_tree, "ada").query.keys.tolist() == wanted
    path.write_text(path.read_text().replace("ada_q001", "zzz"))
    with pytest.raises(DataError, match=r"raw\.csv:4: rows must stand in the order"):
        read_city(small_tree, "ada")


def test_a_doubled_key_is_found(small_tree):
    side = small_tree / "train_val" / "ada" / "query"
    for name in ("raw.csv", "postprocessed.csv", "seq_info.csv"):
        path = side / name
        path.write_text(path.read_text().replace("ada_q001", "ada_q000"))
    with pytest.raises(DataError, match=r"seq_info.csv:3: a key stands twice; it is also in row 0: 'ada_q000'"):
        read_city(small_tree, "ada")


@pytest.mark.parametrize("key", ["../../x", "/etc/x", "a/b", r"a\b", "..", "", "a\x01b"])
def test_a_key_that_is_a_path_is_named_with_its_row(small_tree, key):
    side = small_tree / "train_val" / "ada" / "query"
    for name in ("raw.csv", "postprocessed.csv", "seq_info.csv"):
        path = side / name
        path.write_text(path.read_text().replace("ada_q004", key))
    with pytest.raises(DataError) as caught:
        read_city(small_tree, "ada")
    assert f"{side}/seq_info.csv:6: a key must be the name of a picture, not a path; found {key!r}" in str(caught.value)


@pytest.mark.parametrize("name", ["ada/", "./ada", "../train_val/ada", "", ".", ".."])
def test_a_city_is_called_by_its_name(small_tree, name):
    for ask in (read_city, city_digest):
        with pytest.raises(DataError, match="a city must be called by its name, not by a path"):
            ask(small_tree, name)


def test_an_unknown_city_gets_the_nearest_name(small_tree):
    with pytest.raises(DataError, match="Did you mean 'ada'"):
        read_city(small_tree, "adda")
    with pytest.raises(DataError, match="MSLS tree must have train_val"):
        read_city(small_tree / "nothing", "ada")


def test_missing_and_empty_pictures_are_counted(small_tree):
    images = small_tree / "train_val" / "ada" / "query" / "images"
    (images / "ada_q003.jpg").unlink()
    (images / "ada_q005.jpg").write_bytes(b"")
    (images / "ada_q006.jpg").unlink()
    (images / "ada_q006.jpg").symlink_to(images / "moved" / "ada_q006.jpg")  # leads nowhere
    with pytest.raises(DataError, match=r"ada_q003.jpg: .* is missing \(2 more like it\)"):
        check_images(read_city(small_tree, "ada").query)


def test_a_picture_with_another_ending_is_called_by_its_name(small_tree):
    """To unpack the city again would bring the same name."""
    side = read_city(small_tree, "ada").query
    path = side.image_path(0)
    path.rename(path.with_suffix(".JPG"))
    for look in (lambda: check_images(side), lambda: load_image(path, 32, 32)):
        with pytest.raises(DataError, match=rf"Rename {path.stem}\.JPG, which lies there, to {path.name}\. Or leave"):
            look()


def test_a_cut_picture_is_found_by_its_end(small_tree):
    side = read_city(small_tree, "ada").query
    check_whole(side)
    picture = side.image_path(4)
    data = picture.read_bytes()
    picture.write_bytes(data + b"more than the camera promised")
    check_whole(side)
    picture.write_bytes(data[:300])
    with pytest.raises(DataError, match=r"ada_q004.jpg: the picture cannot be read"):
        check_whole(side)


def test_pictures_that_pillow_refuses_in_other_words_are_named_too(small_tree):
    picture = read_city(small_tree, "ada").query.image_path(4)
    stream = io.BytesIO()
    Image.new("RGB", (8, 6)).save(stream, "PNG")  # a PNG under the name of a JPEG is read as well
    short, huge = (bytearray(stream.getvalue()) for _ in range(2))
    short[11] -= 1  # the header's length
    huge[16:24] = (60_000).to_bytes(4) * 2  # width and height
    huge[29:33] = zlib.crc32(huge[12:29]).to_bytes(4)
    for data in (short, huge):
        picture.write_bytes(data)
        with pytest.raises(DataError, match=r"ada_q004.jpg: the picture cannot be read"):
            check_whole(read_city(small_tree, "ada").query)


@pytest.mark.parametrize("name", ["raw.csv", "images"])
def test_a_folder_where_a_file_belongs_and_the_reverse(small_tree, name):
    path = small_tree / "train_val" / "ada" / "query" / name
    if path.is_dir():
        shutil.rmtree(path)
        path.write_text("no folder")
    else:
        path.unlink()
        path.mkdir()
    with pytest.raises(DataError, match=name):
        check_images(read_city(small_tree, "ada").query)


def test_the_digest_knows_csvs_names_and_sizes_but_not_places_on_disk(small_tree, tmp_path):
    before = city_digest(small_tree, "ada")
    moved = tmp_path / "moved"
    shutil.copytree(small_tree, moved)
    assert city_digest(moved, "ada") == before
    picture = moved / "train_val/ada/query/images/ada_q000.jpg"
    data = picture.read_bytes()
    picture.write_bytes(data + b"x")
    assert city_digest(moved, "ada") != before
    picture.write_bytes(data)
    table = moved / "train_val/ada/query/raw.csv"
    table.write_text(table.read_text().replace("90.0", "91.0", 1))
    assert city_digest(moved, "ada") != before


def test_the_digest_of_cities_ignores_their_order(small_tree):
    write_city(small_tree, "cyd", num_query=2, num_database=3, seed=3)
    data = DataSpec(root=str(small_tree))
    assert dataset_digest(data, ["ada", "bob"]) == dataset_digest(data, ["bob", "ada"])
    assert dataset_digest(data, ["ada", "bob"]) != dataset_digest(data, ["ada", "cyd"])


def test_a_plain_city_is_read_by_arrow_alone(small_tree, reader, monkeypatch):
    monkeypatch.setattr(msls, "_careful_tables" if reader == "arrow" else "_plain_tables", unread)
    assert len(read_city(small_tree, "ada").query) == 12


def unread(*_: object) -> None:
    raise AssertionError("read in the other way")


def columns_of(side) -> dict[str, np.ndarray]:
    names = ("keys", "easting", "northing", "ca", "pano", "night", "sequence_key", "frame_number", "view_direction")
    return {name: getattr(side, name) for name in names} | side.subtasks


def odd_values(seed: int) -> list[str]:
    """Numbers as they may stand in tables, some of which are none."""
    rng = np.random.default_rng(seed)
    words = ["1e3", "+4", "-0", "1_0", " 7", "7 ", "0x1F", "nan", "NaN", "inf", "", "007", "1e9", "1e400", "5.", ".5",
             "٣", "1d3", "9223372036854775807", "9223372036854775808", "999999999.5"]  # fmt: skip
    return [str(word) for word in rng.choice(words, 12)]


@pytest.mark.parametrize(
    ("table", "column"),
    [("raw.csv", 4), ("postprocessed.csv", 2), ("seq_info.csv", 3), ("raw.csv", 6), ("subtask_index.csv", 2),
     ("postprocessed.csv", 7), ("seq_info.csv", 2)],
)  # fmt: skip
def test_both_readers_say_the_same_of_odd_values(small_tree, monkeypatch, table, column):
    path = small_tree / "train_val" / "ada" / "query" / table
    lines = [line.split(",") for line in path.read_text().splitlines()]
    for seed in range(25):
        for row, word in zip(lines[1:], odd_values(seed), strict=True):
            row[column] = word if seed % 2 or row is lines[3] else row[column]
        path.write_text("".join(",".join(row) + "\n" for row in lines))
        found = []
        for least in (2**62, 0):
            monkeypatch.setattr(msls, "PLAIN_BYTES", least)
            try:
                found.append(columns_of(read_city(small_tree, "ada").query))
            except DataError as error:
                found.append(str(error))
        assert type(found[0]) is type(found[1])
        if isinstance(found[0], str):
            assert found[0] == found[1]
        else:
            assert all(np.array_equal(found[0][name], found[1][name], equal_nan=found[0][name].dtype.kind == "f")
                       for name in found[0])  # fmt: skip


def test_a_large_city_is_kept_for_its_tables_alone(small_tree, monkeypatch):
    monkeypatch.setattr(msls, "KEPT_BYTES", 0)
    first, digest = read_city(small_tree, "ada"), city_digest(small_tree, "ada")
    with monkeypatch.context() as patch:
        patch.setattr(msls, "_read_side", unread)
        again = read_city(small_tree, "ada")
    for one, other in zip(first.sides, again.sides, strict=True):
        mine, theirs = columns_of(one), columns_of(other)
        assert all(np.array_equal(mine[name], theirs[name]) and mine[name].dtype == theirs[name].dtype for name in mine)
        assert list(one.paths) == list(other.paths) and one.files == other.files and one.city == other.city
    assert city_digest(small_tree, "ada") == digest and not again.notes
    swap(small_tree / "train_val" / "ada" / "query" / "postprocessed.csv", "5000001.0", "5000002.0")
    assert 5_000_002 in read_city(small_tree, "ada").query.northing
    for place in (small_tree / kept.FOLDER).glob("ada-query-*.npz"):
        place.write_bytes(place.read_bytes()[:-50])
    (note,) = read_city(small_tree, "ada").notes
    assert "a kept index cannot be used and is made again" in note and not read_city(small_tree, "ada").notes


def test_a_test_city_is_kept_without_ground_truth(small_tree, monkeypatch):
    monkeypatch.setattr(msls, "KEPT_BYTES", 0)
    folder = small_tree / "test" / "bob"
    shutil.move(small_tree / "train_val" / "bob", folder)
    for side in ("query", "database"):
        (folder / side / "postprocessed.csv").unlink()
        (folder / side / "raw.csv").unlink()
    for _ in range(2):
        city = read_city(small_tree, "bob")
        assert city.query.ca is None and city.query.easting is None and len(city.query) == 8

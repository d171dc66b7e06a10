"""A data set in another layout is the same data set: pictures, positives, recalls; what is lost is said."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from tests.data.utm_trees import utm_name, write_part
from tests.evaluation.wild import wild_descriptors
from tests.worlds import write_side
from vprdist.data.convert import Target, check_convertible, convert, lost
from vprdist.data.layouts import City, open_layout
from vprdist.data.places import Truth
from vprdist.data.tasks import city_task
from vprdist.errors import DataError, UserError
from vprdist.evaluation.ranking import rank
from vprdist.spec.doors import LayoutName
from vprdist.spec.evaluate import EvaluateSpec


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """An MSLS city with panoramas, pictures outside `all`, equal positions, pairs on the rim, missing headings."""
    rng, root = np.random.default_rng(5), tmp_path / "msls"
    for side, count in (("query", 17), ("database", 23)):
        east = rng.integers(0, 9, count)
        write_side(
            root / "train_val" / "ada" / side,
            [f"-{side[0]}_{row}" for row in range(count)],
            [(500_000.1 + 5 * int(e), 5_000_000.7) for e in east],
            angles=[-1.0 if row % 5 == 0 else 0.1 + 15 * row for row in range(count)],
            panos=(rng.random(count) < 0.2).tolist(),
            subtasks={"all": (rng.random(count) < 0.8).tolist(), "d2n": (rng.random(count) < 0.5).tolist()},
        )
    return root


def write(root: Path, layout: str, out: Path, form: str, copy: bool = False) -> Path:
    source = open_layout(root, LayoutName.of(layout))
    convert(source, source.names(), Target(out, form, copy), lambda count: None)
    return out


def recalls(root: Path, layout: str, protocol: EvaluateSpec) -> dict[str, float]:
    """With descriptors by the pictures' contents, so that neither keys nor the order of rows matter."""
    city = open_layout(root, LayoutName.of(layout)).read("ada")
    contents = [[side.image_path(row).read_bytes() for row in range(len(side))] for side in city.sides]
    known = wild_descriptors([city], 3)
    for side, found in zip(city.sides, contents, strict=True):
        for place, data in zip(known.places[side.city, side.side], found, strict=True):
            known.values_ND[place] = np.random.default_rng(list(data[-64:])).random(known.values_ND.shape[1])
    return rank([city_task(city, protocol, 25.0)], known, "city").metrics


@pytest.mark.parametrize("copy", [False, True])
def test_there_and_back_gives_equal_recalls(tree, tmp_path, copy):
    there = write(tree, "msls", tmp_path / "utm", "utm", copy)
    back = write(there, "utm", tmp_path / "back", "msls", copy)
    for protocol in (
        EvaluateSpec(), EvaluateSpec(queries="every", database="every"), EvaluateSpec(subtask="d2n"),
        EvaluateSpec(no_positives="count"),
    ):  # fmt: skip
        expected = recalls(tree, "msls", protocol)
        assert expected["recall@20"] > 0
        for root, layout in ((there, "utm"), (back, "msls")):
            found = recalls(root, layout, protocol)
            assert found == pytest.approx(expected, abs=1e-12), "the mean of mAP is taken in another order of queries"
            assert all(found[f"recall@{k}"] == expected[f"recall@{k}"] for k in (1, 5, 10, 20))
    links = [path.is_symlink() for path in back.rglob("*.jpg")]
    assert len(links) == 40 and set(links) == {not copy}


def columns(city: City) -> list[list[tuple[object, ...]]]:
    """A row a picture of each side, by what it holds."""
    out = []
    for side in city.sides:
        pictures = [path.read_bytes() for path in side.paths]
        angles = np.nan_to_num(side.headings, nan=-1)
        named = [side.subtasks["all"], side.subtasks["d2n"], side.sequence_key, side.frame_number]
        rows = zip(pictures, side.easting, side.northing, angles, side.pano, side.night, *named, strict=True)
        out.append(sorted(rows))
    return out


def test_nothing_that_is_known_of_a_picture_is_lost(tree, tmp_path):
    there = write(tree, "msls", tmp_path / "utm", "utm")
    back = write(there, "utm", tmp_path / "back", "msls")
    expected = columns(open_layout(tree).read("ada"))
    assert columns(open_layout(there, LayoutName.of("utm")).read("ada")) == expected
    assert columns(open_layout(back).read("ada")) == expected


@pytest.mark.parametrize("heading", ["", "87.5"])
def test_keys_with_the_mark_that_parts_fields_tell_nothing_else(tmp_path, heading):
    """The keys of utm are whole names of files: what they hold is no heading of the picture that is written."""
    sides = [[utm_name(500_000 + 7 * row, 5_000_000, pano=f"{word}{row}", heading=heading) for row in range(5)]
             for word in ("q", "d")]  # fmt: skip
    write_part(tmp_path / "from" / "images" / "ada", *sides)
    expected = columns_of_positions(tmp_path / "from", "utm")
    there = write(tmp_path / "from", "utm", tmp_path / "there", "utm")
    assert columns_of_positions(there, "utm") == expected
    msls = write(there, "utm", tmp_path / "msls", "msls")
    assert columns_of_positions(write(msls, "msls", tmp_path / "back", "utm"), "utm") == expected


def columns_of_positions(root: Path, layout: str) -> list[list[tuple[float, ...]]]:
    city = open_layout(root, LayoutName.of(layout)).read("ada")
    return [
        sorted(zip(side.easting, side.northing, np.nan_to_num(side.headings, nan=-1), strict=True))
        for side in city.sides
    ]


def test_two_keys_that_make_one_name_are_refused(tree):
    city = open_layout(tree).read("ada")
    keys = np.array(["a@b", "a_b", *city.query.keys[2:]])
    query = replace(city.query, keys=keys, easting=city.query.easting * 0, ca=None)
    with pytest.raises(DataError, match="keys of a side must differ in more than @"):
        check_convertible(replace(city, query=query), Target(Path("out"), "utm"))


def test_the_folder_that_is_read_is_not_written_into(tree):
    """A tree of both layouts is recognised as neither."""
    with pytest.raises(DataError, match="must be written into a folder of its own"):
        write(tree, "msls", tree, "utm")
    assert [path.name for path in tree.iterdir()] == ["train_val"]


def test_what_is_there_stays_and_a_broken_off_city_is_gone_on_with(tree, tmp_path):
    out = tmp_path / "out"
    source = open_layout(tree)
    picture = source.read("ada").database.image_path(4)
    kept = picture.read_bytes()
    written = []

    def vanish(count: int) -> None:
        written.append(count)
        if len(written) == 20:  # three of the database's
            picture.unlink()

    with pytest.raises(DataError, match="the picture is missing"):
        convert(source, ["ada"], Target(out, "msls", copy=True), vanish)
    assert not (out / "train_val" / "ada").exists() and list(out.rglob("*.jpg")), "nothing half-written has its name"
    picture.write_bytes(kept)
    write(tree, "msls", out, "msls", copy=True)
    assert columns(open_layout(out).read("ada")) == columns(open_layout(tree).read("ada"))
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    told = convert(open_layout(tree), ["ada"], Target(out, "msls", True), lambda count: None)
    assert "is there already" in told["ada"][0]
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_what_a_form_has_no_place_for_is_said(tree):
    city = open_layout(tree).read("ada")
    assert lost(city, "msls") == lost(city, "utm") == []
    query = replace(city.query, conditions=np.array(["snow"] * len(city.query)))
    truth = Truth(positives=csr_matrix((17, 23), dtype=bool), told="within 2 frames")
    told = lost(replace(city, query=query, truth=truth), "msls")
    assert "snow" in told[0] and "within 2 frames" in told[1]
    nowhere = replace(city, query=replace(city.query, easting=None, northing=None), truth=truth)
    for form in ("msls", "utm"):
        with pytest.raises(DataError, match=f"the layout {form} must have positions"):
            check_convertible(nowhere, Target(Path("out"), form))
    with pytest.raises(DataError, match="written over the one that is read"):
        check_convertible(city, Target(tree, "msls"))


def test_the_command_says_what_was_made_and_what_to_do_next(tree, tmp_path):
    command = [sys.executable, "-m", "vprdist", "data", "convert", str(tree), str(tmp_path / "out"), "--to", "utm"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "recognised the layout msls" in done.stdout and "1 cities" not in done.stdout
    assert f"trial.data.root={tmp_path / 'out'} trial.data.layout=utm" in done.stdout
    shutil.rmtree(tree / "train_val" / "ada" / "query")
    again = subprocess.run([*command[:-2], "--to", "utm"], capture_output=True, text=True, check=False)
    assert again.returncode == 2 and "Traceback" not in again.stderr


def spoil(path: Path, change: str) -> None:
    lines = path.read_text().splitlines()
    if change == "missing":
        path.unlink()
        return
    changed = {
        "short": lines[:-1],
        "twice": [*lines[:-1], lines[1]],
        "other": [*lines[:-1], lines[-1].replace("@ada", "@bob").replace("_ada@", "_bob@")],
        "flag": [*lines[:-1], lines[-1].replace("True", "yes").replace("False", "no")],
        "word": [*lines[:-1], lines[-1].replace(",,", ",all,")],
    }[change]
    path.write_text("\n".join(changed) + "\n")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("short", "must have a row each: 17"), ("twice", "must have a row each: 17"), ("other", "must name each"),
        ("flag", "must hold True or False"), ("word", "must not be called as a subtask of MSLS"),
        ("missing", None),
    ],
)  # fmt: skip
def test_a_table_beside_pictures_that_does_not_fit_is_one_message(tree, tmp_path, change, told):
    there = write(tree, "msls", tmp_path / "utm", "utm")
    layout, path = open_layout(there, LayoutName.of("utm")), there / "images" / "ada" / "queries.csv"
    before = layout.digest("ada")
    spoil(path, change)
    if told is None:  # names tell all, but for what only the table knew
        assert not layout.read("ada").query.pano.any() and layout.digest("ada") != before
        return
    with pytest.raises(DataError, match=told) as caught:
        layout.read("ada")
    assert str(path) in str(caught.value)


def test_a_missing_picture_is_told_and_nothing_is_written(tree: Path, tmp_path: Path) -> None:
    (tree / "train_val" / "ada" / "query" / "images" / "-q_3.jpg").unlink()
    with pytest.raises(DataError, match=r"-q_3\.jpg: .*missing"):
        write(tree, "msls", tmp_path / "out", "msls")
    assert not (tmp_path / "out").exists(), "a link to nothing is no picture"


@pytest.mark.parametrize("copy", [False, True])
def test_what_another_run_left_is_made_anew(tree: Path, tmp_path: Path, copy: bool) -> None:
    left = tmp_path / "out" / "train_val" / "ada.partial" / "query" / "images"
    left.mkdir(parents=True)
    (left / "-q_0.jpg").symlink_to("/nowhere/other.jpg")
    (left / "-q_1.jpg").symlink_to(tree / "train_val" / "ada" / "query" / "images" / "-q_1.jpg")
    city = open_layout(write(tree, "msls", tmp_path / "out", "msls", copy)).read("ada")
    theirs = open_layout(tree).read("ada")
    for row in range(len(city.query)):
        path = city.query.image_path(row)
        assert path.read_bytes() == theirs.query.image_path(row).read_bytes() and path.is_symlink() != copy


def test_one_process_at_a_time_writes_into_a_folder(tree: Path, tmp_path: Path) -> None:
    source, out = open_layout(tree), tmp_path / "out"
    told = []

    def meanwhile(count: int) -> None:
        if not told:
            with pytest.raises(DataError, match="while another process converts into it") as error:
                write(tree, "msls", out, "msls")
            told.append(error)

    convert(source, ["ada"], Target(out, "msls"), meanwhile)
    assert told and sorted(path.name for path in out.iterdir()) == ["train_val"]
    assert open_layout(out).read("ada").query.keys.tolist() == source.read("ada").query.keys.tolist()


def test_a_folder_that_cannot_be_written_to_is_named(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(DataError, match="the folder cannot be written to"):
            write(tree, "msls", out, "msls")


@pytest.mark.parametrize("size", [4096 * 4, 4096 * 24, 4096 * 40])
def test_a_full_disk_is_one_message_and_the_next_run_goes_on(tree: Path, tmp_path: Path, small_disk, size: int) -> None:
    disk = small_disk(size)
    with pytest.raises(UserError, match=r"No space left|full"):
        write(tree, "msls", disk / "out", "msls", copy=True)
    assert not list(disk.glob("out/train_val/ada")), "half a city is none"
    subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
    assert recalls(write(tree, "msls", disk / "out", "msls", copy=True), "msls", EvaluateSpec()) == recalls(
        tree, "msls", EvaluateSpec()
    )


def test_frames_get_positions_where_somebody_says_how_far_apart_they_are(tree, tmp_path):
    pictures = sorted((tree / "train_val" / "ada" / "database" / "images").iterdir())
    for name in ("summer", "winter"):
        (tmp_path / "walk" / name).mkdir(parents=True)
        for number, picture in enumerate(pictures[:12]):
            shutil.copyfile(picture, tmp_path / "walk" / name / f"{number:03d}.jpg")
    layout = open_layout(tmp_path / "walk", LayoutName.of("frames", tolerance=3))
    with pytest.raises(DataError, match=r"--frame-m"):
        convert(layout, ["walk"], Target(tmp_path / "none", "utm"), lambda count: None)
    truth = layout.read("walk").truth
    for frame_m, differing in ((8.0, 0), (9.0, 18)):  # at 9 m the third frame is 27 m away: 2 x 9 pairs
        out = tmp_path / f"{frame_m}"
        told = convert(layout, ["walk"], Target(out, "utm", frame_m=frame_m), lambda count: None)["walk"]
        assert f"within 25 m {differing} pairs differ from its {truth.positives.nnz}" in told[0]
        city = open_layout(out, LayoutName.of("utm")).read("walk")
        near = [
            {j for j in range(12) if abs(int(a) - int(city.database.frame_number[j])) * frame_m <= 25}
            for a in city.query.frame_number
        ]
        task = city_task(city, EvaluateSpec(), 25.0)
        assert [set(rows.tolist()) for rows in task.positives] == near

"""Pictures that are written over at the same size: refused where their bytes were noted, said where they were not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.training.making import make_trial, run_here
from tests.worlds import zero_a_third
from vprdist.data import unchanged
from vprdist.data.layouts import city_digest_cached, layout_of
from vprdist.data.pictures import picture_stamps
from vprdist.data.unchanged import check_unchanged, note_pictures
from vprdist.errors import DataError
from vprdist.files import content_number, digest_json, file_stamp
from vprdist.spec.data import DataSpec
from vprdist.store.seen import read_pictures

CITIES = ("ada", "bob")


@pytest.fixture
def data(small_tree: Path) -> DataSpec:
    return DataSpec(root=str(small_tree), train=("ada",), validate_cities=("bob",))


def pictures(data: DataSpec, city: str = "ada") -> list[Path]:
    """In the order of the rows, queries first."""
    return [path for side in layout_of(data).read(city).sides for path in side.paths]


def noted(data: DataSpec, runs: Path) -> tuple[str | None, list[tuple[int, int]]]:
    told: list[tuple[int, int]] = []
    return note_pictures(data, CITIES, runs, lambda *moved: told.append(moved)), told


def seen_of(data: DataSpec, runs: Path, city: str = "ada"):
    return read_pictures(runs, digest_json([city, city_digest_cached(layout_of(data), city)]))


def test_each_city_is_noted_once_all_of_a_small_one(data, tmp_path):
    assert noted(data, tmp_path) == (None, [(1, 2), (2, 2)])
    seen = seen_of(data, tmp_path)
    assert seen.stamps.tolist() == [file_stamp(path.stat()) for path in pictures(data)]
    assert seen.contents.tolist() == [content_number(path) for path in pictures(data)]
    assert noted(data, tmp_path) == (None, [])
    assert check_unchanged(data, CITIES, tmp_path) == ()
    assert check_unchanged(data, CITIES, tmp_path / "another") == (), "nothing was noted there"


def other_bytes(path: Path) -> None:
    path.write_bytes(bytes(b ^ 0x55 for b in path.read_bytes()))


def another_file(path: Path) -> None:
    """A rename over it, with the size and time of the old one."""
    before, other = path.stat(), path.with_suffix(".new")
    other.write_bytes(path.read_bytes()[::-1])
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.rename(path)


@pytest.mark.parametrize("change", [zero_a_third, other_bytes, another_file])
@pytest.mark.parametrize("row", [0, 7, 31])
def test_a_picture_that_holds_something_else_is_refused(data, tmp_path, change: Callable[[Path], None], row):
    noted(data, tmp_path)
    paths = pictures(data)
    change(paths[row])
    for _ in range(2):  # nothing forgets it
        with pytest.raises(DataError) as caught:
            check_unchanged(data, CITIES, tmp_path)
        assert str(caught.value).startswith(
            f"{paths[row]}: a picture of ada was changed since {tmp_path} first used it"
        )
    change(paths[3])
    with pytest.raises(DataError, match=r"at the same size \(1 more like it\)"):
        check_unchanged(data, CITIES, tmp_path)


def test_what_was_copied_byte_for_byte_is_noted_anew(data, tmp_path, monkeypatch):
    noted(data, tmp_path)
    for path in pictures(data):
        path.write_bytes(path.read_bytes())
    before = seen_of(data, tmp_path)
    assert check_unchanged(data, CITIES, tmp_path) == ()
    after = seen_of(data, tmp_path)
    assert (after.stamps != before.stamps).all() and (after.contents == before.contents).all()
    assert after.stamps.tolist() == picture_stamps(pictures(data)).tolist()


def test_of_a_large_city_a_sample_is_refused_and_the_rest_is_said_and_stays_said(data, tmp_path, monkeypatch):
    few = [0, 10, 21, 31]
    monkeypatch.setattr(unchanged, "_spread", lambda count, most: np.array([row for row in few if row < count]))
    note, _ = noted(data, tmp_path)
    assert note is not None and note.startswith(
        f"the bytes of 7 of 56 pictures, evenly spread, are noted in {tmp_path}"
    )
    assert np.flatnonzero(seen_of(data, tmp_path).contents).tolist() == few
    paths = pictures(data)
    zero_a_third(paths[5])
    zero_a_third(paths[20])
    for _ in range(2):
        (said,) = check_unchanged(data, CITIES, tmp_path)
        assert said.startswith("2 of 32 pictures of ada were written, moved or given other rights since ")
        assert "nobody knows whether they hold the same (first: ada_q005.jpg). Whoever knows" in said
    paths[10].write_bytes(paths[10].read_bytes())  # one that is known: noted anew, and the others stay said
    assert check_unchanged(data, CITIES, tmp_path) == (said,) == check_unchanged(data, CITIES, tmp_path)
    zero_a_third(paths[21])
    with pytest.raises(DataError, match=r"ada_d009.jpg: a picture of ada was changed"):
        check_unchanged(data, CITIES, tmp_path)


def test_a_city_of_many_bytes_is_sampled_evenly(data, tmp_path, monkeypatch):
    sizes = sum(path.stat().st_size for path in pictures(data))
    monkeypatch.setattr(unchanged, "SAMPLE_BYTES", sizes // 4)
    monkeypatch.setattr(unchanged, "NUM_AT_LEAST", 2)
    noted(data, tmp_path)
    known = np.flatnonzero(seen_of(data, tmp_path).contents)
    assert len(known) == 8 and known[0] == 0 and known[-1] == 31
    assert set(np.diff(known)) <= {4, 5}


def test_bytes_that_a_disk_changed_by_itself_are_found_in_some(data, tmp_path, monkeypatch):
    """No time tells of them: a few of the known are read at every start."""
    noted(data, tmp_path)
    stamps = {path: file_stamp(path.stat()) for path in pictures(data)}
    for path in stamps:
        zero_a_third(path)
    monkeypatch.setattr(unchanged, "picture_stamps", lambda paths: np.array([stamps[p] for p in paths], np.uint64))
    with pytest.raises(DataError, match=rf"\({unchanged.NUM_LOOKED - 1} more like it\)"):
        check_unchanged(data, ("ada",), tmp_path)


@pytest.mark.parametrize("broken", [b"", b"no archive", None])
def test_a_note_that_cannot_be_read_is_made_anew(data, tmp_path, broken):
    noted(data, tmp_path)
    for path in (tmp_path / "data" / "pictures").iterdir():
        path.write_bytes(path.read_bytes()[:-40] if broken is None else broken)
    assert check_unchanged(data, CITIES, tmp_path) == ()
    assert noted(data, tmp_path)[1] == [(1, 2), (2, 2)]


def test_another_root_of_the_same_city_is_held_to_the_same_pictures(data, tmp_path):
    noted(data, tmp_path)
    shutil.copytree(data.root, tmp_path / "copy")
    copy = data.model_copy(update={"root": str(tmp_path / "copy")})
    assert check_unchanged(copy, CITIES, tmp_path) == ()
    zero_a_third(pictures(copy)[2])
    with pytest.raises(DataError, match=r"copy/.*ada_q002.jpg: a picture of ada was changed"):
        check_unchanged(copy, CITIES, tmp_path)


def test_a_job_refuses_what_was_changed_and_records_what_nobody_knows(small_tree, tmp_path, monkeypatch):
    trial = make_trial(small_tree, steps=1)
    folder = tmp_path / "runs" / "trials" / trial.trial_id
    monkeypatch.setattr(unchanged, "_spread", lambda count, most: np.array([0]) if count else np.array([], int))
    noted(trial.data, tmp_path / "runs")
    paths = pictures(trial.data, "bob")
    paths[2].write_bytes(paths[2].read_bytes())
    row = run_here(trial, folder)
    assert [text for text in row.fallbacks if text.startswith("1 of 24 pictures of bob were written, moved")]
    whole = paths[0].read_bytes()
    zero_a_third(paths[0])
    with pytest.raises(DataError, match=r"bob_q000.jpg: a picture of bob was changed"):
        run_here(trial, tmp_path / "runs" / "trials" / "again")
    paths[0].write_bytes(whole)

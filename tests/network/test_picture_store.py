"""Resized pictures that one job leaves to the next are those that it would decode, or are decoded again."""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from tests.training.making import losses, make_trial, run_here
from tests.worlds import write_small_tree
from vprdist.data.images import load_image
from vprdist.data.layouts.msls import read_city
from vprdist.data.places import City
from vprdist.files import locked
from vprdist.network import inputs, picture_store
from vprdist.network.inputs import KeptPictures
from vprdist.network.picture_store import PictureStore, store_of
from vprdist.spec.computation import COMPUTATION, FIRST
from vprdist.spec.trial import RunSpec, TrialSpec

SIZE = (32, 40)
EACH = 3 * 32 * 40


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Pictures that are resized, and were written before any job began."""
    root = write_small_tree(tmp_path / "tree", picture_size=(100, 80))
    for path in root.rglob("*.jpg"):
        os.utime(path, (1e9, 1e9))
    return root


@pytest.fixture
def city(tree: Path) -> City:
    return read_city(tree, "bob")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every picture that is decoded."""
    found: list[Path] = []

    def noting(path: Path, height: int, width: int) -> np.ndarray:
        found.append(path)
        return load_image(path, height, width)

    monkeypatch.setattr(inputs, "loader_of", lambda computation: noting)
    return found


def job(tree: Path, runs: Path, said: list[str], limit: int = 10**9, keep_mb: int = 512) -> KeptPictures:
    """What a job that begins now has."""
    trial = make_trial(tree).model_copy(update={"run": RunSpec(keep_mb=keep_mb)})
    store = PictureStore(runs, SIZE, COMPUTATION, limit, said.append)
    return KeptPictures(trial, read_city(tree, "bob").sides, SIZE, store)


def read_all(kept: KeptPictures, city: City) -> None:
    """Every picture is that of the decoder."""
    for side in city.sides:
        for row in range(len(side)):
            assert np.array_equal(kept.load(side, row).numpy(), load_image(side.image_path(row), *SIZE))


def test_the_next_job_decodes_nothing(tree: Path, city: City, tmp_path: Path, read: list[Path]) -> None:
    said: list[str] = []
    first = job(tree, tmp_path, said)
    read_all(first, city)
    assert len(read) == 24
    first.share()
    first.share()
    assert said == [f"{tmp_path}/data/resized: 24 resized pictures are kept for other jobs (0.00 GB of at most 1)"]
    read_all(job(tree, tmp_path, said), city)
    assert len(read) == 24
    other_size = PictureStore(tmp_path, (16, 20), COMPUTATION, 10**9, said.append)
    assert city.query.image_path(0) not in other_size


def test_ranks_that_end_together_keep_each_picture_once(tree: Path, city: City, tmp_path: Path) -> None:
    said: list[str] = []
    jobs = [job(tree, tmp_path, said) for _ in range(2)]
    for kept, rows in zip(jobs, ((0, 1, 2), (2, 3)), strict=True):
        for row in rows:
            kept.load(city.query, row)
    for kept in jobs:
        kept.share()
    assert [text.split(": ")[1].split()[0] for text in said] == ["3", "1"]


def test_jobs_that_keep_at_once_look_again_when_it_is_their_turn(
    tree: Path, city: City, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (job(tree, tmp_path, []) for _ in range(2))
    for kept in (first, second):
        read_all(kept, city)

    def after_the_first(path: Path) -> AbstractContextManager[None]:
        monkeypatch.undo()
        first.share()
        return locked(path)

    monkeypatch.setattr(picture_store, "locked", after_the_first)
    second.share()
    assert sum(file.stat().st_size for file in (tmp_path / "data" / "resized").rglob("*.pixels")) == 24 * EACH


@pytest.mark.parametrize("fault", ["no locks", "link"])
def test_a_run_folder_where_nothing_can_be_locked_keeps_no_pictures_and_the_job_goes_on(
    tree: Path, city: City, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    said: list[str] = []
    kept = job(tree, tmp_path, said)
    read_all(kept, city)
    if fault == "link":
        kept.store.root.mkdir(parents=True)
        (kept.store.root / "lock").symlink_to(tmp_path / "elsewhere")
    else:

        def refuse(descriptor: int, kind: int) -> None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

        monkeypatch.setattr(fcntl, "flock", refuse)
    kept.share()
    why = {"no locks": "files cannot be locked in this folder", "link": "a link may not lie where a file is written"}
    assert said == [f"{kept.store.folder}: resized pictures could not be kept for other jobs ({why[fault]})"]


def test_pictures_that_were_unpacked_again_are_kept_again(
    tree: Path, city: City, tmp_path: Path, read: list[Path]
) -> None:
    first = job(tree, tmp_path, [])
    read_all(first, city)
    first.share()
    for side in city.sides:
        for path in side.paths:
            os.utime(path, ns=(1, 1))
    second = job(tree, tmp_path, [])
    assert city.query.image_path(0) not in second.store
    read_all(second, city)
    second.share()
    read.clear()
    read_all(job(tree, tmp_path, []), city)
    assert read == []
    for pixels in (tmp_path / "data" / "resized").rglob("*.pixels"):
        pixels.unlink()
    assert city.query.image_path(0) not in job(tree, tmp_path, []).store, "pixels may be deleted at any time"


def test_a_picture_that_changed_or_was_spoilt_is_decoded_again(
    tree: Path, city: City, tmp_path: Path, read: list[Path]
) -> None:
    first = job(tree, tmp_path, [])
    read_all(first, city)
    first.share()
    changed, touched = city.query.image_path(1), city.query.image_path(2)
    changed.write_bytes(city.query.image_path(5).read_bytes())
    touched.touch()
    (pixels,) = (tmp_path / "data" / "resized").rglob("*.pixels")
    spoilt = bytearray(pixels.read_bytes())
    spoilt[7] ^= 1
    pixels.write_bytes(bytes(spoilt))
    read.clear()
    read_all(job(tree, tmp_path, []), city)
    assert {changed, touched} < set(read) and len(set(read)) == 3
    pixels.write_bytes(pixels.read_bytes()[: 20 * EACH])  # cut, as by a full disk
    read.clear()
    read_all(job(tree, tmp_path, []), city)
    assert len(set(read)) >= 6
    (lists,) = (tmp_path / "data" / "resized").rglob("*.json")
    lists.write_text("{")
    read_all(job(tree, tmp_path, []), city)


def test_what_has_the_wanted_size_already_is_not_kept(small_tree: Path, tmp_path: Path) -> None:
    said: list[str] = []
    kept = job(small_tree, tmp_path, said)
    read_all(kept, read_city(small_tree, "bob"))
    kept.share()
    assert said == [] and not (tmp_path / "data").exists()


def test_it_grows_to_its_limit_by_what_each_job_has_room_for(tree: Path, city: City, tmp_path: Path) -> None:
    said: list[str] = []
    for _ in range(3):
        kept = job(tree, tmp_path, said, limit=10 * EACH)
        read_all(kept, city)
        kept.share()
    assert len(said) == 3 and said[0].endswith("; 14 more find no room (run.store_gb)")
    files = list((tmp_path / "data" / "resized").rglob("*.pixels"))
    assert sum(file.stat().st_size for file in files) == 10 * EACH


def test_a_disk_that_takes_nothing_is_said_and_ends_nothing(tree: Path, city: City, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way")
    said: list[str] = []
    kept = job(tree, tmp_path, said)
    read_all(kept, city)
    kept.share()
    assert len(said) == 1 and "resized pictures could not be kept for other jobs" in said[0]
    read_all(kept, city)


def test_a_trial_finds_the_same_with_and_without_it(tree: Path, tmp_path: Path) -> None:
    trial = make_trial(tree, steps=3)
    assert store_of(first_computation(trial), SIZE, tmp_path, print) is None
    without = trial.model_copy(update={"run": RunSpec(log_steps=1, store_gb=0.0)})
    rows, places = [], [tmp_path / "alone" / "trials" / "a", *(tmp_path / "runs" / "trials" / name for name in "bc")]
    for each, place in zip((without, trial, trial), places, strict=True):
        rows.append(run_here(each, place))
    assert not (tmp_path / "alone" / "data" / "resized").exists()
    assert len(list((tmp_path / "runs" / "data" / "resized").rglob("*.pixels"))) > 0
    assert rows[0].metrics == rows[1].metrics == rows[2].metrics
    assert losses(places[0]) == losses(places[1]) == losses(places[2])


def first_computation(trial: TrialSpec) -> TrialSpec:
    assert trial.digests is not None
    return trial.model_copy(update={"digests": trial.digests.model_copy(update={"computation": FIRST})})

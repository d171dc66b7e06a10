"""One city under several names: by links to folders and to files, and hard links."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.worlds import write_small_tree
from vprdist.cli import main
from vprdist.data import apart
from vprdist.data.apart import check_apart
from vprdist.data.pictures import picture_files
from vprdist.errors import DataError
from vprdist.prepare.checks import check_data
from vprdist.spec.data import DataSpec
from vprdist.spec.trial import TrialSpec


def spec_of(root: Path, train: tuple[str, ...] = ("ada",), validate: tuple[str, ...] = ("bob",)) -> DataSpec:
    return DataSpec(root=str(root), train=train, validate_cities=validate)


def link_city(old: Path, new: Path) -> None:
    new.symlink_to(old)


def link_sides(old: Path, new: Path) -> None:
    new.mkdir()
    for side in ("query", "database"):
        (new / side).symlink_to(old / side)


def farm(link: Callable[[Path, Path], object]) -> Callable[[Path, Path], None]:
    def make(old: Path, new: Path) -> None:
        shutil.copytree(old, new)
        for picture in new.rglob("*.jpg"):
            picture.unlink()
            link(old / picture.relative_to(new), picture)

    return make


WAYS = {
    "a link to the city": link_city,
    "links to its sides": link_sides,
    "links to its pictures": farm(lambda old, new: new.symlink_to(old)),
    "hard links": farm(lambda old, new: os.link(old, new)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("train", "validate", "words"),
    [
        (("ada",), ("zoe",), "two cities, to train and to validate, ada and zoe; in zoe it is"),
        (("ada", "zoe"), ("bob",), "two training cities, ada and zoe"),
        (("bob",), ("ada", "zoe"), "two validation cities, ada and zoe"),
    ],
)
def test_a_city_with_a_second_name_is_refused(small_tree, way, train, validate, words):
    WAYS[way](small_tree / "train_val" / "ada", small_tree / "train_val" / "zoe")
    with pytest.raises(DataError) as caught:
        check_data(TrialSpec(data=spec_of(small_tree, train, validate)))
    assert words in str(caught.value)
    assert "train_val/ada/query/images/ada_q000.jpg" in str(caught.value)


def test_one_shared_picture_is_enough_between_training_and_validation(small_tree):
    other = small_tree / "train_val" / "bob" / "query" / "images" / "bob_q003.jpg"
    other.unlink()
    other.symlink_to(small_tree / "train_val" / "ada" / "database" / "images" / "ada_d007.jpg")
    with pytest.raises(DataError, match=r"ada_d007.jpg: a picture cannot be of two cities.*bob_q003.jpg"):
        check_apart(spec_of(small_tree))


def test_cities_of_one_list_may_share_a_database(small_tree):
    for name in ("zoe", "yan"):
        shutil.copytree(small_tree / "train_val" / "bob", small_tree / "train_val" / name)
    database = small_tree / "train_val" / "yan" / "database"
    shutil.rmtree(database)
    database.symlink_to(small_tree / "train_val" / "zoe" / "database")
    check_apart(spec_of(small_tree, validate=("zoe", "yan")))
    with pytest.raises(DataError, match="to train and to validate, zoe and yan"):
        check_apart(spec_of(small_tree, train=("zoe",), validate=("yan",)))


def test_equal_pictures_in_files_of_their_own_are_no_fault(small_tree):
    shutil.copytree(small_tree / "train_val" / "ada", small_tree / "train_val" / "zoe")
    check_apart(spec_of(small_tree, validate=("zoe",)))


def test_numbers_that_only_look_alike_are_no_fault(small_tree, monkeypatch):
    monkeypatch.setattr(apart, "picture_files", lambda paths: np.arange(len(paths), dtype=np.uint64))
    check_apart(spec_of(small_tree))


def test_the_number_of_a_file_is_that_of_its_disk_and_inode(small_tree):
    images = small_tree / "train_val" / "ada" / "query" / "images"
    paths = sorted(images.glob("*.jpg"))
    (images / "gone.jpg").symlink_to(images / "nowhere.jpg")
    (images / "twin.jpg").symlink_to(paths[3])
    asked = [*paths, images / "twin.jpg", images / "gone.jpg", images / "never.jpg", small_tree / "none" / "a.jpg"]
    found = picture_files(asked).tolist()
    assert found[len(paths) :] == [found[3], 0, 0, 0]
    assert len(set(found[: len(paths)])) == len(paths)


def test_evaluate_refuses_paths_and_second_names(tmp_path, capsys):
    tree = write_small_tree(tmp_path / "tree")
    link_city(tree / "train_val" / "bob", tree / "train_val" / "zoe")
    before = sorted(tree.rglob("*"))
    (tmp_path / "theirs.txt").write_text("bob_q000 bob_d000\n")
    words = ["evaluate", str(tmp_path / "theirs.txt"), "--data", str(tree), "--cities"]
    for cities, message in (
        ([str(tree / "train_val" / "bob")], "validate.0: this must be a name, not a path"),
        (["bob", "bob/"], "validate.1: this must be a name, not a path; found 'bob/'. Write 'bob'."),
        (["bob", "zoe"], "two validation cities, bob and zoe"),
    ):
        assert main([*words, *cities]) == 2
        assert message in " ".join(capsys.readouterr().err.split())
    assert sorted(tree.rglob("*")) == before
    assert not list(tmp_path.glob("*.evaluations"))

"""Sequences of paths by the million answer as lists of paths do; pictures left out are those that names mean."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from vprdist.data import pictures
from vprdist.data.layouts.less import gone_rows
from vprdist.data.listing import list_tree
from vprdist.data.picture_paths import ChainedPaths, FolderPaths, KeyPaths, MadePaths, NamedPaths
from vprdist.data.pictures import absent, picture_files, picture_folders, picture_sizes, picture_stamps
from vprdist.data.places import Side

TOP = Path("/top")


def made() -> dict[str, tuple[MadePaths, list[Path]]]:
    keys = np.array(["a", "b", "c d", "e_"])
    folder, ending = np.array([1, 0, 1, 1]), np.array([0, 1, 0, 0])
    lie = FolderPaths(TOP, ["x", "x/y"], folder, [".jpg", ".PNG"], ending, keys, {"e_": "e .jpg"})
    words = ["x/y/a.jpg", "x/b.PNG", "x/y/c d.jpg", "x/y/e .jpg"]
    return {
        "by keys": (KeyPaths(TOP / "images", keys), [TOP / "images" / f"{key}.jpg" for key in keys]),
        "by folders": (lie, [TOP / word for word in words]),
        "by names": (NamedPaths(TOP, np.array([*words, "/else/f.jpg", "g.jpg"])),
                     [*(TOP / word for word in words), Path("/else/f.jpg"), TOP / "g.jpg"]),
    }  # fmt: skip


@pytest.mark.parametrize("kind", made())
def test_a_sequence_of_paths_answers_as_a_list(kind):
    paths, wanted = made()[kind]
    assert len(paths) == len(wanted) and list(paths) == wanted and paths[-1] == wanted[-1]
    assert list(paths[1:3]) == wanted[1:3] and list(paths.take(np.array([2, 0]))) == [wanted[2], wanted[0]]
    with pytest.raises(IndexError):
        _ = paths[len(wanted)]
    by_folder = defaultdict(list)
    for row, path in enumerate(wanted):
        by_folder[str(path.parent)].append((row, path.name))
    found = {os.path.normpath(folder): list(zip(rows.tolist(), paths.names(rows).tolist(), strict=True))
             for folder, rows in paths.by_folder()}  # fmt: skip
    assert found == by_folder and picture_folders(paths) == {path.parent for path in wanted}
    both = ChainedPaths([paths, wanted, paths[:0], paths])
    assert list(both) == wanted * 3 and both[-1] == wanted[-1] and both[2:7] == (wanted * 3)[2:7]


@pytest.mark.parametrize("few", [0, 100])
def test_what_is_known_of_files_is_the_same_of_lists_and_made_paths(tmp_path, monkeypatch, few):
    monkeypatch.setattr(pictures, "FEW", few)  # by Arrow, or by names in Python
    rng = np.random.default_rng(0)
    for name in ("a/1.jpg", "a/2.png", "b/c/1.jpg", "b/3.jpeg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(bytes(int(rng.integers(1, 99))))
    (tmp_path / "b" / "empty.jpg").touch()
    (tmp_path / "b" / "link.jpg").symlink_to(tmp_path / "a" / "1.jpg")
    (tmp_path / "b" / "nowhere.jpg").symlink_to(tmp_path / "gone.jpg")
    names = ["b/3.jpeg", "a/1.jpg", "b/empty.jpg", "b/link.jpg", "b/nowhere.jpg", "b/c/1.jpg", "a/gone.jpg", "a/2.png"]
    paths, plain = NamedPaths(tmp_path, np.array(names)), [tmp_path / name for name in names]
    sizes = [path.stat().st_size if path.exists() else 0 for path in plain]
    assert picture_sizes(paths).tolist() == sizes == picture_sizes(plain).tolist()
    for ask in (picture_stamps, picture_files):
        assert np.array_equal(ask(paths), ask(plain))
    side = Side.of(city="c", side="query", paths=plain, keys=[str(i) for i in range(len(names))])
    told = [(fault.row, fault.what) for fault in absent(side)]
    assert told == [(2, "is empty"), (4, "is missing"), (6, "is missing")]
    tree = list_tree(tmp_path, ["b", "a"], sizes=True)
    listed = sorted((str(path.parent), path.name) for path in plain if path.name != "gone.jpg")
    assert [(str(tree.where(row).parent), tree.names[row]) for row in range(len(tree))] == listed
    assert tree.sizes is not None
    assert [int(size) for size in tree.sizes] == [
        Path(folder, name).stat().st_size if Path(folder, name).exists() else 0 for folder, name in listed
    ]


def test_names_of_pictures_mean_those_that_they_meant_row_by_row():
    rng = np.random.default_rng(1)
    keys = [f"k{i}" for i in range(30)] + ["query", "c"]
    side = Side.of(city="c", side="query", paths=[TOP / f"{key}.jpg" for key in keys])
    forms = ["{}", "c/{}", "c/query/{}", "query/{}", "c/database/{}", "d/{}", "c/c/{}", "c/query/query/{}"]
    for _ in range(50):
        left_out = [str(rng.choice(forms)).format(rng.choice(keys)) for _ in range(rng.integers(0, 9))]
        wanted = [row for row, key in enumerate(keys) if {key, f"c/{key}", f"c/query/{key}"} & set(left_out)]
        assert gone_rows(side, left_out) == wanted

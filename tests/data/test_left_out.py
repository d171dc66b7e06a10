"""A data set without some of its pictures is, to the bit, one that never had them."""

from __future__ import annotations

import dataclasses

import h5py
import numpy as np
import pytest
from PIL import Image

from tests.broken import BROKEN, break_pictures, without
from tests.data.walks import walk_data
from tests.evaluation.wild import wild_cities, write_cities
from tests.worlds import write_city
from vprdist.data import official
from vprdist.data.graph import city_graph
from vprdist.data.labels import read_labels
from vprdist.data.layouts import dataset_digest, layout_of, open_layout
from vprdist.data.layouts.less import left_out_words
from vprdist.data.official import official_blocks
from vprdist.data.pictures import faults, picture_fault
from vprdist.data.tasks import breakdown_tasks
from vprdist.errors import DataError
from vprdist.evaluation.descriptors import Descriptors
from vprdist.evaluation.evaluate import Extra, assess, describe_protocol
from vprdist.spec.data import DataSpec
from vprdist.spec.evaluate import EvaluateSpec
from vprdist.spec.trial import TrialSpec

GONE = ("ada/query/ada_q000", "ada/query/ada_q007", "ada/database/ada_d019", "bob/database/bob_d004")


def data_of(root, **more) -> DataSpec:
    return DataSpec(root=str(root), train=("ada",), validate_cities=("bob",), **more)


@pytest.mark.parametrize(
    "names",
    [
        GONE,
        [name.rpartition("/")[2] for name in GONE],
        ["ada/ada_q000", "ada_q007", "ada/database/ada_d019", "bob_d004"],
    ],
    ids=["city/side/key", "key", "mixed"],
)
def test_a_city_is_read_as_one_that_never_had_them(small_tree, tmp_path, names):
    less, never = layout_of(data_of(small_tree, leave_out=tuple(names))), without(small_tree, tmp_path / "never", GONE)
    for name in ("ada", "bob"):
        for found, wanted in zip(less.read(name).sides, open_layout(never).read(name).sides, strict=True):
            for field in dataclasses.fields(found):
                one, two = getattr(found, field.name), getattr(wanted, field.name)
                if isinstance(one, np.ndarray) and field.name != "rows":
                    assert np.array_equal(one, two), field.name
            assert [path.name for path in found.paths] == [path.name for path in wanted.paths]
            assert all(np.array_equal(found.subtasks[key], wanted.subtasks[key]) for key in wanted.subtasks)
            less.check(less.read(name), whole=True)
            assert len(found) + found.num_left_out == found.num_whole
    words = left_out_words(less.read("ada"))
    assert words == ("ada is read without 2 of 12 query images and 1 of 20 database images: they are left out",)


def test_a_users_layout_leaves_out_too(small_tree, tmp_path):
    data = walk_data(small_tree, tmp_path, leave_out=("ada/query/ada_q000", "bob_d004"))
    city = layout_of(data).read("ada")
    assert len(city.query) == 11 and "ada_q000" not in city.query.keys
    assert all(str(key) in path.name for key, path in zip(city.query.keys, city.query.paths, strict=True))
    assert [side.num_left_out for side in layout_of(data).read("bob").sides] == [0, 1]


def test_the_digest_counts_what_is_left_out_of_these_cities_alone(small_tree):
    plain = dataset_digest(data_of(small_tree), ("ada", "bob"))
    assert dataset_digest(data_of(small_tree, leave_out=("zoe/query/a", "nobody")), ("ada", "bob")) == plain
    ways = [("ada_q000",), ("ada/ada_q000",), ("ada/query/ada_q000", "nobody")]
    (other,) = {dataset_digest(data_of(small_tree, leave_out=names), ("ada", "bob")) for names in ways}
    third = dataset_digest(data_of(small_tree, leave_out=("ada_q001",)), ("ada", "bob"))
    assert len({plain, other, third}) == 3
    assert dataset_digest(data_of(small_tree, leave_out=("ada_q000",)), ("bob",)) == dataset_digest(
        data_of(small_tree), ("bob",)
    )
    assert layout_of(data_of(small_tree, leave_out=("ada_q000",))).whole_digest("ada") == open_layout(
        small_tree
    ).digest("ada")


def test_a_side_keeps_one_picture(small_tree):
    names = tuple(f"bob_q{row:03d}" for row in range(8))
    with pytest.raises(DataError, match=r"bob/query: every picture of bob/query is left out, and a side needs one"):
        layout_of(data_of(small_tree, leave_out=names)).read("bob")


@pytest.mark.parametrize("block_bytes", [1, 500, 2**27])
def test_rows_and_columns_of_official_labels_go_with_them(small_tree, tmp_path, monkeypatch, block_bytes):
    monkeypatch.setattr(official, "BLOCK_BYTES", block_bytes)
    rng = np.random.default_rng(0)
    dense = rng.choice([0, 0, 0.25, 0.5, 1.0], (12, 20)).astype(np.float32)
    with h5py.File(small_tree / "train_val" / "ada_gt.h5", "w") as file:
        file.create_dataset("fov", data=dense)
    gone = ("ada/query/ada_q000", "ada/query/ada_q001", "ada/query/ada_q007", "ada/database/ada_d019")
    data = data_of(small_tree, leave_out=gone)
    city = layout_of(data).read("ada")
    expected = np.delete(np.delete(dense, [0, 1, 7], axis=0), 19, axis=1)
    found = read_labels(city, data, tmp_path, lambda message: None)
    assert np.array_equal(found.toarray(), expected)
    kept = read_labels(city, data, tmp_path, lambda message: pytest.fail(message))
    assert np.array_equal(kept.toarray(), expected)
    whole = read_labels(open_layout(small_tree).read("ada"), data_of(small_tree), tmp_path, lambda message: None)
    assert np.array_equal(whole.toarray(), dense), "kept labels are never those of another choice"
    assert sum(block.shape[0] for block in official_blocks(city)) == 9


def test_computed_labels_are_those_of_a_tree_that_never_had_them(small_tree, tmp_path):
    data, never = data_of(small_tree, leave_out=GONE), without(small_tree, tmp_path / "never", GONE)
    found, wanted = city_graph(layout_of(data).read("ada"), data), city_graph(open_layout(never).read("ada"), data)
    assert np.array_equal(found.similarity.toarray(), wanted.similarity.toarray())
    assert np.array_equal(found.queries, wanted.queries) and np.array_equal(found.gallery, wanted.gallery)


def described(cities, seed) -> Descriptors:
    """By key, of few distinct values, so that many are equally far."""
    distinct = np.random.default_rng(seed).integers(-2, 3, (9, 4)).astype(np.float32) / 4
    rows, places = [], {}
    for side in (side for city in cities for side in city.sides):
        places[side.city, side.side] = np.arange(len(rows), len(rows) + len(side))
        rows += [distinct[hash_of(str(key)) % 9] for key in side.keys]
    return Descriptors(np.array(rows), places)


def hash_of(word: str) -> int:
    return sum((place + 1) * ord(letter) for place, letter in enumerate(word))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("gallery", ["city", "merged"])
def test_an_evaluation_equals_that_of_a_tree_that_never_had_them_to_the_bit(tmp_path, seed, gallery):
    """Ties, equal positions, panoramas, subtasks, whitening on the galleries; sometimes a city loses all positives."""
    cities = next(found for s in range(seed * 50, seed * 50 + 50) if lives(found := wild_cities(s)))
    write_cities(tmp_path / "tree", cities)
    rng = np.random.default_rng(seed)
    names = [
        f"{side.city}/{side.side}/{key}"
        for side in (side for city in cities for side in city.sides)
        for key in rng.permutation(side.keys)[: max(1, len(side) // 4)]
    ]
    never = without(tmp_path / "tree", tmp_path / "never", names)
    evaluate = EvaluateSpec(gallery=gallery, whitening="database", dimensions=(2,))
    answers = []
    for root, leave_out in ((tmp_path / "tree", tuple(names)), (never, ())):
        data = DataSpec(root=str(root), validate_cities=("uno", "dos"), leave_out=leave_out)
        read = [layout_of(data).read(name) for name in data.validate_cities]
        trial = TrialSpec(data=data, evaluate=evaluate)
        subtasks = breakdown_tasks(read, trial)
        found = assess(described(read, seed), evaluate, subtasks["all"], learning(subtasks["all"]), Extra(subtasks))
        answers.append((found, describe_protocol(subtasks["all"], trial, "d"), subtasks.keys()))
    (ours, protocol, some), (theirs, plain, others) = answers
    assert ours.metrics == theirs.metrics and ours.city_metrics == theirs.city_metrics and some == others
    assert ours.ranking.predictions == theirs.ranking.predictions
    for name in some:
        assert ours.subtasks[name].metrics == theirs.subtasks[name].metrics
    assert protocol.num_left_out == len(names) and f", {len(names)} pictures left out, " in protocol.summary
    assert protocol.model_copy(update={"num_left_out": 0}) == plain and protocol.fingerprint != plain.fingerprint


def lives(cities) -> bool:
    return min(len(side) for city in cities for side in city.sides) >= 8


def learning(tasks):
    return [(task.city.database, task.gallery) for task in tasks]


def test_every_kind_of_broken_picture_is_found(small_tree):
    break_pictures(small_tree)
    found = {}
    for name in ("ada", "bob"):
        for side in open_layout(small_tree).read(name).sides:
            found |= {f"{name}/{side.side}/{side.keys[fault.row]}": fault.what for fault in faults(side)}
    assert found == BROKEN


def test_what_lies_between_the_marks_is_seen_by_decoding(small_tree):
    write_city(small_tree, "cyd", num_query=2, num_database=3, seed=3)
    side = open_layout(small_tree).read("cyd").query
    path = side.image_path(1)
    path.write_bytes(b"\xff\xd8 no picture at all \xff\xd9")
    assert faults(side) == [] and picture_fault(path) is None
    (fault,) = faults(side, decode=True)
    assert (fault.row, fault.what) == (1, "is cut, or no picture")
    glass = side.image_path(1)
    Image.new("RGBA", (8, 8), (1, 2, 3, 4)).save(glass, format="PNG")
    assert picture_fault(glass) == "is transparent in places, and what is seen there is not known"
    good = side.image_path(0)
    good.write_bytes(good.read_bytes() + b"a camera's note")  # some write more after the mark
    assert picture_fault(good) is None

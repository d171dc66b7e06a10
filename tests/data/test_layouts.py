"""Every layout keeps one contract; a user's own enters by its file, and each of its mistakes is one message."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import vstack

from tests.data.walks import WALK, own_file, walk_data, write_walk
from vprdist.data.label_choice import labels_digest
from vprdist.data.labels import label_blocks
from vprdist.data.layouts import City, Layout, Side, dataset_digest, layout_of, open_layout
from vprdist.data.layouts.base import content_digest
from vprdist.data.layouts.msls import Msls, city_digest, read_city
from vprdist.data.layouts.own import check_city
from vprdist.data.tasks import build_tasks
from vprdist.errors import DataError, RuleError, UserError
from vprdist.prepare.checks import check_data
from vprdist.semantics.order import CacheOrder
from vprdist.spec.data import DataSpec
from vprdist.spec.segmenter import SegmenterSpec
from vprdist.spec.trial import Digests, TrialSpec
from vprdist.spec.vocabulary import SUBTASKS

IMAGES = {"msls": "train_val/ada/query/images/ada_q004.jpg", "own": "ada/query/ada_q004@*.jpg"}


@pytest.fixture(params=["msls", "own"])
def data(request, small_tree, tmp_path) -> DataSpec:
    """Two cities, through each layout."""
    if request.param == "own":
        return walk_data(small_tree, tmp_path)
    return DataSpec(root=str(small_tree), train=("ada",), validate_cities=("bob",))


def picture(data: DataSpec) -> Path:
    (path,) = Path(data.root).glob(IMAGES["own" if data.layout.is_own else "msls"])
    return path


def with_layout(data: DataSpec, layout: object) -> DataSpec:
    return DataSpec.model_validate(data.model_dump(by_alias=True) | {"layout": layout})


def fresh(data: DataSpec) -> Layout:
    """As another process asks: what is kept of a layout is kept by its folder."""
    moved = Path(data.root).with_name(f"{Path(data.root).name}-again")
    Path(data.root).rename(moved)
    return open_layout(moved, data.layout)


def test_a_layout_answers_cities_with_arrays_of_one_length(data):
    layout = layout_of(data)
    assert layout.names() == ["ada", "bob"]
    for name, counts in (("ada", (12, 20)), ("bob", (8, 16))):
        city = layout.read(name)
        check_city(city, name)
        assert (len(city.query), len(city.database)) == counts
        for side in city.sides:
            assert side.positions.shape == (len(side), 2) and set(side.subtasks) == set(SUBTASKS)
            assert all(side.image_path(row).is_file() for row in range(len(side)))
            assert side.subtasks["all"].all() and not side.subtasks["d2n"].any() and not side.pano.any()
            assert city.folder in side.image_path(0).parents
        layout.check(city)
        layout.check(city, whole=True)


def test_a_city_that_is_not_there_is_named(data):
    for question in (layout_of(data).read, layout_of(data).digest):
        with pytest.raises(DataError, match=r"adda.*Did you mean 'ada'\?"):
            question("adda")


def test_a_digest_is_of_columns_names_and_sizes_but_not_of_pixels_or_places(data):
    before = {name: layout_of(data).digest(name) for name in ("ada", "bob")}
    assert all(re.fullmatch("[0-9a-f]{16}", digest) for digest in before.values())
    layout = fresh(data)
    assert {name: layout.digest(name) for name in before} == before
    path = picture(data.model_copy(update={"root": str(layout.root)}))
    pixels = path.read_bytes()
    path.write_bytes(pixels[:-4] + b"\0\0\xff\xd9")
    assert layout.digest("ada") == before["ada"]
    path.write_bytes(pixels + b"\0")
    assert layout.digest("ada") != before["ada"] and layout.digest("bob") == before["bob"]


def test_pictures_that_are_missing_or_cut_are_found(data):
    layout, path = layout_of(data), picture(data)
    city, pixels = layout.read("ada"), path.read_bytes()
    path.write_bytes(pixels[:300])
    layout.check(city)
    with pytest.raises(DataError, match=r"ada_q004\S*jpg: the picture cannot be read"):
        layout.check(city, whole=True)
    path.unlink()
    with pytest.raises(DataError, match=r"ada_q004\S*jpg: a key of ada/query has no picture: this one is missing"):
        layout.check(city)


def test_msls_keeps_its_digest(small_tree):
    assert open_layout(small_tree).digest("ada") == city_digest(small_tree, "ada")
    data = DataSpec(root=str(small_tree))
    assert dataset_digest(data, ("ada", "bob")) == dataset_digest(data, ("bob", "ada"))


def test_the_default_is_in_no_id_and_no_name_of_an_order():
    """The two words are those that version f8a1861 gave."""
    trial = TrialSpec(data=DataSpec(train=("a",), validate_cities=("b",)))
    digests = Digests(dataset="d", cache=None, weights="w")
    assert trial.resolved(digests).trial_id == "a1695892966d56eb"
    order = CacheOrder(root="/d", cities=("b", "a"), out="/o", segmenter=SegmenterSpec(name="litert:/m.tflite"))
    assert order.digest == "7136291ffb6d1dc8"
    old = order.model_dump(mode="json")
    del old["layout"]
    assert CacheOrder.model_validate(old, strict=False) == order


def test_another_layout_or_parameter_is_another_trial(small_tree, tmp_path):
    digests = Digests(dataset="d", cache=None, weights="w")
    walk = walk_data(small_tree, tmp_path)
    file = tmp_path / "walk_layout.py"
    others = [
        TrialSpec(data=data).resolved(digests).trial_id
        for data in (
            DataSpec(root=walk.root, train=("ada",), validate_cities=("bob",)),
            walk,
            with_layout(walk, {"name": f"{file}:Walk", "step_m": 2.0}),
        )
    ]
    assert len(set(others)) == 3
    moved = file.rename(tmp_path / "elsewhere.py")
    there = with_layout(walk, f"{moved}:Walk")
    assert TrialSpec(data=there).resolved(digests).trial_id == others[1], "where the file lies says nothing"


def test_the_same_pictures_give_the_same_places_labels_and_questions(small_tree, tmp_path):
    through = [
        DataSpec(root=str(small_tree), train=("ada",), validate_cities=("bob",)),
        walk_data(small_tree, tmp_path),
    ]
    labels, tasks = [], []
    for data in through:
        layout = layout_of(data)
        labels.append(vstack(list(label_blocks(layout.read("ada"), data))))
        tasks += build_tasks([layout.read("bob")], TrialSpec(data=data))
    assert labels[0].nnz > 20 and (labels[0] != labels[1]).nnz == 0
    for of in ("queries", "gallery"):
        assert np.array_equal(getattr(tasks[0], of), getattr(tasks[1], of))
    assert [rows.tolist() for rows in tasks[0].positives] == [rows.tolist() for rows in tasks[1].positives]
    for a, b in zip(tasks[0].city.sides, tasks[1].city.sides, strict=True):
        assert a.keys.tolist() == b.keys.tolist() and np.array_equal(a.positions, b.positions)
        assert [a.image_path(i).read_bytes() for i in range(len(a))] == [
            b.image_path(i).read_bytes() for i in range(len(b))
        ]


def test_what_nobody_knows_is_filled_in(tmp_path):
    side = Side.of(city="c", side="query", paths=[tmp_path / "x" / "1.png", tmp_path / "y" / "2.png"])
    assert side.keys.tolist() == ["1", "2"] == side.sequence_key.tolist() and side.frame_number.tolist() == [0, 0]
    assert side.subtasks["all"].all() and not any(side.subtasks[name].any() for name in SUBTASKS[1:])
    assert side.ca is None and side.easting is None and not side.night.any() and side.folder == tmp_path
    with pytest.raises(DataError, match="the city has no positions, and they are needed here"):
        _ = side.positions
    words = Side.of(city="c", side="query", paths=[str(path) for path in side.paths])
    assert list(words.paths) == list(side.paths) and words.image_path(1) == tmp_path / "y" / "2.png"
    given = Side.of(city="c", side="query", paths=side.paths, subtasks={"d2n": [True, False]}, sequence_key=[7, 7])
    assert given.subtasks["d2n"].tolist() == [True, False] and given.subtasks["all"].all()
    assert given.sequence_key.tolist() == ["7", "7"]


def columns():
    return [
        ({"easting": [1.0]}, "easting must have one value a picture: 2; found 1"),
        ({"easting": [[1.0, 2.0]]}, "easting must have one value a picture: 2; found (1, 2)"),
        ({"easting": [[1.0], [2.0, 3.0]]}, "easting must be one column"),
        ({"northing": [1.0, float("nan")]}, "northing must be finite; row 1 is not; found nan"),
        ({"ca": [None, 1.0]}, "ca must hold numbers; found 'None'"),
        ({"easting": ["1.0", "2.0"]}, "easting must hold numbers; found '1.0'"),
        ({"pano": [0, 1]}, "pano must hold booleans; found '0'"),
        ({"frame_number": [0.5, 1.0]}, "frame_number must hold whole numbers; found '0.5'"),
        ({"keys": [1.5, 2.5]}, "keys must hold words; found '1.5'"),
        ({"subtasks": {"d2m": [True, False]}}, "no such subtask: 'd2m'. Did you mean 'd2n'?"),
        ({"subtasks": {"d2n": [True]}}, "subtasks['d2n'] must have one value a picture: 2"),
    ]


@pytest.mark.parametrize(("given", "message"), columns(), ids=[message[:40] for _, message in columns()])
def test_a_column_that_does_not_fit_is_refused(given, message):
    with pytest.raises(RuleError) as caught:
        Side.of(city="c", side="query", paths=[Path("/a.jpg"), Path("/b.jpg")], **given)
    shown = DataError("x", caught.value.fault, caught.value.value, caught.value.remedy)
    assert message in str(shown)


def mistakes():
    """What a user writes in the place of something else; words of the line that is named, and of the rule."""

    def instead(old: str, new: str):
        assert old in WALK
        return WALK.replace(old, new)

    read = 'return City(name=city, query=self._side(city, "query"), database=self._side(city, "database"))'
    side = "return Side.of(city=city, side=side, paths=paths, keys=key, easting=easting, northing=northing, ca=ca)"
    return {
        "a shorter column": (
            instead("northing=northing", "northing=northing[1:]"),
            "return Side.of",
            "one value a picture: 12",
        ),
        "no number": (instead("ca=ca)", "ca=ca * np.inf)"), "return Side.of", "ca must be finite; row 0 is not"),
        "words": (instead("ca=ca)", "ca=ca.astype(str))"), "return Side.of", "ca must hold numbers"),
        "one key twice": (instead("keys=key", "keys=['k'] * len(key)"), "def read", "must name one picture; found 'k'"),
        "a key that leads away": (instead("keys=key", "keys=['..', *key[1:]]"), "def read", "without spaces"),
        "a name that leads away": (instead("[path.name for", "['..' for"), "def names", "without spaces, commas"),
        "a key of two words": (instead("keys=key", "keys=['a ' + k for k in key]"), "def read", "without spaces"),
        "an error": (
            instead("easting=easting", "easting=easting[99]"),
            "return Side.of",
            "IndexError: index 99 is out of bounds",
        ),
        "no such file": (
            instead(read, "return open(self.root / 'cities.csv').read()"),
            "return open",
            "FileNotFoundError",
        ),
        "no City": (instead(read, "return None"), "def read", "read() must answer a City; found 'NoneType'"),
        "another city": (instead("City(name=city", 'City(name="x"'), "def read", "must have the name 'ada'; found 'x'"),
        "the sides changed": (
            instead('"query"), d', '"database"), d'),
            "def read",
            "the query must be the side 'query'",
        ),
        "half a position": (instead("northing=northing, ", ""), "def read", "easting and northing, or neither"),
        "a side without pictures": (
            instead(side, "return Side.of(city=city, side=side, paths=[])"),
            "def read",
            "ada/query must have at least one picture",
        ),
        "names that are none": (
            instead("[path.name for", "[path for"),
            "def names",
            "names() must answer a list of words",
        ),
        "no names": (instead("if path.is_dir()", "if path.is_file()"), None, "walk_layout.py finds no city there"),
        "a name of two words": (
            instead("[path.name for", "['a b' for"),
            "def names",
            "a city's name must be without spaces",
        ),
        "no layout": (
            instead("class Walk(Layout):", "class Walk:").replace("super().__init__(root)", "self.root = root"),
            None,
            "must be a class on vprdist.data.layouts.Layout",
        ),
        "a failing start": (
            instead("self.step_m = step_m", "self.step_m = step_m / 0"),
            "step_m / 0",
            "ZeroDivisionError",
        ),
        "one that leaves": (
            instead("[path.name for", "exit(0) or [path.name for"),
            "exit(0)",
            "SystemExit",
        ),
        "no Python": (instead("    def names", "   def names"), None, "is no Python"),
        "a failing import": (
            instead("import numpy as np", "import numpyy as np"),
            "import numpyy",
            "No module named 'numpyy'",
        ),
    }


@pytest.mark.parametrize("mistake", mistakes())
def test_each_mistake_of_a_users_layout_is_one_message_with_its_line(mistake, small_tree, tmp_path):
    text, line, message = mistakes()[mistake]
    root, file = write_walk(small_tree, tmp_path / "walk"), own_file(tmp_path, text)
    values = {"root": str(root), "layout": f"{file}:Walk", "train": ("ada",), "validate_cities": ("bob",)}
    with pytest.raises((UserError, ValueError)) as caught:
        check_data(TrialSpec(data=DataSpec.model_validate(values)))
    said = str(caught.value)
    assert message in said
    assert str(file) in said or mistake == "no names"
    if line is not None:
        (number,) = (number for number, words in enumerate(text.splitlines(), 1) if line in words)
        assert f"{file}:{number}: " in said


def test_a_missing_picture_stops_before_anything_is_submitted(small_tree, tmp_path):
    text = WALK.replace("paths = sorted((self.root", 'paths = [self.root / "gone.jpg"] + sorted((self.root')
    text = text.replace('path.stem.split("@")', '(path.stem.split("@") + ["1", "1", "1"])[:4]')
    root, file = write_walk(small_tree, tmp_path / "walk"), own_file(tmp_path, text)
    values = {"root": str(root), "layout": f"{file}:Walk", "train": ("ada",), "validate_cities": ("bob",)}
    with pytest.raises(DataError, match=r"walk/gone.jpg: a key of ada/query has no picture: this one is missing"):
        check_data(TrialSpec(data=DataSpec.model_validate(values)))


def test_without_headings_a_city_validates_and_trains_by_distance_alone(small_tree, tmp_path):
    text = WALK.replace(", ca=ca)", ")")
    root, file = write_walk(small_tree, tmp_path / "walk"), own_file(tmp_path, text)
    data = DataSpec.model_validate({"root": str(root), "layout": f"{file}:Walk", "train": ("ada",)})
    assert build_tasks([layout_of(data).read("bob")], TrialSpec(data=data))
    _, facts = check_data(TrialSpec(data=data.model_copy(update={"validate_cities": ("bob",)})))
    assert facts == ("labels: auto takes distance for ada (no image has a compass angle)",)
    with pytest.raises(DataError, match=r"ada/query: training on computed labels needs compass angles \(ca\)"):
        check_data(TrialSpec(data=data.model_copy(update={"validate_cities": ("bob",), "labels": "computed"})))


def test_a_layout_may_name_official_labels_and_give_its_own_digest(small_tree, tmp_path):
    more = """
    def label_file(self, city: str) -> Path | None:
        return self.root / f"{city}.h5"

    def digest(self, city: str) -> str:
        return f"of {city}{self.step_m:.0f}".replace("9", "/")
"""
    root, file = write_walk(small_tree, tmp_path / "walk"), own_file(tmp_path, WALK + more)
    data = DataSpec.model_validate({"root": str(root), "layout": f"{file}:Walk", "train": ("ada",)})
    assert labels_digest(data) is None and layout_of(data).digest("ada") == "of ada1"
    away = DataSpec.model_validate({"root": str(root), "layout": {"name": f"{file}:Walk", "step_m": 9.0}})
    with pytest.raises(DataError, match=r"digest\(\) must answer a word; found 'of ada/'"):
        layout_of(away).digest("ada")
    (root / "ada.h5").write_bytes(b"labels")
    assert labels_digest(data) is not None


def test_another_text_is_another_layout_and_a_trial_keeps_its_own(small_tree, tmp_path):
    data = walk_data(small_tree, tmp_path)
    own_file(tmp_path, WALK + "\n# changed\n")
    with pytest.raises(UserError, match=r"walk_layout\.py: .*digest"):
        open_layout(Path(data.root) / ".", data.layout)
    again = with_layout(data, data.layout.name)
    assert again.layout.digest != data.layout.digest and layout_of(again).names() == ["ada", "bob"]


def test_columns_decide_the_digest_of_a_users_city(small_tree):
    city = Msls(small_tree).read("ada")
    seen = {content_digest(city, small_tree)}
    query = city.query
    for change in (
        {"keys": np.char.add(query.keys, "x")}, {"easting": query.easting + 1}, {"ca": query.ca + 1}, {"ca": None},
        {"pano": ~query.pano}, {"sequence_key": query.keys}, {"subtasks": query.subtasks | {"d2n": query.pano | True}},
        {"night": ~query.night}, {"frame_number": query.frame_number + 1}, {"view_direction": query.keys},
    ):  # fmt: skip
        other = City(name="ada", query=Side(**{**vars(query), **change}), database=city.database)
        seen.add(content_digest(other, small_tree))
    assert len(seen) == 11


def test_reading_a_users_layout_loads_no_torch(small_tree, tmp_path):
    data = walk_data(small_tree, tmp_path)
    code = """
import sys
from vprdist.data.layouts import layout_of
from vprdist.spec.trial import DataSpec
layout = layout_of(DataSpec.model_validate_json(sys.argv[1]))
print(layout.names(), len(layout.read("ada").query), layout.digest("ada"), "torch" in sys.modules)
"""
    words = [sys.executable, "-c", code, data.model_dump_json(by_alias=True)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"['ada', 'bob'] 12 {layout_of(data).digest('ada')} False"


def test_the_demo_city_has_no_other_layout(tmp_path):
    with pytest.raises(ValueError, match="the built-in city needs the layout msls"):
        DataSpec.model_validate({"layout": f"{own_file(tmp_path)}:Walk"})


def test_a_users_layout_fits_in_25_lines():
    assert len([line for line in WALK.splitlines() if line.strip()]) <= 25


def test_nobody_but_the_layouts_knows_how_msls_lies(shared_data):
    """The real walk: a city read by its layout is the city read by its CSVs."""
    a, b = open_layout(shared_data / "lip6").read("lip6b"), read_city(shared_data / "lip6", "lip6b")
    assert a.query.keys.tolist() == b.query.keys.tolist() and np.array_equal(a.query.positions, b.query.positions)


def test_the_package_asks_for_cities_by_their_layout():
    package = Path(sys.modules["vprdist"].__file__ or "").parent
    knowing = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if "layouts.msls" in path.read_text() and path.parent.name != "layouts"
    }
    assert knowing == {"spec/doors/layout.py"}, "the registry names it; all else goes through open_layout"


def test_a_layout_is_one_object_for_its_folder(small_tree, tmp_path):
    assert open_layout(small_tree) is open_layout(small_tree)
    shutil.copytree(small_tree, tmp_path / "other")
    assert open_layout(small_tree) is not open_layout(tmp_path / "other")

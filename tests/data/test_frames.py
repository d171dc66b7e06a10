"""Traversals whose frames correspond: what is a positive is recomputed frame by frame from names and files."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vprdist.data.layouts import layout_of, open_layout
from vprdist.data.layouts.registry import recognised
from vprdist.data.places import City
from vprdist.data.positives import rows_within
from vprdist.data.tasks import breakdown_tasks, build_tasks
from vprdist.errors import DataError, RuleError, UserError
from vprdist.spec.data import DataSpec
from vprdist.spec.doors import LayoutName
from vprdist.spec.trial import TrialSpec


def write_traversal(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        Image.new("L", (8, 8), number % 256).save(folder / name)


def write_route(root: Path, numbers: list[int], traversals: tuple[str, ...], form: str = "frame{}.png") -> Path:
    for traversal in traversals:
        write_traversal(root / traversal, [form.format(number) for number in numbers])
    return root


def read(root: Path, city: str | None = None, **chosen: object) -> City:
    layout = open_layout(root, LayoutName.of("frames", **chosen))
    return layout.read(city or layout.names()[0])


def positives(city: City) -> dict[str, set[str]]:
    """The keys of the database images that are right for the key of each query."""
    assert city.truth is not None
    rows = city.truth.positives.toarray()
    return {
        query: {key for column, key in enumerate(city.database.keys.tolist()) if rows[row, column]}
        for row, query in enumerate(city.query.keys.tolist())
    }


def number_of(key: str) -> int:
    return int(re.findall(r"\d+", key)[-1])


NUMBERS = [1, 2, 3, 4, 5, 9, 10, 11, 30]
"""With gaps: neighbours in the folder need not be neighbours on the route."""


@pytest.mark.parametrize("tolerance", [0, 1, 3, 10, 100])
def test_frames_near_by_their_numbers_are_positives(tmp_path, tolerance):
    root = write_route(tmp_path / "route", NUMBERS, ("summer", "winter", "fall"))
    city = read(root, database="summer", tolerance=tolerance)
    assert city.name == "route" and len(city.query) == 2 * len(NUMBERS)
    for query, found in positives(city).items():
        assert found == {f"frame{n}" for n in NUMBERS if abs(n - number_of(query)) <= tolerance}
    assert city.truth is not None and city.truth.told == f"within {tolerance} frame{'' if tolerance == 1 else 's'}"


def test_frames_are_numbered_in_steps_and_may_start_elsewhere(tmp_path):
    """Nordland's kept frames: every tenth, some left out; the other traversal's numbers begin 1000 higher."""
    root = tmp_path / "route"
    numbers = [180, 190, 200, 230, 240]
    write_traversal(root / "summer", [f"summer_{n:05d}.png" for n in numbers])
    write_traversal(root / "winter", [f"winter_{n + 1000:05d}.png" for n in numbers])
    city = read(root, tolerance=1)
    assert city.truth is not None and city.truth.told == "within 1 frame, numbered in steps of 10"
    for query, found in positives(city).items():
        assert {number_of(key) for key in found} == {n for n in numbers if abs(n + 1000 - number_of(query)) <= 10}


def test_frames_stand_in_their_natural_order_and_are_named_by_their_traversal(tmp_path):
    root = write_route(tmp_path / "route", [10, 9, 2, 1], ("b", "a", "c"))
    city = read(root)
    assert city.database.keys.tolist() == ["frame1", "frame2", "frame9", "frame10"]
    assert city.query.keys.tolist() == [f"{t}-frame{n}" for t in "bc" for n in (1, 2, 9, 10)]
    assert city.query.sequence_key.tolist() == ["b"] * 4 + ["c"] * 4 == city.query.conditions.tolist()
    assert city.query.frame_number.tolist() == [0, 1, 2, 3] * 2 and not city.database.conditions.any()
    assert city.query.easting is None and city.query.ca is None
    for side in city.sides:
        assert [path.stem for path in side.paths] == [key.split("-")[-1] for key in side.keys.tolist()]
    assert read(root, queries=["c"]).query.keys.tolist() == ["frame1", "frame2", "frame9", "frame10"]


def test_a_folder_called_so_is_the_database(tmp_path):
    root = write_route(tmp_path / "route", [1, 2], ("a", "query", "reference"))
    assert read(root).database.folder.name == "reference"
    assert read(root, queries=["reference"]).database.folder.name == "a"
    assert read(root, database="query", queries=["a"]).database.folder.name == "query"


def test_a_database_that_nobody_chose_is_told(tmp_path):
    for name in ("summer", "fall", "winter"):
        write_traversal(tmp_path / name, ["1.png", "2.png"])
    (note,) = read(tmp_path).notes
    assert note.endswith(": the database is fall, the first traversal by name; layout.database chooses another")
    assert not read(tmp_path, database="fall").notes and not read(tmp_path, queries=["winter"]).notes
    (tmp_path / "winter").rename(tmp_path / "ref")
    assert not read(tmp_path).notes


def test_routes_below_one_root_are_cities(tmp_path):
    for route in ("north", "south"):
        write_route(tmp_path / "data" / route, [1, 2, 3], ("day", "night"))
    layout = open_layout(tmp_path / "data", LayoutName.of("frames"))
    assert layout.names() == ["north", "south"]
    cities = [layout.read(name) for name in layout.names()]
    assert [city.folder.name for city in cities] == ["north", "south"]
    assert layout.digest("north") != layout.digest("south"), "names of pictures count from the root"


def test_sections_of_a_route_are_cities_without_common_pictures(tmp_path):
    root = write_route(tmp_path / "route", NUMBERS, ("day", "night"))
    chosen = LayoutName.of("frames", sections={"first": [0, 4], "rest": [4, 9]}, tolerance=1)
    layout = open_layout(root, chosen)
    assert layout.names() == ["first", "rest"]
    for name, numbers in (("first", NUMBERS[:4]), ("rest", NUMBERS[4:])):
        for query, found in positives(layout.read(name)).items():
            assert found == {f"frame{n}" for n in numbers if abs(n - number_of(query)) <= 1}
    write_route(tmp_path / "two" / "a", NUMBERS, ("day", "night"))
    write_route(tmp_path / "two" / "b", NUMBERS, ("day", "night"))
    assert open_layout(tmp_path / "two", chosen).names() == ["a-first", "a-rest", "b-first", "b-rest"]


@pytest.mark.parametrize("every", [1, 2, 3, 50])
def test_each_nth_frame_keeps_its_place(tmp_path, every):
    root = write_route(tmp_path / "route", NUMBERS, ("day", "night"))
    kept = NUMBERS[::every]
    city = read(root, every=every, tolerance=2)
    assert [number_of(key) for key in city.query.keys.tolist()] == kept
    for query, found in positives(city).items():
        assert {number_of(key) for key in found} == {n for n in kept if abs(n - number_of(query)) <= 2}


@pytest.mark.parametrize("tolerance", [0, 1, 2, 5])
def test_the_graded_similarity_is_the_share_of_common_frames(tmp_path, tolerance):
    root = write_route(tmp_path / "route", NUMBERS, ("day", "night"))
    truth = read(root, tolerance=tolerance).truth
    assert truth is not None and truth.similarity is not None
    windows = [set(range(n - tolerance, n + tolerance + 1)) for n in NUMBERS]
    expected = np.array([[len(a & b) / (2 * tolerance + 1) for b in windows] for a in windows], np.float32)
    assert np.array_equal(truth.similarity.toarray(), expected)
    assert np.array_equal(truth.positives.toarray(), expected >= 0.5), "the loss learns what is measured"


def test_conditions_are_measured_apart(tmp_path):
    write_route(tmp_path / "route", NUMBERS, ("summer", "fall", "winter"))
    write_route(tmp_path / "other", NUMBERS, ("summer", "winter"))
    chosen = {"name": "frames", "database": "summer", "tolerance": 1}
    data = DataSpec.model_validate(
        {"root": str(tmp_path), "layout": chosen, "train": ("other",), "validate": ("route",)}
    )
    trial, cities = TrialSpec(data=data), [layout_of(data).read("route")]
    assert len(build_tasks(cities, trial)[0].queries) == 2 * len(NUMBERS)
    parts = breakdown_tasks(cities, trial)
    assert [*parts] == ["all", "fall", "winter"]
    for word in ("fall", "winter"):
        (task,) = parts[word]
        assert {str(task.city.query.keys[row]).split("-")[0] for row in task.queries} == {word}
        assert len(task.gallery) == len(NUMBERS)


TRUTH = [[0], [], [2, 3], [3, 3], [0, 4]]
"""The database frames, of five, of each of five queries."""


def objects(rows: list[object]) -> np.ndarray:
    array = np.empty(len(rows), object)
    array[:] = rows
    return array


def matrix(lists: list[list[int]]) -> np.ndarray:
    found = np.zeros((5, 6), bool)
    for row, frames in enumerate(lists):
        found[row, frames] = True
    return found


def vpr_bench(lists: list[list[int]], order: list[int]) -> np.ndarray:
    array = np.empty((len(lists), 2), object)
    for place, row in enumerate(order):
        array[place, 0], array[place, 1] = row, lists[row]
    return array


def pairs(lists: list[list[int]], dtype: type) -> np.ndarray:
    return np.array([(row, frame) for row, frames in enumerate(lists) for frame in frames], dtype)


def csv_of(lists: list[list[int]]) -> str:
    """By names, by file names, by numbers, and as ranges; a query without a frame has nothing, or no row."""
    assert lists == TRUTH
    return "query,reference\nq1,r10\nq2.png,\n3,12-13\nq4,13\nq4,r13.png\n5,r10\nq5,14\n"


FORMS = {
    "bool.npy": matrix(TRUTH), "float.npy": matrix(TRUTH).astype(float), "int.npy": matrix(TRUTH).astype(np.uint8),
    "fortran.npy": np.asfortranarray(matrix(TRUTH)), "pairs.npy": pairs(TRUTH, np.int32),
    "whole.npy": pairs(TRUTH, np.float64), "bench.npy": vpr_bench(TRUTH, [0, 1, 2, 3, 4]),
    "turned.npy": vpr_bench(TRUTH, [3, 1, 4, 0, 2]), "lists.npy": objects(TRUTH),
    "arrays.npy": objects([np.array(row, np.int64) for row in TRUTH]),
    "big_endian.npy": objects([np.array(row, ">i4") for row in TRUTH]),
    "windows.npy": vpr_bench([[-1, 0], [-1], [2, 3], [3], [0, 4, 6]], [0, 1, 2, 3, 4]), "names.csv": csv_of(TRUTH),
    "soft.npz": {"GThard": np.zeros((6, 5), bool), "GTsoft": matrix(TRUTH).T}, "one.npz": {"any": matrix(TRUTH)},
}  # fmt: skip


def write_truth(path: Path, content: object) -> None:
    if isinstance(content, str):
        path.write_text(content)
    elif isinstance(content, dict):
        np.savez(path, **content)
    else:
        np.save(path, content)


def bench(root: Path) -> Path:
    """Five queries q1 to q5 and six database frames r10 to r15."""
    write_traversal(root / "query", [f"q{n}.png" for n in range(1, 6)])
    write_traversal(root / "ref", [f"r{n}.png" for n in range(10, 16)])
    return root


@pytest.mark.parametrize("tolerance", [None, 0, 2])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_public_truth_says_the_same(tmp_path, form, tolerance):
    root = bench(tmp_path / "data")
    write_truth(root / form, FORMS[form])
    more = {"array": "GTsoft"} if form == "soft.npz" else {}
    city = read(root, truth=form, tolerance=tolerance, **more)
    for row, found in enumerate(positives(city).values()):
        wide = tolerance or 0
        near = {frame for frame in range(6) for right in TRUTH[row] if abs(frame - right) <= wide}
        assert {number_of(key) - 10 for key in found} == near
    assert city.truth is not None and city.truth.similarity is None
    assert city.truth.told == f"that {form} names" + (", or within 2 frames of these" if tolerance else "")


def test_one_database_frame_a_query_may_stand_in_a_column(tmp_path):
    root = bench(tmp_path / "data")
    np.save(root / "gt.npy", np.array([[5], [4], [3], [2], [1]]))
    assert [*positives(read(root, truth="gt.npy")).values()] == [{"r15"}, {"r14"}, {"r13"}, {"r12"}, {"r11"}]


def test_each_traversal_may_have_a_truth_of_its_own(tmp_path):
    root = bench(tmp_path / "data")
    write_traversal(root / "late", ["q7.png"])
    np.save(root / "query" / "gt.npy", matrix(TRUTH))
    np.save(root / "late" / "gt.npy", np.eye(6, dtype=bool)[2:3])
    found = positives(read(root, truth="gt.npy"))
    assert found["late-q7"] == {"r12"} and found["query-q3"] == {"r12", "r13"} and len(found) == 6


WRONG = {
    "another number of queries": (objects(TRUTH[:4]), "the file must have 5 lists, one a query; found 4"),
    "another number in VPR-Bench's form": (vpr_bench(TRUTH[:4], [0, 1, 2, 3]), "must be of the queries 0 to 4"),
    "a query twice": (vpr_bench(TRUTH, [0, 1, 2, 3, 3]), "must be of the queries 0 to 4, each once"),
    "a frame far outside": (vpr_bench([*TRUTH[:4], [9]], [0, 1, 2, 3, 4]), "must be from 0 to 5: the traversal has 6"),
    "a pair outside": (np.array([[0, 6]]), "database frames must be from 0 to 5: the traversal has 6; found 6"),
    "a query outside": (np.array([[-1, 3]]), "query frames must be from 0 to 4: the traversal has 5; found -1"),
    "another shape": (matrix(TRUTH).T, "must be a matrix of 5 queries x 6 database frames, or pairs of them; found"),
    "similarities": (matrix(TRUTH) * 0.5, "a matrix of correspondences must hold 0 and 1; found 0.5"),
    "nan": (np.full((5, 6), np.nan), "a matrix of correspondences must hold 0 and 1; found nan"),
    "words": (np.full((5, 6), "a"), "must hold 0 and 1; found 'values of the kind <U1'"),
    "nothing": (np.zeros((5, 6), bool), "no query has a database frame in this file"),
    "lists of words": (objects([["a"]] * 5), "it holds str, and may hold arrays, lists and whole numbers alone"),
    "a dictionary": (objects([{1: 2}] * 5), "it holds dict, and may hold"),
    "something else": ("query,database\n", "the header must have the column 'reference'"),
    "a name of nothing": ("query,reference\nq9,r10\n", "truth.csv:2: query has no such frame: 'q9'"),
    "a range of nothing": ("query,reference\nq1,14-19\n", "truth.csv:2: ref has no such frame: '14-19'"),
    "a range backwards": ("query,reference\nq1,14-12\n", "ref has no such frame: '14-12'"),
    "an endless range": ("query,reference\nq1,10-99999999999999999\n", "ref has no such frame"),
    "no array of this name": ({"a": matrix(TRUTH), "b": matrix(TRUTH)}, "no such array in the file"),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_truth_that_does_not_fit_is_one_message_with_its_file(tmp_path, mistake):
    content, message = WRONG[mistake]
    root = bench(tmp_path / "data")
    ending = "csv" if isinstance(content, str) else "npz" if isinstance(content, dict) else "npy"
    write_truth(root / f"truth.{ending}", content)
    with pytest.raises(DataError) as caught:
        read(root, truth=f"truth.{ending}")
    assert message in str(caught.value) and f"truth.{ending}" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"abc", b"\x93NUMPY", b"PK\x03\x04abc", np.random.default_rng(0).bytes(999)])
def test_what_is_no_array_is_one_message(tmp_path, content):
    root = bench(tmp_path / "data")
    (root / "truth.npy").write_bytes(content)
    with pytest.raises(DataError, match=r"truth\.npy: the file of correspondences cannot be read"):
        read(root, truth="truth.npy")


def test_a_missing_truth_names_those_that_are_there(tmp_path):
    root = bench(tmp_path / "data")
    with pytest.raises(DataError, match=r"is missing\. Put it there, or delete `truth`"):
        read(root, truth="gt.npy")
    np.save(root / "ground_truth.npy", matrix(TRUTH))
    with pytest.raises(DataError, match=r"gt\.npy: .* is missing\. Valid: ground_truth\.npy"):
        read(root, truth="gt.npy")


def test_traversals_that_cannot_be_counted_off_are_one_message(tmp_path):
    def refusal(name: str, day: list[str], night: list[str]) -> str:
        root = tmp_path / name
        write_traversal(root / "day", day)
        write_traversal(root / "night", night)
        with pytest.raises(DataError) as caught:
            read(root)
        return str(caught.value).replace(f"{root}/", "")

    three = ["1.png", "2.png", "3.png"]
    assert refusal("a", three, three[:2]).startswith("night: a traversal must have as many frames as day: 3; found 2.")
    assert "truth" in refusal("b", three, three[:2])
    assert refusal("c", three, ["1.png", "2.png", "4.png"]).startswith(
        "night: the partner of 3 in day must have the number 3; found '4'. A frame is missing in one of both."
    )
    assert refusal("d", ["a.png", "b.png"], ["a.png", "b.png"]).startswith(
        "day: a frame must have a number in its name"
    )
    assert "a picture's name stands twice, with two endings: '1'" in refusal(
        "e", ["1.png", "1.jpg"], ["1.png", "2.png"]
    )
    assert "numbered upwards, each once; 1 stands after 1; found" in refusal("f", ["1.png", "01.png"], three[:2])
    assert "numbered upwards" in refusal("g", ["a9.png", "b1.png"], three[:2])
    assert "a picture must be called by a word" in refusal("h", ["1 a.png", "2.png"], three[:2])


def test_folders_that_are_no_traversals_are_one_message(tmp_path):
    with pytest.raises(DataError, match=r"no such folder\. Set trial\.data\.root"):
        read(tmp_path / "nowhere")
    write_traversal(tmp_path / "one" / "day", ["1.png"])
    with pytest.raises(DataError, match=r"a route must have two traversals: .* found 'day'"):
        read(tmp_path / "one")
    (tmp_path / "none" / "day").mkdir(parents=True)
    with pytest.raises(DataError, match="no two folders of pictures lie side by side"):
        read(tmp_path / "none")
    root = write_route(tmp_path / "two", [1, 2], ("day", "night"))
    with pytest.raises(DataError, match=r"no such traversal, or a folder without pictures: 'nihgt'\. Did you mean"):
        read(root, queries=["nihgt"])
    with pytest.raises(DataError, match="a traversal is named twice: 'day'"):
        read(root, database="day", queries=["day", "night"])
    with pytest.raises(DataError, match=r"no such route: 'tow'\. Did you mean 'two'"):
        read(root, "tow")
    with pytest.raises(DataError, match=r"a section must lie within the 2 frames of a traversal; found \[1, 3\]"):
        read(root, sections={"a": [1, 3]})
    write_route(root / "deeper", [1, 2], ("day", "night"))
    with pytest.raises(DataError, match="pictures must lie at one depth"):
        read(root)
    (tmp_path / "two words").mkdir()
    write_route(tmp_path / "two words" / "a b", [1], ("day", "night"))
    with pytest.raises(DataError, match="a route's folder must be called by a word"):
        read(tmp_path / "two words")
    write_route(tmp_path / "taken", [1], ("day", "all"))
    with pytest.raises(DataError, match="a condition must not be called as a subtask of MSLS; found 'all'"):
        read(tmp_path / "taken", database="day")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tolerance": -1}, "tolerance"), ({"every": 0}, "every"), ({"truth": "../gt.npy"}, "must be a name"),
        ({"truth": "a.npy", "every": 2}, "every cannot be said beside a file"),
        ({"array": "GT"}, "array without a file"),
        ({"truth": "a.npy", "sections": {"a": [0, 1]}}, "sections cannot be said"), ({"nights": 1}, "unknown key"),
        ({"sections": {"a": [-1, 2]}}, "sections"),
    ],
)  # fmt: skip
def test_parameters_that_cannot_be_are_refused_as_the_sweep_is_read(given, message):
    with pytest.raises((RuleError, UserError, ValueError), match=re.escape(message)):
        LayoutName.of("frames", **given)


def test_a_folder_of_traversals_is_recognised_and_no_other(tmp_path, small_tree):
    assert recognised(write_route(tmp_path / "route", [1, 2], ("day", "night")))[0].name == "frames"
    write_route(tmp_path / "routes" / "a", [1, 2], ("summer", "winter"))
    assert recognised(tmp_path / "routes")[0].name == "frames"
    assert recognised(small_tree)[0].name == "msls"
    write_traversal(tmp_path / "utm" / "database", ["@543256.96@4178906.70@1.png"])
    write_traversal(tmp_path / "utm" / "queries", ["@543256.96@4178906.70@2.png"])
    assert recognised(tmp_path / "utm")[0].name == "utm"
    folders = {"summer": ["summer_0001.png"], "winter": ["winter_0001.png"]}
    for name, names in folders.items():
        write_traversal(tmp_path / "named" / name, names)
    assert recognised(tmp_path / "named")[0].name == "frames"


def test_the_digest_follows_pictures_and_positives(tmp_path):
    root = write_route(tmp_path / "route", NUMBERS, ("day", "night"))

    def digest(**chosen: object) -> str:
        return open_layout(root, LayoutName.of("frames", **chosen)).digest("route")

    found = [digest(), digest(tolerance=1), digest(database="night"), digest(every=2), digest(tolerance=1, every=2)]
    assert len(set(found)) == len(found) and digest(tolerance=10) == found[0]
    (root / "day" / "frame1.png").write_bytes((root / "day" / "frame1.png").read_bytes() + b"more")
    assert open_layout(Path(f"{root}/"), LayoutName.of("frames", tolerance=10)).digest("route") != found[0]


def test_the_real_walk_gives_the_positives_of_its_positions(shared_data, tmp_path):
    """Nordland, every tenth frame and 20 m apart, some left out: 25 m are one frame."""
    archive = shared_data / "nordtiny" / "nordtiny.tgz"
    if not archive.exists():
        pytest.skip(f"no {archive}")
    tree, root = unpack_nordtiny(archive, tmp_path, 400)
    there = open_layout(tree).read("nordtiny")
    here = read(root, database="summer", tolerance=1)
    assert here.query.keys.tolist() == there.query.keys.tolist()[:400]
    rows = rows_within(there.query.positions[:400], there.database.positions[:400], 25.0)
    assert here.truth is not None
    assert [here.truth.positives[row].indices.tolist() for row in range(400)] == [each.tolist() for each in rows]


def unpack_nordtiny(archive: Path, folder: Path, most: int | None = None) -> tuple[Path, Path]:
    """The MSLS tree, and the same pictures as two traversals, of which the first some may be taken."""
    import tarfile

    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    tree, root = folder / "nordland", folder / "nordtiny"
    for side, name in (("database", "summer"), ("query", "winter")):
        (root / name).mkdir(parents=True)
        pictures = sorted((tree / "train_val" / "nordtiny" / side / "images").iterdir())
        for path in pictures[:most]:
            os.link(path, root / name / path.name)
    return tree, root

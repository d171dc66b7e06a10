"""Prediction files: what is read from them counts as MSLS' script counts it, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from tests.evaluation.wild import slow_metrics, wild_cities, write_cities
from tests.worlds import write_side
from vprdist.data.layouts.msls import read_city
from vprdist.data.tasks import city_task
from vprdist.errors import DataError
from vprdist.evaluation.breakdown import query_rows
from vprdist.evaluation.predictions import read_predictions, write_predictions
from vprdist.spec.evaluate import EvaluateSpec


def tasks_of(cities, subtask="all"):
    return [city_task(city, EvaluateSpec(subtask=subtask), 25.0) for city in cities]


def somebodys(cities, seed, gallery="merged"):
    """Rows for every query, right or not: any 20 or more images, panoramas and other subtasks among them."""
    rng = np.random.default_rng(seed)
    keys = {city.name: city.database.keys for city in cities}
    everything = np.concatenate(list(keys.values()))
    rows = []
    for city in cities:
        choice = everything if gallery == "merged" else keys[city.name]
        rows += [(str(key), rng.permutation(choice)[:25].tolist()) for key in city.query.keys]
    return [rows[i] for i in rng.permutation(len(rows))]


def usable(first, subtask):
    """A world with a query in that subtask and enough images for the official script's rectangle."""
    for seed in range(first, first + 1000):
        cities = wild_cities(seed)
        if sum(len(task.queries) for task in tasks_of(cities, subtask)) and min(len(c.database) for c in cities) > 25:
            return cities
    raise AssertionError


WORLDS = [(subtask, seed) for subtask in ("all", "d2n") for seed in (0, 1000, 2000)]


@pytest.mark.parametrize(("subtask", "seed"), WORLDS)
def test_any_file_counts_by_the_rules(tmp_path, subtask, seed):
    cities = usable(seed, subtask)
    rows = somebodys(cities, seed)
    write_predictions(tmp_path / "theirs.txt", rows)
    tasks, said = tasks_of(cities, subtask), dict(rows)
    ranking, notes = read_predictions(tmp_path / "theirs.txt", tasks, "merged")
    found = {row["query"]: row for row in query_rows(subtask, ranking)}
    for task in tasks:
        for query, right in zip(task.queries, task.positives, strict=True):
            key = str(task.city.query.keys[query])
            positives = {str(name) for name in task.city.database.keys[task.gallery[right]]}
            assert found[key]["retrieved"] == said[key][:20]
            slow = slow_metrics(said[key], positives)
            assert {name: found[key][name] for name in slow} == pytest.approx(slow)
    assert len(found) == sum(len(task.queries) for task in tasks)
    assert any("panoramas or of other subtasks" in note for note in notes)
    assert any("are of queries that do not count" in note for note in notes)


@pytest.mark.parametrize(("subtask", "seed"), WORLDS)
def test_any_file_counts_as_in_the_official_script(official, tmp_path, subtask, seed):
    cities = usable(seed, subtask)
    write_cities(tmp_path / "msls", cities)
    path = tmp_path / "theirs.txt"
    write_predictions(path, somebodys(cities, seed))
    ranking, _ = read_predictions(path, tasks_of(cities, subtask), "merged")
    assert ranking.metrics == pytest.approx(official(tmp_path / "msls", path, "uno,dos", subtask), abs=1e-12)


def test_marks_line_ends_and_comments_mean_nothing(tmp_path):
    cities = usable(0, "all")
    rows = somebodys(cities, 1, "city")
    plain, windows = tmp_path / "plain.txt", tmp_path / "windows.txt"
    write_predictions(plain, rows)
    text = "# queries and what was found\n\n" + plain.read_text()
    windows.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    one, two = (read_predictions(path, tasks_of(cities), "city")[0] for path in (plain, windows))
    assert one.metrics == two.metrics
    assert one.predictions == two.predictions


def swap(line, place, word):
    words = line.split()
    words[place] = word
    return " ".join(words)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: [*lines, lines[2]], r"t\.txt:\d+: a query has a second line; its first is 3: "),
        (
            lambda lines: [swap(lines[0], 7, lines[0].split()[3]), *lines[1:]],
            r"t\.txt:1: an image is predicted twice in a line",
        ),
        (lambda lines: [lines[0].split()[0], *lines[1:]], r"t\.txt:1: a query needs at least one prediction"),
        (lambda lines: [swap(lines[0], 4, "a,b,c"), *lines[1:]], r"t\.txt:1: .*MSLS' task im2seq cannot be.*'a,b,c'"),
        (lambda lines: [swap(lines[0], 0, "a,b,c"), *lines[1:]], r"t\.txt:1: .*MSLS' task seq2im cannot be.*'a,b,c'"),
        (lambda lines: [line.replace(" ", ",") for line in lines], r"t\.txt:1: keys must be set apart by spaces"),
        (lambda lines: ["# nothing"], r"t\.txt: queries that count have no line \(\d+\), the first of them"),
        (
            lambda lines: [swap(lines[0], 1, "schlüssel"), *lines[1:]],
            r"t\.txt:1: a predictions file must be UTF-8 text",
        ),
    ],
    ids=["doubled", "image twice", "none", "im2seq", "seq2im", "commas", "missing", "latin-1"],
)
def test_a_wrong_file_is_one_message(tmp_path, change, message):
    cities = usable(0, "all")
    tasks = tasks_of(cities)
    counting = {str(task.city.query.keys[row]) for task in tasks for row in task.queries}
    rows = sorted(somebodys(cities, 1, "city"), key=lambda row: row[0] not in counting)
    lines = [" ".join([query, *keys]) for query, keys in rows]
    path = tmp_path / "t.txt"
    path.write_bytes("\n".join(change(lines)).encode("latin-1"))
    with pytest.raises(DataError, match=message):
        read_predictions(path, tasks, "city")


def test_the_gallery_that_was_searched_shows(tmp_path):
    cities = usable(0, "all")
    path = tmp_path / "t.txt"
    write_predictions(path, somebodys(cities, 1, "merged"))
    read_predictions(path, tasks_of(cities), "merged")
    with pytest.raises(DataError, match=r"t\.txt:\d+: with one gallery a city.*--gallery merged"):
        read_predictions(path, tasks_of(cities), "city")


@pytest.mark.parametrize(("subtask", "seed"), WORLDS)
def test_short_lines_and_strange_words_count_as_in_the_official_script(official, tmp_path, subtask, seed):
    """Five predictions a line, keys that no database has, whole lines of them, and lines of another city."""
    cities = usable(seed, subtask)
    tasks, rng = tasks_of(cities, subtask), np.random.default_rng(seed)
    write_cities(tmp_path / "msls", cities)
    rows = [(query, keys[:5]) for query, keys in somebodys(cities, seed)]
    for place in rng.permutation(len(rows))[: len(rows) // 2]:
        rows[place] = (
            rows[place][0],
            [f"nobodys{i}" if rng.random() < 0.4 else k for i, k in enumerate(rows[place][1])],
        )
    counting = {str(task.city.query.keys[row]) for task in tasks for row in task.queries}
    first = next(place for place, (query, _) in enumerate(rows) if query in counting)
    rows[first] = (rows[first][0], [f"lost{i}" for i in range(5)])
    rows += [(f"elsewhere_q{i}", [f"elsewhere_d{i + j}" for j in range(5)]) for i in range(3)]
    write_predictions(tmp_path / "t.txt", rows)
    ranking, notes = read_predictions(tmp_path / "t.txt", tasks, "merged")
    theirs = official(tmp_path / "msls", tmp_path / "t.txt", "uno,dos", subtask)
    assert ranking.metrics == pytest.approx(theirs, abs=1e-12)
    assert ranking.metrics["recall@20"] == ranking.metrics["recall@5"]
    assert "3 lines are of no query of uno, dos, and were passed over" in notes
    assert any("are in no database of uno, dos, and count as wrong" in note for note in notes)
    assert f"{len(counting)} lines have fewer than 20 predictions (the shortest 5)" in " ".join(notes)


def test_lines_that_do_not_count_are_not_looked_at(tmp_path):
    cities = usable(0, "all")
    tasks, path = tasks_of(cities), tmp_path / "t.txt"
    counting = {str(task.city.query.keys[row]) for task in tasks for row in task.queries}
    rows = somebodys(cities, 1)
    write_predictions(path, rows)
    whole, _ = read_predictions(path, tasks, "merged")
    write_predictions(path, [(query, keys if query in counting else ["what", "what"]) for query, keys in rows])
    other, notes = read_predictions(path, tasks, "merged")
    assert other.metrics == whole.metrics
    assert any("are of queries that do not count" in note for note in notes)


EXAMPLES = {"im2im": None, "im2seq": "im2seq", "seq2im": "seq2im", "seq2seq": "seq2seq"}


@pytest.mark.parametrize("task", EXAMPLES)
def test_the_official_examples(request, shared_data, tmp_path, task):
    """A tree with the keys of the files stands for zurich; what is sequences is said to be."""
    path = shared_data / "msls_predictions" / f"example_msls_{task}_prediction.csv"
    lines = [line.split() for line in path.read_text().splitlines() if not line.startswith("#")]
    queries = [line[0].split(",")[0] for line in lines]
    found = sorted({key for line in lines for word in line[1:] for key in word.split(",")})
    rng = np.random.default_rng(0)
    folder = tmp_path / "train_val" / "zurich"
    for side, keys in (("query", queries), ("database", found)):
        places = [(500_000.0 + 5 * east, 5_000_000.0) for east in rng.integers(0, 60, len(keys))]
        write_side(folder / side, keys, places, images=False)
    tasks = tasks_of([read_city(tmp_path, "zurich")])
    if EXAMPLES[task] is not None:
        with pytest.raises(
            DataError, match=rf"csv:5: keys that commas join are sequences, and MSLS' task {task} cannot"
        ):
            read_predictions(path, tasks, "city")
        return
    ranking, notes = read_predictions(path, tasks, "city")
    assert 0 < ranking.metrics["recall@1"] < ranking.metrics["recall@5"] == ranking.metrics["recall@20"]
    assert f"{len(tasks[0].queries)} lines have fewer than 20 predictions" in notes[-1]
    official = request.getfixturevalue("official")  # skips where there is no clone of it
    assert ranking.metrics == pytest.approx(official(tmp_path, path, "zurich", "all"), abs=1e-12)

"""Prediction files in MSLS' form: one line a query, `query_key key key …`, nearest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from vprdist.data.tasks import Task
from vprdist.errors import DataError
from vprdist.evaluation.ranking import DEPTH, Ranking, gallery_starts
from vprdist.files import write_text

Line = tuple[int, list[str]]


def write_predictions(path: Path, rows: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Publish a query's key and the keys retrieved for it, line by line."""
    write_text(path, "".join(" ".join([query, *keys]) + "\n" for query, keys in rows))


def read_predictions(path: Path, tasks: Sequence[Task], gallery: str) -> tuple[Ranking, list[str]]:
    """What somebody retrieved for the queries of these tasks, and notes on what does not count.

    As in the official script, images that the tasks leave out (panoramas, other subtasks) keep their place and are
    wrong, and queries that do not count are passed over, however few images stand there. Comments begin with `#`.

    Raises:
        DataError: the file and line, for text that is not UTF-8, unknown or doubled keys, and too few of them; the
            file, for queries without a line.
    """
    book = _Book(path, tasks, gallery)
    seen: dict[str, int] = {}
    for number, words in _lines(path):
        where = f"{path}:{number}"
        query = words[0]
        if query in seen:
            raise DataError(where, f"a query has a second line; its first is {seen[query]}", query, "Delete one.")
        seen[query] = number
        book.enter(where, query, words[1:])
    return book.ranking(), book.notes()


def _lines(path: Path) -> Iterator[Line]:
    """The words of each line that says something, and its number. A byte order mark and CRLF mean nothing."""
    for number, line in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        try:
            words = line.decode("utf-8").partition("#")[0].split()
        except UnicodeDecodeError as error:
            fault, found = "a predictions file must be UTF-8 text", line[error.start : error.start + 1]
            raise DataError(f"{path}:{number}", fault, found, "Save it as UTF-8.") from None
        if sequence := next((word for word in words if "," in word), None):
            fault = "a word must be the key of one image, and spaces must set words apart"
            remedy = "Write spaces between keys; keys that commas join are sequences, of other tasks of MSLS."
            raise DataError(f"{path}:{number}", fault, sequence[:60], remedy)
        if words:
            yield number, words


class _Book:
    """What a file says of each query that counts, as images of the galleries in one."""

    def __init__(self, path: Path, tasks: Sequence[Task], gallery: str) -> None:
        self.path, self.tasks, self.gallery = path, tasks, gallery
        self.queries = {
            str(key): (number, int(place))
            for number, task in enumerate(tasks)
            for key, place in zip(task.city.query.keys, _position(len(task.city.query), task.queries), strict=True)
        }
        self.owner = {str(key): number for number, task in enumerate(tasks) for key in task.city.database.keys}
        self._check_unique()
        keys = [str(key) for task in tasks for key in task.city.database.keys[task.gallery]]
        self.images = {key: image for image, key in enumerate(keys)}
        self.num_images, self.starts = len(keys), gallery_starts(tasks)
        self.outside: dict[str, int] = {}
        self.passed_over = 0
        self.found: list[list[np.ndarray | None]] = [[None] * len(task.queries) for task in tasks]

    def _check_unique(self) -> None:
        sizes = [sum(len(task.city.sides[side]) for task in self.tasks) for side in (0, 1)]
        if [len(self.queries), len(self.owner)] != sizes:
            fault = "keys must be unique over the cities that one file predicts"
            raise DataError(self.path, fault, None, "Evaluate city by city.")

    def enter(self, where: str, query: str, keys: list[str]) -> None:
        """Note what one line says."""
        if query not in self.queries:
            names = ", ".join(task.city.name for task in self.tasks)
            raise DataError(
                where, f"the first word must be a query of {names}", query, "Name its city too, or delete it."
            )
        number, place = self.queries[query]
        self._check_keys(where, number, keys)
        if place < 0:
            self.passed_over += 1
            return
        self._check_depth(where, number, len(keys))
        images = [self._image(key) for key in keys[:DEPTH]]
        self.found[number][place] = np.array(images, np.int64)

    def _check_keys(self, where: str, number: int, keys: list[str]) -> None:
        for key in keys:
            if key not in self.owner:
                names = ", ".join(task.city.name for task in self.tasks)
                raise DataError(where, f"predictions must be database images of {names}", key, "Name its city too.")
            if self.gallery == "city" and self.owner[key] != number:
                fault = "with one gallery a city, predictions must be of the query's own city"
                raise DataError(where, fault, key, "Was one gallery searched? Then say --gallery merged.")
        if len(set(keys)) < len(keys):
            doubled = next(key for key in keys if keys.count(key) > 1)
            raise DataError(where, "an image is predicted twice in a line", doubled, "Delete one.")

    def _check_depth(self, where: str, number: int, found: int) -> None:
        size = self.num_images if self.gallery == "merged" else len(self.tasks[number].gallery)
        if found < min(DEPTH, size):
            fault = f"a line must have {DEPTH} predictions, or the whole gallery: here at least {min(DEPTH, size)}"
            raise DataError(where, fault, found, "Predict more: recall@20 would count missing ones as wrong.")

    def _image(self, key: str) -> int:
        """The image of a key; those outside the galleries are counted after them."""
        if key in self.images:
            return self.images[key]
        return self.outside.setdefault(key, self.num_images + len(self.outside))

    def ranking(self) -> Ranking:
        missing = [
            str(task.city.query.keys[row])
            for task, found in zip(self.tasks, self.found, strict=True)
            for row, images in zip(task.queries, found, strict=True)
            if images is None
        ]
        if missing:
            fault = f"queries that count have no line ({len(missing)}), the first of them"
            raise DataError(self.path, fault, missing[0], "Predict for it, or leave out its city.")
        found = [[images for images in rows if images is not None] for rows in self.found]
        return Ranking(self.tasks, found, tuple(self.outside))

    def notes(self) -> list[str]:
        """What was passed over, for a person."""
        notes = []
        if self.passed_over:
            notes.append(f"{self.passed_over} lines are of queries that do not count, and were passed over")
        if self.outside:
            notes.append(f"{len(self.outside)} predicted images are panoramas or of other subtasks, and count as wrong")
        return notes


def _position(count: int, rows: np.ndarray) -> np.ndarray:
    """For each of `count` rows its position in `rows`, -1 where it is not there."""
    out = np.full(count, -1)
    out[rows] = np.arange(len(rows))
    return out

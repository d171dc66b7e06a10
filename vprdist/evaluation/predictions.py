"""Prediction files in MSLS' form: one line a query, `query_key key key …`, nearest first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from vprdist.data.tasks import Task
from vprdist.errors import DataError
from vprdist.evaluation.ranking import DEPTH, Ranking, gallery_starts
from vprdist.files import open_file, write_text

LINE_BYTES = 2**22
"""A query and 170,000 keys of MSLS."""
Line = tuple[int, list[str]]


def write_predictions(path: Path, rows: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Publish a query's key and the keys retrieved for it, line by line."""
    write_text(path, "".join(" ".join([query, *keys]) + "\n" for query, keys in rows))


def write_submission(path: Path, rows_of: Mapping[str, Sequence[tuple[str, Sequence[str]]]]) -> None:
    """Publish the predictions of some cities in one file, which says what it is for.

    Args:
        rows_of: by city, each query's key and the keys retrieved for it.
    """
    said = (
        f"# Every query of {', '.join(rows_of)}, whether or not it counts, nearest image first. MSLS' challenge takes "
        "no submissions since April 2026:\n# whoever has the ground truth scores this file, by `vprdist evaluate "
        f"{path.name} --data ROOT --cities {' '.join(rows_of)}` or MSLS' own script.\n"
    )
    rows = [" ".join([query, *keys]) for some in rows_of.values() for query, keys in some]
    write_text(path, said + "".join(f"{row}\n" for row in rows))


def read_predictions(path: Path, tasks: Sequence[Task], gallery: str) -> tuple[Ranking, list[str]]:
    """What somebody retrieved for the queries of these tasks, and notes on what does not count.

    As in the official script, lines of queries that do not count or that are of no city here are passed over; images
    that the tasks leave out (panoramas, other subtasks) and keys that no database has keep their place and are wrong;
    and predictions that a short line lacks are wrong. Comments begin with `#`.

    Raises:
        DataError: the file and line, for text that is not UTF-8, sequences, doubled keys, and a line without
            predictions; the file, for queries without a line.
    """
    book = _Book(path, tasks, gallery)
    for number, words in _lines(path):
        book.enter(number, words[0], words[1:])
    return book.ranking(), book.notes()


def taken_predictions(
    predictions: Mapping[str, Sequence[str]], tasks: Sequence[Task], gallery: str
) -> tuple[Ranking, list[str]]:
    """As `read_predictions`, of what is in memory: by a query's key the keys retrieved for it, nearest first."""
    book = _Book("predictions", tasks, gallery)
    for number, (query, keys) in enumerate(predictions.items(), 1):
        book.enter(number, str(query), [str(key) for key in keys])
    return book.ranking(), book.notes()


def _lines(path: Path) -> Iterator[Line]:
    """The words of each line that says something, and its number. A byte order mark and CRLF mean nothing."""
    for number, line in enumerate(_raw_lines(path), 1):
        try:
            words = line.decode("utf-8").partition("#")[0].split()
        except UnicodeDecodeError as error:
            fault, found = "a predictions file must be UTF-8 text", line[error.start : error.start + 1]
            raise DataError(f"{path}:{number}", fault, found, "Save it as UTF-8.") from None
        if any("," in word for word in words):
            raise _of_sequences(f"{path}:{number}", words)
        if words:
            yield number, words


def _raw_lines(path: Path) -> Iterator[bytes]:
    try:
        with open_file(path) as stream:
            mark, number = b"\xef\xbb\xbf", 0
            while line := stream.readline(LINE_BYTES + 1):
                if len(line) > LINE_BYTES:
                    fault = f"a line must have {LINE_BYTES} bytes at most"
                    raise DataError(f"{path}:{number + 1}", fault, None, "Is it a predictions file?")
                for part in line.removeprefix(mark).splitlines():
                    number += 1
                    yield part
                mark = b""
    except OSError as error:
        fault, remedy = "the predictions file cannot be read", "Check the path."
        raise DataError(path, fault, error.strerror, remedy) from None


def _of_sequences(where: str, words: Sequence[str]) -> DataError:
    """What is said of a line whose commas join keys."""
    if len(words) == 1:
        return DataError(where, "keys must be set apart by spaces", words[0][:60], "Write spaces for commas.")
    query, found = ("seq" if any("," in word for word in some) else "im" for some in (words[:1], words[1:]))
    fault = f"keys that commas join are sequences, and MSLS' task {query}2{found} cannot be evaluated here"
    sequence = next(word for word in words if "," in word)
    return DataError(where, fault, sequence[:60], "Predict single images (im2im), or run MSLS' own script.")


class _Book:
    """What a file says of each query that counts, as images of the galleries in one."""

    def __init__(self, path: Path | str, tasks: Sequence[Task], gallery: str) -> None:
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
        self.lines: dict[str, int] = {}
        self.passed_over = self.strangers = self.short = 0
        self.shortest = DEPTH
        self.found: list[list[np.ndarray | None]] = [[None] * len(task.queries) for task in tasks]

    def _check_unique(self) -> None:
        sizes = [sum(len(task.city.sides[side]) for task in self.tasks) for side in (0, 1)]
        if [len(self.queries), len(self.owner)] != sizes:
            fault = "keys must be unique over the cities that one file predicts"
            raise DataError(self.path, fault, None, "Evaluate city by city.")

    @property
    def names(self) -> str:
        """The cities, for messages."""
        return ", ".join(task.city.name for task in self.tasks)

    def enter(self, line: int, query: str, keys: list[str]) -> None:
        """Note what one line says."""
        number, place = self.queries.get(query, (0, -1))
        if place < 0:
            self.passed_over += query in self.queries
            self.strangers += query not in self.queries
            return
        where = f"{self.path}:{line}"
        if query in self.lines:
            fault = f"a query has a second line; its first is {self.lines[query]}"
            raise DataError(where, fault, query, "Delete one.")
        self.lines[query] = line
        self._check_keys(where, number, keys)
        size = self.num_images if self.gallery == "merged" else len(self.tasks[number].gallery)
        if len(keys) < min(DEPTH, size):
            self.short, self.shortest = self.short + 1, min(self.shortest, len(keys))
        images = [self._image(key) for key in keys[:DEPTH]]
        self.found[number][place] = np.array(images, np.int64)

    def _check_keys(self, where: str, number: int, keys: list[str]) -> None:
        if not keys:
            raise DataError(
                where, "a query needs at least one prediction", "none", "Predict for it; the file may be cut."
            )
        for key in keys:
            if self.gallery == "city" and self.owner.get(key, number) != number:
                fault = "with one gallery a city, predictions must be of the query's own city"
                raise DataError(where, fault, key, "Was one gallery searched? Then say --gallery merged.")
        if len(set(keys)) < len(keys):
            doubled = next(key for key, count in Counter(keys).items() if count > 1)
            raise DataError(where, "an image is predicted twice in a line", doubled, "Delete one.")

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
        unknown = sum(key not in self.owner for key in self.outside)
        found = (
            (self.passed_over, "lines are of queries that do not count, and were passed over"),
            (self.strangers, f"lines are of no query of {self.names}, and were passed over"),
            (len(self.outside) - unknown, "predicted images are panoramas or of other subtasks, and count as wrong"),
            (unknown, f"predicted keys are in no database of {self.names}, and count as wrong: were more searched?"),
            (self.short, f"lines have fewer than {DEPTH} predictions (the shortest {self.shortest}): the missing count "
             f"as wrong, so that recall@{DEPTH} of such a line is that of its own length"),
        )  # fmt: skip
        notes = [f"{count} {text}" for count, text in found if count]
        return notes


def _position(count: int, rows: np.ndarray) -> np.ndarray:
    """For each of `count` rows its position in `rows`, -1 where it is not there."""
    out = np.full(count, -1)
    out[rows] = np.arange(len(rows))
    return out

"""A layout that a user brought, asked so that whatever it does wrong is one message with its file and line."""

from __future__ import annotations

import contextlib
import re
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from vprdist.data.columns import FAR, KINDS
from vprdist.data.layouts.base import Layout
from vprdist.data.picture_paths import MadePaths
from vprdist.data.places import City, Side, Truth
from vprdist.errors import DataError, RuleError, UserError, first_line, nearest
from vprdist.spec.names import first_no_name, is_name
from vprdist.spec.vocabulary import SIDES, SUBTASKS

Answer = TypeVar("Answer")
WORD = re.compile(r"[^\s,#]+")
"""City names and keys are words of prediction files, and names (see `spec.names`)."""
DTYPES = {
    "keys": "words", "view_direction": "words", "sequence_key": "words", "frame_number": "whole numbers",
    "conditions": "words", "pano": "booleans", "night": "booleans", "ca": "numbers", "easting": "numbers",
    "northing": "numbers",
}  # fmt: skip
REMEDY = "Mend the file."


class OwnLayout(Layout):
    """A layout whose every answer is looked at before anybody uses it.

    Args:
        make: makes the user's object.
        file: where its class stands.
    """

    def __init__(self, root: Path, make: Callable[[], Any], file: Path) -> None:
        super().__init__(root)
        self._file = file
        with self._blamed("making the layout"):
            own = make()
        if not isinstance(own, Layout):
            fault = "a layout must be a class on vprdist.data.layouts.Layout"
            raise DataError(file, fault, type(own).__name__, "Write `class Name(Layout):`.")
        self._own: Layout = own

    def names(self) -> list[str]:
        found = self._ask("names", self._own.names)
        with self._blamed("names", self._line("names")):
            if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
                raise RuleError("names", "names() must answer a list of words", str(found)[:60], REMEDY)
            if not found:
                remedy = f"Check trial.data.root, and what {self._file.name} looks for."
                raise DataError(self.root, f"{self._file.name} finds no city there", None, remedy)
            if bad := next((name for name in found if not _is_word(name)), None):
                raise RuleError("names", "a city's name must be without spaces, commas, `#` and `/`", bad, REMEDY)
            if len(set(found)) < len(found):
                raise RuleError("names", "a city must be named once", _doubled(found), REMEDY)
        return sorted(found)

    def read(self, city: str) -> City:
        known = self.names()
        if city not in known:
            raise DataError(self.root, f"no such city: {city!r}", None, nearest(city, known))
        found = self._ask(f"reading {city}", lambda: self._own.read(city))
        with self._blamed(f"reading {city}", self._line("read")):
            check_city(found, city)
        return found

    def digest(self, city: str) -> str:
        if type(self._own).digest is Layout.digest:
            return super().digest(city)
        found = self._ask(f"the digest of {city}", lambda: self._own.digest(city))
        if not isinstance(found, str) or not is_name(found):  # files of the run folder are called by it
            raise DataError(self._line("digest"), "digest() must answer a word", str(found)[:60], REMEDY)
        return found

    def check(self, city: City, *, whole: bool = False) -> None:
        if type(self._own).check is Layout.check:
            super().check(city, whole=whole)
        else:
            self._ask(f"checking {city.name}", lambda: self._own.check(city, whole=whole))

    def label_file(self, city: str) -> Path | None:
        return self._ask(f"the label file of {city}", lambda: self._own.label_file(city))

    def _ask(self, what: str, question: Callable[[], Answer]) -> Answer:
        with self._blamed(what):
            return question()

    def _line(self, method: str) -> str:
        """Where a method of the user's class begins; the file, where another wrote it."""
        code = getattr(getattr(type(self._own), method), "__code__", None)
        if code is None or Path(code.co_filename) != self._file:
            return str(self._file)
        return f"{self._file}:{code.co_firstlineno}"

    @contextlib.contextmanager
    def _blamed(self, what: str, where: str | None = None) -> Iterator[None]:
        """Whatever goes wrong in the block is a DataError with the last line of the user's file on the way to it."""
        try:
            yield
        except UserError:
            raise
        except RuleError as error:
            raise DataError(where or self._place(error), error.fault, error.value, error.remedy) from None
        except (Exception, SystemExit) as error:
            fault = f"{what} failed: {type(error).__name__}: {first_line(error)}"
            raise DataError(where or self._place(error), fault, None, REMEDY) from error

    def _place(self, error: BaseException) -> str:
        frames = reversed(traceback.extract_tb(error.__traceback__))
        return next((f"{f.filename}:{f.lineno}" for f in frames if Path(f.filename) == self._file), str(self._file))


def check_city(city: object, name: str) -> None:
    """A city is what `places` says of it: every column of one length and kind, keys that are unique words.

    Raises:
        RuleError: it is not.
    """
    if not isinstance(city, City):
        raise RuleError("read", "read() must answer a City", type(city).__name__, "Return City(name=…, query=…, …).")
    if city.name != name:
        raise RuleError("read", f"the city must have the name {name!r}", city.name, REMEDY)
    for side, word in zip(city.sides, SIDES, strict=True):
        if not isinstance(side, Side) or (side.city, side.side) != (name, word):
            found = (side.city, side.side) if isinstance(side, Side) else type(side).__name__
            raise RuleError(word, f"the {word} must be the side {word!r} of {name!r}", found, REMEDY)
        _check_side(side, f"{name}/{word}")
    if city.truth is not None:
        _check_truth(city, (len(city.query), len(city.database)))


def _check_truth(city: City, shape: tuple[int, int]) -> None:
    from scipy.sparse import csr_matrix

    truth = city.truth
    if not isinstance(truth, Truth) or not isinstance(truth.positives, csr_matrix) or truth.positives.shape != shape:
        fault = f"the truth of {city.name} must be a Truth with a csr_matrix of {shape[0]} x {shape[1]}"
        found = getattr(getattr(truth, "positives", None), "shape", type(truth).__name__)
        raise RuleError("truth", fault, found, "Give one row a query and one column a database image.")
    alike = truth.similarity
    if alike is not None and (not isinstance(alike, csr_matrix) or alike.shape != shape):
        fault = f"the similarity of the truth of {city.name} must be a csr_matrix of {shape[0]} x {shape[1]}"
        found = getattr(alike, "shape", type(alike).__name__)
        raise RuleError("truth", fault, found, "Give one row a query and one column a database image.")


def _check_side(side: Side, what: str) -> None:
    if not len(side):
        fault = f"{what} must have at least one picture"
        raise RuleError("paths", fault, None, "Check trial.data.root, and which files the layout takes.")
    if not isinstance(side.paths, MadePaths) and not all(isinstance(path, Path) for path in side.paths):
        raise RuleError("paths", f"paths of {what} must be pathlib.Paths", str(side.paths[0])[:60], "Use Side.of.")
    columns = {each.name: getattr(side, each.name) for each in fields(side) if each.name in DTYPES}
    columns |= {f"subtasks[{name!r}]": side.subtasks.get(name) for name in SUBTASKS}
    for name, values in columns.items():
        _check_column(what, name, values, len(side.paths))
    if (side.easting is None) != (side.northing is None):
        raise RuleError("easting", f"{what} must have easting and northing, or neither", None, "Give both.")
    keys = side.keys.tolist()
    if (bad := _first_no_word(keys)) is not None:
        fault = f"a key of {what} must be without spaces, commas, `#` and `/`"
        raise RuleError("keys", fault, bad, "Give Side.of others: keys=[…].")
    if len(set(keys)) < len(keys):
        fault = f"a key of {what} must name one picture"
        raise RuleError("keys", fault, _doubled(keys), "Give Side.of others: keys=[…].")


def _check_column(what: str, name: str, values: Any, count: int) -> None:
    if values is None and name in ("ca", "easting", "northing"):
        return
    kind = DTYPES.get(name, "booleans")
    if not isinstance(values, np.ndarray) or values.shape != (count,) or values.dtype.kind not in KINDS[kind]:
        found = f"{values.dtype} {values.shape}" if isinstance(values, np.ndarray) else type(values).__name__
        raise RuleError(name, f"{name} of {what} must be an array of {count} {kind}", found, "Use Side.of.")
    known = ~np.isnan(values) if name == "ca" else True
    if values.dtype.kind == "f" and not (fine := (np.abs(values) < FAR) | ~known).all():
        row = int(np.flatnonzero(~fine)[0])
        fault = f"{name} of {what} must be finite, and below {FAR:g}; row {row} is not"
        raise RuleError(name, fault, float(values[row]), REMEDY)


def _first_no_word(keys: list[str]) -> str | None:
    """The first that is none; quick for a million of them that all are."""
    if first_no_name(keys) is None and WORD.fullmatch("".join(keys)):
        return None
    return next((key for key in keys if not _is_word(key)), None)


def _is_word(text: str) -> bool:
    return WORD.fullmatch(text) is not None and is_name(text)


def _doubled(words: list[str]) -> str:
    """The first of the words that stand twice; there is one."""
    return next(word for word, count in Counter(words).items() if count > 1)

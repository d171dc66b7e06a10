"""Which classes activations are of: the 19 of Cityscapes, another known list, or any list of names.

The order of a table is the order of the channels: that of a network's outputs, of a cache's columns and of class
names wherever several stand together.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from vprdist.errors import RuleError, UserError, nearest
from vprdist.files import at_home, digest_json, parse_json, read_bytes
from vprdist.spec.base import Names
from vprdist.spec.vocabulary import CLASS_GROUPS, CLASSES

CITYSCAPES = "cityscapes"
FOLDER = Path(__file__).parent / "class_tables"
FILES = ("vistas65", "ade20k")
"""The tables whose names lie beside this file. To add one: its file, and its word here."""
WORDS: Names = (CITYSCAPES, *FILES)
MOST_CLASSES, LONGEST_NAME = 1024, 100
MEND = "Mend the list."
FILE_BYTES = 2**26
"""A cache's manifest, which a table may be taken from, is as long."""


@dataclass(frozen=True)
class ClassTable:
    """Class names in their order.

    Attributes:
        name: its word; of a list that has none, its digest.
        groups: names for several of them; `all` there always is.
    """

    name: str
    classes: Names
    groups: Mapping[str, Names] = field(compare=False)

    @property
    def is_default(self) -> bool:
        """The 19 of Cityscapes, which everything that is older than other tables has."""
        return self.classes == CLASSES

    @property
    def words(self) -> str:
        """What it is, for messages: `the 19 classes`, `the 150 classes of ade20k`."""
        if self.is_default:
            return "the 19 classes"
        return f"the {len(self.classes)} classes" + (f" of {self.name}" if self.name in WORDS else "")

    def ordered(self, chosen: Iterable[str]) -> Names:
        """The chosen ones in the table's order: one set of classes is one mask, however a file lists it."""
        wanted = set(chosen)
        return tuple(name for name in self.classes if name in wanted)

    def named(self, classes: str | Sequence[str] | None) -> Names:
        """The classes of a group's word, or of a list of names, in the table's order."""
        return self.groups.get(classes, ()) if isinstance(classes, str) else self.ordered(classes or ())

    def check_group(self, key: str, word: str) -> None:
        """A word is a group of this table.

        Raises:
            RuleError: it is not.
        """
        if word in self.groups:
            return
        if word in CLASS_GROUPS:
            remedy = "Name the classes in a list, or groups of your own (search.subsets.groups)."
            raise RuleError(key, f"this class table has no group of that name ({self.words})", word, remedy)
        fault = f"`{key}` must be the name of a group or a list of class names"
        raise RuleError(key, fault, word, nearest(word, self.groups))

    def check_class(self, key: str, name: str) -> None:
        """A name is one of its classes.

        Raises:
            RuleError: it is not.
        """
        if name not in self.classes:
            fault = f"every entry must be one of {self.words}"
            raise RuleError(key, fault, name, nearest(name, self.classes))

    def differs(self, others: Sequence[str]) -> str:
        """The first difference of another list from this one, in words; empty where there is none."""
        if tuple(others) == self.classes:
            return ""
        for index, (own, other) in enumerate(zip(self.classes, others, strict=False)):
            if own != other:
                return f"class {index} is {other!r}, not {own!r}"
        return f"{len(others)} classes, not {len(self.classes)}"


@lru_cache(maxsize=64)
def table_of(named: str | Names) -> ClassTable:
    """The table of a word, or of a list of names as `settled_table` leaves it.

    Raises:
        ValueError: no such word: `settled_table` refuses it.
    """
    if isinstance(named, tuple):
        if (word := _word_of(named)) is not None:
            return table_of(word)
        return ClassTable(digest_json(list(named), 8), named, {"all": named})
    if named == CITYSCAPES:
        return ClassTable(CITYSCAPES, CLASSES, CLASS_GROUPS)
    if named not in FILES:
        raise ValueError(f"no such class table: {named!r}")
    names, groups = _read_own(named)
    return ClassTable(named, names, {**groups, "all": names})


def settled_table(named: Any, key: str = "class_table") -> str | Names:
    """A table as a trial keeps it: its word where it has one, else its names; a file is read, once, here.

    Args:
        named: a word, a list of names, or the path of a file: one name a line (empty lines and lines that begin with #
            are none), a JSON list, a cache's folder or its manifest.json, or a config.json of transformers (id2label).

    Raises:
        RuleError: no such word or file, or names that cannot be a table.
    """
    if isinstance(named, str) and named in WORDS:
        return named
    names = _read_file(named, key) if isinstance(named, str) else tuple(named)
    check_names(names, key)
    return _word_of(names) or names


def check_names(names: Sequence[Any], key: str = "classes") -> None:
    """Class names are distinct, and can be read, printed and written one a line.

    Raises:
        RuleError: they are not.
    """
    if not 1 <= len(names) <= MOST_CLASSES:
        raise RuleError(key, f"a class table must have 1 to {MOST_CLASSES} classes", len(names), MEND)
    for name in names:
        if not isinstance(name, str) or not name.strip() or name != name.strip() or len(name) > LONGEST_NAME:
            fault = f"a class must have a name of 1 to {LONGEST_NAME} characters, no blanks around it"
            raise RuleError(key, fault, name, MEND)
        if any(unicodedata.category(letter)[0] in "CZ" and letter != " " for letter in name):
            raise RuleError(key, "the name of a class must have no control characters or line breaks", name, MEND)
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise RuleError(key, "a class table must name each class once", name, MEND)
        seen.add(name)


@lru_cache(maxsize=64)
def _word_of(names: Names) -> str | None:
    return next((word for word in WORDS if table_of(word).classes == names), None)


def _read_own(word: str) -> tuple[Names, dict[str, Names]]:
    """The names of one of our files, and the groups that stand behind a tab."""
    names, groups = [], dict[str, list[str]]()
    for line in _lines((FOLDER / f"{word}.txt").read_text(encoding="utf-8")):
        name, _, marked = line.partition("\t")
        names.append(name)
        for group in marked.split():
            groups.setdefault(group, []).append(name)
    return tuple(names), {group: tuple(members) for group, members in groups.items()}


def _lines(text: str) -> list[str]:
    return [line.rstrip("\r") for line in text.split("\n") if line.strip() and not line.startswith("#")]


def _read_file(named: str, key: str) -> Names:
    path = at_home(named)
    path = path / "manifest.json" if path.is_dir() else path
    if not path.is_file() and (set(named) & {"/", "."} or named.startswith("~")):
        where = "" if Path(named).is_absolute() else f" A path counts from the working folder, {Path.cwd()}."
        raise RuleError(key, "no such file of class names", named, f"Words: {', '.join(WORDS)}.{where}")
    if not path.is_file():
        fault = "a class table must be a word, a list of names, or a file of them"
        raise RuleError(key, fault, named, nearest(named, WORDS))
    try:
        text = read_bytes(path, FILE_BYTES).decode("utf-8-sig")
        return _names_in(parse_json(text.encode())) if text.lstrip()[:1] in ("[", "{") else _stripped(text)
    except (OSError, ValueError, KeyError, TypeError, RecursionError, UserError, json.JSONDecodeError) as error:
        fault = "the file must hold class names: one a line, a JSON list, a cache's manifest or a network's id2label"
        raise RuleError(key, fault, f"{path}: {str(error)[:100]}", "Name another, or mend it.") from None


def _stripped(text: str) -> Names:
    return tuple(line.strip() for line in _lines(text))


def _names_in(value: Any) -> Names:
    if isinstance(value, dict) and "id2label" in value:
        labels = {int(index): label for index, label in value["id2label"].items()}
        if sorted(labels) != list(range(len(labels))):
            raise ValueError("id2label must count from 0")
        return tuple(" ".join(str(labels[index]).split()) for index in range(len(labels)))
    names = value["classes"] if isinstance(value, dict) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("the names must be a list of texts")
    return tuple(names)

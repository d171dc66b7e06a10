"""Where a value was written: a line of a file, or a word of the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vprdist.errors import shown

Key = tuple[str, ...]
SAID = re.compile(r"\btrial\.([a-z]\w*(?:\.[a-z]\w*)*)(?:: ([^\s,;]+?)(?=[.,;)]?(?:\s|$)))?")
"""A key of a trial in a remedy, and the value that it is to have."""


@dataclass
class Origin:
    """Where values came from.

    Attributes:
        path: the file.
        lines: by key path, the line that has it.
        overrides: by key path, the word of the command line.
        moved: by key path, the one that was written for it: of a scale's entry, an axis, an earlier spelling.
        tried: by key path of an axis, its values in their order.
        notes: what was found while reading and is no fault.
    """

    path: Path
    lines: dict[Key, int] = field(default_factory=dict)
    overrides: dict[Key, str] = field(default_factory=dict)
    moved: dict[Key, Key] = field(default_factory=dict)
    tried: dict[Key, list[Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def where(self, key: Key) -> str:
        """`file:line: dotted.path`, `override 'word': dotted.path`, for the nearest known ancestor of `key`."""
        dotted = ".".join(key)
        if key and not self.knows(key):
            # A section that keys below it made: `trial.netwrok.unfreeze=all` makes `netwrok`.
            if word := next((each for other, each in self.overrides.items() if other[: len(key)] == key), None):
                return f"override {shown(word)}: {dotted}"
            if other := next((other for other in self.moved if other[: len(key)] == key), None):
                written, below = self.moved[other], len(other) - len(key)
                # Written as a section, its own line says it; as a dotted key, that of the whole key.
                is_section = written[-below:] == other[-below:] and self.knows(written[:-below])
                return self.where(written[:-below] if is_section else written)
        for depth in range(len(key), 0, -1):
            if word := self.overrides.get(key[:depth]):
                return f"override {shown(word)}: {dotted}"
            if key[:depth] in self.moved:
                return self.where(self.moved[key[:depth]] + key[depth:])
        for depth in range(len(key), 0, -1):
            if line := self.lines.get(key[:depth]):
                return f"{self.path}:{line}: {dotted}"
        return f"{self.path}: {dotted}" if dotted else str(self.path)

    def reachable(self, remedy: str) -> str:
        """A remedy that says `trial.KEY: value`, for a key that is varied: its axis is where that can be done."""

        def there(found: re.Match[str]) -> str:
            dotted, value = found[1], found[2]
            for section in ("grid", "space"):
                if ("search", section, dotted) in self.tried:
                    return f"search.{section}.{dotted}" + (f": [{value}]" if value else "")
                above, _, name = dotted.partition(".")
                entries = self.tried.get(("search", section, above), ())
                if any(isinstance(entry, dict) and name in entry for entry in entries):
                    return (f"{name}: {value}" if value else name) + f" in the entries of search.{section}.{above}"
            return found[0]

        return SAID.sub(there, remedy)

    def knows(self, key: Key) -> bool:
        """Whether it was written somewhere."""
        return key in self.overrides or key in self.lines or key in self.moved

    def override(self, key: Key, word: str) -> None:
        """A word of the command line gives a key; what the file says there is gone."""
        if key in self.overrides:
            self.notes.append(f"override {shown(self.overrides[key])} does nothing: {shown(word)} comes after it")
        self.lines = {other: line for other, line in self.lines.items() if other[: len(key)] != key}
        self.overrides = {other: each for other, each in self.overrides.items() if other[: len(key)] != key}
        self.overrides[key] = word

    def overridden(self, key: Key) -> bool:
        """Whether the value of a key, or of one above it, was given on the command line; of a choice, its name."""
        if key in self.moved:
            return self.overridden(self.moved[key])
        return any(key[: len(other)] == other or other == (*key, "name") for other in self.overrides)

    def move(self, key: Key, written: Key) -> None:
        """The value at `key` was written at another key, or at its own."""
        if key != written:
            self.moved[key] = written
        else:
            self.moved.pop(key, None)

    def at_point(self, point: Mapping[str, Any]) -> Origin:
        """The same where a trial's values are those of a point: dotted key below `trial` to value."""
        moved = dict(self.moved)
        for dotted, value in point.items():
            for axis in (("search", "grid", dotted), ("search", "space", dotted)):
                if self.knows(axis):
                    tried = self.tried.get(axis, [])
                    place = (str(tried.index(value)),) if value in tried else ()
                    if dotted == "trial" and isinstance(value, dict):  # of several sections
                        moved |= {("trial", *name.split(".")): (*axis, *place, name) for name in value}
                    else:
                        moved[("trial", *dotted.split("."))] = (*axis, *place)
        return replace(self, moved=moved)

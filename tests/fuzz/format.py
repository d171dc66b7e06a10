"""What is mutated, and how the product reads it."""

from __future__ import annotations

import importlib
import pkgutil
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fuzz import formats as folder_of_formats

Make = Callable[[Path], None]
Read = Callable[[Path], Any]
Mutation = Callable[[random.Random, bytes], bytes]


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes:
        name: `--only` knows it by this.
        make: writes a small valid tree into an empty folder. Formats that share the function share the tree, which is
            made once; it may hold absolute paths.
        target: the file to mutate, below that folder.
        read: reads the folder the way the product does. A `UserError` is a refusal; anything else that is raised is a
            traceback. What it returns is its meaning (any value that can be compared).
        mutations: the format's own, beside those that `mutations.py` has for the file's ending.
        guarded: bytes are checked against a digest: a mutated file may be refused, but never be read as another value.
        share: how many mutations it gets beside others: less than 1 where one reading is slow.
        places: also put what is no file in its place: a folder, a FIFO, links, a file of 5 GB.
    """

    name: str
    make: Make
    target: str
    read: Read
    mutations: Sequence[Mutation] = ()
    guarded: bool = False
    share: float = 1.0
    places: bool = True


def all_formats() -> dict[str, Format]:
    """Those of every file of `formats/`, by name."""
    found: dict[str, Format] = {}
    for module in sorted(each.name for each in pkgutil.iter_modules(folder_of_formats.__path__)):
        for one in importlib.import_module(f"{folder_of_formats.__name__}.{module}").FORMATS:
            assert one.name not in found, f"two formats are called {one.name}"
            found[one.name] = one
    return found


def counts(names: Sequence[str], total: int) -> dict[str, int]:
    """How many mutations each gets, by its share; at least one."""
    known = all_formats()
    whole = sum(known[name].share for name in names)
    return {name: max(1, round(total * known[name].share / whole)) for name in names}

"""The warm process that reads mutants: it makes the trees, mutates, reads, and says how it went."""

from __future__ import annotations

import ctypes
import gc
import os
import random
import shutil
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.fuzz.format import Format, all_formats
from tests.fuzz.mutations import mutate
from vprdist.errors import UserError

MEMORY = 10**9
"""Bytes that reading one file may take, beside what the process has."""
LOCKS = ("lock", "running.lock", "submit.lock")
"""What reading may leave: whoever holds nothing, leaves the empty file of the lock."""
GOOD = ("read", "refused")
BAD = ("traceback", "other value", "half-written", "memory", "hang", "crash")


@dataclass(frozen=True)
class Told:
    """What the worker says of one mutant."""

    outcome: str
    done: str
    words: str = ""


class Trees:
    """A tree for each `make`, as it was made, and the one that is mutated."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._whole: dict[str, dict[str, tuple[int, ...]]] = {}

    def folder(self, one: Format) -> Path:
        """Where the format's tree lies, whole again."""
        name = f"{one.make.__module__.rpartition('.')[2]}.{one.make.__qualname__}"
        tree, kept = self.root / name, self.root / f"{name}.made"
        if not (kept.with_suffix(".ready")).exists():
            shutil.rmtree(tree, ignore_errors=True)
            tree.mkdir(parents=True)
            one.make(tree)
            shutil.copytree(tree, kept, symlinks=True)
            kept.with_suffix(".ready").touch()
        elif name not in self._whole or look(tree) != self._whole[name]:
            shutil.rmtree(tree)
            shutil.copytree(kept, tree, symlinks=True)
        self._whole[name] = look(tree)
        return tree


def look(tree: Path) -> dict[str, tuple[int, ...]]:
    """Names, kinds, sizes and times of what lies there, locks left out."""
    found: dict[str, tuple[int, ...]] = {}
    todo = [str(tree)]
    while todo:
        with os.scandir(todo.pop()) as entries:
            for entry in entries:
                stat = entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    todo.append(entry.path)
                    found[entry.path] = (stat.st_mode,)
                elif entry.name not in LOCKS:
                    found[entry.path] = (stat.st_mode, stat.st_size, stat.st_mtime_ns, stat.st_ino)
    return found


def read_one(
    one: Format, trees: Trees, seed: int, number: int, meant: Any, tell: Callable[[str], None] = lambda done: None
) -> Told:
    """Mutate and read.

    Args:
        meant: what the whole file means.
        tell: told what the mutation is, before anything reads it.
    """
    tree = trees.folder(one)
    done = mutate(one, random.Random(f"{seed}/{one.name}/{number}"), tree / one.target)
    tell(done)
    before = look(tree)
    _forget_peak()
    start = _status("VmRSS")
    outcome, words = "read", ""
    try:
        value = one.read(tree)
        if one.guarded and value != meant:
            outcome, words = "other value", repr(value)[:2000]
    except UserError as error:
        outcome, words = "refused", str(error)
        changed = [path for path, found in look(tree).items() if before.get(path) != found]
        if changed or before.keys() - look(tree).keys():
            outcome, words = "half-written", f"{words}\nleft: {changed}"
    except BaseException:
        outcome, words = "traceback", traceback.format_exc()
    value = None
    if (peak := _status("VmHWM") - start) > MEMORY:
        outcome, words = "memory", f"{peak / 1e9:.1f} GB\n{words}"
    if peak > MEMORY / 10:  # the next one's start
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
    return Told(outcome, done, words)


def work(connection: Connection, root: Path) -> None:
    """Serve (format, seed, number) until told None."""
    known, trees, meant = all_formats(), Trees(root), dict[str, Any]()
    connection.send("warm")
    while (asked := connection.recv()) is not None:
        name, seed, number = asked
        one = known[name]
        if name not in meant:  # also warms what reading imports; a valid file must be read
            meant[name] = one.read(trees.folder(one))
        connection.send(read_one(one, trees, seed, number, meant[name], connection.send))


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    return 0

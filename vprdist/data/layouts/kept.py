"""What was read of a large city, as arrays that the next job maps instead of reading it again.

They lie in `<root>/vprdist_index/`, or in the user's cache folder where the root cannot be written to. Whoever keeps
some says what they were made from, and they are used for that alone. Small cities are read again each time.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vprdist.arrays import map_npz
from vprdist.errors import first_line
from vprdist.files import at_home, digest_json, hold_for_making, publish

Columns = Mapping[str, npt.NDArray[Any]]
FOLDER = "vprdist_index"
KEPT_FROM = 50_000
"""Pictures of a city from which on it is kept: fewer are read in less than a second."""
ALGORITHM = 1
"""Raised by whoever changes what is kept: indices of before are then unused."""


class Index:
    """The places where one city's columns may be kept.

    Args:
        root: of the data set.
        city: its name.
        of: what they are made from, as JSON.

    Attributes:
        notes: what a person should know of it.
    """

    def __init__(self, root: Path, city: str, of: object) -> None:
        name = f"{city}-{digest_json([ALGORITHM, of])}.npz"
        away = cache_folder() / "vprdist" / "index" / digest_json(str(root.absolute()))
        self.places = (root / FOLDER / name, away / name)
        self.notes: list[str] = []

    def get(self, fits: Callable[[Columns], bool]) -> Columns | None:
        """What is kept and fits; None: nothing."""
        for place in self.places:
            try:
                kept = map_npz(place)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except (OSError, ValueError) as error:
                self.notes.append(f"{place}: a kept index cannot be used and is made again ({first_line(error)})")
                continue
            if fits(kept):
                return kept
        return None

    def get_or_make(self, fits: Callable[[Columns], bool], make: Callable[[], Columns]) -> Columns:
        """What is kept and fits, or what is made now: by the first who asks, while others wait. It is kept if it fits,
        where that can be done; somebody may have changed the data meanwhile."""
        if (kept := self.get(fits)) is not None:
            return kept
        said = len(self.notes)
        with contextlib.ExitStack() as stack:
            ours = next((place for place in self.places if hold_for_making(stack, place)), None)
            if ours is not None and (kept := self.get(fits)) is not None:  # somebody may have made it meanwhile
                return kept
            del self.notes[said:]  # what cannot be used was said above
            made = make()
            if ours is not None and fits(made):
                self._keep(ours, made)
        return made

    def _keep(self, place: Path, made: Columns) -> None:
        try:
            with publish(place) as stream:
                np.savez(stream, **dict[str, Any](made))
        except OSError as error:
            self.notes.append(f"{place}: the index could not be kept ({error.strerror})")


def cache_folder() -> Path:
    """Where programs of this user keep what they can make again."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    return Path(named) if Path(named).is_absolute() else at_home("~/.cache")


def disk_time_ns(folder: Path) -> int:
    """The time of a folder's disk, in nanoseconds; of this machine, where nothing can be written there."""
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            return os.fstat(probe.fileno()).st_mtime_ns
    except OSError:
        return time.time_ns()

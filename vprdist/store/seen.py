"""What a run folder noted of files when it first used them: which bytes its results were computed from.

A trial's id holds names and sizes of pictures, and what a cache's manifest says. Files that were written over at the
same size would give other numbers under the same id.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vprdist.arrays import npz_header, read_npz
from vprdist.files import digest_json, publish, read_json, write_json

Numbers = npt.NDArray[np.uint64]
ARRAYS = ("stamps", "contents")


@dataclass(frozen=True)
class SeenPictures:
    """The N pictures of a city in the order of its rows, queries first.

    stamps: (N,) `files.file_stamp` of each.
    contents: (N,) `files.content_number` of each whose bytes were read; 0 of the others.
    """

    stamps: Numbers
    contents: Numbers


def read_pictures(runs: Path, city_digest: str) -> SeenPictures | None:
    """What was noted of the pictures of a city; None where nothing was, or nothing that can be read."""
    path = noted_pictures(runs, city_digest)
    try:
        told = [npz_header(path, name) for name in ARRAYS]
        if sum(header.num_bytes for header in told) > path.stat().st_size:  # `write_pictures` compresses nothing
            return None
        stamps, contents = (read_npz(path, name) for name in ARRAYS)
    except (KeyError, OSError, ValueError):
        return None
    sound = all(each.dtype == np.uint64 and each.ndim == 1 for each in (stamps, contents))
    return SeenPictures(stamps, contents) if sound and len(stamps) == len(contents) else None


def write_pictures(runs: Path, city_digest: str, seen: SeenPictures) -> None:
    """Note it, for jobs to come; a disk that does not take it costs them a look."""
    with contextlib.suppress(OSError), publish(noted_pictures(runs, city_digest)) as stream:
        np.savez(stream, stamps=seen.stamps, contents=seen.contents)


def read_shards(runs: Path, cache: Path) -> dict[str, int]:
    """By SHA-256, the stamps of the shards that were looked at; empty where nothing was noted."""
    try:
        found = read_json(_shards(runs, cache))
        return {str(sha256): int(stamp) for sha256, stamp in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def write_shards(runs: Path, cache: Path, stamps: Mapping[str, int]) -> None:
    """Note them; a disk that does not take it costs later jobs a look."""
    with contextlib.suppress(OSError):
        write_json(_shards(runs, cache), dict(stamps))


def noted_pictures(runs: Path, city_digest: str) -> Path:
    """The file that notes the pictures of a city."""
    return runs / "data" / "pictures" / f"{city_digest}.npz"


def _shards(runs: Path, cache: Path) -> Path:
    return runs / "data" / "shards" / f"{digest_json(str(cache.absolute()))}.json"

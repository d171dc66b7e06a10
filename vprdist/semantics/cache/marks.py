"""Which planes of which images were compared with their check sums, by this process or one that it forked.

A data loader's workers end with it, and every evaluation has a loader of its own: what each noted for itself would be
compared again by the next one.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Seen = npt.NDArray[np.bool_]
"""(images, planes) of a shard; see `form`."""
File = tuple[str, int]
"""A shard's SHA-256 and its `files.file_stamp`: one that was written over is another."""


def private_marks(count: int, num_planes: int) -> Seen:
    """None of so many images were compared; for this process alone."""
    return np.zeros((count, num_planes), bool)


@lru_cache(maxsize=8)
def shared_marks(files: tuple[tuple[File, int], ...], num_planes: int) -> Mapping[File, Seen]:
    """For shards and their numbers of images, in memory that processes share which are forked later; a byte a plane of
    an image.

    The same ones whoever asks in this process.
    """
    seen = np.frombuffer(mmap.mmap(-1, max(1, num_planes * sum(count for _, count in files))), bool)
    marks, start = dict[File, Seen](), 0
    for file, count in files:
        end = start + num_planes * count
        marks[file], start = seen[start:end].reshape(count, num_planes), end
    return marks

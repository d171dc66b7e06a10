"""Which classes of which images were compared with their check sums, by this process or one that it forked.

A data loader's workers end with it, and every evaluation has a loader of its own: what each noted for itself would be
compared again by the next one.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from vprdist.spec.vocabulary import CLASSES

Seen = npt.NDArray[np.bool_]
"""(images, 19) of a shard."""
File = tuple[str, int]
"""A shard's SHA-256 and its `files.file_stamp`: one that was written over is another."""


def private_marks(count: int) -> Seen:
    """None of so many images were compared; for this process alone."""
    return np.zeros((count, len(CLASSES)), bool)


@lru_cache(maxsize=8)
def shared_marks(files: tuple[tuple[File, int], ...]) -> Mapping[File, Seen]:
    """For shards and their numbers of images, in memory that processes share which are forked later; 19 bytes an image.

    The same ones whoever asks in this process.
    """
    seen = np.frombuffer(mmap.mmap(-1, max(1, len(CLASSES) * sum(count for _, count in files))), bool)
    marks, start = dict[File, Seen](), 0
    for file, count in files:
        end = start + len(CLASSES) * count
        marks[file], start = seen[start:end].reshape(count, len(CLASSES)), end
    return marks

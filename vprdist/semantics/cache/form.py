"""What all shards of a cache have in common: size, classes, compression, and whether all activations are stored."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

from vprdist.files import digest_json
from vprdist.spec.base import Names
from vprdist.spec.vocabulary import CLASSES, Compression, Grid

LEADING: Final[Names] = ("key", "city", "side", "sha256")
DROPPED: Final = "dropped"
BATCH_BYTES: Final = 12 * 1024
"""Where compressed, a class has at most so many bytes in a batch. Measured on lip6: from 96 x 120 on one image a batch
is read fastest; at 48 x 60 four take a tenth fewer bytes than one (a batch has 2 KB of structure), for 20 to 50 us."""
BYTE: Final = 256

Version = Literal[1, 2, 3, 4]


@dataclass(frozen=True)
class Form:
    """How activations of a cache are stored.

    A shard is made of planes, columns of height x width bytes an image: one for each class where it is `dense`, those
    of `top_k` as `format` tells.

    Attributes:
        top_k: so many activations of each pixel are stored, the largest; None: all of them.
    """

    size: tuple[int, int]
    compression: Compression = "none"
    classes: Names = CLASSES
    top_k: int | None = None

    @property
    def is_plain(self) -> bool:
        """As every cache was before there were other classes."""
        return self.top_k is None and self.classes == CLASSES

    @cached_property
    def planes(self) -> Names:
        """The columns behind the leading ones."""
        if self.top_k is None:
            return self.classes if self.is_plain else tuple(f"class:{name}" for name in self.classes)
        kinds = ("value", "class") if len(self.classes) <= BYTE else ("value", "class", "class_high")
        return tuple(f"{kind}:{rank}" for kind in kinds for rank in range(self.top_k))

    def words_of(self, plane: int) -> str:
        """A plane, for messages."""
        return f"class {self.classes[plane]!r}" if self.top_k is None else f"column {self.planes[plane]!r}"

    @property
    def leading(self) -> Names:
        """The columns before the planes."""
        return LEADING if self.top_k is None else (*LEADING, DROPPED)

    @property
    def version(self) -> Version:
        """The oldest version that reads a shard of it; a shard knows nothing of the grid."""
        if not self.is_plain:
            return 4
        return 1 if self.compression == "none" else 2

    def version_with(self, grid: Grid) -> Version:
        """The oldest version that reads a cache of it."""
        return 3 if grid != "cells" and self.is_plain else self.version

    def batch_images(self, count: int) -> int:
        """Rows of a record batch, in a shard (or a cache whose longest shard) has `count` rows."""
        return count if self.compression == "none" else max(1, BATCH_BYTES // (self.size[0] * self.size[1]))

    @property
    def identity(self) -> list[object]:
        """What a shard's id says of it beside the version and the size; plain ones keep the ids that they had."""
        found: list[object] = [] if self.compression == "none" else [self.compression]
        return found if self.is_plain else [*found, {"classes": list(self.classes), "top_k": self.top_k}]

    @property
    def words(self) -> str:
        """Classes and storage where they are not the usual, and the compression, for messages."""
        if self.is_plain:
            return self.compression
        kept = "" if self.top_k is None else f"top {self.top_k} of "
        return f"{kept}{len(self.classes)} classes ({digest_json(list(self.classes), 8)}), {self.compression}"

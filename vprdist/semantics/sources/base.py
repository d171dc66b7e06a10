"""The interface of every source of activations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from vprdist.semantics.masks import Activations
from vprdist.spec.base import Names
from vprdist.spec.vocabulary import Grid


class Source(Protocol):
    """Activations of some cities. Every method raises CacheError naming the file that breaks a rule."""

    path: Path

    def has(self, city: str) -> bool:
        """Whether there is anything of this city."""
        ...

    def size(self, city: str, side: str, keys: Sequence[str]) -> tuple[int, int]:
        """The height and width to store where nobody chose one."""
        ...

    def classes(self, city: str, side: str) -> Names:
        """What the activations are of, in the order of `read`."""
        ...

    def grid(self, city: str, side: str) -> Grid:
        """How what `read` yields lies on its pictures."""
        ...

    def fingerprint(self, city: str, side: str, keys: Sequence[str]) -> str:
        """A cheap digest that changes when what `read` yields for these keys changes; no paths, no times."""
        ...

    def read(self, city: str, side: str, keys: Sequence[str]) -> Iterator[tuple[str, Activations]]:
        """(key, (C, H, W) uint8, softmax x 255) in the order of `keys`."""
        ...

"""Searchers by name."""

from __future__ import annotations

from typing import ClassVar

from vprdist.spec.methods import METHODS
from vprdist.spec.named import BuiltIn, Door, Named


class SearcherName(Named):
    """What proposes the trials of a sweep, told the values of earlier ones."""

    door: ClassVar[Door] = Door(
        "searcher",
        {word: BuiltIn(method.target, method.parameters) for word, method in METHODS.items()},
        provided=("space", "seed"),
    )

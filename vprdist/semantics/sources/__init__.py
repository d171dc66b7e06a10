"""What a cache is imported from: one file a layout, one interface. The layout of a folder is recognised."""

from __future__ import annotations

from pathlib import Path

from vprdist.errors import CacheError
from vprdist.semantics.sources.base import Source
from vprdist.semantics.sources.npz import NpzSource
from vprdist.semantics.sources.png import PngSource
from vprdist.spec.class_table import ClassTable

__all__ = ["NpzSource", "PngSource", "Source", "open_source"]


def open_source(path: Path, table: ClassTable | None = None) -> Source:
    """The reader for a folder of activations; .npz files are preferred where both layouts lie in it.

    Args:
        table: the classes that they are of; None: those that the files name, or the 19.

    Raises:
        CacheError: no folder, or no known layout in it.
    """
    if not path.is_dir():
        raise CacheError(path, "the source of a cache must be a folder", None, "Check the path.")
    if any(path.glob("*_query.npz")) or any(path.glob("*_database.npz")):
        return NpzSource(path, table)
    if any(path.glob("*/query/")) or any(path.glob("*/database/")):
        return PngSource(path, table)
    fault = "the source must hold <city>_<side>.npz, or <city>/<side>/<key>/<class>.png"
    raise CacheError(path, fault, None, "Point at the folder in which the cities lie.")

"""What a data set is, by content: its CSVs, and the names and sizes of its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from vprdist.data.msls import city_digest
from vprdist.files import digest_json

# Once a process: a digest lists every folder of pictures, and a sweep asks for the same cities again and again.
city_digest_cached = lru_cache(maxsize=256)(city_digest)


def dataset_digest(root: Path, cities: Sequence[str]) -> str:
    """16 hex digits for a set of cities; their order does not matter."""
    return digest_json({city: city_digest_cached(root, city) for city in sorted(cities)})

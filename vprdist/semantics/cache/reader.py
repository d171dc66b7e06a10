"""Reading a cache: memory maps opened when first wanted, in each process for itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from vprdist.errors import CacheError, nearest
from vprdist.files import digest_file
from vprdist.semantics.cache.format import REMEDY, Manifest, ShardEntry, read_manifest
from vprdist.semantics.cache.shard import MappedShard, check_size, remedy
from vprdist.semantics.masks import Activations, Mask, reduce_mask
from vprdist.spec.vocabulary import CLASSES, MaskReduce

Progress = Callable[[int, int], None]


class Cache:
    """Activations and masks by city, side and key.

    It pickles as its folder and manifest; a data loader's worker, forked or spawned, maps the shards it reads
    itself, and the kernel's page cache shares their bytes between all processes of a machine.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self._forget()

    def _forget(self) -> None:
        self._shards: dict[str, MappedShard] = {}
        self._rows: dict[tuple[str, str], dict[str, tuple[ShardEntry, int]]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "manifest": self.manifest}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.path, self.manifest = state["path"], state["manifest"]
        self._forget()

    def __repr__(self) -> str:
        return f"Cache({str(self.path)!r}, {self.digest}, {len(self.manifest.cities)} cities)"

    @property
    def digest(self) -> str:
        """16 hex digits of the content; `manifest.digest_of` gives that of some cities alone."""
        return self.manifest.digest

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the activations."""
        return self.manifest.height, self.manifest.width

    def covers(self, city_digests: Mapping[str, str]) -> None:
        """The cache was made for these cities, as they are now.

        Args:
            city_digests: `vprdist.data.msls.city_digest` by city.

        Raises:
            CacheError: a city is missing, or has changed since.
        """
        for city, digest in city_digests.items():
            made_for = self.manifest.cities.get(city)
            if made_for is None:
                do = f"Run `vprdist cache import` for it. The cache holds: {', '.join(self.manifest.cities)}."
                raise CacheError(self.path, "the cache must hold every city of the trial", city, do)
            if made_for != digest:
                rule = f"the cache of {city!r} was made for the data set with digest {made_for}"
                do = "Run `vprdist cache import` for this city, or point at the cache of this data set."
                raise CacheError(self.path, rule, digest, do)

    def keys(self, city: str, side: str) -> tuple[str, ...]:
        """The keys of a side, in CSV order."""
        return tuple(self._side(city, side))

    def views(self, city: str, side: str, key: str, classes: Sequence[str]) -> list[Activations]:
        """One (h, w) uint8 view for each class, straight out of the memory map: no copy, read-only.

        Raises:
            CacheError: unknown city, side, key or class; a shard that is missing, cut or of another cache.
        """
        channels = [_channel(name) for name in classes]
        found = self._side(city, side).get(key)
        if found is None:
            raise CacheError(self.path, f"the cache must hold every key of {city}/{side}", key, REMEDY)
        entry, row = found
        shard = self._shard(entry)
        return [shard.view(row, channel) for channel in channels]

    def activations(self, city: str, side: str, key: str, classes: Sequence[str] = CLASSES) -> Activations:
        """(C, h, w) uint8, softmax x 255, in the order of `classes`; a copy. Errors as `views`."""
        views = self.views(city, side, key, classes)
        return np.stack(views) if views else np.empty((0, *self.size), np.uint8)

    def mask(self, city: str, side: str, key: str, classes: Sequence[str], reduce: MaskReduce = "mean") -> Mask:
        """(h, w) float32 in [0, 1] of at least one class; see `masks.reduce_mask`. Errors as `views`."""
        return reduce_mask(self.views(city, side, key, classes), reduce)

    def _shard(self, entry: ShardEntry) -> MappedShard:
        shard = self._shards.get(entry.file)
        if shard is None:
            shard = MappedShard(self.path, entry, self.size, self.manifest.batch_images)
            self._shards[entry.file] = shard
        return shard

    def _side(self, city: str, side: str) -> dict[str, tuple[ShardEntry, int]]:
        """Where each key of a side lies; made at the side's first use, from the shards' key columns."""
        rows = self._rows.get((city, side))
        if rows is None:
            entries = [e for e in self.manifest.shards if (e.city, e.side) == (city, side)]
            if not entries:
                known = sorted({f"{s.city}/{s.side}" for s in self.manifest.sides})
                raise CacheError(self.path, "the cache must hold the side", f"{city}/{side}", nearest(city, known))
            rows = {key: (entry, row) for entry in entries for row, key in enumerate(self._shard(entry).keys)}
            if len(rows) != sum(entry.count for entry in entries):
                raise CacheError(self.path, f"a key stands once in {city}/{side}", None, REMEDY)
            self._rows[city, side] = rows
        return rows


@lru_cache(maxsize=1024)
def _channel(name: str) -> int:
    if name not in CLASSES:
        raise CacheError("classes", "a class is one of the 19", name, nearest(name, CLASSES))
    return CLASSES.index(name)


def open_cache(path: Path) -> Cache:
    """Open a cache: its manifest is checked, and that every shard is there with the right length.

    Raises:
        CacheError: no cache, a newer version, or a missing or cut shard.
    """
    path = Path(path)
    manifest = read_manifest(path)
    for entry in manifest.shards:
        check_size(path, entry)
    return Cache(path, manifest)


def verify(path: Path, progress: Progress | None = None) -> Cache:
    """Read every byte of a cache and compare it with its manifest's digests.

    Args:
        progress: called with the number of shards done and of all.

    Raises:
        CacheError: as `open_cache`, and for the first shard with a changed byte.
    """
    cache = open_cache(path)
    shards = cache.manifest.shards
    for done, entry in enumerate(shards):
        found = digest_file(cache.path / entry.file)
        if found != entry.sha256:
            where = cache.path / entry.file
            raise CacheError(where, f"the shard's SHA-256 is {entry.sha256[:16]}…", f"{found[:16]}…", remedy(where))
        if progress:
            progress(done + 1, len(shards))
    return cache

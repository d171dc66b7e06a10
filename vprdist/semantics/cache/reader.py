"""Reading a cache: memory maps opened when first wanted, in each process for itself."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from vprdist.errors import CacheError, nearest
from vprdist.semantics.cache.format import MANIFEST, REMEDY, Manifest, read_manifest
from vprdist.semantics.cache.marks import File, Seen, shared_marks
from vprdist.semantics.cache.shard import MappedShard, check_digest, check_size
from vprdist.semantics.cache.top_k import Dropped, dropped_of, selector
from vprdist.semantics.masks import FULL, Activations, Levels, Mask, as_mask, reduce_levels
from vprdist.semantics.resize import point_shares
from vprdist.spec.base import Names
from vprdist.spec.class_table import table_of
from vprdist.spec.vocabulary import Grid, MaskReduce

Progress = Callable[[int, int], None]


class Cache:
    """Activations and masks by city, side and key.

    It pickles as its folder and manifest; a data loader's worker, forked or spawned, maps the shards it reads
    itself, and the kernel's page cache shares their bytes between all processes of a machine.

    Args:
        marks: what of its shards was compared with their check sums; see `cache.marks`.
    """

    def __init__(self, path: Path, manifest: Manifest, marks: Mapping[File, Seen] | None = None) -> None:
        self.path = path
        self.manifest, self.form = manifest, manifest.form
        self._marks = marks
        self._forget()

    def _forget(self) -> None:
        self._rows: dict[tuple[str, str], dict[str, tuple[MappedShard, int]]] = {}
        # One for each cache: the names of all its classes are not compared at every mask.
        self._channels = lru_cache(maxsize=1024)(partial(_channels, classes=self.classes))

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "manifest": self.manifest}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.path, self.manifest, self._marks = state["path"], state["manifest"], None
        self.form = self.manifest.form
        self._forget()

    def __repr__(self) -> str:
        return f"Cache({str(self.path)!r}, {self.digest}, {len(self.manifest.cities)} cities)"

    @property
    def digest(self) -> str:
        """16 hex digits of the content; `Manifest.digest_of` gives that of some cities alone."""
        return self.manifest.digest

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the activations."""
        return self.manifest.height, self.manifest.width

    @property
    def classes(self) -> Names:
        """What its activations are of, in their order."""
        return self.form.classes

    @property
    def grid(self) -> Grid:
        """Where they lie on their pictures: whoever brings them to another size must ask."""
        return self.manifest.grid

    def covers(self, city_digests: Mapping[str, str]) -> None:
        """The cache was made for these cities, as they are now.

        Args:
            city_digests: `Layout.whole_digest` by city.

        Raises:
            CacheError: a city is missing, or has changed since.
        """
        for city, digest in city_digests.items():
            made_for = self.manifest.cities.get(city)
            if made_for is None:
                do = f"Run `vprdist cache import` for it. The cache holds: {', '.join(self.manifest.cities)}."
                raise CacheError(self.path, "the cache lacks a city of the trial", city, do)
            if made_for != digest:
                fault = f"the cache of {city!r} must be of this data set; it was made for digest {made_for}, not"
                do = "Run `vprdist cache import` for this city, or point at the cache of this data set."
                raise CacheError(self.path, fault, digest, do)

    def holds(self, city: str, side: str, keys: Sequence[str]) -> None:
        """The cache has these pictures of a side of a city that it covers; it may have been made without some.

        Raises:
            CacheError: it lacks one.
        """
        if lacking := sorted(set(keys).difference(self._side(city, side))):
            fault = f"the cache lacks {len(lacking)} pictures of {city}/{side} that the trial reads, the first of them"
            raise CacheError(self.path, fault, lacking[0], "Leave them out (trial.data.leave_out), or make it anew.")

    def keys(self, city: str, side: str) -> tuple[str, ...]:
        """The keys of a side, in CSV order."""
        return tuple(self._side(city, side))

    def views(self, city: str, side: str, key: str, classes: Sequence[str]) -> list[Activations]:
        """One (h, w) uint8 array for each class; uncompressed a read-only view of the memory map, without a copy.

        Raises:
            CacheError: unknown city, side, key or class; a shard that is missing, cut or of another cache; of a
                compressed shard also bytes that are not as they were written.
        """
        shard, row = self._find(city, side, key)
        if self.form.top_k is not None:
            return list(shard.planes(row, self._channels(tuple(classes))))
        return [shard.planes(row, self._channels((name,)))[0] for name in classes]

    def activations(self, city: str, side: str, key: str, classes: Sequence[str] | None = None) -> Activations:
        """(C, h, w) uint8, softmax x 255, in the order of `classes` (None: the cache's); a copy. Errors as `views`.

        Where only the largest are stored, the others are 0.
        """
        shard, row = self._find(city, side, key)
        planes = shard.planes(row, self._channels(self.classes if classes is None else tuple(classes)))
        return planes if planes.flags.owndata else planes.copy()

    def mask(self, city: str, side: str, key: str, classes: Sequence[str], reduce: MaskReduce = "mean") -> Mask:
        """(h, w) float32 in [0, 1] of at least one class; see `masks.reduce_mask`. Errors as `views`."""
        return as_mask(self.levels(city, side, key, classes, reduce), len(classes), reduce)

    def levels(self, city: str, side: str, key: str, classes: Sequence[str], reduce: MaskReduce = "mean") -> Levels:
        """The same mask in whole numbers, before its division by `masks.full_level`; see `masks.reduce_levels`.

        A quarter or half of the bytes of `mask`: for whoever moves masks to a device and divides there.
        """
        shard, row = self._find(city, side, key)
        channels = self._channels(tuple(classes))
        if self.form.top_k is None:
            return reduce_levels(shard.planes(row, channels), reduce, _peak(shard, channels))
        wanted = _selector(tuple(classes), self.classes)
        if wanted is None:  # a class that stands twice counts twice
            return reduce_levels(shard.planes(row, channels), reduce)
        return reduce_levels(shard.chosen(row, wanted), reduce, shard.peak, num_classes=len(classes))

    def dropped(self, city: str | None = None, side: str | None = None) -> Dropped | None:
        """What the images of a side, a city or the whole cache lost where only the largest are stored; None: nothing
        was dropped, all activations are stored.

        Raises:
            CacheError: as `views`.
        """
        if self.form.top_k is None:
            return None
        sides = {(each.city, each.side) for each in self.manifest.sides}
        wanted = [(c, s) for c, s in sorted(sides) if city in (None, c) and side in (None, s)]
        shards = [shard for at in wanted for shard in dict.fromkeys(found for found, _ in self._side(*at).values())]
        return dropped_of(np.concatenate([shard.read_dropped() for shard in shards]))

    def mean_shares(self, num_images: int = 200) -> tuple[dict[str, float], int]:
        """How much of the pictures each class covers: its mean activation over images spread evenly, in [0, 1].

        Returns:
            The shares by class, and of how many images they are.
        """
        sides = self.manifest.sides
        images = [(side.city, side.side, row) for side in sides for row in range(side.count)]
        chosen = images[:: -(-len(images) // num_images)]
        total, covered_hw = np.zeros(len(self.classes)), point_shares(self.size, self.grid)
        for city, side, row in chosen:
            total += (self.activations(city, side, self.keys(city, side)[row]) * covered_hw).sum(axis=(1, 2))
        shares = total / (FULL * len(chosen))
        return dict(zip(self.classes, shares.tolist(), strict=True)), len(chosen)

    def _find(self, city: str, side: str, key: str) -> tuple[MappedShard, int]:
        found = (self._rows.get((city, side)) or self._side(city, side)).get(key)
        if found is None:
            raise CacheError(self.path, f"the cache lacks a key of {city}/{side}", key, REMEDY)
        return found

    def _side(self, city: str, side: str) -> dict[str, tuple[MappedShard, int]]:
        """Where each key of a side lies; made at the side's first use, from the shards' keys."""
        rows = self._rows.get((city, side))
        if rows is None:
            entries = [e for e in self.manifest.shards if (e.city, e.side) == (city, side)]
            if not entries:
                known = sorted({f"{s.city}/{s.side}" for s in self.manifest.sides})
                raise CacheError(self.path, "the cache has no such side", f"{city}/{side}", nearest(city, known))
            made = self.manifest
            shards = [MappedShard(self.path, each, self.form, made.batch_images, self._marks) for each in entries]
            rows = {key: (shard, row) for shard in shards for row, key in enumerate(shard.keys)}
            if len(rows) != sum(entry.count for entry in entries):
                raise CacheError(self.path, f"a key stands twice in {city}/{side}", None, REMEDY)
            self._rows[city, side] = rows
        return rows


def _peak(shard: MappedShard, channels: slice | list[int]) -> int | None:
    """What no sum of these classes exceeds: the shard's peak, unless a class stands twice (in no slice)."""
    return shard.peak if isinstance(channels, slice) or len(set(channels)) == len(channels) else None


def _channels(names: Names, classes: Names) -> slice | list[int]:
    """The places of names among classes; as a slice, which costs no copy, where they stand at equal distances."""
    for name in names:
        if name not in classes:
            fault = f"a class must be one of {table_of(classes).words}"
            raise CacheError("classes", fault, name, nearest(name, classes))
    channels = [classes.index(name) for name in names]
    steps = {after - before for before, after in itertools.pairwise(channels)} or {1}
    if channels and len(steps) == 1 and (step := steps.pop()) > 0:
        return slice(channels[0], channels[-1] + 1, step)
    return channels


@lru_cache(maxsize=1024)
def _selector(names: Names, classes: Names) -> Activations | None:
    """See `top_k.selector`; None where a name stands twice or there is none."""
    if len(set(names)) != len(names) or not names:
        return None
    return selector([classes.index(name) for name in names], len(classes))


def open_cache(path: Path) -> Cache:
    """Open a cache: its manifest is checked, and that every shard is there with the right length.

    Raises:
        CacheError: no cache, a newer version, or a missing or cut shard.
    """
    path = Path(path)
    manifest = read_manifest(path)
    files = tuple(((entry.sha256, check_size(path, entry)), entry.count) for entry in manifest.shards)
    marks = shared_marks(files, len(manifest.form.planes)) if manifest.compression == "none" else None
    return Cache(path, manifest, marks)


def grid_of(path: Path) -> Grid:
    """How the activations of a cache lie. `cells` where it is not made yet: networks are tried before their masks are.

    Raises:
        CacheError: a manifest that cannot be read.
    """
    return read_manifest(path).grid if (path / MANIFEST).is_file() else "cells"


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
        check_digest(cache.path, entry)
        if progress:
            progress(done + 1, len(shards))
    return cache

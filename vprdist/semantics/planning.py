"""What a build is going to write, decided before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vprdist.data.layouts import Layout
from vprdist.errors import CacheError
from vprdist.files import digest_json
from vprdist.semantics.cache.form import Form
from vprdist.semantics.cache.format import SHARDS, SideName
from vprdist.semantics.sources import Source
from vprdist.spec.base import Names
from vprdist.spec.class_table import table_of
from vprdist.spec.vocabulary import Compression, Grid

SIDE_NAMES: tuple[SideName, ...] = ("query", "database")

SHARD_BYTES = 256 * 2**20
"""A shard is put together in memory, so large activations get fewer images a shard."""


@dataclass(frozen=True, kw_only=True)
class PlannedShard:
    """What a shard is to hold. `id` is the digest of all that decides its bytes."""

    id: str
    city: str
    side: SideName
    first: int
    keys: tuple[str, ...]

    @property
    def file(self) -> str:
        """Relative to the cache."""
        return f"{SHARDS}/{self.city}_{self.side}_{self.first:06d}-{self.id}.arrow"


@dataclass(frozen=True, kw_only=True)
class PlannedSide:
    city: str
    side: SideName
    city_digest: str
    source: str
    keys: tuple[str, ...]
    shards: tuple[PlannedShard, ...]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that a build will write; made without writing anything.

    Attributes:
        may_hold_more: a cache that has these pictures and others of the same source is as good.
    """

    form: Form
    grid: Grid
    sides: tuple[PlannedSide, ...]
    may_hold_more: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the activations."""
        return self.form.size

    @property
    def cities(self) -> dict[str, str]:
        return {side.city: side.city_digest for side in self.sides}

    @property
    def shards(self) -> tuple[PlannedShard, ...]:
        """All of them, in the order of the manifest."""
        return tuple(shard for side in self.sides for shard in side.shards)

    @property
    def count(self) -> int:
        """Images in all."""
        return sum(len(side.keys) for side in self.sides)


def make_plan(
    reader: Source,
    data: Layout,
    cities: Sequence[str],
    size: tuple[int, int] | None,
    shard_images: int,
    compression: Compression = "none",
    may_hold_more: bool = False,
    top_k: int | None = None,
) -> Plan:
    """The shards of these cities, before anything is written.

    Args:
        size: stored (height, width), as cells; None: the source's choice, which must then be one for all sides, as its
            grid must.
        shard_images: images a shard, at most.
        may_hold_more: see `Plan`.
        top_k: activations stored of each pixel, the largest; None: all.

    Raises:
        CacheError: the source lacks a side or is broken, or its sizes differ.
        DataError: the data set is broken.
    """
    if shard_images < 1 or (size is not None and min(size) < 1):
        fault = "sizes and images a shard must be at least 1"
        raise CacheError("cache", fault, (size, shard_images), "Choose larger ones.")
    sides: list[PlannedSide] = []
    classes = _classes(reader, cities, top_k)
    plan_size, plan_grid = size, "cells" if size is not None else reader.grid(cities[0], SIDE_NAMES[0])
    for name in cities:
        city, digest = data.read(name), data.whole_digest(name)
        for side in SIDE_NAMES:
            keys = tuple(str(key) for key in getattr(city, side).keys)
            native = size or reader.size(name, side, keys)
            plan_size = plan_size or native
            if native != plan_size:
                fault = f"the activations of a cache must have one size; {cities[0]} has {plan_size}"
                raise CacheError(reader.path, fault, f"{name}/{side} {native}", "Choose a size.")
            grid = plan_grid if size is not None else reader.grid(name, side)
            if grid != plan_grid:
                fault = f"the activations of a cache must lie on one grid; {cities[0]} has {plan_grid}"
                raise CacheError(reader.path, fault, f"{name}/{side} {grid}", "Choose a size: it is filled as cells.")
            fingerprint = reader.fingerprint(name, side, keys)
            form = Form(native, compression, classes, top_k)
            step = min(shard_images, max(1, SHARD_BYTES // (len(form.planes) * native[0] * native[1])))
            what = [form.version, name, side, digest, fingerprint, *native, *form.identity]
            what += [] if grid == "cells" else [grid]  # those of cells keep the ids that they had before there was one
            shards = []
            for first in range(0, len(keys), step):
                part = keys[first : first + step]
                shard_id = digest_json([*what, first, part])
                shards.append(PlannedShard(id=shard_id, city=name, side=side, first=first, keys=part))
            planned = PlannedSide(
                city=name, side=side, city_digest=digest, source=fingerprint, keys=keys, shards=tuple(shards)
            )
            sides.append(planned)
    assert plan_size is not None, "at least one city is planned"
    form = Form(plan_size, compression, classes, top_k)
    return Plan(form=form, grid=plan_grid, sides=tuple(sides), may_hold_more=may_hold_more)


def _classes(reader: Source, cities: Sequence[str], top_k: int | None) -> Names:
    """What the activations of all these cities are of.

    Raises:
        CacheError: they are of several tables, or have fewer classes than are to be stored.
    """
    first = reader.classes(cities[0], SIDE_NAMES[0])
    table = table_of(first)
    for name in cities:
        for side in SIDE_NAMES:
            if differs := table.differs(reader.classes(name, side)):
                fault = f"the activations of a cache must have one class table; {cities[0]} and {name}/{side} differ"
                raise CacheError(reader.path, fault, differs, "Import them into caches of their own.")
    if top_k is not None and not 1 <= top_k <= len(first):
        fault = f"the activations stored of each pixel must be 1 to {len(first)}"
        raise CacheError("top_k", fault, top_k, "Choose another number, or none: all are stored.")
    return first


def chosen_cities(reader: Source, data: Layout, cities: Sequence[str] | None) -> list[str]:
    """The cities to import: those named, or all of the data set that the source has.

    Raises:
        CacheError: a named city is not in the source, or none is.
    """
    if cities is not None:
        wanted = list(dict.fromkeys(cities))
        missing = [city for city in wanted if not reader.has(city)]
        if missing:
            raise CacheError(reader.path, "the source has no such city", missing[0], "Add it.")
    else:
        wanted = [city for city in data.names() if reader.has(city)]
    if not wanted:
        fault = f"the source has no city of the data set at {data.root}"
        raise CacheError(reader.path, fault, None, "Check both paths, or name the cities.")
    return wanted

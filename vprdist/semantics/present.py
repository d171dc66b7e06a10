"""What a cache's folder holds already, and whether that is what is planned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from vprdist.data.layouts import Layout
from vprdist.data.layouts.less import LessLayout
from vprdist.errors import CacheError
from vprdist.files import read_json
from vprdist.semantics.cache.form import Form
from vprdist.semantics.cache.format import (
    MANIFEST,
    VERSION,
    Manifest,
    SideName,
    read_manifest,
)
from vprdist.semantics.cache.reader import Cache
from vprdist.semantics.planning import Plan
from vprdist.semantics.sources import Source
from vprdist.spec.vocabulary import Grid


def cities_to_plan(
    out: Path, data: Layout, cities: Sequence[str], segmenter: str, source: Source | None = None
) -> tuple[list[str], bool]:
    """The cities without those of which the cache already holds these pictures and more: it keeps them as they are.

    Args:
        source: of an import, which may be another than the cache was made of. A segmenter is known by its words.

    Returns:
        The cities; all of them where none would be left. And whether that is so: the cache is complete then.
    """
    if not isinstance(data, LessLayout) or (old := old_manifest(out)) is None or old.segmenter != segmenter:
        return list(cities), False
    left = []
    for name in cities:
        city = data.read(name)
        keys: dict[SideName, Sequence[str]] = {
            "query": city.query.keys.tolist(),
            "database": city.database.keys.tolist(),
        }
        held = _holds_more(out, old, name, data.whole_digest(name), keys)
        left += [] if held and (source is None or _is_made_of(out, old, name, source)) else [name]
    return left or list(cities), not left


def _is_made_of(out: Path, old: Manifest, city: str, source: Source) -> bool:
    cache = Cache(out, old)
    sides = [side for side in old.sides if side.city == city]
    return all(source.fingerprint(city, side.side, cache.keys(city, side.side)) == side.source for side in sides)


def is_built(plan: Plan, out: Path, segmenter: str) -> bool:
    """Whether the cache holds what is planned, in shards of whatever length, and none was lost or cut.

    Raises:
        CacheError: it holds other cities of another size or segmenter, or is of a newer version.
    """
    old = old_manifest(out)
    if old is not None and is_complete(out, old, plan, segmenter):
        return True
    check_fits(out, old, plan, segmenter)
    return False


def would_replace(plan: Plan, out: Path, segmenter: str) -> str | None:
    """The size, segmenter and compression of the cache that is there, where the planned one differs in them."""
    old = old_manifest(out)
    held = None if old is None else kind_of(old.form, old.grid, old.segmenter)
    return held if held != kind_of(plan.form, plan.grid, segmenter) else None


def old_manifest(out: Path) -> Manifest | None:
    """What is there already. A manifest that cannot be read is made anew, but not one of a newer version."""
    if not (out / MANIFEST).exists():
        return None
    try:
        return read_manifest(out)
    except CacheError:
        try:
            version = read_json(out / MANIFEST)["version"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if isinstance(version, int) and version > VERSION:
            raise
        return None


def is_complete(out: Path, old: Manifest, plan: Plan, segmenter: str) -> bool:
    """The old cache holds what is planned, in shards of whatever length, and none was lost or cut."""
    if kind_of(old.form, old.grid, old.segmenter) != kind_of(plan.form, plan.grid, segmenter):
        return False
    sources = {(side.city, side.side): (old.cities[side.city], side.source) for side in old.sides}
    for side in plan.sides:
        found = sources.get((side.city, side.side))
        same = found == (side.city_digest, side.source)
        fits = plan.may_hold_more and _holds_more(out, old, side.city, side.city_digest, {side.side: side.keys})
        if not same and not fits:
            return False
    return all((out / e.file).is_file() and (out / e.file).stat().st_size == e.bytes for e in old.shards)


def _holds_more(out: Path, old: Manifest, city: str, digest: str, keys: Mapping[SideName, Sequence[str]]) -> bool:
    """The old cache is of this very city, and has these pictures of these sides, and others that are left out now."""
    counts = {side: sum(each.count for each in old.sides if (each.city, each.side) == (city, side)) for side in keys}
    if (
        old.cities.get(city) != digest
        or sum(counts.values()) <= sum(map(len, keys.values()))
        or not all(counts.values())
    ):
        return False
    cache = Cache(out, old)
    return all(set(some) <= set(cache.keys(city, side)) for side, some in keys.items())


def check_fits(out: Path, old: Manifest | None, plan: Plan, segmenter: str) -> None:
    """A cache has one size, segmenter and compression; what is replaced whole may change them."""
    kept = [city for city in old.cities if city not in plan.cities] if old else []
    made = old and kind_of(old.form, old.grid, old.segmenter)
    wanted = kind_of(plan.form, plan.grid, segmenter)
    if kept and made != wanted:
        fault = (
            "a cache must have one size, grid and segmenter, one class table and one compression; "
            f"{', '.join(kept)} here: {made}"
        )
        raise CacheError(out, fault, wanted, "Choose another folder, or that size, segmenter and compression.")


def kind_of(form: Form, grid: Grid, segmenter: str) -> str:
    """What all activations of a cache have in common, in words."""
    lies = "" if grid == "cells" else f" {grid}"
    return f"{form.size[0]} x {form.size[1]}{lies}, {segmenter!r}, {form.words}"

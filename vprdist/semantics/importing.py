"""Filling a cache from activations that somebody else computed: planned, then written, then published."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from vprdist.errors import CacheError
from vprdist.files import digest_file, locked, read_json, write_json, write_text
from vprdist.semantics.cache.format import (
    MANIFEST,
    SHARDS,
    VERSION,
    Manifest,
    ShardEntry,
    SideEntry,
    read_manifest,
)
from vprdist.semantics.cache.reader import Cache, open_cache
from vprdist.semantics.cache.shard import MappedShard
from vprdist.semantics.cache.writer import write_shard
from vprdist.semantics.planning import Plan, PlannedSide, chosen_cities, make_plan
from vprdist.semantics.resize import resize_area
from vprdist.semantics.sources import Source, open_source
from vprdist.spec.vocabulary import CLASSES

OURS = re.compile(r"\.?.+_(query|database)_\d{6,}-[0-9a-f]{16}\.(arrow|json)(\.[0-9a-f]{8}\.tmp)?")


def import_cache(
    source: Path,
    root: Path,
    out: Path,
    cities: Sequence[str] | None = None,
    *,
    size: tuple[int, int] | None = None,
    segmenter: str = "imported",
    shard_images: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> Cache:
    """Make the cache `out`, or complete it, or find it complete and return at once.

    An import that was cut continues with the missing shards, and ends with the same bytes as one that was
    not. A second importer of the same folder waits for the first. Cities that the cache already holds stay in it.
    A reader of the old cache keeps its shards until the new manifest is published.

    Args:
        source: a folder of activations; its layout is recognised (see `sources`).
        root: the MSLS tree that says which keys there are, and in which order.
        out: the cache's folder.
        cities: None means every city of the tree that the source has.
        size: stored (height, width); activations of another size are area-averaged. None: the source's choice.
        segmenter: what made the activations, in words; for people, in no digest.
        shard_images: images a shard, fewer where they would pass 256 MiB.
        progress: called with the number of images done and of all.

    Raises:
        CacheError: a source that lacks something or is broken, sizes that differ, a full disk.
        DataError: the MSLS tree is broken.
    """
    source, root, out = Path(source), Path(root), Path(out)
    if out.exists() and not out.is_dir():
        raise CacheError(out, "the cache is a folder", "a file", "Choose another path.")
    if shard_images < 1 or (size is not None and min(size) < 1):
        raise CacheError(
            "cache", "sizes and images a shard are at least 1", (size, shard_images), "Choose larger ones."
        )
    reader = open_source(source)
    plan = make_plan(reader, root, chosen_cities(reader, root, cities), size, shard_images)
    try:
        with locked(out / ".lock"):
            return _build(reader, plan, out, segmenter, progress)
    except OSError as error:
        remedy = "Make room, or see to the permissions, and import again: finished shards are kept."
        raise CacheError(out, "the disk must take the cache", error.strerror or str(error), remedy) from error


def _build(reader: Source, plan: Plan, out: Path, segmenter: str, progress: Callable[[int, int], None] | None) -> Cache:
    old = _old_manifest(out)
    if old is not None and _is_complete(out, old, plan, segmenter):
        return open_cache(out)
    kept = [city for city in old.cities if city not in plan.cities] if old else []
    if old is not None and kept and ((old.height, old.width), old.segmenter) != (plan.size, segmenter):
        rule = f"a cache has one size and one segmenter; {', '.join(kept)} here: "
        rule += f"{old.height} x {old.width}, {old.segmenter!r}"
        found = f"{plan.size[0]} x {plan.size[1]}, {segmenter!r}"
        raise CacheError(out, rule, found, "Import into another folder, or with that size and segmenter.")
    entries = _write(reader, plan, out, _trusted(out, plan, old), progress)
    manifest = _manifest(out, plan, entries, old, segmenter)
    write_text(out / MANIFEST, manifest.model_dump_json(indent=1) + "\n")
    _clean(out, manifest)
    return open_cache(out)


def _old_manifest(out: Path) -> Manifest | None:
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


def _is_complete(out: Path, old: Manifest, plan: Plan, segmenter: str) -> bool:
    """The old cache holds what is planned, in shards of whatever length, and none was lost or cut."""
    if old.segmenter != segmenter or (old.height, old.width) != plan.size:
        return False
    sources = {(side.city, side.side): (old.cities[side.city], side.source) for side in old.sides}
    if any(sources.get((side.city, side.side)) != (side.city_digest, side.source) for side in plan.sides):
        return False
    return all((out / e.file).is_file() and (out / e.file).stat().st_size == e.bytes for e in old.shards)


def _trusted(out: Path, plan: Plan, old: Manifest | None) -> dict[str, ShardEntry]:
    """By id, the planned shards that are on disk with the digest noted when they were written."""
    noted = {entry.id: entry for entry in old.shards} if old else {}
    trusted: dict[str, ShardEntry] = {}
    for side in plan.sides:
        for shard in side.shards:
            path = out / side.file(shard)
            entries = [noted.get(shard.id), _read_note(path.with_suffix(".json"))]
            if not any(entries) or not path.is_file():
                continue
            found = digest_file(path)
            trusted.update({e.id: e for e in entries if e and (e.id, e.sha256) == (shard.id, found)})
    return trusted


def _read_note(path: Path) -> ShardEntry | None:
    try:
        return ShardEntry.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        return None


def _write(
    reader: Source,
    plan: Plan,
    out: Path,
    trusted: dict[str, ShardEntry],
    progress: Callable[[int, int], None] | None,
) -> list[ShardEntry]:
    """Write the shards that are missing; return all entries in the plan's order."""
    total = sum(len(side.keys) for side in plan.sides)
    done = sum(entry.count for entry in trusted.values())
    height, width = plan.size
    for side in plan.sides:
        missing = [shard for shard in side.shards if shard.id not in trusted]
        images = reader.read(side.city, side.side, [key for shard in missing for key in shard.keys])
        for shard in missing:
            # Class first, as on disk: the columns are then written without another copy.
            activations_CNHW = np.empty((len(CLASSES), len(shard.keys), height, width), np.uint8)
            for row, key in enumerate(shard.keys):
                found, activations_CHW = next(images)
                assert found == key, "a source yields the keys in the order asked for"
                activations_CNHW[:, row] = resize_area(activations_CHW, plan.size)
                done += 1
                if progress:
                    progress(done, total)
            file = side.file(shard)
            entry = write_shard(out, file, shard.id, side.city, side.side, shard.first, shard.keys, activations_CNHW)
            write_json((out / file).with_suffix(".json"), entry.model_dump(mode="json"))
            trusted[shard.id] = entry
    return [trusted[shard.id] for side in plan.sides for shard in side.shards]


def _manifest(out: Path, plan: Plan, entries: list[ShardEntry], old: Manifest | None, segmenter: str) -> Manifest:
    """The manifest of the planned cities and of the others that the cache held, sorted by name."""
    kept_cities = {c: d for c, d in old.cities.items() if c not in plan.cities} if old else {}
    cities = dict(sorted({**plan.cities, **kept_cities}.items()))
    sides = [_side_entry(out, plan, side, entries) for side in plan.sides]
    if old:
        entries = entries + [entry for entry in old.shards if entry.city in kept_cities]
        sides += [side for side in old.sides if side.city in kept_cities]
    shards = sorted(entries, key=lambda e: (e.city, e.side == "database", e.first))
    draft = Manifest(
        height=plan.size[0],
        width=plan.size[1],
        batch_images=max(entry.count for entry in shards),
        segmenter=segmenter,
        cities=cities,
        sides=tuple(sorted(sides, key=lambda s: (s.city, s.side == "database"))),
        shards=tuple(shards),
        digest="",
    )
    return draft.model_copy(update={"digest": draft.digest_of(cities)})


def _side_entry(out: Path, plan: Plan, side: PlannedSide, entries: list[ShardEntry]) -> SideEntry:
    """The content of a side, from its shards as they are on disk."""
    content = hashlib.sha256()
    for entry in entries:
        if (entry.city, entry.side) == (side.city, side.side):
            shard = MappedShard(out, entry, plan.size, entry.count)
            for key, digest in zip(shard.keys, shard.digests, strict=True):
                content.update(key.encode() + b"\0" + digest)
    return SideEntry(
        city=side.city, side=side.side, count=len(side.keys), source=side.source, content=content.hexdigest()
    )


def _clean(out: Path, manifest: Manifest) -> None:
    """Remove notes, leftovers of killed importers, and shards that no manifest names; and nothing else."""
    listed = {Path(entry.file).name for entry in manifest.shards}
    for path in (out / SHARDS).iterdir():
        if path.name not in listed and OURS.fullmatch(path.name):
            path.unlink(missing_ok=True)
    for path in out.glob(f".{MANIFEST}.*.tmp"):
        path.unlink(missing_ok=True)

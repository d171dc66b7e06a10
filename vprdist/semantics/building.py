"""Filling a cache from a source of activations: planned, made shard by shard by any number of builders, published."""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path

from vprdist.errors import CacheError
from vprdist.files import digest_file, write_json, write_text
from vprdist.semantics.build_locks import Builders
from vprdist.semantics.cache.format import (
    MANIFEST,
    SHARDS,
    Manifest,
    ShardEntry,
    SideEntry,
)
from vprdist.semantics.cache.reader import Cache, open_cache
from vprdist.semantics.cache.shard import MappedShard
from vprdist.semantics.cache.writer import Filling, write_shard
from vprdist.semantics.planning import Plan, PlannedShard, PlannedSide
from vprdist.semantics.present import check_fits, is_complete, old_manifest
from vprdist.semantics.resize import resize_area
from vprdist.semantics.sources import Source

OURS = re.compile(r"\.?(.+)_(query|database)_\d{6,}-[0-9a-f]{16}\.(arrow|json)(\.[0-9a-f]{8}\.tmp)?")
LOOK_S = 0.5
"""Seconds between two looks at shards that other builders make."""
Progress = Callable[[int, int], None]
Made = Callable[[PlannedShard, int, bool], None]
"""Called with a shard, how many of its images are done, and whether this builder made them."""


def build(source: Source, plan: Plan, out: Path, segmenter: str, progress: Progress | None = None) -> Cache:
    """Make what is missing of the planned cache, and publish it; a cache that is complete is returned at once.

    A build that was cut continues with the missing shards, and ends with the same bytes as one that was not. Several
    builders of one folder share the shards: each is made once. Cities that the cache already holds stay in it. A
    reader of the old cache keeps its shards until the new manifest is published.

    Args:
        segmenter: what made the activations, in words; for people, in no digest.
        progress: called with the number of images done and of all.

    Raises:
        CacheError: a source that lacks something or is broken, a cache of another size or segmenter, a full disk.
    """
    with _disk(out):
        old = old_manifest(out)
        if old is not None and is_complete(out, old, plan, segmenter):
            return open_cache(out)
        check_fits(out, old, plan, segmenter)
        with Builders(out) as builders:
            trusted = _trusted(out, plan, old)
            shards = [shard for shard in plan.shards if shard.id not in trusted]
            counts = {entry.id: entry.count for entry in trusted.values()}

            def made(shard: PlannedShard, count: int, by_me: bool) -> None:
                counts[shard.id] = count
                if progress:
                    progress(sum(counts.values()), plan.count)

            _make(source, plan, out, shards, builders, made)
            _publish(out, plan, segmenter, builders)
            _leave(out, plan, segmenter, builders)
        return open_cache(out)


def build_part(
    source: Source, plan: Plan, out: Path, segmenter: str, index: int, count: int,
    progress: Callable[[int], object] = lambda made: None,
) -> Cache | None:  # fmt: skip
    """As `build`, as one of `count` builders that are not waited for: makes shards that nobody has made or is making.

    The builders begin at different places and go round, so that all shards are made whichever of them ever start.

    Args:
        progress: called with the number of images that this builder has made.

    Returns:
        The cache, when these were the last shards; None while others are still being made.
    """
    with _disk(out), Builders(out) as builders:
        old = old_manifest(out)
        if old is not None and is_complete(out, old, plan, segmenter):
            _leave(out, plan, segmenter, builders)
            return open_cache(out)
        check_fits(out, old, plan, segmenter)
        shards = list(plan.shards)
        first, following = (i * len(shards) // count for i in (index, index + 1))
        # What is there already is read by the one part whose share it is: a disk may have changed it.
        doubted = {shard.id for shard in shards[first:following]}
        mine: dict[str, int] = {}

        def made(shard: PlannedShard, count: int, by_me: bool) -> None:
            if by_me:
                mine[shard.id] = count
                progress(sum(mine.values()))

        _make(source, plan, out, shards[first:] + shards[:first], builders, made, wait=False, doubted=doubted)
        is_whole = progress_of(plan, out) == plan.count
        if is_whole:
            _publish(out, plan, segmenter, builders)
        _leave(out, plan, segmenter, builders)
    return open_cache(out) if is_whole else None


def progress_of(plan: Plan, out: Path) -> int:
    """How many of the planned images are in finished shards."""
    old = old_manifest(out)
    noted = {entry.id: entry for entry in old.shards} if old else {}
    return sum(len(shard.keys) for shard in plan.shards if _finished(out, shard, noted.get(shard.id)))


@contextlib.contextmanager
def _disk(out: Path) -> Iterator[None]:
    if out.exists() and not out.is_dir():
        raise CacheError(out, "the cache must be a folder", "a file", "Choose another path.")
    try:
        yield
    except OSError as error:
        remedy = "Make room, or see to the permissions, and start again: finished shards are kept."
        raise CacheError(out, "the disk cannot take the cache", error.strerror or str(error), remedy) from error


def _trusted(out: Path, plan: Plan, old: Manifest | None) -> dict[str, ShardEntry]:
    """By id, the planned shards that are on disk with the digest noted when they were written; others lose their note.

    Every byte is read: a disk may have changed what was finished before the build was cut.
    """
    noted = {entry.id: entry for entry in old.shards} if old else {}
    trusted: dict[str, ShardEntry] = {}
    for shard in plan.shards:
        entry = _finished(out, shard, noted.get(shard.id))
        if entry is None:
            continue
        if digest_file(out / shard.file) == entry.sha256:
            trusted[shard.id] = entry
        else:
            _note(out, shard).unlink(missing_ok=True)
            (out / shard.file).unlink(missing_ok=True)
    return trusted


def _finished(out: Path, shard: PlannedShard, listed: ShardEntry | None) -> ShardEntry | None:
    """The entry of a shard that is on disk whole, from the manifest or from the note of its builder."""
    try:
        found = (out / shard.file).stat().st_size
    except OSError:
        return None
    for entry in (listed, _read_note(_note(out, shard))):
        if entry is not None and entry.id == shard.id and entry.bytes == found:
            return entry
    return None


def _is_made(out: Path, shard: PlannedShard, listed: ShardEntry | None, doubted: bool) -> bool:
    """Whether a shard is on disk, and with `doubted` also has the digest that it was written with."""
    entry = _finished(out, shard, listed)
    return entry is not None and not (doubted and digest_file(out / shard.file) != entry.sha256)


def _note(out: Path, shard: PlannedShard) -> Path:
    return (out / shard.file).with_suffix(".json")


def _read_note(path: Path) -> ShardEntry | None:
    try:
        return ShardEntry.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        return None


def _make(
    source: Source, plan: Plan, out: Path, shards: Sequence[PlannedShard], builders: Builders, made: Made,
    wait: bool = True, doubted: Container[str] = (),
) -> None:  # fmt: skip
    """Make these shards where they are not finished, in order.

    Args:
        wait: for those that others are making.
        doubted: ids of shards that are compared with their digest before they are taken for finished.
    """
    old = old_manifest(out)
    listed = {entry.id: entry for entry in old.shards} if old else {}
    left = list(shards)
    while left:
        busy = []
        for shard in left:
            with builders.making(shard) as mine:
                if not mine:
                    busy.append(shard)
                elif _is_made(out, shard, listed.get(shard.id), shard.id in doubted):
                    made(shard, len(shard.keys), False)
                else:
                    _write(source, plan, out, shard, made)
        left = busy if wait else []
        if left:
            time.sleep(LOOK_S)


def _write(source: Source, plan: Plan, out: Path, shard: PlannedShard, made: Made) -> None:
    """One shard, whole, and the note of its digest."""
    filling = Filling(plan.form, len(shard.keys))
    grid = source.grid(shard.city, shard.side)
    for row, (key, activations_CHW) in enumerate(source.read(shard.city, shard.side, shard.keys)):
        assert key == shard.keys[row], "a source yields the keys in the order asked for"
        is_kept = grid == plan.grid != "cells"
        filling.put(row, activations_CHW if is_kept else resize_area(activations_CHW, plan.size, grid))
        made(shard, row + 1, True)
    entry = write_shard(
        out, shard.file, shard.id, shard.city, shard.side, shard.first, shard.keys,
        filling.planes_PNHW, plan.form, filling.dropped_NR,
    )  # fmt: skip
    write_json(_note(out, shard), entry.model_dump(mode="json"))


def _publish(out: Path, plan: Plan, segmenter: str, builders: Builders) -> None:
    """The manifest, once every planned shard is there."""
    with builders.publishing():
        old = old_manifest(out)
        check_fits(out, old, plan, segmenter)
        noted = {entry.id: entry for entry in old.shards} if old else {}
        entries = []
        for shard in plan.shards:
            entry = _finished(out, shard, noted.get(shard.id))
            if entry is None:
                raise CacheError(out / shard.file, "a finished shard is gone", None, "Start the build again.")
            entries.append(entry)
        manifest = _manifest(out, plan, entries, old, segmenter)
        write_text(out / MANIFEST, manifest.to_text())


def _leave(out: Path, plan: Plan, segmenter: str, builders: Builders) -> None:
    """The last builder of a folder cleans up behind all, also where another one published."""
    if builders.is_last() and (made := old_manifest(out)) and is_complete(out, made, plan, segmenter):
        _clean(out, made, plan)


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
        version=plan.form.version_with(plan.grid),
        classes=plan.form.classes,
        storage="dense" if plan.form.top_k is None else "top_k",
        top_k=plan.form.top_k,
        height=plan.size[0],
        width=plan.size[1],
        grid=plan.grid,
        compression=plan.form.compression,
        batch_images=plan.form.batch_images(max(entry.count for entry in shards)),
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
            shard = MappedShard(out, entry, plan.form, plan.form.batch_images(entry.count))
            for key, digest in zip(shard.keys, shard.read_digests(), strict=True):
                content.update(key.encode() + b"\0" + digest)
    return SideEntry(
        city=side.city, side=side.side, count=len(side.keys), source=side.source, content=content.hexdigest()
    )


def _clean(out: Path, manifest: Manifest, plan: Plan) -> None:
    """Remove notes of published shards, leftovers of killed builders, and replaced shards; and nothing else.

    Finished shards of other cities stay: another order that was cut will go on with them.
    """
    listed = {Path(entry.file).name for entry in manifest.shards}
    for path in (out / SHARDS).iterdir():
        ours = OURS.fullmatch(path.name)
        if ours is None or path.name in listed:
            continue
        shard = path.with_suffix(".arrow")
        pending = ours[1] not in plan.cities and shard.exists() and shard.with_suffix(".json").exists()
        if ours[4] or shard.name in listed or not pending:
            path.unlink(missing_ok=True)
    for path in out.glob(f".{MANIFEST}.*.tmp"):
        path.unlink(missing_ok=True)

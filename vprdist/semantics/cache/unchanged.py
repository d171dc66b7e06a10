"""Whether the shards of a cache are what its manifest says: looked at once a run folder, and again when written to.

A shard is read through a memory map, a few pages at a time: nobody would notice zeros in the others until they are
read, hours after the start.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from vprdist.errors import CacheError
from vprdist.files import file_stamp
from vprdist.semantics.cache.format import ShardEntry
from vprdist.semantics.cache.pixels import image_digest
from vprdist.semantics.cache.reader import Cache, Progress, open_cache
from vprdist.semantics.cache.shard import MappedShard, check_digest, remedy
from vprdist.store.seen import read_shards, write_shards

SMALL_BYTES = 2**32
"""So much of a cache is read whole: some seconds on shared storage."""
NUM_SAMPLED = 256
"""So many images of a larger one are compared with the digests that stand beside them."""


def check_shards(
    cache: Path, cities: Iterable[str], runs: Path, progress: Progress = lambda done, total: None
) -> str | None:
    """The shards of these cities hold what was written; what the run folder has seen as it is now is not read again.

    Returns:
        How many images were compared, where there was too much to read; to be said.

    Raises:
        CacheError: a shard was changed, or is missing or cut.
    """
    opened, wanted = open_cache(cache), set(cities)
    entries = [entry for entry in opened.manifest.shards if entry.city in wanted]
    stamps = {entry.sha256: file_stamp((cache / entry.file).stat()) for entry in entries}
    seen = read_shards(runs, cache)
    new = [entry for entry in entries if seen.get(entry.sha256) != stamps[entry.sha256]]
    size = sum(entry.bytes for entry in new)
    note = None
    if size > SMALL_BYTES:
        compared, images = _compare_some(opened, new, progress)
        note = (
            f"{cache}: {size / 1e9:.1f} GB are new to {runs}; {compared} of {images} images, evenly spread, were "
            "compared with their digests; `vprdist cache verify` compares all of it"
        )
    else:
        for done, entry in enumerate(new, 1):
            check_digest(cache, entry)
            progress(done, len(new))
    if new:
        write_shards(runs, cache, {**seen, **stamps})
    return note


def _compare_some(cache: Cache, entries: list[ShardEntry], progress: Progress) -> tuple[int, int]:
    """Compare images spread evenly over the shards with the digests in these: how many, and of how many."""
    ends = np.cumsum([entry.count for entry in entries])
    images = int(ends[-1])
    rows = np.unique(np.linspace(0, images - 1, min(images, NUM_SAMPLED)).astype(np.int64))
    places = np.searchsorted(ends, rows, side="right")
    made, done = cache.manifest, 0
    for place in np.unique(places).tolist():
        entry = entries[place]
        shard = MappedShard(cache.path, entry, cache.form, made.batch_images)
        digests = shard.read_digests()
        for row in (rows[places == place] - (ends[place] - entry.count)).tolist():
            if image_digest(shard.planes(row, slice(0, len(cache.classes)))) != digests[row]:
                fault = "the activations of an image must have the digest that stands beside them"
                raise CacheError(shard.path, fault, str(shard.keys[row]), remedy(shard.path))
            done += 1
            progress(done, len(rows))
    return len(rows), images
